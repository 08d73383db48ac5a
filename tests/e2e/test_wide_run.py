"""One run with 100,000 metric keys and 100,000 params is written and read by MLflow's own client, and costs no more."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest

from runstream_services.account import postgres_account
from runstream_services.data_directory import socket_directory
from tests.e2e.client import run_script
from tests.server import Server

CALLS = 20

#: PostgreSQL's backends tell what they did once they were idle for ten seconds.
TOLD_S = 11.0

#: Pages that were looked at, and rows that were read by looking at a whole table.
WORK = """
select sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))::bigint as pages,
       sum(seq_tup_read)::bigint as scanned
  from pg_statio_user_tables join pg_stat_user_tables using (relid)
 where pg_stat_user_tables.relname ~ '^(event_log|event_ids|decision|params|tags|latest_metrics|metric_tail)'"""


def log(server: Server, run_id: str, number: int) -> None:
    batch = {
        "run_id": run_id,
        "metrics": [{"key": f"further/{at}", "value": at / 7, "timestamp": number, "step": number} for at in range(10)],
        "params": [{"key": f"further/{number}/{at}", "value": "x"} for at in range(10)],
    }
    assert server.post("runs/log-batch", batch).status_code == 200


async def seen(connection: asyncpg.Connection) -> tuple[int, int]:
    """Pages and rows that PostgreSQL has looked at until now."""
    await asyncio.sleep(TOLD_S)
    row = await connection.fetchrow(WORK)
    return row["pages"], row["scanned"]


@pytest.mark.long  # most of it waits for PostgreSQL to tell
async def test_a_run_with_100_000_keys_takes_more_at_the_same_cost_and_is_read_whole(
    server: Server, tmp_path: Path
) -> None:
    found = run_script("wide", server.url, tmp_path / "job")
    wide = found.pop("run_id")
    assert found == {
        "counts": [100_001, 100_001],
        "equal": [True, True],
        "refused": "INVALID_PARAMETER_VALUE",
        "history": [[0, 0.0], [1, 0.5]],
    }
    narrow = server.post("runs/create", {}).json()["run"]["info"]["run_id"]
    pgdata = server.data / "postgres"
    where = str(socket_directory(pgdata, postgres_account(pgdata)))
    connection = await asyncpg.connect(host=where, user="postgres", database="runstream")
    try:
        # Vacuum looks at pages too, whenever it likes.
        await connection.execute("alter system set autovacuum = off")
        await connection.execute("select pg_reload_conf()")
        looked_at = [await seen(connection)]
        for run_id in (narrow, wide):
            for number in range(CALLS):
                log(server, run_id, number)
            looked_at.append(await seen(connection))
    finally:
        await connection.close()
    (narrow_pages, narrow_rows), (wide_pages, wide_rows) = (
        (after[0] - before[0], after[1] - before[1]) for before, after in pairwise(looked_at)
    )
    assert narrow_pages > CALLS, "PostgreSQL tells what it did"
    assert wide_pages < 2 * narrow_pages
    assert max(narrow_rows, wide_rows) < 1_000, "no call looks at a whole table of the run's keys"
