"""Server commands, called by ``runstream.cli``."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
import typer
from pydantic import ValidationError
from runstream_schemas.errors import StartupError

from runstream_services import embedded
from runstream_services.settings import Settings


def up(**given: Any) -> None:
    """Serve until told to stop; exits with 1 and a sentence where that is not possible."""
    try:
        settings = Settings(**given)
        _log_to_stderr(settings.log_level)
        embedded.run(embedded.up(settings, lambda address: _greet(address, settings), _say))
    except ValidationError as error:
        for problem in error.errors():
            _say(f"runstream: {'.'.join(map(str, problem['loc']))}: {problem['msg']}")
        raise typer.Exit(2) from error
    except StartupError as error:
        _say(f"runstream: {error}")
        raise typer.Exit(1) from error


def _greet(address: str, settings: Settings) -> None:
    where = "your PostgreSQL" if settings.database_url else str(settings.data.resolve())
    typer.echo(
        f'Runstream is ready on {address}, data in {where}\n    mlflow.set_tracking_uri("{address}")\nCtrl-C stops it.'
    )


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _log_to_stderr(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper(), logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
