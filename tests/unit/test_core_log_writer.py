"""What the log writer decides without I/O: numbers, times, the chain, and which deliveries are repeats."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest

from runstream_schemas.chain import GENESIS, link
from runstream_schemas.events import RunLogged
from runstream_schemas.positions import Head, Origin
from runstream_services.log_writer.core import number, without
from runstream_services.ports import Delivery
from tests.sent import Sent, event_id

ORIGIN = Origin("embedded/boot", 0)
EMPTY = Head(0, GENESIS, 0)


def delivery(at: int, **fields: object) -> Delivery:
    sent = Sent(event_id(at), "run/r", RunLogged(tags={"n": str(at)}), actor="ada", writer="w", sequence=at)
    return Delivery(at, msgspec.structs.replace(sent.envelope, **fields), sent.event)


def test_positions_follow_the_head_and_each_link_covers_the_one_before() -> None:
    deliveries = [delivery(at) for at in range(3)]
    numbered = number(EMPTY, ORIGIN, deliveries, 1_000)
    assert numbered.head == Head(3, numbered.chains[-1], 1_000)
    chain = GENESIS
    for position, (sent, digest, linked) in enumerate(
        zip(deliveries, numbered.hashes, numbered.chains, strict=True), 1
    ):
        assert digest == sha256(bytes(sent.envelope.payload)).digest()
        chain = link(chain, position, 1_000, ORIGIN, sent.offset, sent.envelope, digest)
        assert linked == chain


def test_a_log_in_one_batch_or_in_many_has_the_same_chain() -> None:
    deliveries = [delivery(at) for at in range(5)]
    whole = number(EMPTY, ORIGIN, deliveries, 7)
    head = EMPTY
    for one in deliveries:
        head = number(head, ORIGIN, [one], 7).head
    assert head == whole.head


def test_time_does_not_go_back_with_the_clock() -> None:
    later = number(Head(0, GENESIS, 5_000), ORIGIN, [delivery(1)], 4_000)
    assert later.head.recorded_at == 5_000
    assert number(later.head, ORIGIN, [delivery(2)], 6_000).head.recorded_at == 6_000


@pytest.mark.parametrize(
    "change",
    [
        {"id": event_id(99)},
        {"type": "RunDeleted"},
        {"version": 2},
        {"stream": "run/s"},
        {"sent_at": 1},
        {"actor": None},
        {"actor": ""},
        {"writer": None},
        {"writer": "", "actor": "adaw"},
        {"sequence": None},
        {"sequence": -1},
        {"payload": msgspec.Raw(b"{}")},
    ],
)
def test_the_chain_covers_every_field(change: dict[str, object]) -> None:
    assert (
        number(EMPTY, ORIGIN, [delivery(1)], 7).head.chain
        != number(EMPTY, ORIGIN, [delivery(1, **change)], 7).head.chain
    )


def test_the_chain_covers_where_and_when_an_event_came_from() -> None:
    chains = {
        number(EMPTY, ORIGIN, [delivery(1)], 7).head.chain,
        number(EMPTY, ORIGIN, [delivery(1)], 8).head.chain,
        number(EMPTY, ORIGIN, [replace(delivery(1), offset=2)], 7).head.chain,
        number(EMPTY, Origin("embedded/boot", 1), [delivery(1)], 7).head.chain,
        number(EMPTY, Origin("embedded/other", 0), [delivery(1)], 7).head.chain,
        number(Head(1, GENESIS, 0), ORIGIN, [delivery(1)], 7).head.chain,
    }
    assert len(chains) == 6


def test_repeats_are_what_the_log_has_and_what_came_before_in_the_batch() -> None:
    deliveries = [delivery(at) for at in (1, 2, 1, 3, 3, 2)]
    fresh, repeats = without(deliveries, {event_id(2): 17})
    assert [d.envelope.id for d in fresh] == [event_id(1), event_id(3)]
    assert [d.envelope.id for d in repeats] == [event_id(2), event_id(1), event_id(3), event_id(2)]
    assert fresh[0] is deliveries[0]
    assert fresh[1] is deliveries[3]
