"""Where an event is (its position in the log) and where it came from (its origin)."""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """A source of events that numbers them itself: a Kafka partition, or one boot of the in-process bus.

    ``(topic, partition, offset)`` identifies a delivery; the log keeps the next offset that it expects of each origin.
    """

    topic: str
    partition: int


class Head(NamedTuple):
    """The end of the log: what the next append builds on.

    ``position`` is the last one given (0: none), ``chain`` its 32-byte hash, ``recorded_at`` its time in microseconds
    since the Unix epoch.
    """

    position: int
    chain: bytes
    recorded_at: int
