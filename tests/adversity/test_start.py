"""Starts that cannot be: they end with status 1 and a sentence, and disturb nobody."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from runstream_services.embedded_postgres import MAX_DEATHS
from tests.adversity.victims import Victim


def refused(server: Victim) -> str:
    """Start what must not start; returns what it says."""
    server.launch()
    try:
        assert server.wait_ended(30) == 1
        return server.said()
    finally:
        server.stop()


@pytest.fixture
def victim(place: Path) -> Victim:
    """A server that is not started."""
    return Victim(place / "data")


@pytest.mark.parametrize("own_port", [True, False])
def test_a_second_one_on_the_same_directory_names_the_first(victim: Victim, own_port: bool) -> None:
    """Also where it is started as the first one was, on the same port."""
    with victim:
        run_id = victim.new_run()
        said = refused(Victim(victim.data, None if own_port else victim.port))
        assert said.startswith(f"runstream: {victim.data} is in use by process {victim.pid}"), said
        assert said.count("\n") == 1
        assert victim.get("runs/get", run_id=run_id).status_code == 200


def test_a_port_in_use_is_said(victim: Victim) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(victim.port)))
        taken.listen()
        said = refused(victim)
        assert said.startswith(f"runstream: cannot listen on 127.0.0.1:{victim.port}"), said
        assert said.count("\n") == 1
    with victim:
        assert victim.new_run()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(2))
def test_a_start_survives_kills_of_postgresql_or_says_why_it_ended(victim: Victim, seed: int) -> None:
    dice = random.Random(seed)
    with victim:
        run_id = victim.new_run()
        for _ in range(2):
            victim.kill()
            victim.launch()
            for _ in range(dice.randint(1, 3)):
                time.sleep(dice.uniform(0, 1.0))
                victim.strike("backend", dice)
                victim.bring_back()
            victim.recover(run_id)
        assert victim.stop() == 0, victim.said()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_postgresql_that_keeps_dying_ends_the_server(victim: Victim) -> None:
    """A server that answers 503 for ever helps nobody."""
    with victim:
        deadline = time.monotonic() + 180
        while victim.status() is None and time.monotonic() < deadline:
            if postmaster := victim.postmaster():
                with contextlib.suppress(psutil.NoSuchProcess):
                    postmaster.kill()
            time.sleep(0.05)
        assert victim.status() == 1, victim.said()
        assert f"PostgreSQL ended {MAX_DEATHS} times in a row" in victim.said()
        assert "Traceback" not in victim.said()
    victim.start()
    assert victim.stop() == 0
