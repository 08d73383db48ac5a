"""Incompressible values of the greatest length in every field pass the whole way, and back."""

from __future__ import annotations

import time
from uuid import uuid4

from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.codec import decode, decode_payload, encode
from runstream_schemas.ids import run_of
from runstream_services.adapters.postgres import Database, Line
from runstream_services.projector.compactor import Compactor
from runstream_services.projector.verify import verify_log, verify_projection
from tests.laws.histories import greatest, incompressible
from tests.laws.model import Model
from tests.laws.test_folding_laws import check_is_model
from tests.pipeline import pipeline, tables


def test_greatest_events_survive_the_wire() -> None:
    for sent in greatest():
        read = decode(encode(sent.envelope))
        assert read == sent.envelope
        assert decode_payload(read) == sent.event


async def test_greatest_values_are_stored_folded_rebuilt_and_compacted(database: Database) -> None:
    history = greatest()
    run_id = run_of(history[-1].stream)
    async with pipeline(database) as p, p.folding():
        outcomes = await p.append(history)
        assert [o.decision.verdict for o in outcomes] == ["accepted"] * len(history)
        await p.folded()
        line = Line(database)
        compactor = Compactor(line, p.owner, lambda: p.projector.standing("metric_blocks"), time.monotonic)
        await compactor.compact(run_id, p.held("metric_blocks"), idle=True)
        await line.close()
        async with tables(database) as found:
            assert await found.connection.fetchval("select count(*) from parked_events") == 0
            assert await found.connection.fetchval("select count(*) from dead_letters") == 0
            await check_is_model(found, Model().log(history))
            assert await verify_log(found.connection, lambda at, head: None) == len(history)
        for name in PROJECTIONS:
            verified = await verify_projection(database, name, str(uuid4()), lambda step: None)
            assert verified.live == verified.rebuilt, name


def test_the_texts_do_not_compress() -> None:
    """Else PostgreSQL would make an index row of 2,704 bytes out of a longer one, and the test would show nothing."""
    import zlib

    text = incompressible(500, 1).encode()
    assert len(zlib.compress(text)) > 0.6 * len(text)
