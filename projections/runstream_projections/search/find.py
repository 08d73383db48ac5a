"""How runs are found: statements that each give one page of runs, or tell that they cannot and another has to.

No single plan is quick for all searches, and PostgreSQL's statistics do not know which values of which keys go
together. So the smallest set that a comparison gives is looked for first, by counts that end early:

- :func:`probe` counts. Where one set is small, :func:`among` takes its runs and tests the rest of the filter on each.
- Else matches are likely to be many: :func:`walk` takes the first runs of the order and tests them.
- Where these do not fill the page, :func:`everywhere` intersects the sets, and sorts.

:func:`scan` is for searches without such sets, in the order of time: the index gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runstream_projections.projection import Statement
from runstream_projections.run_json import IS_DELETED, documents_of, run_json
from runstream_projections.search.arguments import Arguments
from runstream_projections.search.conditions import INDEXED_CHARACTERS, Conditions, Source, rows_of
from runstream_projections.search.orders import Place, Sorting, complete, sorting_of_runs
from runstream_projections.search.syntax import And, Comparison, Field, Order, Term
from runstream_projections.suffixes import Suffixes

#: A set of at most so many runs is small: it is gone through one by one.
SMALL: Final = 2_000

#: So many runs, or so many for each that the page has, are looked at in the order asked for.
WALKED: Final = 4_000
WALKED_PER_RESULT: Final = 8

#: Of more experiments at once, the order is not walked; of more sets, the smallest are intersected, the rest tested.
MAX_WALKED_EXPERIMENTS: Final = 16
MAX_INTERSECTED: Final = 6
MAX_PROBED: Final = 20

_TIME: Final = Field("attribute", "start_time")


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


class _Query:
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

    def page(self, ordered: str, sets: Sequence[str] = (), *, wide: bool = False) -> Statement:
        """The page that ``ordered`` begins with: its runs as JSON, the place of its last one, and how many it found.

        ``ordered`` gives run_id and ``place``, of one run more than the page has; all columns of runs where ``wide``.
        """
        at = self.limit(self.search.limit)
        source = "page r" if wide else f"page p join {self.runs} on r.run_id = p.run_id"
        rendered = (
            f"select {run_json(self.suffixes)} as run from {source} {documents_of(self.suffixes)} "
            f"where n <= {at} order by n"
        )
        tables = [*sets, f"page as materialized (select *, row_number() over () as n from ({ordered}) q)"]
        sql = (
            f"with {', '.join(tables)} select (select string_agg(run, ',') from ({rendered}) s) as runs, "
            f"(select place::text from page where n = {at}) as last, (select count(*) from page) as found"
        )
        return self.arguments.statement(sql)

    def found_in(self, table: str | None, known: Sequence[Comparison] = (), extra: str = "") -> str:
        """The beginning of the runs of a set, or of all, in order."""
        runs = self.runs if table is None else f"{table} c join {self.runs} on r.run_id = c.run_id"
        return (
            f"select r.run_id, {self.sorting.place} as place from {runs} {self.experiment} {self.sorting.joins} "
            f"where {self.tests(known)}{extra} order by {self.sorting.by} limit {self.limit(self.search.limit + 1)}"
        )


def probe(search: RunSearch, suffixes: Suffixes) -> tuple[list[Comparison], Statement] | None:
    """The comparisons that give sets, and how large each is, where it is small; None where there are none."""
    query = _Query(search, suffixes)
    sources = _sources(query, search.comparisons)[:MAX_PROBED]
    if not sources:
        return None
    most = query.limit(SMALL + 1)
    counts = ", ".join(f"(select count(*) from ({source.range} limit {most}) c)" for source in sources)
    return [source.comparison for source in sources], query.arguments.statement(f"select {counts}")


def _sources(query: _Query, comparisons: Sequence[Comparison]) -> list[Source]:
    return [source for c in comparisons if (source := query.conditions.source(c)) is not None]


def among(search: RunSearch, suffixes: Suffixes, smallest: Comparison) -> Statement:
    """The page, from the runs that one comparison finds."""
    query = _Query(search, suffixes)
    [source] = _sources(query, [smallest])
    sets = [f"small as materialized ({source.runs})"]
    return query.page(query.found_in("small", [smallest]), sets)


def everywhere(search: RunSearch, suffixes: Suffixes, by_size: Sequence[Comparison]) -> Statement:
    """The page, from the intersection of the sets that comparisons find, smallest first; from all runs without any."""
    query = _Query(search, suffixes)
    sources = _sources(query, by_size[:MAX_INTERSECTED])
    if not sources:
        return query.page(query.found_in(None))
    joined = f"select s0.run_id from ({sources[0].runs}) s0"
    for number, source in enumerate(sources[1:], 1):
        joined += f" join ({source.runs}) s{number} on s{number}.run_id = s0.run_id"
    known = [source.comparison for source in sources]
    return query.page(query.found_in("common", known), [f"common as materialized ({joined})"])


def scan(search: RunSearch, suffixes: Suffixes) -> Statement:
    """The page in the order of time, newest first, as the index gives it, experiment by experiment."""
    query = _Query(search, suffixes)
    tests, most = query.tests(), query.limit(search.limit + 1)
    if search.after is not None:  # what the keyset's OR means to the index
        tests += f" and r.start_time <= {query.arguments.add(search.after[0], 'text::bigint')}"
    wide = len(search.experiments) == 1
    columns = "r.*" if wide else "r.run_id, r.start_time"
    newest = f"order by r.start_time desc, r.run_id limit {most}"
    ordered = (
        f"select r.*, json_build_array(r.start_time::text, r.run_id) as place from unnest({query.experiments}) x (id) "
        f"join experiments{suffixes['experiments']} e on e.experiment_id = x.id cross join lateral "
        f"(select {columns} from {query.runs} where r.experiment_id = x.id and {tests} {newest}) r {newest}"
    )
    return query.page(ordered, wide=wide)


def walk(search: RunSearch, suffixes: Suffixes) -> Statement | None:
    """The page, if the first runs of the order hold it: it counts only where it is full. None where there is no index.

    Runs whose first sort key equals the last that was looked at are left out: others may equal it too.
    """
    if len(search.experiments) > MAX_WALKED_EXPERIMENTS:
        return None
    query = _Query(search, suffixes)
    first = complete(search.orders)[0]
    at = None if search.after is None else _value_of(search.after, query.sorting)
    if search.after is not None and at is None:
        return None
    ways = _first_of(query, first, at)
    if ways is None:
        return None
    rows, rank = ways
    size = max(WALKED, WALKED_PER_RESULT * search.limit)
    direction = "asc" if first.ascending else "desc"
    most = query.limit(size)
    walked = (
        f"walked as materialized (select c.run_id, c.value from unnest({query.experiments}) t (id) cross join lateral "
        f"({rows} order by {rank} {direction} limit {most}) c (run_id, value) "
        f"order by c.value {direction} limit {most})"
    )
    edge = f"edge as (select {'max' if first.ascending else 'min'}(value) as value, count(*) as size from walked)"
    beyond = "<" if first.ascending else ">"
    inside = f" and ((select size from edge) < {most} or c.value {beyond} (select value from edge))"
    return query.page(query.found_in("walked", extra=inside), [walked, edge])


def _value_of(place: Place, sorting: Sorting) -> int | str | None:
    """The first sort key's value, None where it is NaN or missing."""
    return place[0] if sorting.keys[0].presence is None else place[1]


def _first_of(query: _Query, order: Order, at: int | str | None) -> tuple[str, str] | None:
    """A query of (run_id, value) of one experiment, ``t.id``, that an index gives in order, and what it orders by."""
    beyond = ">=" if order.ascending else "<="
    field = order.field
    if field == _TIME:
        value = "x.start_time"
        rows = f"select x.run_id, {value} from runs{query.suffixes['runs']} x where x.experiment_id = t.id"
        bound = "" if at is None else f" and {value} {beyond} {query.arguments.add(at, 'text::bigint')}"
        return rows + bound, value
    if field.entity == "attribute":
        return None
    metric = field.entity == "metric"
    value = "x.value" if metric else f"left(x.value, {INDEXED_CHARACTERS})"
    rows = (
        f"select x.run_id, {value} from {rows_of(field.entity, query.suffixes)} x where x.experiment_id = t.id "
        f"and x.key = {query.arguments.add(field.key, 'text')}"
    )
    if metric:
        rows += " and x.value < 'NaN'"
    if at is not None:
        kept = at if metric else str(at)[:INDEXED_CHARACTERS]
        rows += f" and {value} {beyond} {query.arguments.add(kept, 'text::float8' if metric else 'text')}"
    return rows, value
