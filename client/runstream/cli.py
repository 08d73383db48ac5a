"""The ``runstream`` command. Server commands are imported when called, and say which extra they need."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer

from runstream import __version__

# Without rich, which takes "[default: ...]" for markup.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Data = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Data directory.  [env: RUNSTREAM_DATA; default: ./runstream-data]"),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="A PostgreSQL >= 15 of your own, in place of the embedded one.  [env: RUNSTREAM_DATABASE_URL]",
    ),
]
PROJECTIONS = "experiments, runs, params, tags, latest_metrics, metric_blocks, inputs, outputs"


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Experiment tracking on an event log."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def up(
    data: Data = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Address to listen on; loopback only in this release.  [env: RUNSTREAM_HOST; default: 127.0.0.1]",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help="Port to listen on; 0 takes a free one.  [env: RUNSTREAM_PORT; default: 5000]"
        ),
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Start the whole server in one process."""
    _server().up(_given(data=data, host=host, port=port, database_url=database_url))


@app.command()
def rebuild(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"{PROJECTIONS}: all where none is named; or decisions."),
    ] = None,
    data: Data = None,
    database_url: DatabaseUrl = None,
    drop: Annotated[bool, typer.Option("--drop", help="Drop the versions that are no longer read.")] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With `decisions`: take decisions that come out differently.")
    ] = False,
) -> None:
    """Rebuild projections from the log, beside the ones that are read, then switch to them. The server may run."""
    _server().rebuild(
        names or [], _given(data=data, database_url=database_url), drop=drop, accept_changes=accept_changes
    )


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help=f"decisions, {PROJECTIONS}: all where none is named."),
    ] = None,
    data: Data = None,
    database_url: DatabaseUrl = None,
    log_only: Annotated[bool, typer.Option("--log-only", help="Check the log alone.")] = False,
) -> None:
    """Check the log's hash chain, then the decisions and each projection against ones made from it, beside a server."""
    _server().verify(names or [], _given(data=data, database_url=database_url), log_only=log_only)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _server() -> Any:
    try:
        return importlib.import_module("runstream_services.cli")
    except ImportError as error:
        typer.echo(f"This command needs the server: pip install 'runstream[server]' ({error})", err=True)
        raise typer.Exit(2) from error


def main() -> None:
    """Entry point."""
    sys.exit(app())
