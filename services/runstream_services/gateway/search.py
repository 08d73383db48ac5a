"""Endpoints that search: runs and experiments, in pages that writes do not shift."""

from __future__ import annotations

import time
from typing import Final

import asyncpg

from runstream_projections.projection import Statement
from runstream_projections.search import experiments, find, walk
from runstream_projections.search.arguments import Arguments
from runstream_projections.search.experiments import ExperimentSearch, sorting_of_experiments
from runstream_projections.search.orders import Place, Sorting, complete, shortened, sorting_of_runs
from runstream_projections.search.query import RunSearch
from runstream_projections.suffixes import EXPERIMENT_PROJECTIONS, RUN_PROJECTIONS, Suffixes
from runstream_schemas.errors import invalid
from runstream_services.gateway import render, requests_experiments, requests_runs
from runstream_services.gateway.http import Answer, Request
from runstream_services.gateway.page_token import page_token, read_token
from runstream_services.gateway.requests_experiments import SearchExperiments
from runstream_services.gateway.service import QUERY_S, Gateway, took_too_long

_DELETED: Final = {"ACTIVE_ONLY": False, "DELETED_ONLY": True, "ALL": None}
#: After so much of its time PostgreSQL is told what is left of it.
TOLD_S: Final = 0.5
_NO_SUFFIXES: Final = dict.fromkeys(RUN_PROJECTIONS, "")


async def search_runs(gateway: Gateway, request: Request) -> Answer:
    """``runs/search``: runs of experiments, filtered and in order."""
    asked = requests_runs.parse_search_runs(request.body)
    after = _after(asked.page_token, sorting_of_runs(complete(asked.orders), Arguments(), _NO_SUFFIXES))
    if not asked.experiment_ids:
        return Answer(render.EMPTY)
    deleted = _DELETED[asked.view_type]
    search = RunSearch(asked.experiment_ids, asked.where, shortened(asked.orders), deleted, asked.max_results, after)

    async def find_page(connection: asyncpg.Connection, suffixes: Suffixes) -> asyncpg.Record:
        return await find_runs(connection, search, suffixes)

    page = await gateway.search(RUN_PROJECTIONS, find_page)
    if not page["found"]:
        return Answer(render.EMPTY)
    end = b"]}"
    if page["found"] > page["shown"]:
        end = b'],"next_page_token":' + render.dump(_token(page["last"])) + b"}"
    return Answer(b'{"runs":[' + page["runs"].encode() + end)


async def find_runs(connection: asyncpg.Connection, search: RunSearch, suffixes: Suffixes) -> asyncpg.Record:
    """The page, by the cheapest plan that holds it; where that takes several looks, all are at one snapshot.

    Raises 400 where they take longer than :data:`QUERY_S` together.
    """
    probe = find.probe(search, suffixes)
    looks = _Looks(connection)
    if probe is None and not search.orders:
        return await looks.row(find.scan(search, suffixes))
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        by_size = []
        if probe is not None:
            comparisons, counting = probe
            sizes = await looks.row(counting)
            ordered = sorted(range(len(comparisons)), key=lambda at: sizes[at])
            by_size = [comparisons[at] for at in ordered]
            if sizes[ordered[0]] <= find.SMALL:
                return await looks.row(find.among(search, suffixes, by_size[0]))
        size: int | None = walk.first_walk(search.limit)
        while size is not None and (walked := walk.walk(search, suffixes, size)) is not None:
            page = await looks.row(walked)
            if page["found"] > search.limit or page["complete"]:
                return page
            size = walk.next_walk(size, page["found"], search.limit)
        return await looks.row(find.everywhere(search, suffixes, by_size))


class _Looks:
    """The looks of one search, which have one time limit together."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._began_s = time.monotonic()

    async def row(self, statement: Statement) -> asyncpg.Record:
        """One look's row."""
        spent_s = time.monotonic() - self._began_s
        if spent_s > TOLD_S:  # until then the session's own limit is near enough
            left_ms = int(1_000 * (QUERY_S - spent_s))
            if left_ms <= 0:
                raise took_too_long()
            await self._connection.execute(f"set local statement_timeout = {left_ms}")
        return await self._connection.fetchrow(statement.sql, *statement.args)


async def search_experiments(gateway: Gateway, request: Request) -> Answer:
    """``experiments/search`` by POST."""
    return await _experiments(gateway, requests_experiments.parse_search_experiments(request.body))


async def search_experiments_by_query(gateway: Gateway, request: Request) -> Answer:
    """``experiments/search`` by GET, as the UI asks."""
    return await _experiments(gateway, requests_experiments.parse_search_experiments_query(request.query))


async def _experiments(gateway: Gateway, asked: SearchExperiments) -> Answer:
    after = _after(asked.page_token, sorting_of_experiments(asked.orders, Arguments()))
    search = ExperimentSearch(asked.where, asked.orders, _DELETED[asked.view_type], asked.max_results, after)

    async def find_page(connection: asyncpg.Connection, suffixes: Suffixes) -> list[asyncpg.Record]:
        statement = experiments.page(search, suffixes)
        rows: list[asyncpg.Record] = await connection.fetch(statement.sql, *statement.args)
        return rows

    rows = await gateway.search(EXPERIMENT_PROJECTIONS, find_page)
    page = rows[: search.limit]
    body: dict[str, object] = {"experiments": [render.experiment(row) for row in page]} if page else {}
    if len(rows) > len(page):
        body["next_page_token"] = _token(page[-1]["place"])
    return Answer(render.dump(body))


def _token(place: str) -> str:
    return page_token(render.load(place))


def _after(token: str | None, sorting: Sorting) -> Place | None:
    if not token:
        return None
    place = read_token(token)
    if not sorting.fits(place):
        raise invalid("Invalid value for parameter 'page_token': it is not one that this endpoint gave for this order.")
    return place  # type: ignore[return-value]  # it has the form of one
