"""Measures one server: a session for loads, history, memory and start-up, and one on a new directory per disk row."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from bench.loadrow import measure_load
from bench.measurement import Measurement, failed
from bench.processes import MemoryWatch, memory_mb
from bench.rows import HISTORY, MEMORY_IDLE, MEMORY_LOAD, START, DiskRow, LoadRow, Row
from bench.servers.running import Running, Server
from bench.stored import measure_disk, measure_history
from bench.trouble import BenchError

#: Memory is idle this long after the first answer.
IDLE_S: Final = 5

#: Called with each measurement when it is there.
Say = Callable[[Row, Measurement], None]


@dataclass
class Session:
    """What is measured of one server, and what was found so far."""

    server: Server
    rows: list[Row]
    seconds: float
    warm_up: float
    folder: Path
    say: Say
    settings: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Measure every row; what cannot be measured is said as a failed measurement, and the next row goes on."""
        disk = [row for row in self.rows if isinstance(row, DiskRow)]
        others = [row for row in self.rows if not isinstance(row, DiskRow)]
        if others:
            self._with_server("main", others, self._measure_main)
        for row in disk:
            self._with_server(row.name, [row], self._measure_disk)

    def _with_server(self, name: str, rows: list[Row], measure: Callable[[list[Row], Running], None]) -> None:
        place = self.folder / self.server.name / name
        place.mkdir(parents=True)
        place.chmod(0o755)
        with ExitStack() as stack:
            try:
                running = stack.enter_context(self.server.start(place))
            except BenchError as error:
                for row in rows:
                    self.say(row, failed(f"did not start: {error}"))
                return
            try:
                self.settings = running.database().settings()
            except BenchError as error:
                for row in rows:
                    self.say(row, failed(f"not measured: {error}"))
                return
            measure(rows, running)

    def _measure_main(self, rows: list[Row], running: Running) -> None:
        if START in rows:
            self.say(START, Measurement(running.start_s))
        if MEMORY_IDLE in rows:
            time.sleep(IDLE_S)
            self.say(MEMORY_IDLE, Measurement(memory_mb(running.process.pid)))
        with MemoryWatch(running.process.pid) as watch:
            for row in rows:
                if isinstance(row, LoadRow):
                    self._measure_load(row, running)
        if MEMORY_LOAD in rows:
            self.say(MEMORY_LOAD, Measurement(watch.peak_mb) if watch.peak_mb else failed("no load row was run"))
        if HISTORY in rows:
            self._try(HISTORY, lambda: self.say(HISTORY, measure_history(running)))

    def _measure_load(self, row: LoadRow, running: Running) -> None:
        if running.process.poll() is not None:
            self.say(row, failed("the server is no longer running"))
            return
        self._try(row, partial(self._say_load, row, running))

    def _say_load(self, row: LoadRow, running: Running) -> None:
        place = self.folder / "load" / self.server.name
        found = measure_load(row, self.server, running, seconds=self.seconds, warm_up=self.warm_up, folder=place)
        self.say(row, found)

    def _measure_disk(self, rows: list[Row], running: Running) -> None:
        for row in rows:
            if isinstance(row, DiskRow):
                self._try(row, partial(self._say_disk, row, running))

    def _say_disk(self, row: DiskRow, running: Running) -> None:
        self.say(row, measure_disk(row, self.server, running))

    def _try(self, row: Row, measure: Callable[[], None]) -> None:
        try:
            measure()
        except (BenchError, OSError, ExceptionGroup) as error:
            self.say(row, failed(f"{error!r}"[:500]))
