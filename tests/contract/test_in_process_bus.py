"""The bus of a server that is one process keeps to the contract of buses."""

from __future__ import annotations

from uuid import uuid4

from runstream_services.adapters.in_process_bus import InProcessBus
from tests.contract.bus_contract import BusContract, emitting, receive_all, sent, settle


class TestInProcessBus(BusContract):
    def make(self, *, max_events: int = 1_000, max_bytes: int = 1 << 20) -> InProcessBus:
        return InProcessBus(str(uuid4()), max_events=max_events, max_bytes=max_bytes)

    async def test_offsets_start_at_0_and_the_length_is_what_waits(self) -> None:
        bus = self.make()
        tasks = [emitting(bus, sent(number)) for number in range(3)]
        received = await receive_all(bus, 3)
        assert (received[0].offset, len(bus)) == (0, 0)
        settle(received)
        for task in tasks:
            await task

    async def test_the_event_need_not_be_decoded_again(self) -> None:
        bus = self.make()
        event = sent(1)
        task = emitting(bus, event)
        [delivery] = await receive_all(bus, 1)
        assert delivery.event is event.event
        settle([delivery])
        await task
