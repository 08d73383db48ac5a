"""Twenty connections at once: on one run, and on twenty. No deadlock, no error, every point there exactly once."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import httpx
import pytest

from tests.server import Server

CONNECTIONS = 20
CALLS = 50
SMALL, LARGE = 10, 500

Point = tuple[int, float]


class Ledger:
    """What was sent, and what of it is acknowledged."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str], list[Point]] = defaultdict(list)
        self.params: dict[str, dict[str, str]] = defaultdict(dict)
        self.acknowledged: dict[str, set[str]] = defaultdict(set)


async def write(client: httpx.AsyncClient, runs: list[str], number: int, ledger: Ledger) -> None:
    """One connection's calls: mostly small ones, on the runs in turn; each has points, a param and a contested tag."""
    dice = random.Random(number)
    keys = LARGE if len(runs) == 1 else 50  # fewer histories to read back, of as many points
    for call in range(CALLS):
        run_id, step = runs[(number + call) % len(runs)], 1_000 * number + call
        values = [dice.random() for _ in range(LARGE if call % 8 == 0 else SMALL)]
        param = f"p{step}"
        for at, value in enumerate(values):
            ledger.points[run_id, f"m{at % keys}"].append((step, value))
        ledger.params[run_id][param] = str(values[0])
        body = {
            "run_id": run_id,
            "metrics": [
                {"key": f"m{at % keys}", "value": v, "timestamp": step, "step": step} for at, v in enumerate(values)
            ],
            "params": [{"key": param, "value": str(values[0])}],
            "tags": [{"key": "last", "value": param}],
        }
        answer = await client.post("runs/log-batch", json=body)
        assert (answer.status_code, answer.text) == (200, "{}")
        ledger.acknowledged[run_id].add(param)


async def read(client: httpx.AsyncClient, runs: list[str], ledger: Ledger, done: asyncio.Event) -> int:
    """Read runs while they are written: what was acknowledged before is there."""
    reads = 0
    while not done.is_set() or not reads:
        run_id = runs[reads % len(runs)]
        before = set(ledger.acknowledged[run_id])
        data = (await client.get("runs/get", params={"run_id": run_id})).json()["run"]["data"]
        assert before <= {param["key"] for param in data.get("params", ())}
        reads += 1
    return reads


async def search(
    client: httpx.AsyncClient, experiment: str, runs: list[str], ledger: Ledger, done: asyncio.Event
) -> int:
    """Search the experiment while its runs are written: what was acknowledged before is in the page."""
    reads = 0
    while not done.is_set() or not reads:
        before = {run_id: set(ledger.acknowledged[run_id]) for run_id in runs}
        body = {"experiment_ids": [experiment], "max_results": 100}
        page = (await client.post("runs/search", json=body)).json()["runs"]
        shown = {run["info"]["run_id"]: {p["key"] for p in run["data"].get("params", ())} for run in page}
        assert all(before[run_id] <= shown[run_id] for run_id in runs)
        reads += 1
    return reads


async def history(client: httpx.AsyncClient, run_id: str, key: str) -> list[Point]:
    answer = await client.get("metrics/get-history", params={"run_id": run_id, "metric_key": key})
    return [(point["step"], point["value"]) for point in answer.json().get("metrics", ())]


@pytest.mark.parametrize("count", [1, CONNECTIONS], ids=["one run", "20 runs"])
async def test_twenty_connections_lose_and_double_nothing(server: Server, count: int) -> None:
    runs = [server.post("runs/create", {}).json()["run"]["info"]["run_id"] for _ in range(count)]
    ledger, done = Ledger(), asyncio.Event()
    limits = httpx.Limits(max_connections=CONNECTIONS + 3, max_keepalive_connections=CONNECTIONS + 3)
    url = f"{server.url}/api/2.0/mlflow/"
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read(client, runs, ledger, done)) for _ in range(2)]
            readers.append(tasks.create_task(search(client, "0", runs, ledger, done)))
            writers = [tasks.create_task(write(client, runs, n, ledger)) for n in range(CONNECTIONS)]
            await asyncio.gather(*writers)
            done.set()
        assert all(reader.result() for reader in readers)
        keys = list(ledger.points)
        found: list[Any] = []
        for start in range(0, len(keys), 100):
            found += await asyncio.gather(*(history(client, *key) for key in keys[start : start + 100]))
        assert dict(zip(keys, found, strict=True)) == {key: sorted(points) for key, points in ledger.points.items()}
        for run_id in runs:
            data = (await client.get("runs/get", params={"run_id": run_id})).json()["run"]["data"]
            assert {param["key"]: param["value"] for param in data["params"]} == ledger.params[run_id]
            latest = {metric["key"]: (metric["step"], metric["value"]) for metric in data["metrics"]}
            assert latest == {key: max(points) for (run, key), points in ledger.points.items() if run == run_id}
            [last] = [tag["value"] for tag in data["tags"] if tag["key"] == "last"]
            assert last in ledger.params[run_id]
