"""The metrics of one log call as columns: what travels in an event instead of one object per point.

A series is one (key, model id, dataset name, dataset digest). The points of a series lie side by side, in the order in
which they were logged; the series follow each other in the order of ``keys``.
"""

from __future__ import annotations

from math import copysign, isnan
from typing import Annotated, Final

import msgspec

from runstream_schemas.errors import Undecodable

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

#: Points of one event. One entry can stand for all points of a column: a few bytes must not fill a reader's memory.
MAX_POINTS: Final = 1 << 20

#: On the wire, where JSON has no such numbers.
NON_FINITE_NAMES: Final = frozenset({"NaN", "Infinity", "-Infinity"})


class MetricColumns(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """At least one metric point, by column.

    Per series, parallel to ``keys``: ``model_ids``, ``dataset_names`` and ``dataset_digests`` (None when no series has
    one) and ``counts``, the number of points of each (None: one each). Per point, flat in the order of ``keys``:
    ``steps``, ``timestamps`` (ms since the Unix epoch) and ``values``; of these three, a column whose entries are all
    equal is held as one entry, which stands for all points. Values are floats; decoded from the wire, those that are
    not finite are their names (:data:`NON_FINITE_NAMES`).
    """

    keys: list[str]
    model_ids: list[str | None] | None = None
    dataset_names: list[str | None] | None = None
    dataset_digests: list[str | None] | None = None
    counts: list[Count] | None = None
    steps: list[Int64]
    timestamps: list[Milliseconds]
    values: list[float | str]

    def __len__(self) -> int:
        """The number of points."""
        return len(self.keys) if self.counts is None else sum(self.counts)

    def check(self) -> None:
        """Raise :class:`Undecodable` unless the columns fit each other, hold each series once, and values are doubles.

        Decoding has held counts, steps and timestamps to their ranges.
        """
        series = len(self.keys)
        if not series:
            raise Undecodable("metric columns without a key")
        for name in ("model_ids", "dataset_names", "dataset_digests", "counts"):
            column = getattr(self, name)
            if column is not None and len(column) != series:
                raise Undecodable(f"metric columns of {series} keys with {len(column)} {name}")
        points = len(self)
        if points > MAX_POINTS:
            raise Undecodable(f"metric columns of {points} points, over the limit of {MAX_POINTS}")
        for name in ("steps", "timestamps", "values"):
            entries = len(getattr(self, name))
            if entries not in (1, points):
                raise Undecodable(f"metric columns of {points} points with {entries} {name}")
        if len(set(_identities(self.keys, self.model_ids, self.dataset_names, self.dataset_digests))) != series:
            raise Undecodable("metric columns that hold one series twice")
        try:
            sum(self.values)  # type: ignore[arg-type]  # the quickest look for a string among floats
        except TypeError:
            self._check_names()

    def _check_names(self) -> None:
        for value in set(self.values):
            if type(value) is str and value not in NON_FINITE_NAMES:
                raise Undecodable(f"a metric value that is not a number: {value[:40]!r}")


def columns_from_points(
    keys: list[str],
    steps: list[int],
    timestamps: list[int],
    values: list[float],
    *,
    model_ids: list[str | None] | None = None,
    dataset_names: list[str | None] | None = None,
    dataset_digests: list[str | None] | None = None,
) -> MetricColumns:
    """The columns of points given one entry per point in each list, in the order logged; at least one point.

    The lists may become part of the result.
    """
    if model_ids is None and dataset_names is None and dataset_digests is None:
        distinct = len(set(keys))
        if distinct == len(keys):
            return MetricColumns(
                keys=keys, steps=_squeezed(steps), timestamps=_squeezed(timestamps), values=_squeezed_values(values)
            )
        if distinct == 1:
            return MetricColumns(
                keys=keys[:1],
                counts=[len(keys)],
                steps=_squeezed(steps),
                timestamps=_squeezed(timestamps),
                values=_squeezed_values(values),
            )
    return _grouped(
        keys,
        steps,
        timestamps,
        values,
        model_ids=model_ids,
        dataset_names=dataset_names,
        dataset_digests=dataset_digests,
    )


def _grouped(
    keys: list[str],
    steps: list[int],
    timestamps: list[int],
    values: list[float],
    *,
    model_ids: list[str | None] | None,
    dataset_names: list[str | None] | None,
    dataset_digests: list[str | None] | None,
) -> MetricColumns:
    members: dict[object, list[int]] = {}
    for at, identity in enumerate(_identities(keys, model_ids, dataset_names, dataset_digests)):
        seen = members.get(identity)
        if seen is None:
            members[identity] = [at]
        else:
            seen.append(at)
    if len(members) < len(keys):
        counts: list[int] | None = [len(found) for found in members.values()]
        order = [at for found in members.values() for at in found]
        steps = [steps[at] for at in order]
        timestamps = [timestamps[at] for at in order]
        values = [values[at] for at in order]
    else:
        counts = None
    heads = [found[0] for found in members.values()]
    return MetricColumns(
        keys=[keys[at] for at in heads],
        model_ids=_at(model_ids, heads),
        dataset_names=_at(dataset_names, heads),
        dataset_digests=_at(dataset_digests, heads),
        counts=counts,
        steps=_squeezed(steps),
        timestamps=_squeezed(timestamps),
        values=_squeezed_values(values),
    )


def _identities(
    keys: list[str],
    model_ids: list[str | None] | None,
    dataset_names: list[str | None] | None,
    dataset_digests: list[str | None] | None,
) -> list[object]:
    """One hashable per entry, equal where the series is."""
    used = [column for column in (model_ids, dataset_names, dataset_digests) if column is not None]
    return list(zip(keys, *used, strict=True)) if used else list(keys)


def _at(column: list[str | None] | None, heads: list[int]) -> list[str | None] | None:
    return None if column is None else [column[at] for at in heads]


def _squeezed(column: list[int]) -> list[int]:
    first = column[0]
    # The last entry differs in most columns that vary, which saves counting them.
    return column[:1] if column[-1] == first and column.count(first) == len(column) else column


def _squeezed_values(column: list[float]) -> list[float | str]:
    """``column``, or its first entry where all are the same double: NaN is NaN, and 0.0 is not -0.0."""
    # A list of floats is never written to as a list of floats and strings: columns are frozen.
    same: list[float | str] = column  # type: ignore[assignment]
    first, last = column[0], column[-1]
    if isnan(first):
        return same[:1] if all(map(isnan, column)) else same
    if last != first or column.count(first) != len(column):
        return same
    if first == 0.0 and len({copysign(1.0, value) for value in column}) == 2:
        return same
    return same[:1]
