"""Which requests come for this machine: those whose Host, and whose Origin where they may change something, is local.

The server listens on loopback and knows no users. A web page of a name that is made to point to 127.0.0.1 (DNS
rebinding) could else read and write everything through the browser of whoever looks at it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from starlette.types import Scope

from runstream_schemas.errors import RequestError

#: Local hosts, as they were spelled, that are remembered so that they need not be looked at again.
MAX_REMEMBERED: Final = 1_000

_HOST = re.compile(r"(?P<name>[a-z0-9.\-]+|\[(?P<address>[0-9a-f:.]+)\])(?::[0-9]*)?", re.IGNORECASE)


def is_local(host: str) -> bool:
    """Tell whether a host with or without a port is ``localhost`` or a loopback address."""
    found = _HOST.fullmatch(host)
    if found is None:
        return False
    try:
        return (
            found["name"].lower() == "localhost" or ipaddress.ip_address(found["address"] or found["name"]).is_loopback
        )
    except ValueError:
        return False


class LocalHosts:
    """Refuses requests for or from other hosts."""

    def __init__(self) -> None:
        self._local: set[bytes] = set()

    def check(self, scope: Scope) -> None:
        """Raise 403 for a request that a browser sends for a page of another host; other clients send no Origin."""
        for name, value in scope["headers"]:
            if name == b"host":
                if value not in self._local:
                    self._remember(value, value, "is for the host")
            elif name == b"origin" and scope["method"] not in ("GET", "HEAD") and value not in self._local:
                self._remember(value, value.partition(b"://")[2], "comes from a page of")

    def _remember(self, value: bytes, host: bytes, what: str) -> None:
        if not is_local(host.decode("latin-1")):
            message = (
                f"This request {what} {value[:250].decode('latin-1')!r}. Only localhost, 127.0.0.0/8 and [::1] are "
                "answered; a proxy has to send one of them as Host."
            )
            raise RequestError("PERMISSION_DENIED", message)
        if len(self._local) == MAX_REMEMBERED:
            self._local.clear()
        self._local.add(value)
