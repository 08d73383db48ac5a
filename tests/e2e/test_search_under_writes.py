"""Searches while twenty connections write: pages are consistent, and walking them neither skips nor repeats a run."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import httpx

from tests.server import Server

CONNECTIONS = 20
RUNS = 60
WALKS = 2


def _call(run_id: str, number: int) -> dict[str, Any]:
    """A log call that says one number in all that it logs."""
    return {
        "run_id": run_id,
        "metrics": [{"key": key, "value": number, "timestamp": number, "step": number} for key in ("a", "b")],
        "tags": [{"key": "number", "value": str(number)}],
    }


async def _write(client: httpx.AsyncClient, experiment: str, runs: list[str], done: asyncio.Event) -> None:
    """Log to some runs in turn, which nobody else does, and make further ones."""
    for number in count(1):
        if done.is_set():
            return
        assert (await client.post("runs/log-batch", json=_call(runs[number % len(runs)], number))).status_code == 200
        if number % 100 == 0:
            assert (await client.post("runs/create", json={"experiment_id": experiment})).status_code == 200


def _check(run: dict[str, Any]) -> None:
    """What one call logged is there together."""
    data = run["data"]
    numbers = {metric["value"] for metric in data.get("metrics", ())}
    numbers |= {float(tag["value"]) for tag in data["tags"] if tag["key"] == "number"}
    assert len(numbers) <= 1, run


async def _walk(client: httpx.AsyncClient, query: dict[str, Any]) -> list[str]:
    """The ids of all pages' runs."""
    found: list[str] = []
    while True:
        answer = await client.post("runs/search", json={**query, "max_results": 20})
        page = answer.json()
        for run in page.get("runs", ()):
            _check(run)
            found.append(run["info"]["run_id"])
        if "next_page_token" not in page:
            return found
        query = {**query, "page_token": page["next_page_token"]}


async def test_pages_are_consistent_and_complete_while_twenty_connections_write(server: Server) -> None:
    limits = httpx.Limits(max_connections=CONNECTIONS + 3, max_keepalive_connections=CONNECTIONS + 3)
    async with httpx.AsyncClient(base_url=f"{server.url}/api/2.0/mlflow/", limits=limits, timeout=60) as client:
        experiment = (await client.post("experiments/create", json={"name": "walked"})).json()["experiment_id"]
        runs = []
        for number in range(RUNS):
            body = {"experiment_id": experiment, "start_time": 1_000 + number // 5}
            runs.append((await client.post("runs/create", json=body)).json()["run"]["info"]["run_id"])
            params = [{"key": "fixed", "value": str(number % 4)}]
            await client.post("runs/log-batch", json={"run_id": runs[-1], "params": params})
        done = asyncio.Event()
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            for number in range(CONNECTIONS):
                tasks.create_task(_write(client, experiment, runs[number::CONNECTIONS], done))
            queries: list[dict[str, Any]] = [
                {},
                {"order_by": ["attributes.start_time ASC"]},
                {"order_by": ["params.fixed DESC"]},
                {"filter": "params.fixed != '1'", "order_by": ["params.fixed", "attributes.run_id DESC"]},
                {"filter": "params.fixed = '2' or metrics.a < 0"},
            ]
            for query in queries * WALKS:
                found = await _walk(client, {"experiment_ids": [experiment], **query})
                assert len(found) == len(set(found))
                expected = set(runs)
                if "filter" in query:
                    kept = (lambda at: at % 4 != 1) if "!=" in query["filter"] else (lambda at: at % 4 == 2)
                    expected = {run_id for at, run_id in enumerate(runs) if kept(at)}
                assert expected <= set(found)
            done.set()
