"""kill -9 at random moments of a load: of the server, of its PostgreSQL, of both, and again while they recover."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.adversity.load import Load
from tests.adversity.oracle import complaints
from tests.adversity.victims import Victim

VICTIMS: Final = ("server", "postmaster", "backend", "everything")


class Kill(NamedTuple):
    """One kill -9: when (seconds into the test), of what, and how long until a write was acknowledged again."""

    at_s: float
    what: str
    in_recovery: bool
    recovered_s: float | None  # None: the next kill came first

    def __str__(self) -> str:
        took = "killed again" if self.recovered_s is None else f"{self.recovered_s:.2f} s"
        return f"{self.at_s:8.2f} s  {'again' if self.in_recovery else '     '}  {took:>12}  {self.what}"


def kill_again_and_again(server: Victim, run_id: str, dice: random.Random, kills: int) -> list[Kill]:
    """Kill something at a random moment, sometimes again within 500 ms, wait for the recovery, and so on."""
    done: list[Kill] = []
    began = time.monotonic()
    deck: list[str] = []
    while len(done) < kills:
        time.sleep(dice.uniform(0.05, 0.8))
        struck: list[tuple[float, str]] = []
        while True:
            if not deck:  # every kind as often as the others, in any order
                deck = dice.sample(VICTIMS, len(VICTIMS))
            at = time.monotonic()
            struck.append((at, server.strike(deck.pop(), dice)))
            server.bring_back()
            if dice.random() < 0.65:
                break
            time.sleep(dice.uniform(0, 0.5))
        server.recover(run_id)
        for number, (at, what) in enumerate(struck, 1):
            recovered_s = time.monotonic() - at if number == len(struck) else None
            done.append(Kill(at - began, what, number > 1, recovered_s))
    return done


def keeps_its_promises(place: Path, seed: int, kills: int) -> str:
    """One server, one load, ``kills`` kills; returns what happened, for people."""
    dice = random.Random(seed)
    with Victim(place / "data") as server:
        runs = [server.new_run() for _ in range(3)]
        with Load(server.url, runs, seed) as load:
            done = kill_again_and_again(server, runs[0], dice, kills)
        table = "\n".join(
            [f"seed {seed}: {len(done)} kills, {server.interrupted_starts} interrupted starts, {load.ledger.counts()}"]
            + [str(kill) for kill in done]
        )
        assert load.ledger.counts()["acknowledged"] > 20 * len(done), table
        found = complaints(server, load.ledger)
        assert not found, "\n".join([f"{len(found)} complaints", *found[:20], table])
        assert server.stop() == 0, server.said()
    return table


@pytest.mark.timeout(300)
def test_what_was_acknowledged_survives_any_kill(place: Path) -> None:
    print(keeps_its_promises(place, seed=1, kills=16))


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(2, 7))
def test_what_was_acknowledged_survives_many_kills(place: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    table = keeps_its_promises(place, seed, kills=42)
    with capsys.disabled():
        print(f"\n{table}")
