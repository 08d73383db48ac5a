"""A process that writes at a fixed rate while something else is measured: ``python -m bench.writer``.

Reads a :class:`Job` as a line of JSON, and says ``writing`` when each connection has its first answer. When its input
ends it waits for the answers that are still under way, and prints a :class:`Written` as JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import asdict, dataclass, field

import orjson

from bench.api import LOG_BATCH
from bench.population import METRICS
from bench.request import fill, metrics_body, post
from bench.seed import answer
from bench.servers.running import HOST


@dataclass(frozen=True)
class Job:
    """log-batches of ten metrics, numbered from ``first`` on, ``rate`` a second in all, to ``run_ids``.

    Each run belongs to one of the ``connections``, because FastTrackML deadlocks when two write one run.
    """

    port: int
    run_ids: list[str]
    first: int
    rate: float
    connections: int


@dataclass
class Written:
    """What a writer did. ``owners`` has for each request sent the place of its run in ``run_ids``.

    ``in_time`` are those acknowledged in the ``seconds`` from "writing" to the end of the input.
    """

    owners: list[int] = field(default_factory=list)
    acknowledged: int = 0
    in_time: int = 0
    errors: int = 0
    first_error: str = ""
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Acknowledged log-batches a second."""
        return self.in_time / self.seconds if self.seconds else 0.0


def write_key(index: int) -> str:
    """The key of metric ``index`` of a log-batch: one of those that are searched."""
    return METRICS[index]


class Writer:
    """The connections of one job."""

    def __init__(self, job: Job) -> None:
        self.written = Written()
        self._job = job
        self._templates = [
            post(f"{HOST}:{job.port}", LOG_BATCH, metrics_body(run_id, len(METRICS), write_key)).decode()
            for run_id in job.run_ids
        ]
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Write until the input ends."""
        job, loop = self._job, asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            first_answers = [loop.create_future() for _ in range(job.connections)]
            for place, answered in enumerate(first_answers):
                group.create_task(self._connection(place, answered))
            await asyncio.gather(*first_answers)
            started, before = time.monotonic(), self.written.acknowledged
            print("writing", flush=True)
            await asyncio.to_thread(sys.stdin.read)
            self._ended.set()
            self.written.seconds = time.monotonic() - started
            self.written.in_time = self.written.acknowledged - before

    async def _connection(self, place: int, answered: asyncio.Future[None]) -> None:
        """Send when it is due; what was late is caught up, but for more than a second."""
        job = self._job
        mine = range(place, len(job.run_ids), job.connections)
        period = job.connections / job.rate
        due = time.monotonic() + place / job.rate
        reader, writer = await asyncio.open_connection(HOST, job.port)
        sent = 0
        while not await self._waited_until(due):
            ok = await self._send(mine[sent % len(mine)], reader, writer)
            if not answered.done():
                answered.set_result(None)
            if not ok:
                writer.close()
                reader, writer = await asyncio.open_connection(HOST, job.port)
            sent += 1
            due = max(due + period, time.monotonic() - 1)
        writer.close()

    async def _waited_until(self, due: float) -> bool:
        """Whether the input ended before ``due``."""
        if self._ended.is_set():
            return True
        try:
            await asyncio.wait_for(self._ended.wait(), max(due - time.monotonic(), 0))
        except TimeoutError:
            return False
        return True

    async def _send(self, run: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        written = self.written
        number = self._job.first + len(written.owners)
        written.owners.append(run)
        started = time.perf_counter()
        try:
            writer.write(fill(self._templates[run], number).encode())
            status, body = await answer(reader)
            if status != 200 or orjson.loads(body) != {}:
                raise ValueError(f"{status} {body[:200].decode(errors='replace')}")
        except (OSError, EOFError, ValueError) as error:
            written.errors += 1
            written.first_error = written.first_error or str(error) or repr(error)
            return False
        written.acknowledged += 1
        written.latencies_ms.append((time.perf_counter() - started) * 1000)
        return True


def main() -> None:
    """Do the job of the first line of the input."""
    writer = Writer(Job(**orjson.loads(sys.stdin.readline())))
    asyncio.run(writer.run())
    print(orjson.dumps(asdict(writer.written)).decode(), flush=True)


if __name__ == "__main__":
    main()
