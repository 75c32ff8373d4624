"""What dies at a named place leaves what the place says, and its successor brings it to an end."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from libs.common.clock import SystemClock
from libs.common.db import Transaction
from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsReceived
from libs.common.events.topics import INVENTORY_WAREHOUSE
from libs.common.failpoints import FailpointRaised, failpoints
from libs.common.messaging.consumer import Consumer, Subscription
from libs.common.messaging.producer import BusProducer
from libs.common.outbox import OutboxWriter, Relay
from tests.integration.common.conftest import GROUP
from tests.support.eventually import eventually
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)
RECEIPT = GoodsReceived(sku="CRUNCHY-ARMCHAIR", warehouse="LON", occurred_at=NOON, quantity=1)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


async def write_effects(batch: Sequence[Envelope], transaction: Transaction) -> None:
    driver = await transaction.driver()
    for envelope in batch:
        await driver.execute("INSERT INTO effects VALUES ($1, 'CRUNCHY-ARMCHAIR', 1)", envelope.id)


def a_consumer(database: FreshDatabase, bus: TestBus) -> Consumer:
    return Consumer(
        Subscription(group=GROUP, topics=(INVENTORY_WAREHOUSE,), events=(GoodsReceived,), handle=write_effects),
        service="test",
        database=database,
        bootstrap_servers=bus.bootstrap_servers,
        topic_prefix=bus.topic_prefix,
        clock=SystemClock(),
    )


def a_relay(database: FreshDatabase, bus: TestBus) -> Relay:
    producer = BusProducer(bootstrap_servers=bus.bootstrap_servers, topic_prefix=bus.topic_prefix, client_id="relay")
    return Relay(service="inventory", database_url=database.url, producer=producer, clock=SystemClock())


async def count(database: FreshDatabase, table: str) -> int:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        return int(await driver.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608 - our own tables


async def add_to_outbox(database: FreshDatabase) -> None:
    async with database.transaction() as transaction:
        OutboxWriter(transaction, source="inventory", clock=SystemClock()).add(RECEIPT, aggregate_version=1)


async def run_until_empty(relay: Relay, database: FreshDatabase) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(stop))
        await eventually(lambda: count(database, "outbox_events"), lambda pending: pending == 0)
        stop.set()


class TestConsumer:
    @pytest.mark.parametrize(("place", "effects"), [("after-commit", 1), ("before-commit", 0), ("before-handling", 0)])
    async def test_meets_again_what_it_died_over(
        self, database: FreshDatabase, bus: TestBus, place: str, effects: int
    ) -> None:
        action = "raise" if place == "after-commit" else "raise@1+"
        failpoints.arm(f"consumer.{place}[{GROUP}]={action}")
        await bus.publish(RECEIPT)

        if place == "after-commit":
            with pytest.raises(FailpointRaised):
                await a_consumer(database, bus).run(asyncio.Event())
        else:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(a_consumer(database, bus).run(stop))
                await eventually(lambda: bus.read_dead_letters(GROUP))
                stop.set()
        assert await count(database, "effects") == effects

        failpoints.arm("")
        await bus.publish(RECEIPT)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(a_consumer(database, bus).run(stop))
            await eventually(lambda: count(database, "effects"), lambda found: found > effects)
            stop.set()
        assert await count(database, "effects") == effects + 1


class TestRelay:
    @pytest.mark.parametrize(
        ("place", "left", "published"), [("before-publish", 1, 1), ("after-publish", 1, 2), ("after-delete", 0, 1)]
    )
    async def test_loses_nothing_wherever_it_dies(
        self, database: FreshDatabase, bus: TestBus, place: str, left: int, published: int
    ) -> None:
        failpoints.arm(f"relay.{place}[inventory]=raise")
        await add_to_outbox(database)

        with pytest.raises(FailpointRaised):
            await a_relay(database, bus).run(asyncio.Event())
        assert await count(database, "outbox_events") == left

        await run_until_empty(a_relay(database, bus), database)
        assert len(await bus.read_all(INVENTORY_WAREHOUSE)) == published
