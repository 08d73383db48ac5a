"""The event log on PostgreSQL: one order without holes, each event once, whoever else writes to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from itertools import count

import pytest

from runstream_projections.decisions import Decision
from runstream_schemas.errors import CheckpointMoved, HeadMoved, OriginMoved
from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters import postgres_log
from runstream_services.adapters.in_process_bus import InProcessBus
from runstream_services.adapters.postgres import Database, Line
from runstream_services.embedded_postgres import EmbeddedPostgres
from runstream_services.log_tail import LogTail
from runstream_services.log_writer.core import number
from runstream_services.log_writer.service import LogWriter
from runstream_services.ports import Delivery, Draft
from runstream_services.projector.verify import verify_log
from tests.databases import partitioned_database, reused_database
from tests.laws.model import Model
from tests.pipeline import Clock, Pipeline, Tables, connected, pairs, pipeline, tables
from tests.proxy import Proxy
from tests.sent import START_MS, YEAR_MS, Sent, event_id

database = reused_database


def logged(number: int, run: str = "r") -> Sent:
    """The event of that number: a tag of a run."""
    return Sent(event_id(number), run_stream(run), RunLogged(tags={"number": str(number)}))


async def check_log(found: Tables, sent: Sequence[Sent]) -> None:
    """The log holds these events in this order, each once, at positions without holes, and its chain is whole."""
    assert [event_id for event_id, _, _ in await found.log()] == [s.id for s in sent]
    positions = await found.connection.fetch("select position from event_log order by position")
    assert [row[0] for row in positions] == list(range(1, len(sent) + 1))
    assert await verify_log(found.connection, lambda at, head: None) == len(sent)


class Undecided:
    """Appends without deciding, as a process does that leaves the decisions to another."""

    lease = None

    async def draft(self, after: int, deliveries: Sequence[Delivery]) -> Draft:
        return Draft({}, [None] * len(deliveries), frozenset(), (), None)

    def accept(self, draft: Draft) -> None:
        pass

    async def decided(self, positions: Sequence[int]) -> dict[int, Decision]:
        return {}

    async def reset(self) -> None:
        pass


class Writer:
    """A log writer that decides nothing, with an origin of its own or that of another."""

    def __init__(self, database: Database, origin: str) -> None:
        self.line = Line(database)
        self._writer = LogWriter(InProcessBus(origin), self.line, Undecided(), LogTail(), Clock())
        self.offsets = count()

    async def append(self, batch: Sequence[Sent]) -> None:
        await self._writer.append([Delivery(next(self.offsets), s.envelope, s.event) for s in batch])


async def test_events_are_numbered_from_1_in_the_order_of_their_arrival(database: Database) -> None:
    sent = [logged(at) for at in range(30)]
    async with pipeline(database) as p:
        outcomes = [*await p.append(sent[:10]), *await p.append(sent[10:11]), *await p.append(sent[11:])]
        assert [outcome.position for outcome in outcomes] == list(range(1, 31))
        assert p.writer.appended == 30
    async with tables(database) as found:
        await check_log(found, sent)


async def test_what_was_sent_is_what_is_read(database: Database) -> None:
    sent = Sent(event_id(1), run_stream("r"), RunLogged(params={"k": "\U0001f680"}), -5, "ada", "host/1", (1 << 63) - 1)
    async with pipeline(database) as p:
        await p.append([sent, logged(2)])
    async with connected(database, service=True) as connection:
        page = await postgres_log.read_after(connection, 0, 10)
        assert page.end == 2
        assert page.events[0].envelope == sent.envelope
        assert page.events[0].event == sent.event
        assert [e.position for e in await postgres_log.read_at(connection, [2])] == [2]


async def test_reading_is_in_pages_of_at_least_one_event(database: Database) -> None:
    large = [
        Sent(event_id(at), run_stream("r"), RunLogged(params={"k": random.Random(at).randbytes(2_000).hex()}))
        for at in range(6)
    ]
    async with pipeline(database) as p:
        await p.append(large)
    async with connected(database, service=True) as connection:
        pages, after = [], 0
        while (page := await postgres_log.read_after(connection, after, 4, max_bytes=5_000)).end > after:
            pages.append(len(page.events))
            after = page.end
        assert pages == [2, 2, 2], "a page ends with the event that goes over its size"
        assert len((await postgres_log.read_after(connection, 0, 4, max_bytes=1)).events) == 1
        assert len((await postgres_log.read_after(connection, 0, 4)).events) == 4
        assert (await postgres_log.read_after(connection, 1, 4, up_to=3)).end == 3


async def test_what_compresses_well_is_read_in_pages_of_its_full_size(database: Database) -> None:
    async with pipeline(database) as p:
        await p.append([Sent(event_id(at), run_stream("r"), RunLogged(params={"k": "x" * 10_000})) for at in range(6)])
    async with connected(database, service=True) as connection:
        pages, after = [], 0
        while (page := await postgres_log.read_after(connection, after, 6, max_bytes=25_000)).end > after:
            pages.append(len(page.events))
            after = page.end
        assert pages == [3, 3]


async def test_time_never_goes_back_with_the_clock(database: Database) -> None:
    clock = Clock(now_us=2_000_000_000_000_000, tick_us=-1_000_000)
    async with pipeline(database, clock=clock) as p:
        for at in range(5):
            await p.append([logged(at)])
    async with pipeline(database, clock=Clock(now_us=5)) as p:
        await p.append([logged(5)])
    async with pipeline(database, clock=Clock(now_us=3_000_000_000_000_000)) as p:
        await p.append([logged(6)])
    async with tables(database) as found:
        times = [r[0] for r in await found.connection.fetch("select recorded_at from event_log order by position")]
        assert times == sorted(times)
        assert times[0] == times[5] < times[6]
        await check_log(found, [logged(at) for at in range(7)])


@pytest.mark.parametrize("at_ms", [START_MS, START_MS - YEAR_MS, START_MS + YEAR_MS])
async def test_an_event_id_is_taken_once_whenever_it_comes_again(database: Database, at_ms: int) -> None:
    once = Sent(event_id(7, at_ms), run_stream("r"), RunLogged(tags={"k": "first"}), at_ms)
    other = once._replace(event=RunLogged(tags={"k": "another"}))
    async with pipeline(database) as p:
        in_batch = await p.append([logged(1), once, other, logged(2), once])
        assert [outcome.position for outcome in in_batch] == [1, 2, 2, 3, 2]
        assert [outcome.position for outcome in await p.append([other, logged(3), once])] == [2, 4, 2]
        assert [outcome.position for outcome in await p.append([once])] == [2]
    async with pipeline(database) as p:  # after a restart
        assert [outcome.position for outcome in await p.append([once, logged(4), once])] == [2, 5, 2]
    async with tables(database) as found:
        await check_log(found, [logged(1), once, logged(2), logged(3), logged(4)])


async def test_a_duplicate_gets_the_first_ones_decision(database: Database) -> None:
    ensured = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
    refused = Sent(event_id(2), run_stream("r"), RunCreated(name="n", start_time=1, experiment_id=99))
    async with pipeline(database) as p:
        first = await p.append([ensured, refused])
        assert (first[0].decision.result, first[1].decision.code) == (0, "RESOURCE_DOES_NOT_EXIST")
        repeated = [outcome._replace(repeats=True) for outcome in first]
        assert repeated != first
        assert await p.append([refused, ensured]) == repeated[::-1]
    async with pipeline(database) as p:
        assert await p.append([ensured, refused]) == repeated


async def test_two_origins_at_once_make_one_log(database: Database) -> None:
    """The head moves under each of them, again and again: each looks again and goes on, and nothing is lost."""
    writers = [Writer(database, origin) for origin in ("one", "other", "third")]
    sent = [[logged(1_000 * w + at, f"run-{w}") for at in range(60)] for w in range(3)]

    async def write(writer: Writer, events: list[Sent]) -> None:
        for start in range(0, len(events), 4):
            await writer.append(events[start : start + 4])

    await asyncio.gather(*(write(writer, events) for writer, events in zip(writers, sent, strict=True)))
    for writer in writers:
        await writer.line.close()
    async with tables(database) as found:
        ids = [event_id for event_id, _, _ in await found.log()]
        by_id = {s.id: s for events in sent for s in events}
        await check_log(found, [by_id[event_id] for event_id in ids])
        for events in sent:
            own = {s.id for s in events}
            assert [event_id for event_id in ids if event_id in own] == [s.id for s in events]
        origins = await found.connection.fetch("select topic, next_offset from log_origins order by topic")
        assert [tuple(row) for row in origins] == [("embedded/one", 60), ("embedded/other", 60), ("embedded/third", 60)]
        runs = await found.connection.fetch("select distinct stream from event_log order by 1")
        assert len(runs) == 3


async def test_what_others_appended_is_decided_by_who_decides(database: Database) -> None:
    history = [
        Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1)),
        Sent(event_id(2), run_stream("r"), RunCreated(name="n", start_time=1, ensured_by=event_id(1))),
        logged(3),
        logged(4, "unknown"),
    ]
    writer = Writer(database, "one")
    await writer.append(history[:2])
    async with pipeline(database) as p, p.folding():
        await p.append(history[2:3])
        await writer.append(history[3:])
        await p.append([logged(5)])
        await p.folded()
    await writer.line.close()
    async with tables(database) as found:
        assert await found.verdicts() == {
            at: tuple(verdict) for at, verdict in Model().log([*history, logged(5)]).verdicts.items()
        }
        run = await found.run("r")
        assert run is not None
        assert pairs(run, "tags") == {"mlflow.runName": "n", "number": "5"}


async def test_two_processes_that_both_decide_take_turns_and_agree(database: Database) -> None:
    """Each takes the lease from the other: whoever lost it finds out before it changes anything."""
    created = Sent(event_id(0), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
    sent = {
        run: [
            Sent(event_id(base), run_stream(run), RunCreated(name=run, start_time=1, ensured_by=created.id)),
            *(logged(base + at, run) for at in range(1, 12)),
        ]
        for run, base in (("a", 1_000), ("b", 2_000))
    }
    async with pipeline(database) as one, pipeline(database) as other:
        await one.append([created])

        await asyncio.gather(
            _append_all(one, [[event] for event in sent["a"]]), _append_all(other, [[event] for event in sent["b"]])
        )
    by_id = {s.id: s for s in [created, *sent["a"], *sent["b"]]}
    async with tables(database) as found:
        history = [by_id[event_id] for event_id, _, _ in await found.log()]
        await check_log(found, history)
        assert await found.verdicts() == {at: tuple(v) for at, v in Model().log(history).verdicts.items()}


async def test_an_appender_with_an_old_head_or_offset_or_lease_changes_nothing(database: Database) -> None:
    async with pipeline(database) as p:
        await p.append([logged(1)])
        delivery = Delivery(1, logged(2).envelope, logged(2).event)
        version, owner, epoch = p.decider.lease
        async with connected(database, service=True) as connection:
            head = await postgres_log.read_head(connection)
            origin, next_offset = await postgres_log.open_origin(connection, p.bus.origin)
            good = (head, (origin, next_offset, 2), (version, owner, epoch))
            for error, (before, offsets, lease) in {
                HeadMoved: (head._replace(position=0), *good[1:]),
                OriginMoved: (head, (origin, 0, 1), good[2]),
                CheckpointMoved: (*good[:2], (version, owner, epoch - 1)),
            }.items():
                numbered = number(before, p.bus.origin, [delivery], 5)
                with pytest.raises(error), _translated():
                    await postgres_log.append(connection, before, numbered, [delivery], offsets, lease, [])
            wrong_chain = head._replace(chain=b"x" * 32)
            with pytest.raises(HeadMoved), _translated():
                await postgres_log.append(
                    connection, wrong_chain, number(wrong_chain, p.bus.origin, [delivery], 5), [delivery], *good[1:], []
                )
        async with tables(database) as found:
            await check_log(found, [logged(1)])
        assert [o.position for o in await p.append([logged(2)])] == [2]


def _translated():  # type: ignore[no-untyped-def]
    from runstream_services.adapters.postgres import translated

    return translated("appending")


async def test_a_zombie_of_the_same_origin_appends_nothing_more(database: Database) -> None:
    zombie, heir = Writer(database, "same"), Writer(database, "same")
    await zombie.append([logged(1)])
    heir.offsets = count(1)
    await heir.append([logged(2), logged(3)])
    # The zombie still holds offsets 1 and 2 with other contents: its origin has gone on without it.
    await zombie.append([logged(102), logged(103)])
    await heir.append([logged(4)])
    await zombie.line.close()
    await heir.line.close()
    async with tables(database) as found:
        await check_log(found, [logged(1), logged(2), logged(3), logged(4)])
        assert await found.connection.fetchval("select next_offset from log_origins") == 4


async def test_the_log_goes_on_in_new_partitions(postgres: EmbeddedPostgres) -> None:
    async with partitioned_database(postgres, 4) as database:
        sent = [logged(at) for at in range(40)]
        async with pipeline(database) as p:
            for start, stop in ((0, 1), (1, 3), (3, 4), (4, 30), (30, 40)):
                await p.append(sent[start:stop])
        async with tables(database) as found:
            await check_log(found, sent)
            parts = await found.connection.fetch("select count(*) from event_log group by tableoid order by tableoid")
            assert [row[0] for row in parts] == [3, *[4] * 9, 1]
            partitions = await found.connection.fetchval("select partitioned_to from log_head")
            assert partitions > 40, "the next position has its partition already"


async def test_a_new_partition_waits_for_no_reader(postgres: EmbeddedPostgres) -> None:
    """A backup or an export holds a lock on the log for hours: appends must not queue behind it."""
    async with (
        partitioned_database(postgres, 4) as database,
        connected(database) as reader,
        pipeline(database) as p,
    ):
        await p.append([logged(0)])
        async with reader.transaction(isolation="repeatable_read", readonly=True):
            assert await reader.fetchval("select count(*) from event_log") == 1
            await p.append([logged(at) for at in range(1, 20)])
            assert await reader.fetchval("select count(*) from event_log") == 1


@pytest.mark.parametrize("seed", range(2))
async def test_a_connection_cut_at_any_byte_neither_doubles_nor_loses(database: Database, seed: int) -> None:
    """On the way there the append did not happen, on the way back it did: the writer knows only after a look."""
    source = random.Random(seed)
    numbers = count()
    sent: list[Sent] = []
    async with Proxy(database) as proxy, pipeline(proxy.database) as p, p.folding():
        await p.append([created := Sent(event_id(10**6), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))])
        await p.append(
            [run := Sent(event_id(10**7), run_stream("r"), RunCreated(name="n", start_time=1, ensured_by=created.id))]
        )
        for _ in range(25):
            batch = [logged(next(numbers)) for _ in range(source.randint(1, 4))]
            bytes_left = source.choice([source.randrange(40), source.randrange(3_000)])
            proxy.cut_after(**{source.choice(["to_server", "from_server"]): bytes_left})
            outcomes = await p.append(batch)
            assert [o.position for o in outcomes] == list(range(len(sent) + 3, len(sent) + 3 + len(batch)))
            assert {o.decision.verdict for o in outcomes} == {"accepted"}
            sent += batch
        proxy.cut_after()
        await p.folded()
        assert proxy.cuts > 10
    async with tables(database) as found:
        await check_log(found, [created, run, *sent])
        shown = await found.run("r")
        assert shown is not None
        assert pairs(shown, "tags")["number"] == str(next(numbers) - 1)


async def test_killed_backends_neither_double_nor_lose(database: Database) -> None:
    numbers, killed = count(), 0
    sent: list[Sent] = []
    async with connected(database) as killer, pipeline(database) as p, p.folding():
        while killed < 20:
            batches = [[logged(next(numbers), f"r{at}") for _ in range(3)] for at in range(3)]
            appending = asyncio.create_task(_append_all(p, batches))
            while not appending.done():
                await asyncio.sleep(0.01)
                killed += await killer.fetchval(
                    "select count(pg_terminate_backend(pid)) from (select pid from pg_stat_activity where "
                    "datname = current_database() and pid <> pg_backend_pid() order by random() limit 1) one"
                )
                await asyncio.sleep(0.15)
            positions = await appending
            assert positions == list(range(len(sent) + 1, len(sent) + 10))
            sent += [s for batch in batches for s in batch]
        await p.folded()
    async with tables(database) as found:
        await check_log(found, sent)


async def _append_all(p: Pipeline, batches: list[list[Sent]]) -> list[int]:
    return [outcome.position for batch in batches for outcome in await p.append(batch)]
