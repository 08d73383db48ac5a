"""Settings: command-line flags, else environment variables of the same names, else these defaults."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of ``runstream up``; each is also ``RUNSTREAM_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="RUNSTREAM_", extra="ignore")

    data: Path = Field(Path("runstream-data"), description="directory that holds the database and the artifacts")
    host: str = Field("127.0.0.1", description="address to listen on; loopback only in this release")
    port: int = Field(5000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    database_url: SecretStr | None = Field(
        None, description="a PostgreSQL >= 15 of your own in place of the embedded one"
    )
    log_level: str = Field("warning", description="debug, info, warning or error")

    @field_validator("data", mode="before")
    @classmethod
    def _is_named(cls, data: object) -> object:
        if data == "":
            raise ValueError("name a directory")
        return data

    @field_validator("database_url")
    @classmethod
    def _is_of_postgresql(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("a database URL begins with postgresql://")
        # A "/", "?" or "#" ends the part with the password, so that the rest of it would be shown as the host's name.
        authority, *rest = re.split("[/?#]", url.get_secret_value().partition("://")[2], maxsplit=1) if url else [""]
        if authority and "@" not in authority and "@" in "".join(rest):
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
