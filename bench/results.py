"""Where results are kept: a JSON file a run, the latest one in git, and the table in docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from bench.load import Load
from bench.measurement import Measurement
from bench.report import markdown
from bench.rows import Row
from bench.trouble import BenchError

FOLDER: Final = Path(__file__).parent / "results"
DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- results: written by `python -m bench`, do not edit -->"
END: Final = "<!-- end of results -->"


@dataclass
class Results:
    """One run of the bench."""

    started: str
    seconds: float
    warm_up: float
    machine: dict[str, str | int]
    #: what the runs of large experiments were divided by: 1, or no more than a trial
    shrink: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    ceilings: list[dict[str, str | int | float]] = field(default_factory=list)
    rows: dict[str, dict[str, Measurement]] = field(default_factory=dict)


def ceiling_note(title: str, connections: int, length: int, load: Load) -> dict[str, str | int | float]:
    """What wrk reached against the responder, as kept in the results."""
    return {
        "body": title,
        "connections": connections,
        "request_bytes": length,
        "per_second": round(load.rate),
        "wrk_us_per_request": round(load.wrk_us_per_request, 1),
    }


def save(results: Results, *, latest: bool) -> Path:
    """Write the JSON file of this run, and ``latest.json`` too when asked; gives the first one's path."""
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(asdict(results), indent=2) + "\n"
    path = FOLDER / f"{results.started.replace(':', '')}.json"
    path.write_text(text)
    if latest:
        (FOLDER / "latest.json").write_text(text)
    return path


def document(results: Results, rows: list[Row]) -> None:
    """Put the tables between the marks of docs/benchmarks.md."""
    DOCUMENT.write_text(replace_region(DOCUMENT.read_text(), region(results, rows)))


def replace_region(text: str, inside: str) -> str:
    """``text`` with what stands between the marks replaced; raises BenchError when they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"docs/benchmarks.md has no region between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{inside.strip()}\n\n{END}{after}"


def region(results: Results, rows: list[Row]) -> str:
    """Machine, versions, table of results and table of wrk's ceilings, in Markdown."""
    machine = results.machine
    parts = [
        f"Measured {results.started[:10]} on {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gb']} GB, {machine['system']}, {machine['file_system']}, Python {machine['python']}; "
        f"{results.seconds:g} s a row after {results.warm_up:g} s of warm-up. "
        + _versions(results.versions, results.settings),
        markdown(rows, results.rows),
    ]
    if results.ceilings:
        parts.append(_ceilings(results.ceilings))
    return "\n\n".join(part.strip() for part in parts)


def _versions(versions: Mapping[str, str], settings: Mapping[str, Mapping[str, str]]) -> str:
    servers = ", ".join(f"{title} {version}" for title, version in versions.items())
    common, different = compare(settings)
    said = f"{servers}. PostgreSQL of all: {common or 'not read'}."
    return f"{said} Settings that differ: {different}." if different else said


def compare(settings: Mapping[str, Mapping[str, str]]) -> tuple[str, str]:
    """The settings that all servers share, and those that they do not, as text."""
    common, different = [], []
    for name in sorted({name for found in settings.values() for name in found}):
        values = {server: found.get(name, "unknown") for server, found in settings.items()}
        if len(set(values.values())) == 1:
            common.append(f"{name} {next(iter(values.values()))}")
        else:
            different.append(f"{name} ({', '.join(f'{server} {value}' for server, value in values.items())})")
    return ", ".join(common), ", ".join(different)


def _ceilings(ceilings: list[dict[str, str | int | float]]) -> str:
    lines = [
        "What the load generator itself can do, against a responder that only counts bytes:",
        "",
        "| body | connections | bytes of a request | requests/s | CPU of wrk for one request |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {found['body']} | {found['connections']} | {found['request_bytes']:,} | {found['per_second']:,} "
        f"| {found['wrk_us_per_request']} µs |"
        for found in ceilings
    ]
    return "\n".join(lines)
