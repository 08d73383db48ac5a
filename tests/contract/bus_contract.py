"""What every bus keeps to. A bus's tests derive from :class:`BusContract` and say how one is made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import pytest

from runstream_projections.decisions import ACCEPTED
from runstream_schemas.envelope import Envelope
from runstream_schemas.errors import RequestError, Unavailable
from runstream_schemas.events import Event, RunLogged
from runstream_schemas.ids import run_stream
from runstream_schemas.positions import Origin
from runstream_services.ports import Delivery, Outcome
from tests.sent import Sent, event_id

LONG_S = 20.0


class Bus(Protocol):
    """A bus as gateways and log writers use it."""

    origin: Origin

    async def emit(self, envelope: Envelope, event: Event, deadline_s: float) -> Outcome: ...

    async def emit_all(
        self, events: Sequence[tuple[Envelope, Event]], deadline_s: float
    ) -> list[Outcome | RequestError]: ...

    async def receive(self, max_events: int, max_bytes: int) -> list[Delivery]: ...

    def close(self) -> None: ...


def sent(number: int, stream: str = "r", size: int = 0) -> Sent:
    return Sent(event_id(number), run_stream(stream), RunLogged(tags={"n": "x" * size}))


def emitting(bus: Bus, event: Sent, deadline_s: float = LONG_S) -> asyncio.Task[Outcome]:
    return asyncio.create_task(bus.emit(event.envelope, event.event, deadline_s))


def emitting_all(
    bus: Bus, events: Sequence[Sent], deadline_s: float = LONG_S
) -> asyncio.Task[list[Outcome | RequestError]]:
    return asyncio.create_task(bus.emit_all([(event.envelope, event.event) for event in events], deadline_s))


async def receive_all(bus: Bus, number: int) -> list[Delivery]:
    """Receive until so many events came."""
    received: list[Delivery] = []
    async with asyncio.timeout(LONG_S):
        while len(received) < number:
            received += await bus.receive(1_000, 1 << 20)
    return received


def settle(deliveries: list[Delivery]) -> None:
    for delivery in deliveries:
        if delivery.outcome is not None and not delivery.outcome.done():
            delivery.outcome.set_result(Outcome(delivery.offset + 1, ACCEPTED))


class BusContract:
    """The suite; ``make`` gives a bus that holds at most so many events and bytes that nobody has received."""

    def make(self, *, max_events: int = 1_000, max_bytes: int = 1 << 20) -> Bus:
        raise NotImplementedError

    async def test_events_come_in_the_order_in_which_they_were_sent(self) -> None:
        bus = self.make()
        tasks = []
        for number in range(100):
            tasks.append(emitting(bus, sent(number, f"run-{number % 3}")))
            await asyncio.sleep(0)
        received = await receive_all(bus, 100)
        assert [d.envelope.id for d in received] == [event_id(number) for number in range(100)]
        settle(received)
        await asyncio.gather(*tasks)

    async def test_an_event_arrives_as_it_was_sent(self) -> None:
        bus = self.make()
        event = Sent(event_id(1), run_stream("r"), RunLogged(params={"é": "\U0001f680"}), 5, "ada", "host/1", 7)
        task = emitting(bus, event)
        [delivery] = await receive_all(bus, 1)
        assert delivery.envelope == event.envelope
        assert delivery.event == event.event
        settle([delivery])
        await task

    async def test_the_origin_numbers_its_events_without_holes(self) -> None:
        bus = self.make()
        tasks = [emitting(bus, sent(number)) for number in range(20)]
        received = await receive_all(bus, 20)
        first = received[0].offset
        assert [d.offset for d in received] == list(range(first, first + 20))
        settle(received)
        await asyncio.gather(*tasks)

    async def test_each_event_is_received_once(self) -> None:
        bus = self.make()
        tasks = [emitting(bus, sent(number)) for number in range(50)]
        received: list[Delivery] = []
        async with asyncio.timeout(LONG_S):
            while len(received) < 50:
                received += await bus.receive(7, 1 << 20)
        assert sorted(d.envelope.id for d in received) == sorted(event_id(number) for number in range(50))
        settle(received)
        await asyncio.gather(*tasks)

    async def test_a_batch_is_bounded_and_holds_at_least_one_event(self) -> None:
        bus = self.make()
        tasks = [emitting(bus, sent(number, size=1_000)) for number in range(10)]
        await asyncio.sleep(0)
        received = batch = await bus.receive(4, 1 << 20)
        assert 1 <= len(batch) <= 4
        batch = await bus.receive(100, 2_500)
        assert 1 <= len(batch) <= 3, "it may go over the bytes by its last event, not by more"
        received += batch
        batch = await bus.receive(100, 1)
        assert len(batch) == 1
        received += [*batch, *await receive_all(bus, 10 - len(received) - 1)]
        settle(received)
        await asyncio.gather(*tasks)

    async def test_a_sender_gets_what_became_of_its_event(self) -> None:
        bus = self.make()
        tasks = [emitting(bus, sent(number)) for number in range(3)]
        received = await receive_all(bus, 3)
        outcomes = [Outcome(number, ACCEPTED) for number in (7, 8)]
        for delivery, outcome in zip(received, outcomes, strict=False):
            assert delivery.outcome is not None
            delivery.outcome.set_result(outcome)
        assert received[2].outcome is not None
        received[2].outcome.set_exception(RequestError("INVALID_PARAMETER_VALUE", "no"))
        assert await asyncio.gather(*tasks[:2]) == outcomes
        with pytest.raises(RequestError, match="no"):
            await tasks[2]

    async def test_a_full_bus_refuses_at_once_and_takes_again_when_there_is_room(self) -> None:
        for bus, size in ((self.make(max_events=5), 0), (self.make(max_bytes=6_500), 1_000)):
            tasks = [emitting(bus, sent(number, size=size)) for number in range(5)]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                await emitting(bus, sent(5, size=size))
            received = await bus.receive(2, 1 << 20)
            tasks.append(emitting(bus, sent(6, size=size)))
            received += await receive_all(bus, 6 - len(received))
            assert [d.envelope.id for d in received] == [event_id(number) for number in (0, 1, 2, 3, 4, 6)]
            settle(received)
            await asyncio.gather(*tasks)

    async def test_events_sent_together_come_in_their_order_and_each_gets_its_outcome(self) -> None:
        bus = self.make()
        task = emitting_all(bus, [sent(number, f"run-{number % 3}") for number in range(20)])
        received = await receive_all(bus, 20)
        assert [d.envelope.id for d in received] == [event_id(number) for number in range(20)]
        assert [d.offset - received[0].offset for d in received] == list(range(20))
        assert received[7].outcome is not None
        received[7].outcome.set_exception(RequestError("INVALID_PARAMETER_VALUE", "no"))
        settle(received)
        outcomes = await task
        assert isinstance(outcomes[7], RequestError)
        assert outcomes[:7] + outcomes[8:] == [Outcome(d.offset + 1, ACCEPTED) for d in received if d != received[7]]
        assert await emitting_all(bus, []) == []

    async def test_events_sent_together_find_room_for_all_of_them_or_are_refused(self) -> None:
        for bus, size in ((self.make(max_events=5), 0), (self.make(max_bytes=6_500), 1_000)):
            first = emitting_all(bus, [sent(number, size=size) for number in range(3)])
            await asyncio.sleep(0)
            with pytest.raises(Unavailable):
                await emitting_all(bus, [sent(number, size=size) for number in range(3, 6)])
            second = emitting_all(bus, [sent(number, size=size) for number in range(3, 5)])
            received = await receive_all(bus, 5)
            assert [d.envelope.id for d in received] == [event_id(number) for number in range(5)]
            settle(received)
            await asyncio.gather(first, second)

    async def test_past_the_deadline_nobody_hears_of_events_sent_together_that_all_are_known(self) -> None:
        bus = self.make()
        task = emitting_all(bus, [sent(number) for number in range(3)], deadline_s=0.05)
        received = await receive_all(bus, 3)
        settle(received[:1])
        with pytest.raises(Unavailable, match="may still take effect"):
            await task
        assert all(d.outcome is not None and d.outcome.done() for d in received), "it need not be appended any more"
        settle(received)

    async def test_a_sender_of_many_that_goes_away_harms_nobody(self) -> None:
        bus = self.make()
        gone, stays = emitting_all(bus, [sent(1), sent(2)]), emitting(bus, sent(3))
        received = await receive_all(bus, 3)
        assert received[1].outcome is not None
        received[1].outcome.set_exception(RequestError("INVALID_PARAMETER_VALUE", "no"))
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        settle(received)
        assert (await stays).decision == ACCEPTED

    async def test_a_receiver_waits_for_an_event(self) -> None:
        bus = self.make()
        receiving = asyncio.create_task(receive_all(bus, 1))
        await asyncio.sleep(0.01)
        assert not receiving.done()
        task = emitting(bus, sent(1))
        received = await receiving
        settle(received)
        assert (await task).decision == ACCEPTED

    async def test_past_its_deadline_a_sender_hears_that_its_event_may_still_take_effect(self) -> None:
        bus = self.make()
        with pytest.raises(Unavailable, match="may still take effect"):
            await emitting(bus, sent(1), deadline_s=0.01)
        task = emitting(bus, sent(2), deadline_s=0.01)
        received = await receive_all(bus, 1)
        with pytest.raises(Unavailable, match="may still take effect"):
            await task
        # The receiver is not held up, and what it says later harms nobody.
        settle(received)

    async def test_a_sender_that_goes_away_harms_nobody(self) -> None:
        bus = self.make()
        gone, stays = emitting(bus, sent(1)), emitting(bus, sent(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        received = await receive_all(bus, 2)
        settle(received)
        assert (await stays).decision == ACCEPTED

    async def test_a_closed_bus_refuses_and_is_drained(self) -> None:
        bus = self.make()
        tasks = [emitting(bus, sent(number)) for number in range(5)]
        await asyncio.sleep(0)
        bus.close()
        with pytest.raises(Unavailable, match="stopping"):
            await emitting(bus, sent(9))
        with pytest.raises(Unavailable, match="stopping"):
            await emitting_all(bus, [sent(9)])
        received = await bus.receive(3, 1 << 20)
        received += await bus.receive(3, 1 << 20)
        assert [d.envelope.id for d in received] == [event_id(number) for number in range(5)]
        assert await bus.receive(3, 1 << 20) == []
        assert await bus.receive(3, 1 << 20) == []
        settle(received)
        await asyncio.gather(*tasks)

    async def test_closing_wakes_a_receiver_that_waits(self) -> None:
        bus = self.make()
        receiving = asyncio.create_task(bus.receive(3, 1 << 20))
        await asyncio.sleep(0.01)
        bus.close()
        async with asyncio.timeout(LONG_S):
            assert await receiving == []

    async def test_every_start_is_another_origin(self) -> None:
        assert self.make().origin != self.make().origin
