"""What can never be in the log becomes a dead letter, with origin, reason and bytes; its neighbours do not notice."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import msgspec
import pytest

from runstream_schemas.codec import decode
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError
from runstream_schemas.events import ExperimentCreated, ExperimentEnsured, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.log_writer.service import LogWriter
from runstream_services.ports import Delivery
from runstream_services.projector.verify import verify_log
from tests.databases import reused_database
from tests.laws.histories import incompressible
from tests.pipeline import Pipeline, connected, eventually, pipeline, tables
from tests.proxy import Proxy
from tests.sent import Sent, event_id

database = reused_database


def good(number: int) -> Sent:
    return Sent(event_id(number), run_stream("r"), RunLogged(tags={"number": str(number)}))


def bad(number: int, **fields: Any) -> Envelope:
    return msgspec.structs.replace(good(number).envelope, **fields)


#: Envelopes that PostgreSQL, or what goes before it, refuses; the codec lets none of them in from outside but the last.
POISON = {
    "a NUL in its stream": bad(100, stream="run/a\0b"),
    "a NUL in its actor": bad(101, actor="\0"),
    "a lone surrogate in its writer": bad(102, writer="\ud800"),
    "a lone surrogate in its stream": bad(103, stream="run/\udfff"),
    "a sequence of 65 bits": bad(104, sequence=1 << 64),
    "a time of 65 bits": bad(105, sent_at=1 << 64),
    "a version of 17 bits": bad(106, version=1 << 16),
    "a version of 16 bits": bad(107, version=(1 << 16) - 1),
    "a stream longer than an index row": bad(108, stream=run_stream(incompressible(1_000, 1))),
}


async def deliver(p: Pipeline, events: list[Sent | Envelope]) -> list[Any]:
    """Append a batch; each event's position, or the error that its sender got."""
    deliveries: list[Delivery] = []
    for event in events:
        delivery = p.delivery(event if isinstance(event, Sent) else good(0))
        if isinstance(event, Envelope):
            delivery.envelope = event
        deliveries.append(delivery)
    await p.writer.append(deliveries)
    ended = await asyncio.gather(*(d.outcome for d in deliveries if d.outcome is not None), return_exceptions=True)
    return [end if isinstance(end, BaseException) else end.position for end in ended]


async def dead_letters(database: Database) -> list[Any]:
    async with connected(database) as connection:
        return await connection.fetch(
            "select d.*, topic, next_offset from dead_letters d join log_origins o on o.id = origin_id order by d.id"
        )


async def check_log(database: Database, sent: list[Sent]) -> None:
    async with tables(database) as found:
        assert [event_id for event_id, _, _ in await found.log()] == [s.id for s in sent]
        assert await verify_log(found.connection, lambda at, head: None) == len(sent)


@pytest.mark.parametrize("why", POISON)
async def test_a_poison_event_is_set_aside_and_its_neighbours_go_on(database: Database, why: str) -> None:
    poison = POISON[why]
    async with pipeline(database) as p:
        ended = await deliver(p, [good(1), good(2), poison, good(3), good(4)])
        assert [e for e in ended if not isinstance(e, RequestError)] == [1, 2, 3, 4]
        assert isinstance(ended[2], RequestError)
        assert (ended[2].code, ended[2].status) == ("INVALID_PARAMETER_VALUE", 400)
        assert await deliver(p, [good(5)]) == [5]
        assert (p.writer.appended, p.writer.dead_lettered) == (5, 1)
    [letter] = await dead_letters(database)
    assert (letter["topic"], letter["origin_offset"]) == (p.bus.origin.topic, 2)
    assert letter["reason"]
    assert letter["recorded_at"] > 0
    assert letter["next_offset"] == 6
    assert str(poison.id).encode() in letter["bytes"]
    await check_log(database, [good(at) for at in range(1, 6)])


async def test_the_bytes_of_a_dead_letter_are_the_event(database: Database) -> None:
    poison = POISON["a stream longer than an index row"]
    async with pipeline(database) as p:
        await deliver(p, [poison])
    [letter] = await dead_letters(database)
    assert decode(letter["bytes"]) == poison
    assert "2704" in letter["reason"] or "index" in letter["reason"]


@pytest.mark.parametrize("seed", range(3))
async def test_any_mixture_of_good_and_poison_keeps_the_good_in_order(database: Database, seed: int) -> None:
    source = random.Random(seed)
    events: list[Sent | Envelope] = []
    for at in range(25):
        kind = source.choice(list(POISON))
        events.append(
            good(at) if source.random() < 0.6 else msgspec.structs.replace(POISON[kind], id=event_id(500 + at))
        )
    sent = [event for event in events if isinstance(event, Sent)]
    async with pipeline(database) as p:
        ended = await deliver(p, events)
        assert [e for e in ended if isinstance(e, int)] == list(range(1, len(sent) + 1))
    letters = await dead_letters(database)
    assert [letter["origin_offset"] for letter in letters] == [
        at for at, event in enumerate(events) if isinstance(event, Envelope)
    ]
    await check_log(database, sent)


@pytest.mark.parametrize("name", ["a\0b", incompressible(3_000, 1)], ids=["a NUL", "longer than an index row"])
async def test_an_event_that_cannot_be_decided_is_a_dead_letter(database: Database, name: str) -> None:
    poison = Sent(event_id(7), EXPERIMENTS, ExperimentCreated(name=name, created_at=1))
    fine = Sent(event_id(8), EXPERIMENTS, ExperimentEnsured(name="fine", created_at=1))
    async with pipeline(database) as p:
        ended = await deliver(p, [good(1), poison, fine])
        assert (ended[0], type(ended[1]), ended[2]) == (1, RequestError, 2)
    async with tables(database) as found:
        experiment = await found.connection.fetchrow("select name, experiment_id from decision_experiments_v1")
        assert tuple(experiment) == ("fine", 0), "the one that failed took no number"
    [letter] = await dead_letters(database)
    assert json.loads(letter["bytes"])["id"] == str(poison.id)


@pytest.mark.parametrize("seed", range(2))
async def test_a_lost_connection_neither_doubles_nor_loses_a_dead_letter(database: Database, seed: int) -> None:
    source = random.Random(seed)
    async with Proxy(database) as proxy, pipeline(proxy.database) as p:
        await deliver(p, [good(0)])
        for at in range(1, 13):
            poison = msgspec.structs.replace(POISON["a NUL in its actor"], id=event_id(500 + at))
            proxy.cut_after(**{source.choice(["to_server", "from_server"]): source.randrange(4_000)})
            ended = await deliver(p, [poison, good(at)])
            assert isinstance(ended[0], RequestError)
            assert ended[1] == at + 1
        proxy.cut_after()
        assert proxy.cuts > 4
    assert [letter["origin_offset"] for letter in await dead_letters(database)] == list(range(1, 25, 2))
    await check_log(database, [good(at) for at in range(13)])


async def test_an_error_of_the_server_makes_no_dead_letter(database: Database) -> None:
    """Rights taken away, a standby, a damaged index: the event is not at fault, and waits until it is mended."""
    async with connected(database) as owner, pipeline(database) as p:
        await deliver(p, [good(1)])
        await owner.execute("revoke insert on event_log from runstream_service")
        appending = asyncio.create_task(deliver(p, [good(2), good(3)]))

        async def tried() -> bool:
            return bool(
                await owner.fetchval(
                    "select xact_rollback > 2 from pg_stat_database where datname = current_database()"
                )
            )

        await eventually("the append is tried again", tried)
        assert not appending.done()
        await owner.execute("grant insert on event_log to runstream_service")
        assert await asyncio.wait_for(appending, 20) == [2, 3]
    assert await dead_letters(database) == []
    await check_log(database, [good(1), good(2), good(3)])


async def test_a_writer_does_not_die_of_poison(database: Database) -> None:
    """The loop that drains the bus goes on, and ends when the bus is closed."""
    async with pipeline(database) as p:
        writing = asyncio.create_task(p.writer.run())
        poison = POISON["a time of 65 bits"]
        with pytest.raises(RequestError, match="dead letter"):
            await p.bus.emit(poison, RunLogged(), 10)
        assert (await p.bus.emit(good(1).envelope, good(1).event, 10)).position == 1
        p.bus.close()
        await writing
    assert isinstance(p.writer, LogWriter)
    assert len(await dead_letters(database)) == 1
