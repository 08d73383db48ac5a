"""The ``metric_blocks`` projection: every metric point, as chunks of columns.

The fold inserts one *tail* row per run and batch and never updates one; compaction (``compaction.py``) merges the
tail of a run into sorted *blocks*. Equal points are one point, at read and in compaction; the content is over logical
points, so that tables compacted differently are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from runstream_projections.chunk import Chunk, decode, encode
from runstream_projections.compaction import Block
from runstream_projections.projection import Batch, Projection, Row, Statement, texts
from runstream_projections.pyramid import SUMMARY_BYTES, summarise
from runstream_schemas.events import RunLogged

#: zstd levels: the tail is written on the way of the log, a block once or a few times in its life.
TAIL_LEVEL: Final = 1
BLOCK_LEVEL: Final = 3


def fold(batch: Batch, suffix: str) -> list[Statement]:
    """Insert one tail row per run."""
    rows = [
        (
            run_id,
            position,
            len(chunk),
            int(chunk.timestamps.min()),
            int(chunk.timestamps.max()),
            encode(chunk, TAIL_LEVEL),
        )
        for run_id, (position, chunk) in batch.chunks.items()
        if len(chunk)
    ]
    if not rows:
        return []
    sql = (
        f"insert into metric_tail{suffix} (run_id, position, points, min_timestamp, max_timestamp, data) "
        "select * from unnest($1::text[], $2::bigint[], $3::integer[], $4::bigint[], $5::bigint[], $6::bytea[])"
    )
    return [Statement(sql, tuple(map(list, zip(*rows, strict=True))))]


def history_query(suffix: str) -> str:
    """The oldest chunks that may hold points of a key, in log order, and the timestamp below which nothing is missing.

    Arguments: run id, key, least timestamp, the points after which no further chunk is taken (it may be less of the
    key: a chunk can hold other keys, and points that others hold too), and the least and greatest step, which chunks
    that hold none between may be left out by. ``complete_below`` is null where all are taken.
    """
    return (
        "with rows as (select since as position, part, points, min_timestamp, data "
        f"from metric_blocks{suffix} where run_id = $1 and key_first <= $2 and key_last >= $2 and max_timestamp >= $3 "
        "and max_step >= $5 and min_step <= $6 union all select position, 0, points, min_timestamp, data "
        f"from metric_tail{suffix} where run_id = $1 and max_timestamp >= $3), "
        "ranked as (select *, sum(points) over (order by min_timestamp, position, part) - points as before from rows) "
        "select data, (select min(min_timestamp) from ranked where before >= $4) as complete_below "
        "from ranked where before < $4 order by position, part"
    )


def outlines_query(suffix: str) -> str:
    """The chunks of some runs that may hold points of a key: their summaries, and of runs with few points their data.

    Arguments: run ids, key, least and greatest step, and the points up to which a run's data are given, those of other
    keys counted. ``summary`` is null where a chunk has none of the key. Rows are by run, in log order.
    """
    return (
        "with rows as (select run_id, since as position, part, points, data, substr(summaries, "
        f"{SUMMARY_BYTES} * (array_position(summary_keys, $2) - 1) + 1, {SUMMARY_BYTES}) as summary "
        f"from metric_blocks{suffix} where run_id = any($1::text[]) and key_first <= $2 and key_last >= $2 "
        "and max_step >= $3 and min_step <= $4 union all "
        f"select run_id, position, 0, points, data, null from metric_tail{suffix} where run_id = any($1::text[])) "
        "select run_id, position, part, points, summary, "
        "case when sum(points) over (partition by run_id) <= $5 then data end as data "
        "from rows order by run_id, position, part"
    )


def data_query(suffix: str) -> str:
    """Some chunks of a run, in log order. Arguments: run id, and their positions and parts."""
    return (
        "with asked as (select * from unnest($2::bigint[], $3::integer[]) as t (position, part)) "
        "select position, part, data from (select b.since as position, b.part, b.data "
        f"from asked a join metric_blocks{suffix} b on b.run_id = $1 and b.since = a.position and b.part = a.part "
        "union all select t.position, 0, t.data "
        f"from asked a join metric_tail{suffix} t on t.run_id = $1 and t.position = a.position) rows "
        "order by position, part"
    )


def rows_query(suffix: str) -> str:
    """The rows of a run as compaction plans with them, in log order. Argument: run id."""
    return (
        f"select since as position, part, level, points, length(data) as bytes from metric_blocks{suffix} "
        f"where run_id = $1 union all select position, 0, 0, points, length(data) from metric_tail{suffix} "
        "where run_id = $1 order by 1, 2"
    )


def chunks_query(suffix: str) -> str:
    """The chunks of some groups of a run, in log order. Arguments: run id, tail positions, blocks' groups."""
    return (
        f"select data from (select since as position, part, data from metric_blocks{suffix} "
        "where run_id = $1 and since = any($3::bigint[]) "
        f"union all select position, 0, data from metric_tail{suffix} "
        "where run_id = $1 and position = any($2::bigint[])) rows order by position, part"
    )


def removals(suffix: str) -> tuple[str, str]:
    """The statements that delete tail rows, and blocks, of a run, and return what they deleted as planning saw it.

    Arguments: run id, and the tail's positions or the blocks' groups.
    """
    return (
        f"delete from metric_tail{suffix} where run_id = $1 and position = any($2::bigint[]) "
        "returning position, 0, 0, points",
        f"delete from metric_blocks{suffix} where run_id = $1 and since = any($2::bigint[]) "
        "returning since, part, level, points",
    )


def replacement(suffix: str, run_id: str, since: int, level: int, blocks: Sequence[Block]) -> Statement:
    """The statement that stores what a merge made."""
    chunks = [block.chunk for block in blocks]
    summaries = [summarise(chunk) for chunk in chunks]
    sql = (
        f"insert into metric_blocks{suffix} (run_id, since, part, level, points, min_timestamp, max_timestamp, "
        "min_step, max_step, key_first, key_last, data, summary_keys, summaries) "
        "select $1, $2, t.* from (select part, $3::smallint, points, early, late, low, high, first, last, data, "
        "(select array_agg(key order by at) from json_array_elements_text(keys) with ordinality k (key, at)), "
        "nullif(summaries, '') from unnest($4::integer[], $5::integer[], $6::bigint[], $7::bigint[], $8::bigint[], "
        "$9::bigint[], $10::text[], $11::text[], $12::bytea[], $13::json[], $14::bytea[]) "
        "as t (part, points, early, late, low, high, first, last, data, keys, summaries)) t"
    )
    columns = (
        list(range(len(blocks))),
        [len(chunk) for chunk in chunks],
        [int(chunk.timestamps.min()) for chunk in chunks],
        [int(chunk.timestamps.max()) for chunk in chunks],
        [int(chunk.steps.min()) for chunk in chunks],
        [int(chunk.steps.max()) for chunk in chunks],
        [block.key_first for block in blocks],
        [block.key_last for block in blocks],
        [encode(chunk, BLOCK_LEVEL) for chunk in chunks],
        [texts(keys) for keys, _ in summaries],
        [records for _, records in summaries],
    )
    return Statement(sql, (run_id, since, level, *columns))


def content(suffix: str) -> str:
    """Every chunk, run by run, in log order."""
    return (
        f"select run_id, since as position, part, data from metric_blocks{suffix} "
        f"union all select run_id, position, 0, data from metric_tail{suffix} order by 1, 2, 3"
    )


def canonical(rows: Sequence[Row]) -> Row:
    """A run's points, sorted, equal ones once, as bytes: a run may have more of them than a chunk can hold."""
    chunk = Chunk.concat([decode(row[3]) for row in rows]).sorted_unique()
    columns = (chunk.counts, chunk.steps, chunk.timestamps, chunk.values)
    return rows[0][0], chunk.series, *(sha256(column.tobytes()).digest() for column in columns)


METRIC_BLOCKS: Final = Projection(
    name="metric_blocks",
    revision=2,
    handles=frozenset({RunLogged}),
    tables=("metric_tail", "metric_blocks"),
    fold=fold,
    content=content,
    canonical=canonical,
)
