"""How a server is doing: as JSON, for Prometheus, and in the terminal."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from uuid import uuid4

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

import runstream as client
from runstream_schemas.events import RunCreated, RunLogged
from runstream_schemas.ids import run_stream
from runstream_schemas.status import Status
from tests.command import RUNSTREAM, runstream
from tests.native import Native
from tests.sent import Sent
from tests.server import Server


def status_of(url: str) -> Status:
    answer = httpx.get(f"{url}/api/runstream/v1/status", timeout=60)
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=Status)


def metrics_of(url: str) -> dict[tuple[str, ...], float]:
    answer = httpx.get(f"{url}/metrics", timeout=60)
    assert (answer.status_code, answer.headers["content-type"][:25]) == (200, "text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_what_was_done_is_counted(standing_server: Server) -> None:
    url = standing_server.url
    native, run_id, stranger = Native(url), uuid4().hex, uuid4().hex
    native.get("/wait", position=1)  # experiment 0, which the server makes for itself
    before, counted = status_of(url), metrics_of(url)
    created = RunCreated(name="n", start_time=1, experiment_id=0)
    events = [created, RunLogged(params={"p": "1"}), RunLogged(params={"p": "\x1b[31m2"})]
    of_nobody = Sent(uuid4(), run_stream(stranger), RunLogged())
    native.append([*(Sent(uuid4(), run_stream(run_id), event) for event in events), of_nobody])
    point = {"key": "m", "value": 1, "timestamp": 1}
    for path, body in (
        ("runs/log-batch", {"run_id": run_id, "metrics": [point, point | {"step": 1}]}),
        ("runs/log-parameter", {"run_id": run_id, "key": "long", "value": "x" * 6_001}),
        ("runs/log-parameter", {"run_id": run_id, "key": "p", "value": "3"}),
        ("runs/nowhere", {}),
    ):
        standing_server.post(path, body)
    native.get("/wait", position=before.stored.log.position + 7 if before.stored else 0)
    after, counted_after = status_of(url), metrics_of(url)
    assert before.stored is not None
    assert after.stored is not None
    assert after.version == client.__version__
    assert after.stored.log.position == before.stored.log.position + 7
    assert after.stored.rejected == before.stored.rejected + 2
    assert after.stored.last_rejected[0].error_code == "INVALID_PARAMETER_VALUE"
    assert after.stored.waiting == before.stored.waiting + 1
    assert run_stream(stranger) in [waiting.waits_for for waiting in after.stored.waiting_for]
    assert {p.lag_events for p in after.stored.projections} == {0}
    now, then = after.process, before.process
    assert now.uptime_s > then.uptime_s
    assert (now.appended_events - then.appended_events, now.appended_points - then.appended_points) == (7, 2)
    assert (now.rejected - then.rejected, now.truncated_values - then.truncated_values) == (2, 1)
    assert 1 <= now.folds - then.folds <= now.folded_events - then.folded_events == 7
    assert now.append_s > then.append_s
    assert (now.requests["2xx"] - then.requests["2xx"], now.requests["4xx"] - then.requests["4xx"]) == (6, 2)
    assert now.connections >= 1
    grown = {name: counted_after[name] - counted[name] for name in counted}
    assert grown["runstream_log_appended_events_total",] == 7
    assert grown["runstream_log_rejected_events_total",] == grown["runstream_rejected_events",] == 2
    assert grown["runstream_http_requests_total", "4xx"] == 2
    assert counted_after["runstream_projection_lag_events", "runs"] == 0
    native.http.close()


def test_rates_show_what_goes_on(standing_server: Server) -> None:
    run_id = standing_server.post("runs/create", {}).json()["run"]["info"]["run_id"]
    metrics = [{"key": "m", "value": 1, "timestamp": 1, "step": step} for step in range(100)]
    deadline = time.monotonic() + 30
    rates = status_of(standing_server.url).process
    while not rates.points_per_s > rates.events_per_s > 0:
        assert time.monotonic() < deadline, rates
        standing_server.post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
        rates = status_of(standing_server.url).process


def test_the_terminal_shows_it(standing_server: Server) -> None:
    url = standing_server.url
    status, said, complaint = runstream("status", "--server", url, COLUMNS="200")
    assert (status, complaint) == (0, "")
    assert f"{url}, Runstream {client.__version__}, up " in said
    assert "metric_blocks" in said
    assert "\x1b" not in said
    status, said, _ = runstream("status", "--json", RUNSTREAM_SERVER=url)
    assert (status, json.loads(said)["version"]) == (0, client.__version__)
    port = url.rsplit(":", 1)[1]
    assert runstream("status", RUNSTREAM_PORT=port, http_proxy="http://127.0.0.1:9")[0] == 0


def test_watching_goes_on_until_it_is_interrupted(standing_server: Server) -> None:
    command = [RUNSTREAM, "status", "--watch", "--json", "--server", standing_server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        uptimes = [json.loads(watching.stdout.readline())["process"]["uptime_s"] for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        _, complaint = watching.communicate(timeout=60)
    assert uptimes[0] < uptimes[1]
    assert (watching.returncode, complaint) == (0, "")


def test_a_server_that_is_away_is_said_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        status, said, complaint = runstream("status", "--server", url)
    assert (status, said) == (1, "")
    assert complaint == f"runstream: no server answers at {url}: Connection refused\n"
