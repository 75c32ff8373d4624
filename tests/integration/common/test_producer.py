"""What the broker says of producers that are not who it took them for, or that have lost count."""

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from libs.common.clock import SystemClock
from libs.common.events.topics import INVENTORY_WAREHOUSE
from libs.common.messaging.producer import BusProducer
from libs.common.outbox import Relay
from tests.integration.common.test_outbox import an_adjustment, pending, write
from tests.support.eventually import eventually
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase


class WatchedProducer(BusProducer):
    """Counts the producers that it has begun with."""

    def __init__(self, bus: TestBus) -> None:
        super().__init__(bootstrap_servers=bus.bootstrap_servers, topic_prefix=bus.topic_prefix, client_id="relay")
        self.begun: list[Any] = []

    async def _started(self) -> AIOKafkaProducer:
        producer = await super()._started()
        if producer not in self.begun:
            self.begun.append(producer)
        return producer


async def lose_count(producer: Any, topic: str) -> None:
    """Let it number its next batch as if some had been lost in between."""
    numbers = producer._txn_manager._sequence_numbers  # noqa: SLF001 - there is no other way to lose count
    for place in [place for place in numbers if place.topic == topic]:
        numbers[place] += 7


async def be_fenced(producer: Any, topic: str) -> None:
    """Let another write under its id, as its successor."""
    ours = producer._txn_manager  # noqa: SLF001 - nor to be somebody else
    servers = producer.client._bootstrap_servers  # noqa: SLF001
    other = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True)
    await other.start()
    try:
        epoch = ours._pid_and_epoch.epoch + 1  # noqa: SLF001
        other._txn_manager._pid_and_epoch = ours._pid_and_epoch._replace(epoch=epoch)  # noqa: SLF001
        for place in ours._sequence_numbers:  # noqa: SLF001
            await other.send_and_wait(topic, b"", key=b"", partition=place.partition)
    finally:
        await other.stop()


@pytest.mark.parametrize("mishap", [lose_count, be_fenced])
async def test_goes_on_with_another_producer_and_loses_nothing(
    database: FreshDatabase, bus: TestBus, mishap: Any
) -> None:
    producer = WatchedProducer(bus)
    relay = Relay(service="inventory", database_url=database.url, producer=producer, clock=SystemClock())
    stop = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(stop))
        first = await write(database, an_adjustment())
        await eventually(lambda: pending(database), lambda count: count == 0)
        await mishap(producer.begun[0], bus.topic_prefix + INVENTORY_WAREHOUSE.name)
        later = await write(database, *(an_adjustment(delta=delta) for delta in range(2, 6)))
        await eventually(lambda: pending(database), lambda count: count == 0)
        stop.set()

    records = await bus.read_records(INVENTORY_WAREHOUSE.name)
    ours = [dict(record.headers)["ce_id"].decode() for record in records if record.headers]
    assert list(dict.fromkeys(ours)) == [str(one) for one in [*first, *later]]
    assert len(producer.begun) > 1
