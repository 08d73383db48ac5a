"""A server on a network: every route but the probes needs a token, whose name stands in the log as who did it."""

from __future__ import annotations

import http.client
import os
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from starlette.routing import Route

from runstream_services.gateway.app import build
from tests.command import runstream
from tests.e2e.client import run_script
from tests.server import Server

API = "/api/2.0/mlflow"
GET = f"{API}/experiments/get?experiment_id=0"
MIB = 1 << 20
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
SCHEMES = ("http", "https", "s3", "gs", "ftp", "gopher", "dbfs", "hdfs", "file", "mlflow-artifacts", "wasbs")
OPEN = {"/", "/health", "/version", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info"}


class Network:
    """A server on all addresses, the tokens of alice and bob, and a client that has none."""

    def __init__(self, server: Server, alice: str, bob: str) -> None:
        self.server = server
        self.alice = alice
        self.bob = bob
        self.client = httpx.Client(base_url=server.url, timeout=60)
        self.as_alice = {"authorization": f"Bearer {alice}"}

    def connection(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        address = urlsplit(self.server.url)
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

    def write(self, **headers: Any) -> httpx.Response:
        return self.client.post(f"{API}/runs/create", json={}, headers=headers)

    async def events(self) -> list[tuple[Any, ...]]:
        """(actor, type) of each event of the log."""
        connection = await asyncpg.connect(
            host=str(self.server.data / "postgres"), user="postgres", database="runstream"
        )
        rows = await connection.fetch("select actor, type from runstream.event_log order by position")
        await connection.close()
        return [tuple(row) for row in rows]


def made(data: Path, name: str) -> str:
    """A token, as the command prints it."""
    status, token, _ = runstream("token", "add", name, "--data", str(data))
    assert (status, len(token.strip())) == (0, 43)
    return token.strip()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with TemporaryDirectory(prefix="runstream-e2e-") as directory, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("RUNSTREAM_", "MLFLOW_", "PG"))]:
            environment.delenv(name)
        data = Path(directory) / "data"
        alice, bob = made(data, "alice"), made(data, "bob")
        with Server(data, "--host", "0.0.0.0") as server:
            found = Network(server, alice, bob)
            with found.client:
                yield found


def assert_unauthenticated(answer: httpx.Response) -> None:
    assert answer.status_code == 401, (answer.request.method, answer.request.url)
    challenges = answer.headers.get_list("www-authenticate")
    assert [challenge.split()[0] for challenge in challenges] == ["Bearer", "Basic"]
    assert not [name for name in answer.headers if name.startswith("access-control")]
    if answer.request.method != "HEAD":
        body = answer.json()
        assert (set(body), body["error_code"]) == ({"error_code", "message"}, "UNAUTHENTICATED")
        assert "MLFLOW_TRACKING_TOKEN" in body["message"]


def routes() -> set[str]:
    """Every path that the server's router knows."""
    front = build(cast(Any, SimpleNamespace(answers=[])), cast(Any, None))
    others = {route.path for route in front._router.routes if isinstance(route, Route)}
    assert len(others) == len(front._router.routes), "a route of a kind that this test does not know"
    return {*front._exact, *others}


def test_every_route_but_the_open_ones_is_closed_for_every_method(network: Network) -> None:
    assert routes() > OPEN
    closed = routes() - OPEN
    assert len(closed) > 40
    unknown = {"/nothing", f"{API}/runs/nothing", "/api/runstream/v1/events", "/metrics", "/docs", "/static/x"}
    for path in closed | unknown:
        for method in METHODS:
            answer = network.client.request(method, path, json={"run_id": "x"})
            assert_unauthenticated(answer)


def test_the_open_ones_are_open_and_show_nothing_that_is_stored(network: Network) -> None:
    assert network.write(**network.as_alice).status_code == 200
    for path in OPEN:
        answer = network.client.get(path)
        assert answer.status_code == 200
        assert "alice" not in answer.text
        assert network.client.request("DELETE", path).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        f"/{API}/runs/search", f"//{API}/runs/search", "/API/2.0/mlflow/runs/search", "/api/2.0/MLFLOW/runs/search",
        f"{API}/runs/search/", f"{API}/runs//search", f"{API}/./runs/search", f"{API}/runs/../runs/search",
        f"{API}/runs%2fsearch", f"{API}/runs%252fsearch", f"{API}/%72uns/search", f"{API}/runs/search%00",
        f"{API}/runs/search;x=1", f"{API};/runs/search", f"{API}/runs/search%3b", f"{API}/runs/search%20",
        f"/health/..{API}/runs/search", f"/health/%2e%2e{API}/runs/search", f"/health%2f..{API}/runs/search",
        f"/health;{API}/runs/search", f"/health{API}/runs/search", f"/health%00{API}/runs/search",
        f"/version/../{API}/runs/search", "/health/", "/health;", "/health%00", "/HEALTH", "/health%2f", "//health",
        "/%2e/health", f"{API}/runs/search\\", "/..", "/%2e%2e/%2e%2e", "*",
        f"http://127.0.0.1{API}/runs/search", f"http://evil.example{API}/runs/search", f"http://health{API}/runs/get",
        f"{API}/runs/search?/health", f"{API}/runs/search#/health",
    ],
)  # fmt: skip
def test_no_way_to_spell_a_path_gets_around_it(network: Network, path: str) -> None:
    connection = network.connection()  # httpx would tidy the path up
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        connection.request(method, path, b"{}", {"content-type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer")
        answer.read()
    connection.close()


@pytest.mark.parametrize("target", [f"\\..{API}/runs/search", f"http:/health{API}/runs/search", "health", "?"])
def test_what_is_no_path_at_all_is_no_request(network: Network, target: str) -> None:
    connection = network.connection()
    connection.request("POST", target, b"{}", {"content-type": "application/json"})
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-original-url": "/health"}, {"x-rewrite-url": "/health"}, {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-host": "localhost"}, {"host": "localhost"}, {"host": "127.0.0.1"}, {"referer": "http://localhost"},
        {"x-http-method-override": "GET"}, {"cookie": "token=x"}, {"proxy-authorization": "Bearer x"},
    ],
)  # fmt: skip
def test_no_header_but_authorization_lets_in(network: Network, headers: dict[str, str]) -> None:
    assert_unauthenticated(network.write(**headers))
    assert_unauthenticated(network.client.get(f"{GET}&token={network.alice}"))


async def test_wrong_tokens_store_nothing_and_the_server_is_as_before(network: Network) -> None:
    before = await network.events()
    swapped = b64encode(f"alice:{network.bob}".encode()).decode()
    wrong = [
        "", "Bearer", f"Bearer {network.alice}x", f"Bearer {network.alice[:-1]}", f"Basic {swapped}", "Basic \xff",
        "Bearer \xff\xfe", f"Bearer {'x' * 60_000}", f"Digest {network.alice}", network.alice,
    ]  # fmt: skip
    for value in wrong:
        assert_unauthenticated(network.write(authorization=value.encode("latin-1")))
    for number in range(500):
        assert_unauthenticated(network.write(authorization=f"Bearer {number:043}"))
    twice = [("authorization", f"Bearer {network.alice}")] * 2
    assert_unauthenticated(network.client.post(f"{API}/runs/create", json={}, headers=twice))
    assert await network.events() == before
    assert network.write(**network.as_alice).status_code == 200


def test_the_client_of_mlflow_sends_tokens_both_ways_and_says_what_is_wrong(network: Network, tmp_path: Path) -> None:
    found = run_script("with_tokens", network.server.url, tmp_path / "client", network.alice, network.bob)
    assert found.pop("run")
    refused = dict.fromkeys(("none", "a wrong token", "another's name"), "UNAUTHENTICATED")
    assert found == {"params": {"p": "1"}, **refused}


async def test_the_actor_of_an_event_is_the_name_of_the_token_whatever_a_client_says(network: Network) -> None:
    before = len(await network.events())
    forged = {"actor": "root", "user_id": "root", "writer": "root", "tags": [{"key": "actor", "value": "root"}]}
    said = {"x-actor": "root", "actor": "root", "x-forwarded-user": "root", "remote-user": "root", "from": "root"}
    for headers in (network.as_alice, {"authorization": f"basic {b64encode(f'bob:{network.bob}'.encode()).decode()}"}):
        created = network.client.post(f"{API}/runs/create", json=forged, headers={**headers, **said})
        run_id = created.json()["run"]["info"]["run_id"]
        body = {"run_id": run_id, "actor": "root", "metrics": [{"key": "m", "value": 1, "timestamp": 1}]}
        logged = network.client.post(f"{API}/runs/log-batch", json=body, headers={**headers, **said})
        assert (created.status_code, logged.status_code) == (200, 200)
    assert (await network.events())[before:] == [
        ("alice", "RunCreated"), ("alice", "RunLogged"), ("bob", "RunCreated"), ("bob", "RunLogged"),
    ]  # fmt: skip


def test_a_revoked_token_is_refused_on_a_connection_that_is_open(network: Network) -> None:
    token = made(network.server.data, "carol")
    address = urlsplit(network.server.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)

    def status() -> int:
        connection.request(
            "GET", f"{API}/experiments/get?experiment_id=0", headers={"Authorization": f"Bearer {token}"}
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status

    until(status, 200)
    kept = connection.sock
    said = runstream("token", "remove", "carol", "--data", str(network.server.data))
    assert (said[0], said[2]) == (0, "")
    until(status, 401)
    assert connection.sock is kept, "the connection was open all the time"
    connection.close()
    assert network.write(**network.as_alice).status_code == 200


def until(status: Any, wanted: int, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while status() != wanted:
        assert time.monotonic() < deadline, f"not {wanted} after {timeout_s:g} s"
        time.sleep(0.02)


def test_a_page_of_another_host_cannot_use_a_token_that_a_browser_remembers(network: Network) -> None:
    remembered = {"authorization": "Basic " + b64encode(f"bob:{network.bob}".encode()).decode()}
    for origin in ("http://evil.example", "null", "file://", "http://127.0.0.1.evil.example"):
        for method in ("POST", "OPTIONS", "DELETE"):
            answer = network.client.request(
                method,
                f"{API}/runs/create",
                json={},
                headers={**remembered, "origin": origin, "access-control-request-method": "POST"},
            )
            assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
            assert "--allowed-hosts" in answer.json()["message"]
            assert not [name for name in answer.headers if name.startswith("access-control")]
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        headers = {**remembered, "content-type": content_type}
        answer = network.client.post(f"{API}/runs/create", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    preflight = {"origin": network.server.url, "access-control-request-method": "POST"}
    assert_unauthenticated(network.client.request("OPTIONS", f"{API}/runs/create", headers=preflight))
    assert network.write(**remembered, origin=network.server.url).status_code == 200


def test_a_name_that_is_made_to_point_here_shows_nothing_without_a_token(network: Network) -> None:
    assert_unauthenticated(
        network.client.get(f"{API}/experiments/get?experiment_id=0", headers={"host": "evil.example"})
    )
    assert network.write(**network.as_alice, host="tracking.example").status_code == 200


def test_a_large_body_without_a_token_is_not_kept(network: Network) -> None:
    process = psutil.Process(network.server.pid)
    before = process.memory_info().rss

    def body() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * MIB

    headers = {"content-type": "application/json"}
    assert_unauthenticated(network.client.post(f"{API}/runs/create", content=body(), headers=headers))
    assert process.memory_info().rss - before < 20 * MIB
    assert network.write(**network.as_alice).status_code == 200


def test_nothing_that_a_client_names_is_fetched(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for scheme in (
            "http",
            "https",
            "s3",
            "gs",
            "ftp",
            "gopher",
            "dbfs",
            "hdfs",
            "file",
            "mlflow-artifacts",
            "wasbs",
        ):
            location = f"{scheme}://127.0.0.1:{port}/x"
            body = {"name": f"fetches {scheme}", "artifact_location": location}
            created = network.client.post(f"{API}/experiments/create", json=body, headers=network.as_alice)
            assert created.status_code in (200, 400), scheme
            if created.status_code == 200:
                body = {"experiment_id": created.json()["experiment_id"]}
                assert network.client.post(f"{API}/runs/create", json=body, headers=network.as_alice).status_code == 200
        listener.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listener.accept()
