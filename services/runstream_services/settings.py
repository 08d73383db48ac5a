"""Settings: command-line flags, else environment variables of the same names, else these defaults."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runstream_services import token_file
from runstream_services.gateway.hosts import read_host


class Settings(BaseSettings):
    """Settings of ``runstream up``; each is also ``RUNSTREAM_<NAME>`` in the environment, where empty means unset."""

    model_config = SettingsConfigDict(env_prefix="RUNSTREAM_", env_ignore_empty=True, extra="ignore")

    data: Path = Field(Path("runstream-data"), description="directory that holds the database and the artifacts")
    host: str = Field("127.0.0.1", description="address to listen on; others than loopback need tokens")
    port: int = Field(5000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database_url: SecretStr | None = Field(
        None, description="a PostgreSQL >= 15 of your own in place of the embedded one"
    )
    token_file: Path | None = Field(None, description="file of named tokens; DATA/tokens where there is one")
    no_auth: bool = Field(False, description="let in everybody who reaches the address, without a token")
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="names by which this server is reached, host or host:port, with commas between"
    )
    trusted_proxies: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], NoDecode] = Field(
        (), description="addresses or networks of proxies whose X-Forwarded-Host counts, with commas between"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")

    @field_validator("data", "token_file", mode="before")
    @classmethod
    def _is_named(cls, path: object, info: ValidationInfo) -> object:
        if path is None:
            return None
        if path == "":
            raise ValueError("name a directory" if info.field_name == "data" else "name a file")
        try:
            return Path(str(path)).expanduser()
        except RuntimeError as error:
            raise ValueError(f"{path}: {error}") from error

    @field_validator("log_level", mode="before")
    @classmethod
    def _is_spelled_in_any_case(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

    @field_validator("database_url")
    @classmethod
    def _is_of_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        scheme, _, rest = url.get_secret_value().partition("://")
        if scheme not in ("postgresql", "postgres"):
            raise ValueError("a database URL begins with postgresql://")
        # A "/", "?" or "#" ends the part with the password, so that the rest of it would be shown as the host's name;
        # of two "@" some take the first and some the last for its end.
        authority, *others = re.split("[/?#]", rest, maxsplit=1)
        if authority.count("@") > 1 or ("@" not in authority and "@" in "".join(others)):
            raise ValueError("write /, ?, # and @ of the user's name and password as %2F, %3F, %23 and %40")
        return url

    @property
    def tokens_path(self) -> Path:
        """Where the tokens are, should there be any."""
        return self.token_file or self.data / token_file.FILE_NAME

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @field_validator("host")
    @classmethod
    def _is_one_address(cls, host: str) -> str:
        found = read_host(f"[{host}]" if ":" in host else host)
        if found is None or found.port:
            raise ValueError(f"{host!r} is neither an address nor a name")
        return host

    @field_validator("no_auth")
    @classmethod
    def _is_no_contradiction(cls, no_auth: bool, info: ValidationInfo) -> bool:
        if no_auth and info.data.get("token_file") is not None:
            raise ValueError("a token file is given, and nobody is to be asked for a token: take one of the two away")
        return no_auth

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _are_hosts(cls, hosts: object) -> object:
        names = _split(hosts)
        for name in names:
            if read_host(name) is None:
                raise ValueError(f"{name!r} is not host or host:port (an IPv6 address in brackets)")
        return names

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _are_addresses(cls, proxies: object) -> object:
        return tuple(ipaddress.ip_network(name) for name in _split(proxies))


def _split(setting: object) -> tuple[str, ...]:
    parts = setting.split(",") if isinstance(setting, str) else setting
    assert isinstance(parts, list | tuple)
    return tuple(stripped for part in parts if (stripped := str(part).strip()))
