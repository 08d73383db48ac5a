"""Measures one server, in sessions on new directories: loads, history, memory and start-up; searches; searches in a
million runs; each disk row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Final, TypeVar

from bench.expected import LIVE_RUNS
from bench.loadrow import measure_load
from bench.measurement import Measurement, failed
from bench.population import Population, populate, small_runs
from bench.processes import MemoryWatch, memory_mb
from bench.rows import (
    MEMORY_IDLE,
    MEMORY_LOAD,
    MILLION_ROWS,
    SHAPE_ROWS,
    START,
    DiskRow,
    HistoryRow,
    LoadRow,
    Row,
    SearchLoadRow,
    ShapeRow,
)
from bench.searched import Searched, searched
from bench.searchrow import PAGE, measure_experiments, measure_pages, measure_shape
from bench.servers.running import Running, Server
from bench.stored import measure_disk, measure_histories
from bench.trouble import BenchError

#: Memory is idle this long after the first answer.
IDLE_S: Final = 5

#: What keeps one row from being measured, and not the next.
FAILURES: Final = (BenchError, OSError, HTTPException, ExceptionGroup)

AnyRow = TypeVar("AnyRow", bound=Row)

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
    #: runs of the large experiments are divided by this, to try the bench out
    shrink: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    _peaks_mb: dict[str, float] = field(default_factory=dict)

    def run(self) -> None:
        """Measure every row; what cannot be measured is said as a failed measurement, and the next row goes on."""
        first = (START, MEMORY_IDLE)
        main: list[Row] = [row for row in self.rows if isinstance(row, LoadRow | HistoryRow) or row in first]
        searches: list[Row] = [row for row in self.rows if isinstance(row, SearchLoadRow) or row in SHAPE_ROWS]
        million: list[Row] = [row for row in self.rows if row in MILLION_ROWS and self.server.native]
        for name, rows, measure in (
            ("main", main, self._measure_main),
            ("searches", searches, self._measure_searches),
            ("million", million, self._measure_searches),
        ):
            if rows:
                self._with_server(name, rows, measure)
        if MEMORY_LOAD in self.rows:
            self._say_peak()
        for row in self.rows:
            if isinstance(row, DiskRow):
                self._with_server(row.name, [row], self._measure_disk)

    def _say_peak(self) -> None:
        if self._peaks_mb:
            notes: dict[str, float | int | str] = {name: round(peak) for name, peak in self._peaks_mb.items()}
            self.say(MEMORY_LOAD, Measurement(max(self._peaks_mb.values()), notes=notes))
        else:
            self.say(MEMORY_LOAD, failed("no load row was run"))

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
        if loads := [row for row in rows if isinstance(row, LoadRow)]:
            with self._watched(running, loads[0]):
                for row in loads:
                    self._try(row, running, partial(self._measure_load, row, running))
        if histories := [row for row in rows if isinstance(row, HistoryRow)]:
            self._measure_histories(histories, running)

    def _measure_load(self, row: LoadRow, running: Running) -> Measurement:
        place = self.folder / "load" / self.server.name
        return measure_load(row, self.server, running, seconds=self.seconds, warm_up=self.warm_up, folder=place)

    def _measure_histories(self, rows: list[HistoryRow], running: Running) -> None:
        found: dict[Row, Measurement] = {}
        try:
            found.update(measure_histories(rows, self.server, running))
        except FAILURES as error:
            found = {row: failed(_said(error)) for row in rows}
        for row in rows:
            self.say(row, found[row])

    def _measure_searches(self, rows: list[Row], running: Running) -> None:
        """First those that need few runs; the shapes of rows share one large experiment."""
        place = self.folder / "search" / self.server.name
        timed = {"seconds": self.seconds, "warm_up": self.warm_up}
        pages: list[SearchLoadRow] = []
        for row in rows:
            if isinstance(row, SearchLoadRow) and row.asks == "experiments":
                with self._watched(running, row):
                    self._try(row, running, partial(measure_experiments, row, running, **timed, folder=place))
            elif isinstance(row, SearchLoadRow):
                pages.append(row)
        self._search(
            pages, running, PAGE.size - LIVE_RUNS, small_runs,
            lambda row, at: measure_pages(row, at, running, **timed, folder=place),
        )  # fmt: skip
        shapes = [row for row in rows if isinstance(row, ShapeRow)]
        if shapes:
            runs = max(shapes[0].runs // self.shrink, 2 * LIVE_RUNS)
            self._search(shapes, running, runs, populate, lambda row, at: measure_shape(row, at, **timed))

    def _search(
        self,
        rows: Sequence[AnyRow],
        running: Running,
        runs: int,
        made: Callable[[int], Population],
        measure: Callable[[AnyRow, Searched], Measurement],
    ) -> None:
        """Measure rows in one experiment, filled for them."""
        if not rows:
            return
        try:
            at = searched(self.server, running, f"bench-{rows[0].name}", made(runs))
        except FAILURES as error:
            for row in rows:
                self.say(row, failed(f"filling the experiment: {_said(error)}"))
            return
        with self._watched(running, rows[0]):
            for row in rows:
                self._try(row, running, partial(measure, row, at))

    def _measure_disk(self, rows: list[Row], running: Running) -> None:
        for row in rows:
            if isinstance(row, DiskRow):
                self._try(row, running, partial(measure_disk, row, self.server, running))

    @contextmanager
    def _watched(self, running: Running, first: Row) -> Iterator[None]:
        """Keep the peak of memory under the name of the first row of those that are measured meanwhile."""
        with MemoryWatch(running.process.pid) as watch:
            yield
        if watch.peak_mb:
            self._peaks_mb[f"peak_mb_from_{first.name}"] = watch.peak_mb

    def _try(self, row: Row, running: Running, measure: Callable[[], Measurement]) -> None:
        if running.process.poll() is not None:
            self.say(row, failed("the server is no longer running"))
            return
        try:
            found = measure()
        except FAILURES as error:
            found = failed(_said(error))
        self.say(row, found)


def _said(error: Exception) -> str:
    return f"{error!r}"[:500]
