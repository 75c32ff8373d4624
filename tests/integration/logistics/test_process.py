"""The service's processes on a real bus: events in at one end, events out at the other."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from libs.common.events.logistics import ShipmentDelivered, ShipmentPlanned
from libs.common.events.topics import INVENTORY_FACILITY, LOGISTICS_SHIPMENT, ORDERS_ORDER
from libs.common.runtime import Component
from services.logistics.bootstrap import SERVICE
from services.logistics.domain.shipment import shipment_id
from services.logistics.settings import LogisticsSettings
from tests.integration.logistics.world import LONDON, a_confirmation
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase


@pytest.fixture
async def bus(infrastructure: Infrastructure) -> AsyncIterator[TestBus]:
    topics = (*SERVICE.topics, ORDERS_ORDER, INVENTORY_FACILITY)
    async with TestBus.open(infrastructure, topics=topics, groups=SERVICE.groups) as bus:
        yield bus


class TestWorker:
    async def test_turns_confirmed_orders_into_delivered_parcels(self, database: FreshDatabase, bus: TestBus) -> None:
        process = SERVICE.build(
            LogisticsSettings.model_validate(
                {
                    "database_url": database.url,
                    "kafka_bootstrap_servers": bus.bootstrap_servers,
                    "kafka_topic_prefix": bus.topic_prefix,
                    "simulator_seconds_per_day": 0.01,
                }
            ),
            frozenset({"consumer", "relay", "jobs", "simulator"}),
        )
        placed_at = datetime(2011, 3, 4, 15, 40, tzinfo=UTC)
        orders = [a_confirmation(at=placed_at) for _ in range(20)]
        await bus.publish(LONDON, aggregate_version=1)
        for order in orders:
            # Twice, as after a crash of the relay that published it.
            envelope = await bus.publish(order)
            await bus.publish(order, event_id=envelope.id)

        async def delivered() -> int:
            published = await bus.read_all(LOGISTICS_SHIPMENT)
            return sum(isinstance(one.event, ShipmentDelivered) for one in published)

        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for component in process.components:
                group.create_task(_run(component, stop))
            await eventually(delivered, lambda count: count >= 20)
            stop.set()
        for close in process.closers:
            await close()

        events = [one.event for one in await bus.read_all(LOGISTICS_SHIPMENT)]
        planned = [event.shipment_id for event in events if isinstance(event, ShipmentPlanned)]
        assert sorted(planned) == sorted(shipment_id(order.order_id, "LON") for order in orders)
        assert await delivered() == 20
        assert await bus.read_dead_letters("logistics.planning") == []


async def _run(component: Component, stop: asyncio.Event) -> None:
    await component.run(stop)
