"""Runs wrk on filled templates and reads what it reports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from bench.request import FIRST_MS
from bench.trouble import BenchError

#: How long wrk waits for answers that are still under way when the time is over.
DRAIN_S: Final = 45

SCRIPTS: Final = Path(__file__).parent / "wrk"


@dataclass(frozen=True)
class Load:
    """What one run of wrk did; ``rate`` counts right answers within the time, latencies are of all answers."""

    first: int
    seconds: float
    sent: int
    acknowledged: int
    in_window: int
    wrong: int
    not_opened: int
    idle_closed: int
    drained: bool
    p50_ms: float
    p99_ms: float
    max_ms: float
    wrk_cpu_s: float
    samples: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.in_window / self.seconds

    @property
    def errors(self) -> int:
        """Requests without a right answer at the end of the drain, and connections that could not be opened.

        A connection that breaks under a request leaves that one without an answer. One that is idle because the load
        waits for the others may be closed: MLflow's server does so after 5 s.
        """
        return self.sent - self.acknowledged + self.not_opened

    @property
    def wrk_us_per_request(self) -> float:
        """CPU time of wrk for one request: building, sending, reading and checking, in microseconds."""
        return self.wrk_cpu_s * 1e6 / max(self.sent, 1)

    @property
    def wrk_share(self) -> float:
        """The part of one core that wrk used while it sent: well below 1, or wrk is what was measured."""
        return self.wrk_cpu_s / self.seconds


def wrk_binary() -> str:
    """The path of wrk; raises BenchError with how to get it."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchError(
            "wrk is not installed: `apt-get install wrk` on Debian and Ubuntu, `brew install wrk` on macOS, "
            "or build https://github.com/wg/wrk (with LuaJIT) and put it on the PATH"
        )
    return found


def run_load(
    url: str,
    templates: list[bytes],
    *,
    connections: int,
    seconds: float,
    first: int,
    folder: Path,
    expect: Literal["empty", "run_id", "count"] = "empty",
    count: tuple[str, int] = ("", 0),
) -> Load:
    """Send the templates in turn for ``seconds`` over ``connections`` connections; numbers start at ``first``.

    With ``expect="run_id"`` the acknowledged ids are in ``folder/ids.txt``, one a line; with ``expect="count"`` a right
    answer holds a text exactly so often.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, template in enumerate(templates):
        path = folder / f"request-{number}.bin"
        path.write_bytes(template)
        paths.append(path)
    config = folder / "config.lua"
    config.write_text(_config(paths, connections, seconds, first, folder, expect, count))
    command = [
        wrk_binary(), "-t1", f"-c{connections}", f"-d{int(seconds) + 1 + DRAIN_S}s", "--timeout", "60s",
        "-s", str(SCRIPTS / "load.lua"), url, "--", str(config),
    ]  # fmt: skip
    output, cpu_s = _run(command, {"LUA_PATH": f"{SCRIPTS}/?.lua;;"})
    samples = tuple((folder / "wrong.txt").read_text(errors="replace").splitlines())
    return parse_result(output, first=first, seconds=seconds, cpu_s=cpu_s, samples=samples)


def parse_result(output: str, *, first: int, seconds: float, cpu_s: float, samples: tuple[str, ...] = ()) -> Load:
    """The RESULT line of wrk's output as a :class:`Load`; raises BenchError with the output when there is none."""
    lines = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise BenchError(f"wrk gave no result:\n{output[-2000:]}")
    found = json.loads(lines[-1].removeprefix("RESULT "))
    return Load(
        first=first,
        seconds=seconds,
        sent=found["sent"],
        acknowledged=found["acknowledged"],
        in_window=found["in_window"],
        wrong=found["wrong"],
        not_opened=found["connect"],
        idle_closed=found["idle_closed"],
        drained=found["drained"],
        p50_ms=found["p50_us"] / 1000,
        p99_ms=found["p99_us"] / 1000,
        max_ms=found["max_us"] / 1000,
        wrk_cpu_s=cpu_s,
        samples=samples,
    )


def _config(
    paths: list[Path],
    connections: int,
    seconds: float,
    first: int,
    folder: Path,
    expect: str,
    count: tuple[str, int],
) -> str:
    templates = ", ".join(_quoted(path) for path in paths)
    lines = [
        f"templates = {{{templates}}}",
        f"seconds = {seconds}",
        f"connections = {connections}",
        f"first = {first}",
        f"first_ms = {FIRST_MS}",
        f'expect = "{expect}"',
        f"counted = [[{count[0]}]]",
        f"count = {count[1]}",
        f"wrong = {_quoted(folder / 'wrong.txt')}",
    ]
    if expect == "run_id":
        lines.append(f"ids = {_quoted(folder / 'ids.txt')}")
    return "return { " + ", ".join(lines) + " }\n"


def _quoted(path: Path) -> str:
    text = str(path)
    if "]]" in text:
        raise BenchError(f"a path with ]] in it cannot be written in Lua: {text}")
    return f"[[{text}]]"


def _run(command: list[str], extra: dict[str, str]) -> tuple[str, float]:
    """The output of wrk and the CPU seconds that it used."""
    before = os.times()
    done = subprocess.run(
        command, env={**os.environ, **extra}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, cpu_s
