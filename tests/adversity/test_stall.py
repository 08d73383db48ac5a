"""SIGSTOP: processes that neither work nor die."""

from __future__ import annotations

import time

import httpx
import pytest

from tests.adversity.load import Load
from tests.adversity.oracle import complaints
from tests.adversity.victims import Victim

STALL_S = 3.0


def pids_of(victim: Victim, what: str) -> list[int]:
    match what:
        case "backends":
            return [process.pid for process in victim.backends()]
        case "PostgreSQL":
            return victim.postgres()
        case "server":
            return [victim.pid]
    raise AssertionError(what)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["backends", "PostgreSQL", "server"])
def test_nothing_is_lost_by_a_stall(victim: Victim, what: str) -> None:
    runs = [victim.new_run() for _ in range(2)]
    with Load(victim.url, runs, seed=1) as load:
        time.sleep(1)
        with victim.stalled(pids_of(victim, what)):
            began = time.monotonic()
            if what != "server":
                assert httpx.get(f"{victim.url}/health", timeout=STALL_S).text == "OK"
            time.sleep(began + STALL_S - time.monotonic())
        victim.recover(runs[0])
        time.sleep(1)
    found = complaints(victim, load.ledger)
    assert not found, [*found, load.ledger.counts()]
    assert load.ledger.counts()["acknowledged"] > 50
    assert victim.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(120)
def test_requests_are_answered_while_postgresql_stalls(victim: Victim) -> None:
    run_id = victim.new_run()
    with victim.stalled(victim.postgres()):
        write = victim.post("runs/set-tag", {"run_id": run_id, "key": "a", "value": "b"})
        read = victim.get("runs/get", run_id=run_id)
        create = victim.post("runs/create", {"experiment_id": "0"})
    for answer in (write, read, create):
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"] == "10"
    victim.recover(run_id)
    assert victim.stop() == 0
