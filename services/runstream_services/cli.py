"""Server commands, called by ``runstream.cli``."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import structlog
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from runstream_projections import decision_tables
from runstream_projections.catalogue import PROJECTIONS
from runstream_schemas.errors import InvalidEvent, LogCorrupt, RunstreamError, StartupError
from runstream_services import embedded, token_file
from runstream_services.adapters.postgres import Database
from runstream_services.data_directory import make_root
from runstream_services.databases import database_for_command
from runstream_services.projector.rebuild import Progress as RebuildProgress
from runstream_services.projector.rebuild import Rebuild, drop_retired
from runstream_services.projector.redecide import Redecided, redecide
from runstream_services.projector.verify import verify_log, verify_projection
from runstream_services.settings import Settings

_NAMES: Final = (decision_tables.NAME, *PROJECTIONS)


def up(given: dict[str, Any]) -> None:
    """Serve until told to stop; exits with 1 and a sentence where that is not possible."""
    settings = _settings(given)
    _run(embedded.up(settings, lambda address: _greet(address, settings), _say))
    typer.echo(f"Runstream has stopped; what it acknowledged is in {_place(settings)}")


def rebuild(names: Sequence[str], given: dict[str, Any], *, drop: bool, accept_changes: bool) -> None:
    """Rebuild projections and switch to what was rebuilt."""
    if accept_changes and decision_tables.NAME not in names:
        _refuse("--accept-changes goes with `runstream rebuild decisions`")

    async def work(database: Database) -> None:
        for name in names or PROJECTIONS:
            await _rebuild_one(database, name, accept_changes)
        if drop:
            connection = await database.connect(service=False)
            for dropped in await drop_retired(connection):
                typer.echo(f"{dropped}: dropped")
            await connection.close()
        else:
            typer.echo("The versions that were read before are kept, until `runstream rebuild --drop`")

    _run(_on_database(given, names, work))


async def _rebuild_one(database: Database, name: str, accept_changes: bool) -> None:
    if name == decision_tables.NAME:
        with _progress() as show:
            done = await redecide(database, str(uuid4()), show, accept=accept_changes)
        _tell(done)
        return
    with _progress() as show:
        version = await Rebuild(database, name, str(uuid4()), show).run()
    typer.echo(f"{name}: version {version} is read now")


def _tell(done: Redecided) -> None:
    listed = f", the first {len(done.changes)}:" if done.different > len(done.changes) else ""
    typer.echo(f"decisions: decided again up to position {done.position}, {done.different or 'no'} changes{listed}")
    for change in done.changes:
        typer.echo(f"    position {change.position}: {change.before} -> {change.after}")
    if not done.switched:
        typer.echo("Nothing was changed. --accept-changes takes them; rebuild the other projections afterwards.")
    elif done.changes:
        typer.echo("They are in force. Rebuild the other projections: `runstream rebuild`")


def verify(names: Sequence[str], given: dict[str, Any], *, log_only: bool) -> None:
    """Check the log, then projections; exits with 1 where something is not as it was logged."""
    if names and log_only:
        _refuse("--log-only checks no projection: name none, or leave it out")
    remedies: list[str] = []

    async def work(database: Database) -> None:
        if not await _is_intact(database):
            remedies.append("the log is not as it was appended, so it cannot tell what is: restore it from a backup")
            return
        wrong = [n for n in (() if log_only else names or _NAMES) if not await _is_as_logged(database, n)]
        if wrong:
            remedies.append(f"not as logged: {', '.join(wrong)}. To mend: `runstream rebuild {' '.join(wrong)}`")

    _run(_on_database(given, names, work))
    for remedy in remedies:
        _say(f"runstream: {remedy}")
        raise typer.Exit(1)


async def _is_intact(database: Database) -> bool:
    connection = await database.connect(service=False)
    try:
        with _progress() as show:
            count = await verify_log(connection, lambda at, head: show(RebuildProgress("log", 1, at, head)))
    except LogCorrupt as error:
        typer.echo(f"log: CORRUPT at position {error.position}: {error}")
        return False
    finally:
        await connection.close()
    typer.echo(f"log: {count} events, chain intact")
    return True


async def _is_as_logged(database: Database, name: str) -> bool:
    try:
        with _progress() as show:
            found = await verify_projection(database, name, str(uuid4()), show)
    except (InvalidEvent, LogCorrupt) as error:
        typer.echo(f"{name}: cannot be made from the log: {error}")
        return False
    equal = found.live == found.rebuilt
    later = f"; {found.head - found.position} later events are not folded yet" if found.head > found.position else ""
    typer.echo(f"{name}: {'equal to' if equal else 'DIFFERS from'} the log at position {found.position}{later}")
    return equal


def token_add(name: str, given: dict[str, Any]) -> None:
    """Make a token and print it; the file keeps its hash."""
    if token_file.NAME.fullmatch(name) is None:
        _refuse("a token's name is 1 to 100 letters, digits and . _ @ -, of which the first is a letter or a digit")
    settings = _settings(given)
    token = secrets.token_urlsafe(32)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    with _said():
        if settings.token_file is None:
            make_root(settings.data.resolve())
        path = settings.tokens_path
        is_new = token_file.add(path, token_file.Token(name, token_file.hash_of(token.encode()), made))
    typer.echo(token)
    _say(
        f"The token of {name}, shown this once: {path} keeps its hash. MLFLOW_TRACKING_TOKEN is where clients take it."
    )
    if is_new:
        _say("It is the first one: a server that runs without tokens asks for them once it is started again.")


def token_list(given: dict[str, Any]) -> None:
    """Print the names of the tokens and when they were made."""
    path = _settings(given).tokens_path
    with _said():
        for token in token_file.load(path):
            typer.echo(f"{token.name}  {token.made}".rstrip())


def token_remove(name: str, given: dict[str, Any]) -> None:
    """Revoke a token."""
    path = _settings(given).tokens_path
    with _said():
        token_file.remove(path, name)
    typer.echo(f"{name} is removed from {path}: a running server refuses it within a second")


@contextmanager
def _said() -> Iterator[None]:
    """Say what went wrong, and end with 1."""
    try:
        yield
    except (RunstreamError, OSError) as error:
        _say(f"runstream: {error}")
        raise typer.Exit(1) from error


async def _on_database(
    given: dict[str, Any], names: Sequence[str], work: Callable[[Database], Coroutine[Any, Any, None]]
) -> None:
    for name in names:
        if name not in _NAMES:
            raise StartupError(f"there is no projection {name}: there are {', '.join(_NAMES)}")
    async with database_for_command(_settings(given), _say) as database:
        await work(database)


def _run(main: Coroutine[Any, Any, None]) -> None:
    said: list[str] = []
    try:
        embedded.run(main)
    except* (RunstreamError, OSError) as errors:
        said = list(dict.fromkeys(map(str, _leaves(errors))))
    for line in said:
        _say(f"runstream: {line}")
    if said:
        raise typer.Exit(1)


def _leaves(errors: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _settings(given: dict[str, Any]) -> Settings:
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            setting = f"--{name.replace('_', '-')}" if name in given else f"RUNSTREAM_{name.upper()}"
            _say(f"runstream: {setting}: {problem.get('ctx', {}).get('error', problem['msg'])}")
        raise typer.Exit(2) from error
    _log_to_stderr(settings.log_level)
    return settings


def _place(settings: Settings) -> str:
    return "your PostgreSQL" if settings.database_url else str(settings.data.resolve())


def _greet(address: str, settings: Settings) -> None:
    typer.echo(
        f"Runstream is ready on {address}{_reach(settings)}, data in {_place(settings)}\n"
        f'    mlflow.set_tracking_uri("{address}")\n'
        "Ctrl-C stops it."
    )


def _reach(settings: Settings) -> str:
    if settings.is_loopback:
        return ""
    return f" (listening on {settings.host}{', for everybody who reaches it' if settings.no_auth else ''})"


@contextmanager
def _progress() -> Iterator[Callable[[RebuildProgress], None]]:
    """A bar on a terminal, gone once its context is left: only then is there a line for what came of it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not os.isatty(2), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def show(progress: RebuildProgress) -> None:
            if progress.name not in tasks:
                tasks[progress.name] = bars.add_task(progress.name)
            bars.update(tasks[progress.name], completed=progress.position, total=progress.head)

        yield show


class _Stderr:
    """stderr; where nobody takes a line, or a full disk does not, the server goes on without."""

    def write(self, text: str) -> None:
        """Write, if that is possible."""
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Flush, if that is possible."""
        with suppress(OSError, ValueError):
            sys.stderr.flush()


_STDERR: Final = _Stderr()


def _say(line: str) -> None:
    print(line, file=_STDERR, flush=True)


def _refuse(why: str) -> None:
    _say(f"runstream: {why}")
    raise typer.Exit(2)


def _log_to_stderr(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(_STDERR),  # type: ignore[arg-type]  # written to, no more
    )
