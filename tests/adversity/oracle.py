"""Holds a server against a ledger: what was acknowledged is there, once, and nothing is there that nobody sent."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from runstream_projections.catalogue import PROJECTIONS
from runstream_services.adapters.postgres import Database
from runstream_services.projector.verify import verify_log, verify_projection
from tests.adversity.ledger import Call, Ledger, Point
from tests.adversity.load import Connection
from tests.adversity.victims import Victim

#: Tags that the server sets by itself, and the one of :meth:`Victim.recover`.
_TAGS_OF_OTHERS = {"mlflow.runName", "mlflow.user", "probe"}


def complaints(server: Victim, ledger: Ledger) -> list[str]:
    """Every promise that the server broke, in words; none is the result that a test wants."""
    found = list(ledger.complaints)
    connection = Connection(server.url)
    try:
        found += _missing_runs(connection, ledger.calls)
        by_run = defaultdict(list)
        for call in ledger.calls:
            if call.run:
                by_run[call.run].append(call)
        for run_id, calls in by_run.items():
            found += [f"run {run_id}: {complaint}" for complaint in _of_run(connection, run_id, calls)]
    finally:
        connection.close()
    found += asyncio.run(_of_database(server))
    return found


def _read(connection: Connection, path: str, **query: str) -> Any:
    status, _, body = connection.ask("GET", f"{path}?{urlencode(query)}")
    assert status == 200, f"{path} {query} was answered {status}: {body}"
    return body


# Runs and experiments


def _missing_runs(connection: Connection, calls: Iterable[Call]) -> Iterable[str]:
    experiments = {"0"}
    for call in calls:
        if call.path == "experiments/create" and call.acknowledged:
            name = call.tags["name"]
            got = _read(connection, "experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"]
            experiments.add(got)
            if call.result.get("experiment_id", got) != got:
                yield f"experiment {name} has id {got}, and was acknowledged as {call.result}"
    created = [call for call in calls if call.path == "runs/create"]
    listed = _all_runs(connection, sorted(experiments))
    ids = Counter(run["info"]["run_id"] for run in listed)
    yield from (f"run {run_id} is listed {count} times" for run_id, count in ids.items() if count > 1)
    by_name = Counter(run["info"]["run_name"] for run in listed)
    for call in created:
        name = call.tags["made"]
        if by_name[name] > call.sent:
            yield f"{by_name[name]} runs are named {name}, it was sent {call.sent} times"
        if call.acknowledged:
            run_id = call.result["run"]["info"]["run_id"]
            run = _read(connection, "runs/get", run_id=run_id)["run"]
            if ids[run_id] != 1 or run["info"]["run_name"] != name or _pairs(run, "tags").get("made") != name:
                yield f"acknowledged run {run_id} named {name}: listed {ids[run_id]} times, read {run}"


def _all_runs(connection: Connection, experiments: list[str]) -> list[Any]:
    runs: list[Any] = []
    body: dict[str, Any] = {"experiment_ids": experiments, "max_results": 100}
    while True:
        status, _, page = connection.ask("POST", "runs/search", body)
        assert status == 200, f"runs/search was answered {status}: {page}"
        runs += page.get("runs", [])
        if "next_page_token" not in page:
            return runs
        body["page_token"] = page["next_page_token"]


# What was logged


def _pairs(run: Any, kind: str) -> dict[str, Any]:
    entries = run["data"].get(kind, [])
    pairs = {entry["key"]: entry["value"] for entry in entries}
    assert len(pairs) == len(entries), f"a key of {kind} is there twice"
    return pairs


def _point(entry: Any) -> Point:
    return Point(int(entry["step"]), int(entry["timestamp"]), repr(float(entry["value"])))


def _of_run(connection: Connection, run_id: str, calls: list[Call]) -> Iterable[str]:
    run = _read(connection, "runs/get", run_id=run_id)["run"]
    shown = {entry["key"]: _point(entry) for entry in run["data"].get("metrics", [])}
    stored: set[tuple[str, str, Any]] = set()
    for key in sorted({key for call in calls for key in call.points} | shown.keys()):
        entries = _read(connection, "metrics/get-history", run_id=run_id, metric_key=key).get("metrics", [])
        history = Counter(_point(entry) for entry in entries)
        yield from (f"{key} has {point} {count} times" for point, count in history.items() if count > 1)
        latest = max(history, key=lambda point: point.order, default=None)
        if shown.get(key) != latest:
            yield f"the latest {key} is {latest} by its history, runs/get shows {shown.get(key)}"
        stored |= {("point", key, point) for point in history}
    stored |= {("param", key, value) for key, value in _pairs(run, "params").items()}
    stored |= set(_links(run))
    tags = _pairs(run, "tags")
    ordered = {key for call in calls for key in call.ordered}
    stored |= {("tag", key, value) for key, value in tags.items() if key not in ordered | _TAGS_OF_OTHERS | {"made"}}
    yield from _whole_calls(calls, stored)
    for key in sorted(ordered):
        acknowledged = max((c.ordered[key] for c in calls if c.acknowledged and key in c.ordered), default=0)
        sent = {c.ordered[key] for c in calls if c.sent and key in c.ordered}
        value = int(tags.get(key, 0))
        if value < acknowledged or (value and value not in sent):
            yield f"tag {key!r} is {value}, the last acknowledged is {acknowledged}"


def _links(run: Any) -> Iterable[tuple[str, str, Any]]:
    uses = run["inputs"].get("dataset_inputs", [])
    links = [("use", use["dataset"]["name"], *(tag["value"] for tag in use["tags"])) for use in uses]
    links += [("model", made["model_id"], made["step"]) for made in run["outputs"].get("model_outputs", [])]
    assert len(set(links)) == len(links), "a dataset or a model is there twice"
    return links


def _asked(call: Call) -> set[tuple[str, str, Any]]:
    points = {("point", key, point) for key, series in call.points.items() for point in series}
    params = {("param", *pair) for pair in call.params.items()}
    links = {("use", *pair) for pair in call.uses.items()} | {("model", *pair) for pair in call.makes.items()}
    return points | params | links | {("tag", *pair) for pair in call.tags.items()}


def _whole_calls(calls: list[Call], stored: set[tuple[str, str, Any]]) -> Iterable[str]:
    """An acknowledged call is there, one that was never sent is not, any other is there as a whole or not at all."""
    unasked = set(stored)
    for call in calls:
        asked = _asked(call)
        unasked -= asked
        there = asked & stored
        if call.acknowledged and there != asked:
            lost = sorted(asked - stored)[:3]
            yield f"acknowledged {call.path} after {call.answers} lost {len(asked - stored)} of {len(asked)}: {lost}"
        elif not call.sent and there:
            yield f"{call.path} was never sent, and {len(there)} of it are there"
        elif there and there != asked:
            yield f"{call.path} after {call.answers} took effect in part: {len(there)} of {len(asked)}"
    if unasked:
        yield f"{len(unasked)} are there that nobody sent: {sorted(unasked)[:3]}"


# What the database says of itself


async def _of_database(server: Victim) -> list[str]:
    found: list[str] = []
    database = Database(server.connect_arguments)
    connection = await database.connect(service=False)
    try:
        count, first, last, head, ids, dead, parked = await connection.fetchrow(
            "select (select count(*) from event_log), (select min(position) from event_log), "
            "(select max(position) from event_log), (select position from log_head), "
            "(select count(*) from event_ids), (select count(*) from dead_letters), "
            "(select count(*) from parked_events)"
        )
        if not (first == 1 and count == last == head == ids):
            found.append(f"{count} events from {first} to {last}, head {head}, {ids} event ids: there are holes")
        if dead or parked:
            found.append(f"{dead} dead letters and {parked} parked events of valid calls")
        verified = await verify_log(connection, lambda position, head: None)
        if verified < last:
            found.append(f"the log is verified to {verified}, and goes to {last}")
    finally:
        await connection.close()
    for name in PROJECTIONS:
        result = await verify_projection(database, name, str(uuid4()), lambda progress: None)
        if result.live != result.rebuilt:
            found.append(f"projection {name} at {result.position} is not what the log gives")
    return found
