"""The window on the end of the log: bounded, and never with a hole that a reader would not see."""

from __future__ import annotations

import asyncio
import tracemalloc
from unittest import mock

import msgspec
import pytest

from runstream_schemas.codec import encode_payload
from runstream_schemas.columns import MetricColumns
from runstream_schemas.events import Event, RunCreated, RunLogged
from runstream_services import log_tail
from runstream_services.log_tail import LogTail
from runstream_services.ports import Recorded, memory_bytes
from tests.sent import Sent, event_id


def events(*positions: int, size: int = 0) -> list[Recorded]:
    event = RunLogged(tags={"n": "x" * size})
    envelopes = [Sent(event_id(at), "run/r", event).envelope for at in positions]
    return [
        Recorded(at, envelope, event, size=memory_bytes(envelope, event))
        for at, envelope in zip(positions, envelopes, strict=True)
    ]


def positions(tail: LogTail, after: int, limit: int = 100, max_bytes: int = 1 << 20) -> list[int] | None:
    found = tail.after(after, limit, max_bytes)
    return None if found is None else [event.position for event in found]


def test_what_was_appended_is_read_from_any_place() -> None:
    tail = LogTail()
    tail.extend(events(1, 2, 3))
    tail.extend(events(4))
    assert [positions(tail, after) for after in (0, 2, 3, 4)] == [[1, 2, 3, 4], [3, 4], [4], None]
    assert positions(tail, 0, limit=2) == [1, 2]
    assert tail.head == 4


def test_a_page_is_bounded_by_bytes_and_holds_at_least_one_event() -> None:
    tail = LogTail()
    tail.extend(events(1, 2, 3, 4, size=1_000))
    assert positions(tail, 0, max_bytes=2_500) == [1, 2]
    assert positions(tail, 0, max_bytes=1) == [1]


def test_what_is_not_in_the_window_is_not_answered() -> None:
    tail = LogTail()
    tail.extend(events(5, 6))
    assert positions(tail, 3) is None
    assert positions(tail, 4) == [5, 6]
    tail.forget_through(5)
    assert positions(tail, 4) is None
    assert positions(tail, 5) == [6]


def test_after_a_hole_only_what_follows_it_is_held() -> None:
    """An append in doubt, or another process's, moves the head past events that are not in the window."""
    tail = LogTail()
    tail.extend(events(1, 2))
    tail.reach(4)
    tail.extend(events(5))
    assert [positions(tail, after) for after in (0, 1, 2, 3)] == [None] * 4
    assert positions(tail, 4) == [5]


def test_the_window_is_bounded_by_events_and_bytes() -> None:
    tail = LogTail()
    with mock.patch.object(log_tail, "MAX_EVENTS", 3):
        tail.extend(events(*range(1, 8)))
        assert positions(tail, 3) is None
        assert positions(tail, 4) == [5, 6, 7]
    with mock.patch.object(log_tail, "MAX_BYTES", 2_500):
        tail.extend(events(8, 9, 10, 11, size=1_000))
        assert positions(tail, 9) == [10, 11]
        assert positions(tail, 8) is None
    tail.forget_through(11)
    with mock.patch.object(log_tail, "MAX_BYTES", 2_500):
        tail.extend(events(12, 13, size=1_000))
        assert positions(tail, 11) == [12, 13], "what was forgotten takes no room"


async def test_who_waits_is_woken_by_any_growth() -> None:
    tail = LogTail()
    tail.extend(events(1))
    await tail.wait_past(0, 60)
    for grow in (lambda: tail.extend(events(2)), lambda: tail.reach(5)):
        waiting = [asyncio.create_task(tail.wait_past(tail.head, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        grow()
        async with asyncio.timeout(20):
            await asyncio.gather(*waiting)
    await tail.wait_past(5, 0.001)  # nothing came: it returns all the same


def test_a_window_that_holds_a_whole_change_says_so() -> None:
    tail = LogTail()
    told = mock.Mock()
    tail.on_full = told
    with mock.patch.object(log_tail, "CHANGE_EVENTS", 3):
        tail.extend(events(1, 2))
        assert not tail.is_full()
        assert not told.called
        tail.extend(events(3))
        assert tail.is_full()
        assert told.call_count == 1
        tail.forget_through(1)
        assert not tail.is_full()
    with mock.patch.object(log_tail, "CHANGE_BYTES", 2_500):
        tail.extend(events(4, 5, 6, size=1_000))
        assert tail.is_full()
        tail.forget_through(6)
        assert not tail.is_full()
        assert positions(tail, 0) is None


TEXTS = {f"k{number}": "1" for number in range(1_000)}
NUMBERS = list(range(1_000))


@pytest.mark.parametrize(
    "event",
    [
        RunLogged(params=TEXTS),
        RunLogged(tags=TEXTS),
        RunCreated(name="r", start_time=1, experiment_id=0, tags=TEXTS),
        RunLogged(metrics=MetricColumns(keys=list(TEXTS), steps=NUMBERS, timestamps=NUMBERS, values=[0.5] * 1_000)),
    ],
    ids=["params", "tags", "first tags", "metrics with times of their own"],
)
def test_small_values_weigh_what_they_take_in_memory(event: RunLogged | RunCreated) -> None:
    """As JSON they are a tenth of it."""
    payload = encode_payload(event)
    tracemalloc.start()
    kept = [decode_as(type(event), payload) for _ in range(20)]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weight = sum(memory_bytes(Sent(event_id(1), "run/r", event).envelope, one) for one in kept)
    assert taken / 2 < weight < 3 * taken


def decode_as(kind: type[Event], payload: bytes) -> Event:
    return msgspec.json.decode(payload, type=kind)
