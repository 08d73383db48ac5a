"""The rows of the benchmark: design sections 12 and 13, writes, searches, history, disk, memory and start-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from bench.shapes import HARD_SHAPES, ILIKE_SHAPES, SHAPES, Shape
from bench.trouble import BenchError

#: Reads and seeds as the MLflow Python client does.
HISTORY_PAGE: Final = 25_000
HISTORY_POINTS: Final = 300_000
DISK_RUNS: Final = 100
#: log-batches of 10 metrics a second that an experiment takes while it is searched.
WRITES: Final = 200

Sends = Literal["metrics", "new params", "equal params", "runs"]


@dataclass(frozen=True)
class Row:
    """One line of the table; ``unit`` follows the figure."""

    name: str
    title: str
    unit: str

    @property
    def more_is_better(self) -> bool:
        """Whether a larger figure is the better one."""
        return self.unit == "/s"


@dataclass(frozen=True)
class LoadRow(Row):
    """Requests for a fixed time from ``connections`` connections to ``runs`` runs in turn, ``size`` items in each."""

    sends: Sends = "metrics"
    size: int = 10
    connections: int = 20
    runs: int = 20


@dataclass(frozen=True)
class DiskRow(Row):
    """Bytes of all tables for one point, written in events of ``size`` points."""

    size: int = 10


@dataclass(frozen=True)
class SearchLoadRow(Row):
    """The same search for a fixed time from 20 connections, while ``writes`` log-batches a second are written."""

    asks: Literal["runs", "experiments"] = "runs"
    writes: int = 0


@dataclass(frozen=True)
class ShapeRow(Row):
    """The median time of a search on one connection among ``runs`` runs that take log-batches meanwhile."""

    shape: Shape
    runs: int


@dataclass(frozen=True)
class HistoryRow(Row):
    """The history of a long metric, as columns in one answer from a server that has them."""

    columns: Literal["json", "arrow"] | None = None


LOAD_ROWS: Final[tuple[LoadRow, ...]] = (
    LoadRow("log-10-one", "log-batch, 10 metrics, 20 connections, one run", "/s", runs=1),
    LoadRow("log-10-many", "log-batch, 10 metrics, 20 connections, 20 runs", "/s"),
    LoadRow("log-500-one", "log-batch, 500 metrics, 20 connections, one run", "/s", size=500, runs=1),
    LoadRow("log-500-many", "log-batch, 500 metrics, 20 connections, 20 runs", "/s", size=500),
    LoadRow("log-10-single", "log-batch, 10 metrics, 1 connection", "/s", connections=1, runs=1),
    LoadRow("log-1000-single", "log-batch, 1,000 metrics, 1 connection", "/s", size=1000, connections=1, runs=1),
    LoadRow("params-10", "log-batch, 10 new params, 20 connections, 20 runs", "/s", "new params"),
    LoadRow("params-100", "log-batch, 100 new params, 20 connections, 20 runs", "/s", "new params", size=100),
    LoadRow("params-10-again", "the same 10 params again, equal values", "/s", "equal params"),
    LoadRow("params-100-again", "the same 100 params again, equal values", "/s", "equal params", size=100),
    LoadRow("create", "runs/create, 20 connections", "/s", "runs"),
)
SEARCH_LOAD_ROWS: Final = (
    SearchLoadRow("search-page", "runs/search, page of 1,000 small runs, 20 connections", "/s"),
    SearchLoadRow("search-page-busy", f"the same, during {WRITES} log-batches/s", "/s", writes=WRITES),
    SearchLoadRow("search-experiments", "experiments/search, 20 experiments, 20 connections", "/s", "experiments"),
)
SHAPE_ROWS: Final = tuple(
    ShapeRow(f"100k-{shape.name}", f"100,000 runs, {WRITES} log-batches/s: {shape.title}", "ms", shape, 100_000)
    for shape in SHAPES
)
#: For servers that have the native API: the others would take hours to fill.
MILLION_ROWS: Final = tuple(
    ShapeRow(f"1m-{shape.name}", f"1,000,000 runs, {WRITES} log-batches/s: {shape.title}", "ms", shape, 1_000_000)
    for shape in (*SHAPES, *HARD_SHAPES, *ILIKE_SHAPES)
)
HISTORY_ROWS: Final = (
    HistoryRow("history", "history of 300,000 points, pages of 25,000", "s"),
    HistoryRow("history-columns", "the same as columns, JSON (others: pages)", "s", "json"),
    HistoryRow("history-arrow", "the same as columns, Arrow (others: pages)", "s", "arrow"),
)
DISK_ROWS: Final[tuple[DiskRow, ...]] = tuple(
    DiskRow(f"disk-{size}", f"disk per point, events of {size:,} points", "B", size=size) for size in (10, 500, 1000)
)
MEMORY_IDLE: Final = Row("memory-idle", "memory beside PostgreSQL, idle", "MB")
MEMORY_LOAD: Final = Row("memory-load", "memory beside PostgreSQL, under the loads above", "MB")
START: Final = Row("start", "start on a new directory to first answer", "s")

ROWS: Final[tuple[Row, ...]] = (
    *LOAD_ROWS,
    *SEARCH_LOAD_ROWS,
    *SHAPE_ROWS,
    *MILLION_ROWS,
    *HISTORY_ROWS,
    *DISK_ROWS,
    MEMORY_IDLE,
    MEMORY_LOAD,
    START,
)


def named(names: str) -> list[Row]:
    """The rows of a list of names, or of beginnings of names, in the table's order; ``all`` are all."""
    if names == "all":
        return list(ROWS)
    found: set[Row] = set()
    for name in names.split(","):
        rows = [row for row in ROWS if row.name == name] or [row for row in ROWS if row.name.startswith(f"{name}-")]
        if not rows:
            raise BenchError(f"no row named {name}; there are {', '.join(row.name for row in ROWS)}")
        found.update(rows)
    return [row for row in ROWS if row in found]
