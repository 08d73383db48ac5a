"""PostgreSQL dies while nobody writes: what was acknowledged is still read, at once."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tests.adversity.victims import Victim


async def _write_late(victim: Victim) -> None:
    """Let PostgreSQL keep commits that nobody waits for in memory for as long as it may."""
    connection = await asyncpg.connect(**victim.connect_arguments)
    await connection.execute("alter system set wal_writer_delay = '10s'")
    await connection.execute("select pg_reload_conf()")
    await connection.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("whole", [False, True])
def test_projections_that_lost_their_last_commits_are_not_read_before_they_have_them_again(
    victim: Victim, whole: bool
) -> None:
    """Projections commit without fsync: a crash takes their last commits back, and memory must not say otherwise."""
    asyncio.run(_write_late(victim))
    run_id = victim.new_run()
    for number in range(3):
        answer = victim.post("runs/log-parameter", {"run_id": run_id, "key": f"p{number}", "value": "x"})
        assert answer.status_code == 200
        assert len(victim.get("runs/get", run_id=run_id).json()["run"]["data"]["params"]) == number + 1
        [wal_writer] = [process for process in victim.backends() if "walwriter" in " ".join(process.cmdline())]
        (wal_writer.parent() if whole else wal_writer).kill()
        read = victim.get("runs/get", run_id=run_id)
        assert read.status_code == 200, read.text
        assert len(read.json()["run"]["data"].get("params", [])) == number + 1
