"""Samples of long histories: what summaries spare the reader of decoding changes no answer."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from unittest import mock

import numpy as np
import pytest

from runstream_projections.chunk import Points
from runstream_projections.sampling import PER_BUCKET, by_step, even_ranks, extremes, level_for, nan_as_zero, within
from runstream_schemas.columns import MetricColumns
from runstream_schemas.events import ExperimentEnsured, RunCreated, RunLogged
from runstream_schemas.ids import EXPERIMENTS, run_stream
from runstream_services.adapters.postgres import Database, Pool
from runstream_services.gateway import samples
from runstream_services.gateway.fields import INT64_MAX, INT64_MIN
from runstream_services.gateway.samples import Asked, even_samples, extreme_samples
from runstream_services.gateway.service import Gateway
from tests.databases import reused_database
from tests.pipeline import compact, pipeline
from tests.sent import Sent, event_id

database = reused_database

ENSURED = Sent(event_id(1), EXPERIMENTS, ExperimentEnsured(name="a", created_at=1))
CREATED = Sent(event_id(2), run_stream("r"), RunCreated(name="r", start_time=1, ensured_by=ENSURED.id))
MOST = (PER_BUCKET, 64, 320, 2_500, 10_000)
RANGES = ((INT64_MIN, INT64_MAX), (-5, 17_001), (12_345, 12_999), (70_000, 90_000))

Column = tuple[list[int], list[int], list[float]]


@pytest.fixture(autouse=True)
def _every_run_is_long() -> Iterator[None]:
    with mock.patch.object(samples, "WHOLE_POINTS", 0), mock.patch.object(samples, "LOAD_POINTS", 9_000):
        yield


def spiked(dice: random.Random, length: int) -> list[float]:
    values = [dice.random() for _ in range(length)]
    for at in dice.sample(range(length), 9):
        values[at] = dice.choice([float("nan"), float("inf"), 1e9, -1e9])
    return values


def steady(dice: random.Random) -> Column:
    """As most jobs log."""
    return list(range(40_000)), [1_000 + 7 * step for step in range(40_000)], spiked(dice, 40_000)


def resumed(dice: random.Random) -> Column:
    """A job that went back to a checkpoint, and some points that were sent twice."""
    steps = [*range(25_000), *range(15_000, 30_000)]
    timestamps, values = list(range(40_000)), spiked(dice, 40_000)
    again = slice(30_000, 33_000)
    return steps + steps[again], timestamps + timestamps[again], values + values[again]


def without_steps(dice: random.Random) -> Column:
    """As ``log_metric`` without a step: all at one."""
    return [0] * 30_000, sorted(dice.randrange(20_000) for _ in range(30_000)), spiked(dice, 30_000)


def scattered(dice: random.Random) -> Column:
    """In no order, and at the ends of the range."""
    steps = [*(dice.randrange(-9_999, 9_999) for _ in range(29_998)), INT64_MIN, INT64_MAX]
    return steps, [dice.randrange(1_000) for _ in steps], spiked(dice, 30_000)


@asynccontextmanager
async def logged(database: Database, column: Column, dice: random.Random) -> AsyncIterator[Gateway]:
    """A gateway on a run that logged the points as key k, beside others; most of them compacted, the last are not."""
    async with pipeline(database) as p, p.folding():
        await p.append([ENSURED, CREATED])
        for at in range(0, len(column[0]), 2_000):
            steps, timestamps, values = (part[at : at + 2_000] for part in column)
            beside = min(len(steps), dice.randrange(1, 400))
            metrics = MetricColumns(
                keys=["a", "k", "z"],
                counts=[beside, len(steps), beside],
                steps=[*steps[:beside], *steps, *steps[:beside]],
                timestamps=[*timestamps[:beside], *timestamps, *timestamps[:beside]],
                values=[*values[:beside], *values, *values[:beside]],
            )
            await p.append([Sent(event_id(100 + at), run_stream("r"), RunLogged(metrics=metrics))])
            await p.folded(["metric_blocks"])
            if at in (10_000, 24_000):
                await compact(p, "r")
        pool = Pool(p.database, 2)
        try:
            yield Gateway(p.bus, pool, p.decider, p.projector, lambda: 0, bytes)
        finally:
            await pool.close()


def same(found: Points, expected: Points) -> bool:
    return all(np.array_equal(*columns, equal_nan=True) for columns in zip(found, expected, strict=True))


@pytest.mark.parametrize("shape", [steady, resumed, without_steps, scattered])
async def test_a_sample_is_that_of_all_points(database: Database, shape: Callable[[random.Random], Column]) -> None:
    dice = random.Random(7)
    column = shape(dice)
    steps, timestamps, values = column
    whole = by_step(Points(np.array(steps), np.array(timestamps), np.array(values)))
    async with logged(database, column, dice) as gateway:
        for low, high in RANGES:
            points = within(whole, low, high)
            total = len(points.values)
            for most in MOST:
                asked = Asked("k", low, high, most)
                [even] = await even_samples(gateway, ["r"], asked)
                assert same(even.points, nan_as_zero(points).take(even_ranks(total, most))), (low, high, most)
                assert even.total == total
                [found] = await extreme_samples(gateway, ["r"], asked)
                kept = points if total <= most else extremes(points, level_for(points, most // PER_BUCKET))
                assert same(found.points, kept), (low, high, most)
                assert len(found.points.values) <= most
                assert found.total == total or (total > most and found.total > total)


async def test_few_blocks_of_a_long_history_are_decoded(database: Database) -> None:
    dice = random.Random(7)
    decoded: list[int] = []
    unpatched = samples.decode

    def decode(data: bytes) -> object:
        chunk = unpatched(data)
        decoded.append(len(chunk.select("k")))
        return chunk

    async with logged(database, steady(dice), dice) as gateway:
        with mock.patch.object(samples, "decode", decode):
            await extreme_samples(gateway, ["r"], Asked("k", INT64_MIN, INT64_MAX, 20))
            at_extremes = sum(decoded)
            decoded.clear()
            await even_samples(gateway, ["r"], Asked("k", INT64_MIN, INT64_MAX, 3))
    # The tail of 14,000 points, which has no summaries, and a few blocks of 26,000 points.
    assert 14_000 <= at_extremes <= 14_000 + 3 * 4_096
    assert 14_000 <= sum(decoded) <= 14_000 + 3 * 4_096


async def test_runs_without_points_have_empty_samples_in_the_order_asked_for(database: Database) -> None:
    async with logged(database, ([1], [2], [3.0]), random.Random(1)) as gateway:
        found = await even_samples(gateway, ["x", "r", "x", "r"], Asked("k", INT64_MIN, INT64_MAX, 9))
        assert [(sample.run_id, sample.points.values.tolist()) for sample in found] == [
            ("x", []),
            ("r", [3.0]),
            ("x", []),
            ("r", [3.0]),
        ]
        [none] = await extreme_samples(gateway, ["r"], Asked("absent", INT64_MIN, INT64_MAX, 9))
        assert (none.total, none.points.steps.tolist()) == (0, [])
