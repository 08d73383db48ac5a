"""A load on a server that may die at any moment: connections that write, retry as MLflow clients do, and keep book."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from runstream_schemas.columns import columns_from_points
from runstream_schemas.events import RunLogged
from runstream_schemas.ids import run_stream
from tests.adversity.ledger import NO_ANSWER, REFUSED, Call, Ledger, Point
from tests.native import body_of
from tests.sent import Sent

WRITERS: Final = 8

#: An attempt waits for its answer at most so long: longer than the server's own deadline (15 s).
ATTEMPT_S: Final = 40.0
#: Pauses between the attempts of a call, as MLflow's client doubles them, but shorter; then the call is given up.
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 0.5
CALL_S: Final = 90.0

_PREFIX: Final = "/api/2.0/mlflow/"
_EVENTS: Final = "/api/runstream/v1/events"
_RARE: Final = ("nan", "inf", "-inf", "-0.0", "5e-324", "1.7976931348623157e+308")
_JSON_OF: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class Load:
    """Writers on a server at ``url``, running inside ``with``; all write to ``runs``, most also to runs of their own.

    One of them sends events, the others speak MLflow's API.
    """

    def __init__(self, url: str, runs: list[str], seed: int, *, writers: int = WRITERS, pause_s: float = 0.02) -> None:
        self.ledger = Ledger()
        self._ended = threading.Event()
        self._writers = [
            (NativeWriter if number == 0 else Writer)(
                number, url, runs, random.Random(f"{seed}/{number}"), self.ledger, self._ended, pause_s
            )
            for number in range(writers)
        ]

    def __enter__(self) -> Self:
        for writer in self._writers:
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop after the attempts in hand."""
        self._ended.set()
        for writer in self._writers:
            writer.join(2 * ATTEMPT_S)
            assert not writer.is_alive(), f"{writer.name} has no answer after {2 * ATTEMPT_S} s"


class Connection:
    """One client connection, opened again when it broke."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        assert place.hostname is not None
        self._http = http.client.HTTPConnection(place.hostname, place.port, timeout=ATTEMPT_S)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int | str, dict[str, str], Any]:
        """One attempt: the status or what stands for it, the headers, and the decoded body."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        place = path if path.startswith("/") else _PREFIX + path
        try:
            self._http.request(method, place, content, {"Content-Type": "application/json"})
            response = self._http.getresponse()
            answered = response.read()
        except ConnectionRefusedError:
            self.close()
            return REFUSED, {}, {}
        except (OSError, http.client.HTTPException):
            self.close()
            return NO_ANSWER, {}, {}
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            return response.status, headers, json.loads(answered)
        except ValueError:
            return response.status, headers, {"not_json": answered.decode(errors="replace")}

    def close(self) -> None:
        """Close it; the next attempt opens it again."""
        self._http.close()


class Writer(threading.Thread):
    """One connection's calls, one after the other. Every point, param and tag that it sends is in one call only."""

    def __init__(
        self,
        number: int,
        url: str,
        shared: list[str],
        dice: random.Random,
        ledger: Ledger,
        stop: threading.Event,
        pause_s: float,
    ) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self._number = number
        self._connection = Connection(url)
        self._shared = shared
        self._own: str | None = None
        self._experiment = "0"
        self._dice = dice
        self._ledger = ledger
        self._ended = stop
        self._pause_s = pause_s
        self._count = 0

    def run(self) -> None:
        """Write until told to stop."""
        try:
            while not self._ended.is_set():
                self._write()
                self._ended.wait(self._dice.uniform(0, 2 * self._pause_s))
        except Exception as error:  # a writer that falls silent would make the test easier, not fail it
            self._ledger.complaints.append(f"{self.name} failed: {error!r}")
            raise
        finally:
            self._connection.close()

    def _write(self) -> None:
        call = self._compose()
        self._ledger.calls.append(call)
        self._perform([call], call.path, call.body)
        if call.acknowledged:
            self._take_in(call)

    def _perform(self, calls: list[Call], path: str, content: Any) -> None:
        """Send what is one call, or several events in one, until it is answered."""
        call = calls[0]
        give_up = time.monotonic() + CALL_S
        pause_s = FIRST_PAUSE_S
        while True:
            status, headers, body = self._connection.ask("POST", path, content)
            exists = status == 400 and body.get("error_code") == "RESOURCE_ALREADY_EXISTS" and call.sent > 0
            for each in calls:
                each.answers.append(200 if exists else status)
                each.result = body
            if status == 200 or exists:
                return
            if isinstance(status, int) and (status != 503 or "retry-after" not in headers):
                self._ledger.complaints.append(f"{path} was answered {status}: {body}, after {call.answers[:-1]}")
                return
            if time.monotonic() > give_up or self._ended.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _take_in(self, call: Call) -> None:
        if call.path == "runs/create":
            self._own = call.result["run"]["info"]["run_id"]
        elif call.path == "experiments/create":
            self._experiment = call.result.get("experiment_id", self._experiment)
        elif call.run == self._own and self._dice.random() < 0.2:
            self._read_back(call)

    def _read_back(self, call: Call) -> None:
        """What was acknowledged before a read is in it."""
        status, _, body = self._connection.ask("GET", "runs/get?" + urlencode({"run_id": call.run}))
        if status == 200:
            run = body["run"]
            read = {entry["key"] for kind in ("params", "tags", "metrics") for entry in run["data"].get(kind, [])}
            read |= {use["dataset"]["name"] for use in run["inputs"].get("dataset_inputs", [])}
            read |= {model["model_id"] for model in run["outputs"].get("model_outputs", [])}
            asked = (call.points, call.params, call.tags, call.uses, call.makes)
            absent = {key for keys in asked for key in keys} - read
            if absent:
                self._ledger.complaints.append(f"a read after the acknowledgement does not show {sorted(absent)}")
        elif isinstance(status, int) and status != 503:
            self._ledger.complaints.append(f"runs/get was answered {status}: {body}")

    # What is asked

    def _compose(self) -> Call:
        self._count += 1
        chance = self._dice.random()
        name = f"w{self._number}.{self._count}"
        if chance < 0.002:
            return Call("experiments/create", {"name": name}, tags={"name": name})
        if chance < 0.01 or self._own is None:
            body = {"experiment_id": self._experiment, "run_name": name, "tags": [{"key": "made", "value": name}]}
            return Call("runs/create", body, tags={"made": name})
        run = self._own if self._dice.random() < 0.4 else self._dice.choice(self._shared)
        if chance < 0.06:
            [(key, [point])] = self._points(1).items()
            return Call("runs/log-metric", {"run_id": run, **_json_of(key, point)}, run, {key: [point]})
        if chance < 0.08:
            return Call("runs/log-parameter", {"run_id": run, "key": name, "value": name}, run, params={name: name})
        if chance < 0.10:
            return Call("runs/set-tag", {"run_id": run, "key": name, "value": name}, run, tags={name: name})
        if chance < 0.12:
            tags = [{"key": "mlflow.data.context", "value": name}]
            dataset = {"name": name, "digest": "1", "source_type": "local", "source": name}
            body = {"run_id": run, "datasets": [{"dataset": dataset, "tags": tags}]}
            return Call("runs/log-inputs", body, run, uses={name: name})
        if chance < 0.13:
            body = {"run_id": run, "models": [{"model_id": name, "step": self._count}]}
            return Call("runs/outputs", body, run, makes={name: self._count})
        return self._batch(run, name)

    def _batch(self, run: str, name: str) -> Call:
        size = 400 if self._dice.random() < 0.01 else self._dice.randint(0, 20)
        points = self._points(size)
        params = {f"{name}.{number}": name for number in range(self._dice.choice((0, 0, 0, 1, 3)))}
        tags = {f"{name}.{number}": name for number in range(self._dice.choice((0, 0, 0, 1)))}
        body = {
            "run_id": run,
            "metrics": [_json_of(key, point) for key, series in points.items() for point in series],
            "params": [{"key": key, "value": value} for key, value in params.items()],
            "tags": [{"key": key, "value": value} for key, value in tags.items()]
            + [{"key": f"last of {self._number}", "value": str(self._count)}],
        }
        return Call("runs/log-batch", body, run, points, params, tags, {f"last of {self._number}": self._count})

    def _points(self, size: int) -> dict[str, list[Point]]:
        """``size`` points of this writer's few keys, in any order of steps, and none of them for a second time."""
        points: dict[str, list[Point]] = {}
        for number, value in enumerate(self._values(size)):
            step = (self._count * 1_000 + number) * self._dice.choice((1, 1, 1, -1))
            key = f"w{self._number}/{self._dice.randrange(4)}"
            points.setdefault(key, []).append(Point(step, 1_700_000_000_000 + abs(step), value))
        return points

    def _values(self, size: int) -> Iterator[str]:
        for _ in range(size):
            rare = self._dice.random() < 0.02
            yield self._dice.choice(_RARE) if rare else repr(self._dice.uniform(-1, 1))


def _json_of(key: str, point: Point) -> dict[str, Any]:
    value = _JSON_OF.get(point.value) or float(point.value)
    return {"key": key, "value": value, "timestamp": point.timestamp, "step": point.step}


class NativeWriter(Writer):
    """Sends a few events at once: the same ones, by their ids, until it is told what became of each."""

    def _write(self) -> None:
        events, calls = [], []
        for _ in range(self._dice.randint(1, 5)):
            self._count += 1
            call = self._batch(self._dice.choice(self._shared), f"w{self._number}.{self._count}")
            calls.append(call)
            events.append(Sent(UUID(int=self._dice.getrandbits(128), version=4), run_stream(call.run), _event_of(call)))
        self._ledger.calls += calls
        self._perform(calls, _EVENTS, body_of(events))
        if calls[0].acknowledged:
            told = calls[0].result["results"]
            if [(result["id"], result["status"]) for result in told] != [(str(e.id), "accepted") for e in events]:
                self._ledger.complaints.append(f"valid events were answered {told}, after {calls[0].answers[:-1]}")


def _event_of(call: Call) -> RunLogged:
    flat = [(key, point) for key, series in call.points.items() for point in series]
    metrics = None
    if flat:
        metrics = columns_from_points(
            [key for key, _ in flat],
            [point.step for _, point in flat],
            [point.timestamp for _, point in flat],
            [float(point.value) for _, point in flat],
        )
    ordered = {key: str(number) for key, number in call.ordered.items()}
    return RunLogged(metrics=metrics, params=call.params, tags=call.tags | ordered)
