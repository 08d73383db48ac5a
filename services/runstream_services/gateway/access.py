"""Who may call: the requests whose Host and Origin are the server's own, with one of its tokens where it has any.

It stands in front of all routes but those that ``app.py`` lists as open: what is not listed there is closed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
from starlette.types import Scope

from runstream_schemas.errors import RequestError, StartupError
from runstream_services import token_file
from runstream_services.gateway.hosts import Hosts, Others
from runstream_services.gateway.sender import ANYONE, Sender
from runstream_services.settings import Settings

log = structlog.get_logger()

#: How long a token that was removed may still be taken.
LOOK_S: Final = 1.0

#: Header values that were found right and are remembered, and the longest value that is looked at: a token has 43.
MAX_REMEMBERED: Final = 1_000
MAX_VALUE_BYTES: Final = 1_024

_HOW: Final = (
    "Set MLFLOW_TRACKING_TOKEN to a token of this server, or MLFLOW_TRACKING_USERNAME to the token's name and "
    "MLFLOW_TRACKING_PASSWORD to the token. On the server, `runstream token add NAME` makes one."
)


def _refused(why: str) -> RequestError:
    return RequestError("UNAUTHENTICATED", f"{why} {_HOW}")


class Tokens:
    """The tokens of a file as it is now: requests look at it again after a second.

    A file that cannot be read any more changes nothing: the tokens that it held last are taken, no others, and the
    log says so. Raises :class:`StartupError` where it cannot be read at first, or holds no token.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._data = token_file.read(path)
        self._take(token_file.parse(self._data, path))
        if not self._names:
            raise StartupError(f"there is no token in {path}, so nobody could get in: `runstream token add NAME` first")
        self._next_look = clock() + LOOK_S
        self._complaint = ""

    def sender(self, scope: Scope) -> Sender:
        """Whose token came with a request; 401 where none came, or one that is not taken."""
        if self._clock() >= self._next_look:
            self._look()
        value: bytes | None = None
        for name, given in scope["headers"]:
            if name == b"authorization":
                if value is not None:
                    raise _refused("The request has several Authorization headers.")
                value = given
        if value is None:
            raise _refused("This server takes no calls without a token.")
        # A dictionary compares bytes where their keyed hashes are equal: its time says nothing of what it holds.
        sender = self._remembered.get(value)
        if sender is None:
            sender = self._find(value)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[value] = sender
        return sender

    def _find(self, value: bytes) -> Sender:
        if len(value) > MAX_VALUE_BYTES:
            raise _refused(f"The Authorization header is over {MAX_VALUE_BYTES} bytes.")
        scheme, _, credentials = value.partition(b" ")
        name, token = None, credentials.strip()
        if scheme.lower() == b"basic":
            try:
                name, _, token = base64.b64decode(token, validate=True).partition(b":")
            except binascii.Error:
                raise _refused("The Authorization header is not NAME:TOKEN in base64.") from None
        elif scheme.lower() != b"bearer":
            raise _refused("The Authorization header is neither Bearer nor Basic.")
        found = self._names.get(token_file.hash_of(token))
        if found is None or (name is not None and not hmac.compare_digest(name, found.encode())):
            raise _refused("The token is not one of this server's: it is wrong, was removed, or has another name.")
        return Sender(found)

    def _look(self) -> None:
        self._next_look = self._clock() + LOOK_S
        try:
            data = token_file.read(self._path)
            if data != self._data:
                self._take(token_file.parse(data, self._path))
                log.info("the tokens have changed", path=str(self._path), tokens=len(self._names))
            self._data, self._complaint = data, ""
        except StartupError as error:
            if str(error) != self._complaint:
                log.error("the tokens read last are taken, no others", reason=str(error))
            self._complaint = str(error)

    def _take(self, tokens: Sequence[token_file.Token]) -> None:
        self._names = {token.sha256: token.name for token in tokens}
        self._remembered: dict[bytes, Sender] = {}


class Access:
    """Lets a request in or refuses it; ``tokens`` None lets everybody in whose Host and Origin are right."""

    def __init__(self, hosts: Hosts, tokens: Tokens | None) -> None:
        self._hosts = hosts
        self._tokens = tokens

    def sender(self, scope: Scope) -> Sender:
        """Who sends a request. Raises 401 without a token that is needed, 403 for a foreign Host or Origin."""
        self._hosts.check(scope)
        return ANYONE if self._tokens is None else self._tokens.sender(scope)


def access_of(settings: Settings) -> Access:
    """Who may call a server with these settings.

    Raises :class:`StartupError` where others could reach it and nobody is asked for a token, unless that is wanted.
    """
    path = settings.tokens_path
    tokens = None
    if not settings.no_auth and (settings.token_file is not None or token_file.is_there(path)):
        tokens = Tokens(path, time.monotonic)
    if tokens is None and not settings.no_auth and not settings.is_loopback:
        raise StartupError(
            f"others can reach --host {settings.host}: make a token with `runstream token add NAME`, or let everybody "
            f"in with --no-auth. Looked for tokens in {path}"
        )
    named = settings.allowed_hosts
    if tokens is not None and not named:
        others = Others.ALL
    else:
        others = Others.NONE if settings.is_loopback and tokens is None else Others.ADDRESSES
    own = () if settings.is_loopback else (settings.host, socket.gethostname())
    return Access(Hosts((*named, *own), settings.trusted_proxies, others), tokens)
