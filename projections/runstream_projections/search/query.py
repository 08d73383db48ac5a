"""A search of runs becoming SQL: what all ways to find its page have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runstream_projections.projection import Statement
from runstream_projections.run_json import IS_DELETED, documents_of, run_json
from runstream_projections.search.arguments import Arguments
from runstream_projections.search.conditions import Conditions
from runstream_projections.search.orders import Place, complete, sorting_of_runs
from runstream_projections.search.syntax import And, Comparison, Order, Term
from runstream_projections.suffixes import Suffixes

#: A page of runs is cut where it would be longer than this, but for its first run.
MAX_PAGE_BYTES: Final = 32 << 20


class RunSearch(NamedTuple):
    """What is searched for; ``deleted`` None for both, ``after`` the place of the last run of the page before."""

    experiments: tuple[int, ...]
    where: Term | None
    orders: tuple[Order, ...]
    deleted: bool | None
    limit: int
    after: Place | None = None

    @property
    def comparisons(self) -> list[Comparison]:
        """The comparisons that must hold."""
        terms = self.where.terms if isinstance(self.where, And) else (self.where,)
        return [term for term in terms if isinstance(term, Comparison)]


class Query:
    """One search becoming SQL."""

    def __init__(self, search: RunSearch, suffixes: Suffixes) -> None:
        self.search = search
        self.suffixes = suffixes
        self.arguments = Arguments()
        self.experiments = self.arguments.add(list(search.experiments), "bigint[]")
        self.conditions = Conditions(self.arguments, suffixes, self.experiments)
        self.sorting = sorting_of_runs(complete(search.orders), self.arguments, suffixes)

    def tests(self, without: Sequence[Comparison] = ()) -> str:
        """What a run must be, but for the comparisons that are known to hold."""
        tests = [f"r.experiment_id = any({self.experiments})"]
        if self.search.deleted is not None:
            tests.append(f"({IS_DELETED}) = {self.arguments.add(self.search.deleted, 'boolean')}")
        where = self.search.where
        terms = where.terms if isinstance(where, And) else () if where is None else (where,)
        tests += [self.conditions.test(term) for term in terms if not any(term is known for known in without)]
        if self.search.after is not None:
            tests.append(self.sorting.after(self.search.after))
        return " and ".join(tests)

    @property
    def runs(self) -> str:
        """The table of runs and those that conditions and sort keys need."""
        return f"runs{self.suffixes['runs']} r"

    @property
    def experiment(self) -> str:
        return f"join experiments{self.suffixes['experiments']} e on e.experiment_id = r.experiment_id"

    def limit(self, rows: int) -> str:
        return self.arguments.add(rows, "bigint")

    def page(self, ordered: str, sets: Sequence[str] = (), *, wide: bool = False, complete: str = "true") -> Statement:
        """The page that ``ordered`` begins with: its runs as JSON, how many they are, and the place of the last one.

        It ends where it has :data:`MAX_PAGE_BYTES`; ``found`` counts one more than the page may have, and ``complete``
        is SQL for whether no others are found. ``ordered`` gives run_id and ``place``, of one run more than the page
        has; all columns of runs where ``wide``.
        """
        at = self.limit(self.search.limit)
        source = "page r" if wide else f"page p join {self.runs} on r.run_id = p.run_id"
        rendered = (
            f"select n, {run_json(self.suffixes)} as run from {source} {documents_of(self.suffixes)} "
            f"where n <= {at} order by n"
        )
        tables = [*sets, f"page as materialized (select *, row_number() over () as n from ({ordered}) q)"]
        sql = (
            f"with {', '.join(tables)} select shown.runs, shown.size as shown, "
            "(select place::text from page where n = shown.size) as last, (select count(*) from page) as found, "
            f"{complete} as complete from (select string_agg(run, ',') as runs, count(*) as size from "
            "(select n, run, sum(octet_length(run)) over (order by n rows unbounded preceding) as bytes "
            f"from ({rendered}) s) b where bytes <= {MAX_PAGE_BYTES} or n = 1) shown"
        )
        return self.arguments.statement(sql)

    def found_in(self, table: str | None, known: Sequence[Comparison] = (), extra: str = "") -> str:
        """The beginning of the runs of a set, or of all, in order."""
        runs = self.runs if table is None else f"{table} c join {self.runs} on r.run_id = c.run_id"
        return (
            f"select r.run_id, {self.sorting.place} as place from {runs} {self.experiment} {self.sorting.joins} "
            f"where {self.tests(known)}{extra} order by {self.sorting.by} limit {self.limit(self.search.limit + 1)}"
        )
