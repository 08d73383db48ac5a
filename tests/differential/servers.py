"""A server that is asked, what it answers, and the ids that it gave."""

from __future__ import annotations

import json
import time
from bisect import bisect_right
from typing import Any, Final, NamedTuple

import httpx

from tests.differential.calls import Call, encoded

#: A search is walked page by page, so far at most.
MAX_PAGES: Final = 40

_ITEMS: Final = ("runs", "experiments", "metrics")


class Answer(NamedTuple):
    """What a server answers: ``code`` is MLflow's error code, None in a 200 and in what is not JSON.

    ``body`` is the JSON of a 200, whose pages were walked to the end: ``pages`` are their lengths.
    """

    status: int
    code: str | None
    body: Any = None
    pages: tuple[int, ...] = ()

    @property
    def outcome(self) -> str:
        """Status and code."""
        return f"{self.status} {self.code or ''}".strip()


class Server:
    """One of the two, and what it calls things: ``ids`` by the name that both have for a thing, and back."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120)
        self._began: list[int] = []
        self.ids: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def know(self, name: str, given_id: str) -> None:
        """Remember the id that it gave to what both servers have under ``name``, as ``run 3``."""
        self.ids[name] = given_id
        self.names[f"{name.split(maxsplit=1)[0]} {given_id}"] = name

    def named(self, kind: str, given_id: str) -> str | None:
        """The name of what it has under an id, None where the other server has none like it."""
        return self.names.get(f"{kind} {given_id}")

    def begin(self) -> None:
        """The next call begins: what this server's clock says from now on, up to the next, happened during it."""
        self._began.append(time.time_ns() // 1_000_000)

    def answer(self, call: Call, fields: dict[str, Any]) -> Answer:
        """Send ``call``, its marks filled in, and follow its pages."""
        first = self._one(call, fields)
        token = first.body.get("next_page_token") if isinstance(first.body, dict) else None
        if not token:
            return first._replace(pages=(_length(first.body),))
        body = dict(first.body)
        del body["next_page_token"]
        name = next(name for name in _ITEMS if name in body)
        pages = [len(body[name])]
        while token:
            more = self._one(call, {**fields, "page_token": token})
            if more.status != 200:
                return more
            body[name] = body[name] + more.body.get(name, [])
            pages.append(_length(more.body))
            token = more.body.get("next_page_token")
            assert len(pages) < MAX_PAGES, f"no end of pages: {call}"
        return Answer(200, None, body, tuple(pages))

    def call_at(self, time_ms: int) -> int:
        """During which of the calls to it, counted from 1, a time of its clock lies; 0 for what was there before."""
        return bisect_right(self._began, time_ms)

    def time_of(self, word: str, experiment_id: str) -> str:
        """When an experiment was ``created`` or ``updated``, by this server's clock; 0 for one that is not there."""
        found = self._one(Call("GET", "experiments/get", {}), {"experiment_id": experiment_id})
        if found.status != 200:
            return "0"
        return str(found.body["experiment"]["creation_time" if word == "created" else "last_update_time"])

    def _one(self, call: Call, fields: dict[str, Any]) -> Answer:
        sent = encoded(call, fields)
        url = call.prefix + call.path
        if call.method == "GET":
            found = self._http.get(url, params=sent.query)
        else:
            found = self._http.post(url, content=sent.body, headers={"Content-Type": sent.content_type})
        try:
            body = json.loads(found.content)
        except ValueError:
            return Answer(found.status_code, None)
        if found.status_code == 200:
            return Answer(200, None, body)
        return Answer(found.status_code, body.get("error_code") if isinstance(body, dict) else None)


def _length(body: Any) -> int:
    return sum(len(body.get(name, ())) for name in _ITEMS) if isinstance(body, dict) else 0
