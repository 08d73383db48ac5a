"""A client of the native API, as tests have one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import httpx
import msgspec

from runstream_schemas.answers import BatchResult
from runstream_schemas.codec import encode
from tests.sent import Sent


def body_of(events: Iterable[bytes | Sent]) -> bytes:
    """A batch: what is bytes goes as it is."""
    encoded = [encode(event.envelope) if isinstance(event, Sent) else event for event in events]
    return b'{"events":[' + b",".join(encoded) + b"]}"


class Native:
    """The native API of a server."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/runstream/v1", timeout=60)

    def send(self, events: Iterable[bytes | Sent]) -> httpx.Response:
        """POST a batch."""
        return self.http.post("/events", content=body_of(events), headers={"content-type": "application/json"})

    def append(self, events: Sequence[bytes | Sent]) -> BatchResult:
        """POST a batch that is answered with 200."""
        answer = self.send(events)
        assert answer.status_code == 200, answer.text
        result = msgspec.json.decode(answer.content, type=BatchResult)
        assert len(result.results) == len(events)
        return result

    def get(self, path: str, **query: Any) -> httpx.Response:
        """GET a path below /api/runstream/v1."""
        return self.http.get(path, params=query)
