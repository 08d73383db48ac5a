"""Settings: command-line flags, else environment variables of the same names, else these defaults."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of ``runstream up``; each is also ``RUNSTREAM_<NAME>`` in the environment, where empty means unset."""

    model_config = SettingsConfigDict(env_prefix="RUNSTREAM_", env_ignore_empty=True, extra="ignore")

    data: Path = Field(Path("runstream-data"), description="directory that holds the database and the artifacts")
    host: str = Field("127.0.0.1", description="address to listen on; loopback only in this release")
    port: int = Field(5000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database_url: SecretStr | None = Field(
        None, description="a PostgreSQL >= 15 of your own in place of the embedded one"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")

    @field_validator("data", mode="before")
    @classmethod
    def _is_named(cls, data: object) -> object:
        if data == "":
            raise ValueError("name a directory")
        try:
            return Path(str(data)).expanduser()
        except RuntimeError as error:
            raise ValueError(f"{data}: {error}") from error

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

    @field_validator("host")
    @classmethod
    def _is_loopback(cls, host: str) -> str:
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                f"{host} is not a loopback address; this release has no authentication, so it serves no other"
            )
        return host
