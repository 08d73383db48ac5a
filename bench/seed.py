"""Writes points of random doubles through log-batch, over several connections, every answer checked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import orjson

from bench.api import LOG_BATCH
from bench.request import FIRST_MS, post
from bench.servers.running import HOST

#: Connections; each has runs of its own, because FastTrackML deadlocks when two write one run.
WRITERS: Final = 8


@dataclass
class Seeded:
    """Points acknowledged, and answers that were not a plain success."""

    points: int = 0
    errors: int = 0
    first_error: str = ""


def wide_bodies(run_ids: list[str], size: int, steps: int) -> Iterator[tuple[int, str]]:
    """For each run and step one event of ``size`` keys, all values ``random.random()``; with the event's points."""
    for step in range(steps):
        for run_id in run_ids:
            items = ",".join(
                f'{{"key":"metric_{i}","value":{random.random()!r},"timestamp":{FIRST_MS + step * 1000},"step":{step}}}'
                for i in range(size)
            )
            yield size, f'{{"run_id":"{run_id}","metrics":[{items}]}}'


def long_bodies(run_id: str, key: str, values: list[float], size: int) -> Iterator[tuple[int, str]]:
    """The history of one key in events of ``size`` consecutive steps; with the event's points."""
    for first in range(0, len(values), size):
        part = values[first : first + size]
        items = ",".join(
            f'{{"key":"{key}","value":{value!r},"timestamp":{FIRST_MS + step},"step":{step}}}'
            for step, value in enumerate(part, first)
        )
        yield len(part), f'{{"run_id":"{run_id}","metrics":[{items}]}}'


def seed(port: int, streams: list[Iterator[tuple[int, str]]]) -> Seeded:
    """Send each stream of (points, body) in order over a connection of its own; all streams at the same time."""
    done = Seeded()

    async def send_all() -> None:
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(_send(port, stream, done))

    asyncio.run(send_all())
    return done


async def _send(port: int, stream: Iterator[tuple[int, str]], done: Seeded) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for count, body in stream:
            writer.write(post(f"{HOST}:{port}", LOG_BATCH, body))
            status, content = await answer(reader)
            if status == 200 and orjson.loads(content) == {}:
                done.points += count
            else:
                done.errors += 1
                done.first_error = done.first_error or f"{status} {content[:200].decode(errors='replace')}"
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one HTTP answer; a body without a length is taken as empty."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = 0
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return int(head.split(" ", 2)[1]), await reader.readexactly(length)
