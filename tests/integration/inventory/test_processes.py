"""The service's own components on a real broker: what a process of it is made of."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from libs.common.clock import SystemClock
from libs.common.events.inventory import GoodsPicked, StockReserved
from libs.common.events.topics import (
    INVENTORY_RESERVATION,
    LOGISTICS_SHIPMENT,
    ORDERS_CUSTOMER,
    ORDERS_ORDER,
    ORDERS_RETURN,
)
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from libs.common.ids import new_id
from libs.common.outbox import relay_of
from libs.common.runtime import Component
from services.inventory.bootstrap import SERVICE
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.bootstrap.api import build_api
from services.inventory.bootstrap.auditor import build_auditor
from services.inventory.bootstrap.consumers import build_consumers
from services.inventory.bootstrap.jobs import build_jobs
from services.inventory.consumers import INTAKE_GROUP
from services.inventory.settings import InventorySettings
from tests.integration.inventory.shop import Shop
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase
from tests.unit.inventory.builders import ARMCHAIR, NOON, approved, cancelled, dispatched, received

TOPICS = (*SERVICE.topics, ORDERS_ORDER, ORDERS_RETURN, ORDERS_CUSTOMER, LOGISTICS_SHIPMENT)
KEYS = FixedKeys({"all": Principal("all", frozenset({"*"}))})


@pytest.fixture
async def bus(infrastructure: Infrastructure) -> AsyncIterator[TestBus]:
    async with TestBus.open(infrastructure, topics=TOPICS, groups=SERVICE.groups) as bus:
        yield bus


@pytest.fixture
def settings(database: FreshDatabase, bus: TestBus) -> InventorySettings:
    return InventorySettings(
        database_url=SecretStr(database.url),
        kafka_bootstrap_servers=bus.bootstrap_servers,
        kafka_topic_prefix=bus.topic_prefix,
        port=0,
        audit_interval_seconds=0.2,
        audit_rescan_rest_seconds=0.2,
    )


@asynccontextmanager
async def running(components: Sequence[Component]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for component in components:
            group.create_task(component.run(stop))
        try:
            yield
        finally:
            stop.set()


class TestProcess:
    @pytest.mark.usefixtures("restless_auditor")
    async def test_of_every_role_takes_an_order_from_approval_to_shipment(
        self, shop: Shop, settings: InventorySettings, bus: TestBus, database: FreshDatabase
    ) -> None:
        ports: list[int] = []
        adapters = Adapters(database=database, clock=SystemClock())
        components = [
            *build_api(settings, adapters, Health(), authenticator=KEYS, on_listening=ports.append),
            *build_consumers(settings, adapters),
            relay_of(SERVICE.name, settings, SystemClock()),
            *build_jobs(settings, adapters),
            *build_auditor(settings, adapters),
        ]
        order, hopeless = approved((ARMCHAIR, 2)), approved((ARMCHAIR, 99))
        arrival = received(5)
        async with running(components), await _client(ports) as client:
            # The same event by both ways has one effect.
            arrival_id = new_id()
            await bus.publish(arrival, event_id=arrival_id)
            await client.post("/v1/stock-events", json=_as_posted(arrival_id, arrival.quantity))
            await _eventually_shows(client, {"available": 5})

            await bus.publish(order)
            await bus.publish(hopeless)
            await _eventually_shows(client, {"available": 3})
            await bus.publish(dispatched(order.order_id, (ARMCHAIR, 2)))
            await bus.publish(cancelled(hopeless.order_id))
            await eventually(lambda: shop.status(order.order_id), lambda status: status == "committed")
            await eventually(lambda: shop.status(hopeless.order_id), lambda status: status == "released")

            # Whoever puts an event on the bus that cannot be true finds it among the dead letters.
            await bus.publish(GoodsPicked(sku=ARMCHAIR, warehouse="NOWHERE", occurred_at=NOON, quantity=1))
            await bus.publish(received(1))
            await _eventually_shows(client, {"available": 4})
            letters = await eventually(lambda: bus.read_dead_letters(INTAKE_GROUP))
            assert dict(letters[0].headers)["dlq-reason"] == b"refused"

            # Of all that was done here, and not of what other tests counted.
            before = await _audits()
            await eventually(_audits, lambda count: count > before)
            await eventually(lambda: shop.rows("SELECT 1 FROM outbox_events"), lambda rows: rows == [])
        assert REGISTRY.get_sample_value("inventory_ledger_drift_units") == 0
        assert REGISTRY.get_sample_value("inventory_reservation_drift_units") == 0
        reservation_events = await bus.read_all(INVENTORY_RESERVATION)
        mine = [one for one in reservation_events if one.event.subject == str(order.order_id)]
        assert [(one.event.type, one.aggregate_version) for one in mine] == [
            ("stock.reserved", 1),
            ("stock.committed", 2),
        ]

    async def test_that_is_one_of_two_consumers_never_sells_the_last_unit_twice(
        self, shop: Shop, settings: InventorySettings, bus: TestBus, database: FreshDatabase
    ) -> None:
        await shop.reports(received(1))
        orders = [approved(on_shortage="refuse") for _ in range(60)]
        adapters = Adapters(database=database, clock=SystemClock())
        for order in orders:
            await bus.publish(order)

        async with running([*build_consumers(settings, adapters)[:1], *build_consumers(settings, adapters)[:1]]):
            await eventually(lambda: _answered(shop), lambda answered: answered == 60)

        assert await shop.level(ARMCHAIR) == (1, 1)
        assert len(await shop.announced(StockReserved)) == 1


async def _client(ports: list[int]) -> httpx.AsyncClient:
    async def is_listening() -> bool:
        return bool(ports)

    await eventually(is_listening)
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{ports[0]}", headers={"Authorization": "Bearer all"}, trust_env=False, timeout=60
    )


async def _eventually_shows(client: httpx.AsyncClient, expected: dict[str, Any]) -> None:
    async def shown() -> dict[str, Any]:
        answer = await client.get("/v1/availability", params={"sku": ARMCHAIR})
        item: dict[str, Any] = answer.json()["items"][0]
        return item

    def is_expected(item: dict[str, Any]) -> bool:
        return all(item[name] == value for name, value in expected.items())

    await eventually(shown, is_expected)


async def _answered(shop: Shop) -> int:
    [row] = await shop.rows("SELECT count(*) AS answered FROM reservations")
    return int(row["answered"])


async def _audits() -> float:
    return REGISTRY.get_sample_value("inventory_audit_rounds_total", {"look": "rescan"}) or 0.0


def _as_posted(event_id: object, quantity: int) -> dict[str, Any]:
    return {
        "id": str(event_id),
        "type": "goods.received",
        "sku": ARMCHAIR,
        "warehouse": "LON",
        "occurred_at": NOON.isoformat(),
        "quantity": quantity,
    }
