"""Stock MLflow and Runstream side by side."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import pytest

from runstream_services.embedded_postgres import EmbeddedPostgres
from tests.differential.history import Pair
from tests.differential.servers import Server
from tests.differential.stock import stock_server
from tests.server import Server as Runstream


@pytest.fixture(scope="session")
async def pair(postgres: EmbeddedPostgres) -> AsyncIterator[Pair]:
    """Both servers, for the whole session: histories know nothing of each other."""
    connection = await asyncpg.connect(**postgres.connect_arguments)
    await connection.execute("create database stock_mlflow")
    await connection.close()
    url = postgres.dsn.replace("/runstream?", "/stock_mlflow?")
    with TemporaryDirectory(prefix="runstream-differential-") as directory, pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith(("RUNSTREAM_", "MLFLOW_", "PG"))]:
            environment.delenv(name)
        with stock_server(url, Path(directory)) as stock_url, Runstream(Path(directory) / "data") as running:
            stock, ours = Server(stock_url), Server(running.url)
            yield Pair(stock, ours)
            stock.close()
            ours.close()
