"""``python -m bench``: measures, prints the table, writes the results."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.ceiling import ceilings
from bench.load import wrk_binary
from bench.measurement import Measurement
from bench.report import COLUMNS, cell, line, problems
from bench.results import Results, ceiling_note, compare, document, save
from bench.rows import ROWS, Row, named
from bench.servers.fasttrackml import fasttrackml
from bench.servers.mlflow import mlflow
from bench.servers.running import Server
from bench.servers.runstream import runstream
from bench.servers.venv import others_venv
from bench.session import Session
from bench.trouble import BenchError

ROOT: Final = Path(__file__).parent.parent
#: Columns of the table in a log file.
WIDE: Final = 200
SERVERS: Final = ("mlflow", "fasttrackml", "runstream")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    *,
    rows: Annotated[
        str, typer.Option(help=f"Which rows, by names or their beginnings: {', '.join(row.name for row in ROWS)}.")
    ] = "all",
    servers: Annotated[str, typer.Option(help="Which servers, measured one after the other.")] = ",".join(SERVERS),
    seconds: Annotated[float, typer.Option(min=0.5, help="Seconds of load in each row.")] = 8.0,
    warm_up: Annotated[float, typer.Option(min=0.5, help="Seconds of load before that, not measured.")] = 2.0,
    venv: Annotated[
        Path, typer.Option("--others-venv", help="Environment of the other servers, made when it is missing.")
    ] = ROOT / ".cache" / "bench-venv",
    work: Annotated[Path, typer.Option(help="Where data directories are made: on a real disk.")] = Path("/var/tmp"),
    runstream_socket: Annotated[
        Path | None, typer.Option(help="Folder of Runstream's PostgreSQL socket, when it is not found under its data.")
    ] = None,
    shrink: Annotated[
        int, typer.Option(min=1, help="Divide the runs of the large experiments by this, to try the bench out.")
    ] = 1,
    ceiling: Annotated[bool, typer.Option(help="Measure first what wrk itself can do.")] = True,
    write: Annotated[
        bool | None, typer.Option(help="Write latest.json and docs/benchmarks.md; by default when all is measured.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep data directories and logs.")] = False,
) -> None:
    """Measure Runstream, MLflow and FastTrackML on the same machine and PostgreSQL, and write the table."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        wrk_binary()
        chosen_rows = named(rows)
        chosen_servers = _servers(servers, venv.absolute(), runstream_socket)
        work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="rsb-", dir=work))
        folder.chmod(0o755)
        try:
            results = _measure(
                console, chosen_rows, chosen_servers,
                seconds=seconds, warm_up=warm_up, folder=folder, shrink=shrink, ceiling=ceiling,
            )  # fmt: skip
        finally:
            if keep:
                console.print(f"data and logs are in {folder}")
            else:
                shutil.rmtree(folder)
        _print(console, chosen_rows, results)
        everything = len(chosen_rows) == len(ROWS) and len(chosen_servers) == len(SERVERS) and shrink == 1
        latest = everything if write is None else write
        console.print(f"results: {save(results, latest=latest)}")
        if latest:
            document(results, chosen_rows)
    except BenchError as error:
        console.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error


def _measure(
    console: Console,
    rows: list[Row],
    servers: list[Server],
    *,
    seconds: float,
    warm_up: float,
    folder: Path,
    shrink: int,
    ceiling: bool,
) -> Results:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    results = Results(started, seconds, warm_up, machine.describe(folder), shrink)
    if ceiling:
        results.ceilings = [ceiling_note(*found) for found in ceilings()]
        for found in results.ceilings:
            console.print("wrk alone:", found)
    for server in servers:

        def say(row: Row, measurement: Measurement, server: Server = server) -> None:
            results.rows.setdefault(row.name, {})[server.name] = measurement
            console.print(f"{server.title}: {row.title}: {cell(row, measurement)}", markup=False, highlight=False)

        results.versions[server.title] = server.version
        session = Session(server, rows, seconds, warm_up, folder, say, shrink)
        session.run()
        if session.settings:
            results.settings[server.name] = session.settings
    return results


def _servers(names: str, venv: Path, runstream_socket: Path | None) -> list[Server]:
    wanted = names.split(",")
    if unknown := [name for name in wanted if name not in SERVERS]:
        raise BenchError(f"no server named {', '.join(unknown)}; there are {', '.join(SERVERS)}")
    if any(name != "runstream" for name in wanted):
        others_venv(venv, ROOT / "pyproject.toml")
    makers = {
        "mlflow": lambda: mlflow(venv),
        "fasttrackml": lambda: fasttrackml(venv),
        "runstream": lambda: runstream(runstream_socket),
    }
    return [makers[name]() for name in SERVERS if name in wanted]


def _print(console: Console, rows: list[Row], results: Results) -> None:
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*line(row, results.rows.get(row.name, {})).cells)
    console.print(table)
    if different := compare(results.settings)[1]:
        console.print(f"! PostgreSQL settings that differ: {different}", markup=False, highlight=False)
    for sentence in problems(rows, results.rows):
        console.print(f"! {sentence}", markup=False, highlight=False)


if __name__ == "__main__":
    app()
