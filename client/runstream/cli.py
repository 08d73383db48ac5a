"""The ``runstream`` command. Server commands are imported when called, and say which extra they need."""

from __future__ import annotations

import importlib
import os
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
TokenFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="File of named tokens.  [env: RUNSTREAM_TOKEN_FILE; default: DIR/tokens, where there is one]",
    ),
]
PROJECTIONS = "experiments, runs, latest_metrics, metric_blocks, inputs, outputs"


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
            help="Address to listen on; others than loopback need tokens or --no-auth.  "
            "[env: RUNSTREAM_HOST; default: 127.0.0.1]",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help="Port to listen on; 0 takes a free one.  [env: RUNSTREAM_PORT; default: 5000]"
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    token_file: TokenFile = None,
    no_auth: Annotated[
        bool,
        typer.Option("--no-auth", help="Let in everybody who reaches the address.  [env: RUNSTREAM_NO_AUTH]"),
    ] = False,
    allowed_hosts: Annotated[
        str | None,
        typer.Option(
            metavar="HOST[:PORT],...",
            help="Names by which this server is reached.  [env: RUNSTREAM_ALLOWED_HOSTS]",
        ),
    ] = None,
    trusted_proxies: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS,...",
            help="Addresses or networks of proxies whose X-Forwarded-Host counts.  [env: RUNSTREAM_TRUSTED_PROXIES]",
        ),
    ] = None,
) -> None:
    """Start the whole server in one process."""
    _server().up(
        _given(
            data=data,
            host=host,
            port=port,
            database_url=database_url,
            token_file=token_file,
            no_auth=no_auth or None,
            allowed_hosts=allowed_hosts,
            trusted_proxies=trusted_proxies,
        )
    )


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


@app.command()
def status(
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The server's address.  [env: RUNSTREAM_SERVER; default: http://127.0.0.1:5000, or RUNSTREAM_PORT]",
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the server sends.")] = False,
) -> None:
    """Show how a running server is doing: log, projections, rates, and what went wrong. Token: RUNSTREAM_TOKEN."""
    from runstream.status import Away, show  # noqa: PLC0415 -- rich takes time to import

    port = os.environ.get("RUNSTREAM_PORT") or "5000"
    address = server or os.environ.get("RUNSTREAM_SERVER") or f"http://127.0.0.1:{port}"
    try:
        show(address, os.environ.get("RUNSTREAM_TOKEN"), watch=watch, as_json=as_json)
    except Away as away:
        typer.echo(f"runstream: {away}", err=True)
        raise typer.Exit(1) from away
    except KeyboardInterrupt:
        raise typer.Exit from None


token = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(token, name="token", help="Tokens, which a server on a network asks for.")
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="Whose it is; what it sends bears this name.")]


@token.command("add")
def token_add(name: TokenName, data: Data = None, token_file: TokenFile = None) -> None:
    """Make a token and print it, this once: the file keeps its hash. A running server takes it within a second."""
    _server().token_add(name, _given(data=data, token_file=token_file))


@token.command("list")
def token_list(data: Data = None, token_file: TokenFile = None) -> None:
    """List the tokens' names and when they were made."""
    _server().token_list(_given(data=data, token_file=token_file))


@token.command("remove")
def token_remove(name: TokenName, data: Data = None, token_file: TokenFile = None) -> None:
    """Revoke a token. A running server refuses it within a second."""
    _server().token_remove(name, _given(data=data, token_file=token_file))


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
