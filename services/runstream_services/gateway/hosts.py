"""Which requests come for this server: those whose Host, and whose Origin where they may change something, is its own.

A web page of a name that is made to point to this server (DNS rebinding) could else read and write everything through
the browser of whoever looks at it. It cannot where it needs a token, which no browser sends for another name; and what
it is made to point to must be a name: a page that was loaded from an address can only reach that address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final, NamedTuple

from starlette.types import Scope

from runstream_schemas.errors import RequestError

#: Hosts and origins, as they were spelled, that are remembered so that they need not be looked at again. None has a
#: reason to be longer: the longest name has 253 characters.
MAX_REMEMBERED: Final = 1_000
MAX_REMEMBERED_BYTES: Final = 300

_HOST = re.compile(r"(?P<name>[a-z0-9._\-]+|\[(?P<address>[0-9a-f:.]+)\])(?::(?P<port>[0-9]*))?", re.IGNORECASE)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Host(NamedTuple):
    """A host as it is compared: its name in lower case or its address, in its shortest form; and its port, or ""."""

    name: str
    address: Address | None
    port: str

    @property
    def is_local(self) -> bool:
        """Tell whether it is ``localhost`` or a loopback address."""
        return self.name == "localhost" if self.address is None else self.address.is_loopback


def read_host(spelled: str) -> Host | None:
    """Read ``name``, ``1.2.3.4`` or ``[::1]``, with or without a port; None for what is none of these."""
    found = _HOST.fullmatch(spelled)
    if found is None:
        return None
    name = (found["address"] or found["name"]).lower()
    try:
        address: Address | None = ipaddress.ip_address(name)
    except ValueError:
        if found["address"]:
            return None
        address = None
    return Host(name if address is None else str(address), address, found["port"] or "")


class Others(Enum):
    """Hosts that are answered besides local and named ones."""

    NONE = "no others"
    ADDRESSES = "any address"
    ALL = "any host"


class Hosts:
    """Refuses requests for or from other hosts.

    ``named`` are hosts that are answered, for any port or for the one that they name. From ``proxies`` the last
    X-Forwarded-Host stands for the Host.
    """

    def __init__(
        self, named: Iterable[str] = (), proxies: Sequence[Network] = (), others: Others = Others.NONE
    ) -> None:
        self._named = {(known.name, known.port) for known in map(read_host, named) if known is not None}
        self._proxies = proxies
        self._others = others
        self._hosts: set[bytes] = set()
        self._origins: set[bytes] = set()

    def check(self, scope: Scope) -> None:
        """Raise 403 for a request that a browser sends for a page of another host; other clients send no Origin."""
        forwarded = self._forwarded(scope) if self._proxies else None
        asked, is_of_a_page = forwarded or b"", False
        if forwarded is not None and forwarded not in self._hosts:
            self._remember_host(forwarded)
        for name, value in scope["headers"]:
            if name == b"host" and forwarded is None:
                asked = value
                if value not in self._hosts:
                    self._remember_host(value)
            elif name == b"origin" and scope["method"] not in ("GET", "HEAD"):
                is_of_a_page = True
        if is_of_a_page:
            self._check_origins(scope, asked)

    def _check_origins(self, scope: Scope, asked: bytes) -> None:
        for name, value in scope["headers"]:
            if name != b"origin" or value in self._origins:
                continue
            page = value.partition(b"://")[2]
            if page and page == asked:  # the server's own page, by whatever name it is answered
                continue
            if not self._is_known(read_host(page.decode("latin-1"))):
                raise self._refused(value, "comes from a page of")
            _remember(self._origins, value)

    def _remember_host(self, value: bytes) -> None:
        asked = read_host(value.decode("latin-1"))
        any_will_do = self._others is Others.ALL or (
            self._others is Others.ADDRESSES and asked is not None and asked.address is not None
        )
        if not any_will_do and not self._is_known(asked):
            raise self._refused(value, "is for the host")
        _remember(self._hosts, value)

    def _is_known(self, asked: Host | None) -> bool:
        if asked is None:
            return False
        return asked.is_local or (asked.name, "") in self._named or (asked.name, asked.port) in self._named

    def _forwarded(self, scope: Scope) -> bytes | None:
        """What the proxy says that its client asked for; None where no proxy that is trusted says so."""
        try:
            peer = ipaddress.ip_address((scope.get("client") or ("",))[0])
        except ValueError:
            return None
        peer = getattr(peer, "ipv4_mapped", None) or peer  # of a server that listens on "::"
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
        if not said or not any(peer in network for network in self._proxies):
            return None
        last: bytes = said[-1].rpartition(b",")[2].strip()
        return last

    def _refused(self, value: bytes, what: str) -> RequestError:
        known = "localhost, 127.0.0.0/8, [::1]"
        if self._others is Others.ADDRESSES:
            known += ", other addresses"
        message = (
            f"This request {what} {value[:250].decode('latin-1')!r}. Only {known} and the names given to the server by "
            "--allowed-hosts (RUNSTREAM_ALLOWED_HOSTS) are answered: add its name there. Behind a proxy, "
            "--trusted-proxies (RUNSTREAM_TRUSTED_PROXIES) says whose X-Forwarded-Host counts."
        )
        return RequestError("PERMISSION_DENIED", message)


def _remember(known: set[bytes], value: bytes) -> None:
    if len(value) > MAX_REMEMBERED_BYTES:
        return
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known.add(value)
