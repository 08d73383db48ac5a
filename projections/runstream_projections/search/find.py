"""How runs are found: statements that each give one page of runs, or tell that they cannot and another has to.

No single plan is quick for all searches, and PostgreSQL's statistics do not know which values of which keys go
together. So the smallest set that a comparison gives is looked for first, by counts that end early:

- :func:`probe` counts. Where one set is small, :func:`among` takes its runs and tests the rest of the filter on each.
- Else matches are likely to be many: ``walk.py`` takes the first runs of the order and tests them.
- Where these do not fill the page, :func:`everywhere` intersects the sets, and sorts.

:func:`scan` is for searches without such sets, in the order of time: the index gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from runstream_projections.projection import Statement
from runstream_projections.search.conditions import Source
from runstream_projections.search.query import Query, RunSearch
from runstream_projections.search.syntax import Comparison
from runstream_projections.suffixes import Suffixes

#: A set of at most so many runs is small: it is gone through one by one.
SMALL: Final = 2_000

#: Of more sets, the first are counted; the smallest are intersected, the others tested.
MAX_PROBED: Final = 20
MAX_INTERSECTED: Final = 6


def probe(search: RunSearch, suffixes: Suffixes) -> tuple[list[Comparison], Statement] | None:
    """The comparisons that give sets, and how large each is, where it is small; None where there are none."""
    query = Query(search, suffixes)
    sources = _sources(query, search.comparisons)[:MAX_PROBED]
    if not sources:
        return None
    most = query.limit(SMALL + 1)
    counts = ", ".join(f"(select count(*) from ({source.range} limit {most}) c)" for source in sources)
    return [source.comparison for source in sources], query.arguments.statement(f"select {counts}")


def _sources(query: Query, comparisons: Sequence[Comparison]) -> list[Source]:
    return [source for c in comparisons if (source := query.conditions.source(c)) is not None]


def among(search: RunSearch, suffixes: Suffixes, smallest: Comparison) -> Statement:
    """The page, from the runs that one comparison finds."""
    query = Query(search, suffixes)
    [source] = _sources(query, [smallest])
    sets = [f"small as materialized ({source.runs})"]
    return query.page(query.found_in("small", [smallest]), sets)


def everywhere(search: RunSearch, suffixes: Suffixes, by_size: Sequence[Comparison]) -> Statement:
    """The page, from the intersection of the sets that comparisons find, smallest first; from all runs without any."""
    query = Query(search, suffixes)
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
    query = Query(search, suffixes)
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
