"""Connections that die without a word, as behind a firewall that forgot them: nobody closes them, nothing arrives."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

from runstream_projections import reads
from runstream_projections.suffixes import RUN_PROJECTIONS
from runstream_schemas.errors import Unavailable
from runstream_schemas.events import RunCreated, RunLogged
from runstream_schemas.ids import run_stream
from runstream_services.adapters.postgres import Database
from runstream_services.embedded import Node
from runstream_services.gateway.sender import ANYONE
from tests.pipeline import eventually, pairs
from tests.proxy import Proxy

RUN = "0" * 32


async def logged(node: Node, key: str) -> bool:
    try:
        await node.gateway.emit(run_stream(RUN), RunLogged(params={key: "x"}), ANYONE)
    except Unavailable:
        return False
    return True


async def test_connections_that_died_without_a_word_are_replaced(database: Database) -> None:
    async with Proxy(database) as proxy:
        node = Node(replace(proxy.database, statement_s=1.0), alone=True)
        async with node.running():
            await node.gateway.emit(run_stream(RUN), RunCreated(name="run", start_time=1, experiment_id=0), ANYONE)
            await node.gateway.fetch(RUN_PROJECTIONS, reads.run_query, RUN)
            proxy.silence()
            await eventually("a write is acknowledged again", partial(logged, node, "after"))
            [[run]] = await node.gateway.fetch(RUN_PROJECTIONS, reads.run_query, RUN)
            assert pairs(json.loads(run), "params") == {"after": "x"}
