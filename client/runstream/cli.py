"""The ``runstream`` command. Server commands are imported when called, and say which extra they need."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from runstream import __version__

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Experiment tracking on an event log."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def up(
    data: Annotated[Path | None, typer.Option(help="Directory for everything.  [default: ./runstream-data]")] = None,
    host: Annotated[str | None, typer.Option(help="Address; loopback only.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port.  [default: 5000]")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="A PostgreSQL >= 15 of your own, in place of the embedded one.")
    ] = None,
) -> None:
    """Start the whole server in one process."""
    given = {"data": data, "host": host, "port": port, "database_url": database_url}
    _server().up(**{name: value for name, value in given.items() if value is not None})


def _server() -> Any:
    try:
        return importlib.import_module("runstream_services.cli")
    except ImportError as error:
        typer.echo(f"This command needs the server: pip install 'runstream[server]' ({error})", err=True)
        raise typer.Exit(2) from error


def main() -> None:
    """Entry point."""
    sys.exit(app())
