"""The table: figures, ratios, targets, and whether they are met. Pure: results in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.measurement import Measurement
from bench.rows import WRITES, Row
from bench.targets import TARGETS, Target

COLUMNS: Final = ("work", "MLflow", "FastTrackML", "Runstream", "x MLflow", "x FastTrackML", "target", "met")

#: Behind a ratio to a server that did not do the work without errors: it says more about those than about speed.
MARK: Final = " (!)"

#: The part of the writes during a search that is enough.
ENOUGH: Final = 0.98

#: Measurements of one row, by server name.
Found = Mapping[str, Measurement]


@dataclass(frozen=True)
class Line:
    """One line of the table as text, in the order of :data:`COLUMNS`."""

    cells: tuple[str, str, str, str, str, str, str, str]


def ratio(row: Row, ours: Measurement | None, theirs: Measurement | None) -> float | None:
    """How many times better ours is; ``None`` when one of them has no figure, or theirs is nothing to divide by."""
    if ours is None or theirs is None or ours.value is None or theirs.value is None:
        return None
    better, worse = (ours.value, theirs.value) if row.more_is_better else (theirs.value, ours.value)
    return better / worse if worse else None


def met(row: Row, target: Target | None, found: Found) -> bool | None:
    """Whether Runstream's figure meets the target; ``None`` when there is no target, or a part of it was not measured.

    One part that is missed is a NO whatever the others are. A yes needs every part: a ratio to a server that was not
    measured, or that did no work to divide by, proves nothing. Errors and problems of Runstream's own never meet one,
    nor does a search while fewer log-batches were written than the row is about.
    """
    ours = found.get("runstream")
    if target is None or ours is None:
        return None
    if ours.value is None or ours.errors or ours.problems or slow_writes(ours) is not None:
        return False
    parts: list[bool | None] = []
    for name, least in (("mlflow", target.times_mlflow), ("fasttrackml", target.times_fasttrackml)):
        if least is not None:
            times = ratio(row, ours, found.get(name))
            parts.append(None if times is None else times >= least)
    if target.at_most is not None:
        parts.append(ours.value <= target.at_most)
    if False in parts:
        return False
    return None if None in parts else True


def line(row: Row, found: Found) -> Line:
    """The row as text."""
    target = TARGETS.get(row.name)
    ours = found.get("runstream")
    verdict = {True: "yes", False: "NO", None: "–"}[met(row, target, found)]
    return Line(
        (
            row.title,
            cell(row, found.get("mlflow")),
            cell(row, found.get("fasttrackml")),
            cell(row, ours),
            _times(row, ours, found.get("mlflow")),
            _times(row, ours, found.get("fasttrackml")),
            wanted(row, target),
            verdict,
        )
    )


def cell(row: Row, measurement: Measurement | None) -> str:
    """A figure with its latencies and what went wrong."""
    if measurement is None:
        return "–"
    parts = ["failed" if measurement.value is None else figure(measurement.value, row.unit)]
    if measurement.p50_ms is not None and measurement.p99_ms is not None:
        parts.append(f"p50 {_ms(measurement.p50_ms)}, p99 {_ms(measurement.p99_ms)} ms")
    if (reached := slow_writes(measurement)) is not None:
        parts.append(f"only {figure(reached, '/s')} of {WRITES}/s written")
    if measurement.errors:
        parts.append(f"{measurement.errors:,} errors")
    if measurement.problems:
        parts.append(f"{len(measurement.problems)} problems" if len(measurement.problems) > 1 else "1 problem")
    return "; ".join(parts)


def slow_writes(measurement: Measurement) -> float | None:
    """The log-batches a second that were written during a search, when they were fewer than the row is about."""
    reached = measurement.notes.get("writes_per_second")
    return float(reached) if reached is not None and float(reached) < ENOUGH * WRITES else None


def figure(value: float, unit: str) -> str:
    """Three significant digits and the unit: ``1,234/s``, ``0.52 s``, ``18.3 B``."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{unit if unit.startswith('/') else ' ' + unit}"


def wanted(row: Row, target: Target | None) -> str:
    """A target in words."""
    if target is None:
        return "–"
    parts = []
    if target.times_mlflow is not None:
        parts.append(f"≥ {target.times_mlflow:g}x MLflow")
    if target.times_fasttrackml is not None:
        parts.append(f"≥ {target.times_fasttrackml:g}x FastTrackML")
    if target.at_most is not None:
        parts.append(f"≤ {target.at_most:g} {row.unit}")
    return ", ".join(parts)


def problems(rows: list[Row], results: Mapping[str, Found]) -> list[str]:
    """Every problem and the first wrong answer of each row, as sentences."""
    said = []
    for row in rows:
        for server, measurement in results.get(row.name, {}).items():
            said += [f"{server}, {row.title}: {problem}" for problem in measurement.problems]
            if "first_wrong_answer" in measurement.notes:
                said.append(f"{server}, {row.title}: first wrong answer: {measurement.notes['first_wrong_answer']}")
    return said


def markdown(rows: list[Row], results: Mapping[str, Found]) -> str:
    """The table in Markdown, with the problems below it."""
    table = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    table += [f"| {' | '.join(line(row, results.get(row.name, {})).cells)} |" for row in rows]
    if any(MARK in text for text in table):
        table += ["", f"`{MARK.strip()}`: the other server answered wrongly or not at all in this row."]
    if said := problems(rows, results):
        table += ["", "What went wrong:", "", *(f"- {_plain(sentence)}" for sentence in said)]
    return "\n".join(table) + "\n"


def _plain(sentence: str) -> str:
    """One line that Markdown leaves alone."""
    return "`" + " ".join(sentence.replace("`", "'").split())[:300] + "`"


def _times(row: Row, ours: Measurement | None, theirs: Measurement | None) -> str:
    value = ratio(row, ours, theirs)
    if value is None or theirs is None:
        return "–"
    mark = MARK if theirs.errors or theirs.problems else ""
    return (f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x") + mark


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
