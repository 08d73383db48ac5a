"""What is wrong before a body is read as JSON: its type, size or encoding, the method, the path, the connection."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from tests.server import Server

MIB = 1 << 20
API = "/api/2.0/mlflow"
INVALID = "INVALID_PARAMETER_VALUE"
CREATE = f"POST {API}/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def client(standing_server: Server) -> Iterator[httpx.Client]:
    """Kept open, as a client's connections are; each test checks at its end that the server goes on."""
    with httpx.Client(base_url=standing_server.url, timeout=120) as kept:
        yield kept


@pytest.fixture(autouse=True)
def _nothing_is_stored_and_the_server_goes_on(client: httpx.Client) -> Iterator[None]:
    before = everything(client)
    yield
    assert everything(client) == before


def everything(client: httpx.Client) -> list[str]:
    """All experiments and runs."""
    answers = [
        client.post(f"{API}/experiments/search", json={"max_results": 1000, "view_type": "ALL"}),
        client.post(f"{API}/runs/search", json={"experiment_ids": ["0"], "run_view_type": "ALL"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    return [answer.text for answer in answers]


def assert_refused(answer: httpx.Response, code: str, status: int, *named: str) -> None:
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (status, code), body
    assert set(body) == {"error_code", "message"}
    for name in named:
        assert name in body["message"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "192.168.0.1", "", "::1"]
)
def test_a_request_for_another_host_is_refused(client: httpx.Client, host: str) -> None:
    headers = {"host": host, "content-type": "application/json"}
    for method, path in (("GET", "experiments/get?experiment_id=0"), ("POST", "runs/create"), ("POST", "runs/search")):
        answer = client.request(method, f"{API}/{path}", headers=headers, content=b"{}")
        assert_refused(answer, "PERMISSION_DENIED", 403, host, "localhost", "127.0.0.0/8", "[::1]")
    for path in ("/health", "/version", "/api/3.0/mlflow/server-info"):
        assert client.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "https://localhost.evil.example:5000", "null", "file://"])
def test_a_page_of_another_host_changes_nothing(client: httpx.Client, origin: str) -> None:
    headers = {"origin": origin}
    assert_refused(client.post(f"{API}/runs/create", headers=headers, json={}), "PERMISSION_DENIED", 403, origin)
    assert client.get(f"{API}/experiments/get?experiment_id=0", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "127.8.9.10", "[::1]", "[::1]:5000"])
def test_a_request_for_this_machine_is_answered_by_any_name(client: httpx.Client, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    assert client.post(f"{API}/runs/search", headers=headers, json={}).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonl", ""])
def test_a_body_of_another_content_type_is_refused(client: httpx.Client, content_type: str) -> None:
    for path in ("runs/create", "runs/search", "runs/log-batch", "experiments/search"):
        answer = client.post(f"{API}/{path}", content=b"{}", headers={"content-type": content_type})
        assert_refused(answer, INVALID, 400, "Content-Type", content_type)


def test_a_body_without_a_content_type_is_refused(client: httpx.Client) -> None:
    assert_refused(client.post(f"{API}/runs/create", content=b"{}"), INVALID, 400, "Content-Type")


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate, gzip"])
def test_a_compressed_body_is_refused(client: httpx.Client, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = client.post(f"{API}/runs/create", content=gzip.compress(b"{}"), headers=headers)
    assert_refused(answer, INVALID, 415, "Content-Encoding", encoding)


@pytest.mark.parametrize("encoding", ["gzip, chunked", "gzip,chunked", "identity, chunked"])
def test_a_transfer_encoding_besides_chunks_is_refused(standing_server: Server, encoding: str) -> None:
    with connection(standing_server) as compressing:
        compressing.sendall(f"{CREATE}Transfer-Encoding: {encoding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n".encode())
        compressing.shutdown(socket.SHUT_WR)
        status, *_, body = compressing.makefile("rb").read().split(b"\r\n")
        assert b" 415 " in status
        assert encoding in json.loads(body)["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "runs/create", "POST"),
        ("GET", "runs/log-batch", "POST"),
        ("PUT", "runs/log-batch", "POST"),
        ("DELETE", "runs/delete", "POST"),
        ("PATCH", "experiments/update", "POST"),
        ("POST", "runs/get", "GET"),
        ("POST", "metrics/get-history", "GET"),
        ("DELETE", "experiments/search", "GET, POST"),
    ],
)
def test_another_method_is_refused(client: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, f"{API}/{path}", json={})
    assert_refused(answer, "BAD_REQUEST", 405, method, allowed)
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "/health/", f"{API}/runs/nothing", f"{API}/runs/create/", f"/{API}/runs/create",
        "/api/1.0/mlflow/runs/create",
        "/ajax-api/2.0/mlflow/nothing", f"{API}/runs/%00", f"{API}/RUNS/create", "/%ff",
        "/" + "x" * 5000,
    ],
)  # fmt: skip
def test_an_unknown_path_is_no_endpoint(client: httpx.Client, path: str) -> None:
    url = httpx.URL(str(client.base_url).rstrip("/") + "/").copy_with(raw_path=path.encode())
    for method in ("GET", "POST", "DELETE"):
        assert_refused(client.request(method, url, json={}), "ENDPOINT_NOT_FOUND", 404, f"endpoint {method} /")


def test_the_missing_endpoint_is_named_but_for_what_is_too_long(client: httpx.Client) -> None:
    said = client.post("/api/2.0/mlflow/logged-models").json()["message"]
    assert "POST /api/2.0/mlflow/logged-models:" in said
    assert len(client.get("/" + "x" * 5000).content) < 1000


def test_the_links_that_clients_print_lead_to_a_page_that_says_what_is_there(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "mlflow.set_tracking_uri" in answer.text
    assert_refused(client.post("/", json={}), "BAD_REQUEST", 405, "GET")


def test_a_query_that_is_no_text_or_has_too_many_fields_is_refused(client: httpx.Client) -> None:
    fields = [f"a{number}=1" for number in range(1000)]
    missing = client.get(f"{API}/runs/get?run_id=1&{'&'.join(fields[1:])}")
    assert_refused(missing, "RESOURCE_DOES_NOT_EXIST", 404)
    assert_refused(client.get(f"{API}/runs/get?run_id=1&{'&'.join(fields)}"), INVALID, 400, "1,000 fields")
    for query in ("%ED%A0%80", "%FF%FE", "%", "%zz"):
        assert_refused(client.get(f"{API}/runs/get?run_id={query}"), "RESOURCE_DOES_NOT_EXIST", 404)


@pytest.mark.parametrize("declared", [True, False], ids=["with its length", "in chunks"])
def test_a_body_of_100_mb_is_refused_and_does_not_grow_the_server(
    standing_server: Server, client: httpx.Client, declared: bool
) -> None:
    process = psutil.Process(standing_server.pid)
    before = process.memory_info().rss
    seen = [before]

    def body() -> Iterator[bytes]:
        yield b'{"experiment_id": "'
        for _ in range(100):
            yield b"0" * MIB
            seen.append(process.memory_info().rss)
        yield b'"}'

    headers = {"content-type": "application/json"}
    if declared:
        headers["content-length"] = str(100 * MIB + 21)
    answer = client.post(f"{API}/runs/create", content=body(), headers=headers)
    assert_refused(answer, INVALID, 413, "body", str(16 * MIB))
    assert len(seen) == 101
    assert max(*seen, process.memory_info().rss) - before < 60 * MIB


@pytest.mark.parametrize(
    ("path", "before", "part", "after"),
    [
        ("runs/log-batch", b'{"run_id":"a","metrics":[', b"{},", b"{}]}"),
        ("runs/log-batch", b'{"run_id":"a","metrics":[', b'{"key":"","value":0,"timestamp":0},', b"{}]}"),
        ("runs/create", b'{"tags":[', b'{"key":"a"},', b"{}]}"),
        ("runs/create", b'{"unknown":[', b"[],", b"[]]}"),
        ("experiments/search", b'{"unknown":', b"[", b""),
    ],
)
def test_a_body_of_millions_of_values_is_refused_and_does_not_grow_the_server(
    standing_server: Server, client: httpx.Client, path: str, before: bytes, part: bytes, after: bytes
) -> None:
    process = psutil.Process(standing_server.pid)
    rss = process.memory_info().rss
    body = before + part * ((15 * MIB) // len(part)) + after
    headers = {"content-type": "application/json"}
    with ThreadPoolExecutor() as another:
        asked = another.submit(client.post, f"{API}/{path}", content=body, headers=headers)
        most = rss
        while not asked.done():
            most = max(most, process.memory_info().rss)
    assert_refused(asked.result(), INVALID, 400)
    assert most - rss < 150 * MIB


def test_a_run_is_not_created_with_more_than_1_000_tags(client: httpx.Client) -> None:
    tags = [{"key": f"t{number}", "value": "x"} for number in range(1001)]
    assert_refused(client.post(f"{API}/runs/create", json={"tags": tags}), INVALID, 400, "tags", "1000")


def test_senders_that_do_not_go_on_hold_nobody_up(standing_server: Server, client: httpx.Client) -> None:
    """Each declares a large body, of which it sends little."""
    head = f"{CREATE}Content-Length: {15 * MIB}"
    slow = [connection(standing_server) for _ in range(20)]
    for sender in slow:
        sender.sendall(f"{head}\r\n\r\n{{".encode())
    began = time.monotonic()
    headers = {"content-type": "application/json"}
    answer = client.post(f"{API}/runs/log-batch", content=b"{}" + b" " * (2 * MIB), headers=headers)
    assert_refused(answer, INVALID, 400, "run_id")
    assert time.monotonic() - began < 10
    for sender in slow:
        sender.close()


def test_large_bodies_that_are_under_way_at_once_are_bounded(standing_server: Server, client: httpx.Client) -> None:
    head = f"{CREATE}Content-Length: {15 * MIB}"
    process = psutil.Process(standing_server.pid)
    before = process.memory_info().rss
    slow = [connection(standing_server) for _ in range(6)]
    for sender in slow:
        sender.sendall(f"{head}\r\n\r\n".encode())
    with ThreadPoolExecutor(len(slow)) as senders:
        sent = senders.map(lambda sender: attempt(sender, b" " * (15 * MIB - 1)), slow)
        assert sum(sent) < len(slow), "one of six bodies of 15 MiB has no room among 64 MiB"
    assert process.memory_info().rss - before < 200 * MIB
    for sender in slow:
        sender.close()


def attempt(sender: socket.socket, data: bytes) -> bool:
    """Send a body but for its end; True where all was taken, False where the server did not take it."""
    try:
        sender.sendall(data)
        sender.settimeout(2)
        return not sender.recv(1_000)
    except TimeoutError:
        return True
    except OSError:
        return False


def test_a_body_that_is_too_large_by_one_byte_is_refused_and_one_that_is_not_is_read(client: httpx.Client) -> None:
    headers = {"content-type": "application/json"}
    field = json.dumps({"unknown": ""}).encode()
    padding = b" " * (16 * MIB - len(field))
    answer = client.post(f"{API}/runs/log-batch", content=field + padding, headers=headers)
    assert_refused(answer, INVALID, 400, "run_id")
    answer = client.post(f"{API}/runs/log-batch", content=field + padding + b" ", headers=headers)
    assert_refused(answer, INVALID, 413, "body")


@pytest.mark.parametrize("sent", [b"", b"{}", b'{"experiment_id": "0"'], ids=repr)
@pytest.mark.parametrize("begun", [False, True], ids=["at once", "once the call has begun"])
def test_a_body_that_breaks_off_is_not_taken_for_a_whole_one(
    standing_server: Server, client: httpx.Client, sent: bytes, begun: bool
) -> None:
    head = f"{CREATE}Content-Length: 50\r\n"
    for _ in range(10):
        with connection(standing_server) as broken:
            own_port = broken.getsockname()[1]
            if begun:
                broken.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
                assert broken.recv(100).startswith(b"HTTP/1.1 100 ")
                broken.sendall(sent)
            else:
                broken.sendall(f"{head}\r\n".encode() + sent)
        wait_until_closed(standing_server, own_port)
    assert client.get("/health").text == "OK"


def wait_until_closed(server: Server, port: int, timeout_s: float = 30.0) -> None:
    """Wait until the server has no connection from ``port``."""
    deadline = time.monotonic() + timeout_s
    while any(
        open_one.raddr and open_one.raddr.port == port for open_one in psutil.Process(server.pid).net_connections()
    ):
        assert time.monotonic() < deadline, f"still connected after {timeout_s:g} s"
        time.sleep(0.01)


def connection(server: Server) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def test_calls_that_come_in_one_piece_are_answered_in_turn(standing_server: Server) -> None:
    call = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with connection(standing_server) as quick:
        quick.sendall(call * 60 + last)
        assert quick.makefile("rb").read().count(b"3.17.2") == 61


def test_calls_that_never_wait_for_an_answer_do_not_grow_the_server(
    standing_server: Server, client: httpx.Client
) -> None:
    process = psutil.Process(standing_server.pid)
    before = process.memory_info().rss
    with connection(standing_server) as flood:
        with contextlib.suppress(OSError):
            for _ in range(20):
                flood.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 30_000)
        assert process.memory_info().rss - before < 40 * MIB
    assert client.get("/health").text == "OK"


def test_a_body_that_says_it_is_larger_than_any_takes_no_room(standing_server: Server, client: httpx.Client) -> None:
    head = f"POST {API}/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    hostile = [connection(standing_server) for _ in range(5)]
    for sender in hostile:
        sender.sendall(f"{head}Content-Length: {1 << 62}\r\n\r\n".encode() + b" " * (15 * MIB))
    headers = {"content-type": "application/json"}
    answer = client.post(f"{API}/runs/log-batch", content=b"{}" + b" " * (2 * MIB), headers=headers)
    assert_refused(answer, INVALID, 400, "run_id")
    for sender in hostile:
        sender.close()


def test_a_probe_answers_a_head_request(client: httpx.Client) -> None:
    for path in ("/health", "/version", f"{API}/runs/get?run_id=x"):
        answer = client.head(path)
        assert answer.status_code == client.get(path).status_code
        assert answer.content == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nContent-Length: many\r\n\r\n{}",
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=repr,
)
def test_what_is_not_http_gets_a_400_and_its_connection_is_closed(standing_server: Server, sent: bytes) -> None:
    with connection(standing_server) as strange:
        strange.sendall(sent)
        status, *_, body = strange.makefile("rb").read().split(b"\r\n")
        assert b" 400 " in status
        assert json.loads(body)["error_code"] == "BAD_REQUEST"
