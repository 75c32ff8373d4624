"""The service as it runs: its own processes' parts, a real broker, and other services' events on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from pydantic import SecretStr

from libs.common.events.inventory import StockReserved
from libs.common.events.orders import OrderConfirmed
from libs.common.events.shapes import Allocation
from libs.common.events.topics import INVENTORY_RESERVATION, LOGISTICS_SHIPMENT, ORDERS_ORDER
from libs.common.ids import new_id
from services.orders.bootstrap import SERVICE
from services.orders.bootstrap.build import build
from services.orders.settings import OrdersSettings
from tests.integration.orders.shop import Shop
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase

TOPICS = (*SERVICE.topics, INVENTORY_RESERVATION, LOGISTICS_SHIPMENT)


@asynccontextmanager
async def running_worker(bus: TestBus, database: FreshDatabase) -> AsyncIterator[None]:
    settings = OrdersSettings(
        database_url=SecretStr(database.url),
        kafka_bootstrap_servers=bus.bootstrap_servers,
        kafka_topic_prefix=bus.topic_prefix,
    )
    process = build(settings, frozenset({"consumer", "relay", "jobs"}))
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for component in process.components:
            group.create_task(component.run(stop))
        yield
        stop.set()
    for close in reversed(process.closers):
        await close()


class TestService:
    async def test_confirms_what_inventory_reserves(
        self, infrastructure: Infrastructure, database: FreshDatabase, shop: Shop
    ) -> None:
        async with (
            TestBus.open(infrastructure, topics=TOPICS, groups=SERVICE.groups) as bus,
            running_worker(bus, database),
        ):
            order_id = await shop.place()
            reserved = StockReserved(
                order_id=order_id,
                allocations=[Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=3)],
                decision_id=new_id(),
            )
            await bus.publish(reserved, event_id=UUID(int=1))
            await bus.publish(reserved, event_id=UUID(int=1))

            await eventually(lambda: shop.status(order_id), lambda status: status == "confirmed")
            published = await eventually(lambda: bus.read_all(ORDERS_ORDER), lambda events: len(events) == 4)

        types = [envelope.event.type for envelope in published]
        assert types == ["order.placed", "order.approved", "order.reserved", "order.confirmed"]
        confirmed = published[-1].event
        assert isinstance(confirmed, OrderConfirmed)
        assert confirmed.allocations == reserved.allocations
        assert [envelope.aggregate_version for envelope in published] == [1, 2, 3, 4]
        assert await shop.count("SELECT count(*) FROM outbox_events") == 0
        assert await shop.count("SELECT count(*) FROM inbox_events") == 1
