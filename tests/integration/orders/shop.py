"""The orders service in one process, without Kafka: what other services say is handed to its handlers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.clock import FixedClock
from libs.common.db import Database
from libs.common.events.base import Envelope, Event, EventReader
from libs.common.events.inventory import StockReserved
from libs.common.events.logistics import ShipmentDelivered, ShipmentDispatched, ShipmentPlanned
from libs.common.events.registry import EVENTS
from libs.common.events.shapes import Allocation, SkuQuantity
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from libs.common.ids import new_id
from libs.common.outbox.writer import records_of
from services.orders.api.backend import Backend
from services.orders.bootstrap.api import build_app, build_backend, build_webhook_desk, put_behind
from services.orders.bootstrap.policies import policy_of
from services.orders.clients.sandbox_books import SandboxBooks
from services.orders.clients.sandbox_payments import SandboxPayments
from services.orders.consumers import SagaHandler
from services.orders.handlers.deadlines import DeadlineWatch
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.payments import PaymentExecutor
from services.orders.handlers.ports import PaymentGateway
from services.orders.settings import OrdersSettings
from services.orders.storage.unit import PostgresUnits
from tests.support.kafka import envelope_of
from tests.support.postgres import PATIENCE, FreshDatabase

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
LATE = timedelta(seconds=5)
KEYS = FixedKeys(
    {
        "storefront": Principal("storefront", frozenset({"orders:write", "orders:read"})),
        "operator": Principal("operator", frozenset({"*"})),
    }
)
ORDER: dict[str, Any] = {
    "customer_id": "customer-7",
    "currency": "GBP",
    "lines": [
        {"sku": "CRUNCHY-ARMCHAIR", "quantity": 2, "unit_price_minor": 1_000},
        {"sku": "OMINOUS-MIRROR", "quantity": 3, "unit_price_minor": 500},
        {"sku": "CRUNCHY-ARMCHAIR", "quantity": 1, "unit_price_minor": 900},
    ],
    "ship_to": {"country": "GB", "name": "Ann Shopper", "latitude": 51.5074, "longitude": -0.1278},
    "payment": {"token": "tok_ok"},
}
TOTAL_MINOR = 4_400
# Making the routes takes longer than many a test; two shops that are open at once have their own.
_idle_apps: list[FastAPI] = []
EACH_LINE = [("leeds", "CRUNCHY-ARMCHAIR", 3), ("lyon", "OMINOUS-MIRROR", 3)]


def an_order(**changes: Any) -> dict[str, Any]:
    token = changes.pop("token", None)
    return {**ORDER, **changes, **({"payment": {"token": token}} if token else {})}


def shipment_id(order_id: UUID, warehouse: str) -> UUID:
    return UUID(int=order_id.int ^ sum(warehouse.encode()))


@dataclass
class Shop:
    """Everything a test asks of the service."""

    database: FreshDatabase
    clock: FixedClock
    client: httpx.AsyncClient
    backend: Backend
    units: PostgresUnits
    saga: SagaHandler
    provider: SandboxPayments
    executor: PaymentExecutor
    deadlines: DeadlineWatch
    policy: Policy
    _keys: int = field(default=0)

    @classmethod
    @asynccontextmanager
    async def open(cls, database: FreshDatabase, **settings: Any) -> AsyncIterator[Self]:
        clock = FixedClock(NOW)
        chosen = OrdersSettings(database_url=SecretStr(database.url), follow_poll_seconds=0.01, **settings)
        units = PostgresUnits(database, clock=clock)
        policy = policy_of(chosen)
        books = {"sandbox": SandboxBooks(database)}
        backend = build_backend(chosen, database, units, policy=policy, clock=clock, provider_books=books)
        provider_database = Database(database.url, application_name="sandbox", pool_size=4, patience=PATIENCE)
        provider = SandboxPayments(provider_database, clock=clock, late_answer_after=LATE)
        desk = build_webhook_desk(chosen, database, clock=clock)
        health = Health(clock=clock)
        app = _idle_apps.pop() if _idle_apps else build_app(chosen, backend, health, webhooks=desk, authenticator=KEYS)
        app.state.health = health
        put_behind(app, chosen, backend, webhooks=desk)
        stop = asyncio.Event()
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://orders", headers=key("operator")) as client,
            backend,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(backend.follower.run(stop))
            yield cls(
                database=database,
                clock=clock,
                client=client,
                backend=backend,
                units=units,
                saga=SagaHandler(policy=policy, clock=clock, bind=units.bind),
                provider=provider,
                executor=PaymentExecutor(units, provider, policy=policy, clock=clock, poll_seconds=0),
                deadlines=DeadlineWatch(units, policy=policy, clock=clock),
                policy=policy,
            )
            stop.set()
        await provider_database.dispose()
        _idle_apps.append(app)

    async def post(self, path: str, body: Any, *, idempotency_key: str | None = None, **headers: str) -> httpx.Response:
        self._keys += 1
        headers = {"Idempotency-Key": idempotency_key or f"key-{self._keys}", **headers}
        return await self.client.post(f"/v1{path}", json=body, headers=headers)

    async def get(self, path: str, **parameters: Any) -> httpx.Response:
        return await self.client.get(f"/v1{path}", params=parameters)

    async def place(self, **changes: Any) -> UUID:
        response = await self.post("/orders", an_order(**changes))
        assert response.status_code == 201, response.text
        return UUID(response.json()["id"])

    async def order(self, order_id: UUID) -> dict[str, Any]:
        response = await self.get(f"/orders/{order_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def status(self, order_id: UUID) -> str:
        return str((await self.order(order_id))["status"])

    async def tell(self, *events: Event) -> None:
        await self.deliver([envelope_of(event) for event in events])

    async def deliver(self, envelopes: Sequence[Envelope]) -> None:
        async with self.database.transaction() as transaction:
            await self.saga(envelopes, transaction)

    async def reserve(self, *order_ids: UUID) -> None:
        allocations = [Allocation(warehouse=place, sku=sku, quantity=units) for place, sku, units in EACH_LINE]
        await self.tell(
            *(StockReserved(order_id=order_id, allocations=allocations, decision_id=new_id()) for order_id in order_ids)
        )

    async def pay(
        self,
        gateway: PaymentGateway | None = None,
        *,
        provider: str = "sandbox",
        visible_after: timedelta = timedelta(0),
    ) -> int:
        """Carry out everything that is due, until nothing is."""
        executor = self.executor
        if gateway is not None:
            executor = PaymentExecutor(
                self.units,
                gateway,
                policy=self.policy,
                clock=self.clock,
                provider=provider,
                visible_after=visible_after,
                poll_seconds=0,
            )
        done = 0
        while carried_out := await executor.work():
            done += carried_out
        return done

    async def confirm(self, order_id: UUID) -> None:
        await self.reserve(order_id)
        await self.pay()
        assert await self.status(order_id) == "confirmed"

    async def plan(self, order_id: UUID, *places: str) -> None:
        await self.tell(
            *(
                ShipmentPlanned(
                    shipment_id=shipment_id(order_id, place),
                    order_id=order_id,
                    warehouse=place,
                    lines=[SkuQuantity(sku=sku, quantity=units)],
                    carrier="gull",
                    carrier_service="standard",
                    cost_minor=300,
                    currency="GBP",
                    estimated_delivery_at=NOW + timedelta(days=2),
                    decision_id=new_id(),
                )
                for place, sku, units in EACH_LINE
                if not places or place in places
            )
        )

    async def dispatch(self, order_id: UUID, *places: str, at: datetime = TOMORROW) -> None:
        await self.tell(
            *(
                ShipmentDispatched(
                    shipment_id=shipment_id(order_id, place),
                    order_id=order_id,
                    warehouse=place,
                    lines=[SkuQuantity(sku=sku, quantity=units)],
                    dispatched_at=at,
                    tracking_number="GULL-1",
                )
                for place, sku, units in EACH_LINE
                if place in (places or ("leeds", "lyon"))
            )
        )

    async def arrive(self, order_id: UUID, *, at: datetime = NOW + timedelta(days=2)) -> None:
        await self.tell(
            *(
                ShipmentDelivered(shipment_id=shipment_id(order_id, place), order_id=order_id, delivered_at=at)
                for place in ("leeds", "lyon")
            )
        )

    async def ship(self, order_id: UUID) -> None:
        await self.confirm(order_id)
        await self.plan(order_id)
        await self.dispatch(order_id)
        assert await self.status(order_id) == "shipped"

    async def settle(self, order_id: UUID) -> None:
        await self.ship(order_id)
        await self.pay()
        await self.arrive(order_id)
        assert await self.status(order_id) == "settled"

    async def published(self) -> list[Envelope]:
        """Return what has left through the outbox, in order."""
        reader = EventReader(EVENTS.values())
        rows = await self.fetch("SELECT topic, key, headers, value FROM outbox_events ORDER BY id")
        return [reader.decode(record.value, record.headers) for row in rows for record in records_of(*row)]

    async def published_types(self) -> list[str]:
        return [envelope.event.type for envelope in await self.published()]

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self.database.transaction() as transaction:
            return list(await (await transaction.driver()).fetch(query, *arguments))

    async def count(self, query: str, *arguments: Any) -> int:
        return int((await self.fetch(query, *arguments))[0][0])


def key(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}
