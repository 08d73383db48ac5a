"""SIGTERM and Ctrl-C under load: it stops in time, and what it acknowledged is there when it is started again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.adversity.load import Load
from tests.adversity.oracle import complaints
from tests.adversity.victims import Victim, until

#: What is promised: it drains and stops within this.
STOP_S = 5.0


def caught_recovering(victim: Victim) -> psutil.Process:
    """Crash a backend and stop the process that recovers from it, in the middle; returns that."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        victim.strike("backend", random.Random(1))
        again = time.monotonic() + 2
        while time.monotonic() < again:
            for process in victim.backends():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "".join(process.cmdline()).startswith("postgres: startup"):
                        process.suspend()
                        return process
    raise AssertionError("the process that recovers was not caught")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_under_load_loses_nothing(place: Path, number: signal.Signals) -> None:
    with Victim(place / "data") as victim:
        runs = [victim.new_run() for _ in range(2)]
        with Load(victim.url, runs, seed=int(number), pause_s=0.002) as load:
            time.sleep(2)
            assert victim.stop(number, timeout_s=STOP_S) == 0, victim.said()
        assert victim.said().count("Traceback") == 0, victim.said()
        assert victim.postgres() == []
        victim.start()
        assert victim.said().count("left in") == 0, f"PostgreSQL was left behind: {victim.said()}"
        found = complaints(victim, load.ledger)
        assert not found, [*found, load.ledger.counts()]


@pytest.mark.timeout(120)
def test_a_request_that_a_stop_does_not_wait_for_is_told_so(victim: Victim) -> None:
    """PostgreSQL does not answer, so that nobody can tell what becomes of it."""
    run_id = victim.new_run()
    with ThreadPoolExecutor() as another, victim.stalled(victim.postgres()):
        body = {"run_id": run_id, "key": "a", "value": "b"}
        before = victim.connections()
        asked = another.submit(victim.post, "runs/set-tag", body)
        until(lambda: victim.connections() > before, "the request is sent")
        os.kill(victim.pid, signal.SIGTERM)
        began = time.monotonic()
        reading = another.submit(victim.get, "runs/get", run_id=run_id)
        answer = asked.result(60)
        assert answer.status_code == 503, answer.text
        assert reading.exception(60) or reading.result().status_code == 503
        assert answer.headers["retry-after"] == "10"
        assert victim.wait_ended(60) == 0, victim.said()
        assert time.monotonic() - began < STOP_S, "PostgreSQL still does not answer, and the stop is short all the same"
    assert victim.postgres() == []
    assert "never retrieved" not in victim.said()
    victim.start()
    assert victim.get("runs/get", run_id=run_id).status_code == 200


def test_a_terminal_that_is_closed_stops_it_and_nohup_does_not(place: Path) -> None:
    with Victim(place / "data") as victim:
        assert victim.stop(signal.SIGHUP, timeout_s=STOP_S) == 0, victim.said()
        ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which the server inherits, as below nohup
        try:
            victim.start()
        finally:
            signal.signal(signal.SIGHUP, ignored)
        os.kill(victim.pid, signal.SIGHUP)
        assert victim.new_run()


@pytest.mark.timeout(120)
def test_a_stop_right_after_postgresql_was_killed(place: Path) -> None:
    with Victim(place / "data") as victim:
        runs = [victim.new_run() for _ in range(2)]
        with Load(victim.url, runs, seed=1) as load:
            time.sleep(1)
            postmaster = victim.postmaster()
            assert postmaster is not None
            postmaster.kill()
            assert victim.stop(timeout_s=4 * STOP_S) == 0, victim.said()
        assert victim.postgres() == []
        victim.start()
        found = complaints(victim, load.ledger)
        assert not found, [*found, load.ledger.counts()]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_postgresql_that_recovers_from_a_crash_does_not_hold_up_the_end(
    victim: Victim, number: signal.Signals
) -> None:
    """PostgreSQL 18 never ends a fast shutdown that it is asked for then."""
    run_id = victim.new_run()
    startup = caught_recovering(victim)
    os.kill(victim.pid, number)
    log = victim.data / "postgres.log"
    until(lambda: "shutdown request" in log.read_text(), "the server tells PostgreSQL to stop")
    with contextlib.suppress(psutil.NoSuchProcess):
        startup.resume()
    assert victim.wait_ended(4 * STOP_S) == (0 if number == signal.SIGTERM else -number), victim.said()
    victim.launch()
    victim.wait_ready(4 * STOP_S)
    assert victim.get("runs/get", run_id=run_id).status_code == 200
