"""Logistics without its edges: events in, the database and the outbox to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from libs.common.clock import FixedClock
from libs.common.errors import DomainError
from libs.common.events.base import Envelope, Event, EventReader
from libs.common.events.inventory import WarehouseRegistered
from libs.common.events.logistics import ShipmentPlanned
from libs.common.events.orders import OrderCancellationRequested, OrderConfirmed
from libs.common.events.registry import EVENTS
from libs.common.events.shapes import Allocation, Destination
from libs.common.messaging.inbox import claim_new
from libs.common.outbox.writer import records_of
from services.logistics.bootstrap.build import build_simulator, desk_opener, policy_of
from services.logistics.bootstrap.jobs import Simulator
from services.logistics.consumers import PLANNING, PlanningHandler
from services.logistics.domain.shipment import Shipment, Status, Step
from services.logistics.handlers.movements import Moved, Movement, record_movements
from services.logistics.handlers.ports import TrackedShipment
from services.logistics.settings import LogisticsSettings
from tests.support.kafka import envelope_of
from tests.support.postgres import FreshDatabase

# A Tuesday.
MORNING = datetime(2026, 6, 2, 9, 30, tzinfo=UTC)
LONDON = WarehouseRegistered(warehouse="LON", name="London", country="GB", latitude=51.51, longitude=-0.13)
ROTTERDAM = WarehouseRegistered(warehouse="RTM", name="Rotterdam", country="NL", latitude=51.92, longitude=4.48)
GLASGOW = Destination(country="GB", latitude=55.9, longitude=-4.3)
SYDNEY = Destination(country="AU", latitude=-33.9, longitude=151.2)


def a_confirmation(
    *allocations: tuple[str, str, int],
    order_id: UUID | None = None,
    destination: Destination = GLASGOW,
    at: datetime = MORNING,
    collect_at: str | None = None,
) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=order_id or uuid4(),
        customer_id="ada",
        placed_at=at - timedelta(minutes=2),
        confirmed_at=at,
        currency="GBP",
        total_minor=1999,
        allocations=[
            Allocation(warehouse=warehouse, sku=sku, quantity=quantity)
            for warehouse, sku, quantity in allocations or (("LON", "CRUNCHY-ARMCHAIR", 2),)
        ],
        destination=destination,
        collect_at=collect_at,
    )


def a_cancellation(order_id: UUID) -> OrderCancellationRequested:
    return OrderCancellationRequested(order_id=order_id, reason="changed-mind")


@dataclass
class World:
    database: FreshDatabase
    clock: FixedClock = field(default_factory=lambda: FixedClock(MORNING))

    @property
    def settings(self) -> LogisticsSettings:
        return LogisticsSettings.model_validate({"database_url": self.database.url})

    async def handle(self, *events: Event | Envelope) -> list[Envelope]:
        """Let the planning group handle a batch, inbox included."""
        batch = [one if isinstance(one, Envelope) else envelope_of(one, aggregate_version=1) for one in events]
        handler = PlanningHandler(policy=policy_of(self.settings), clock=self.clock, open_desk=desk_opener(self.clock))
        async with self.database.transaction() as transaction:
            fresh = await claim_new(transaction, group=PLANNING, envelopes=batch)
            if fresh:
                await handler(fresh, transaction)
        return batch

    async def plan(self, confirmation: OrderConfirmed | None = None) -> UUID:
        """Plan an order of one shipment and return the shipment's id."""
        confirmation = confirmation or a_confirmation()
        await self.handle(confirmation)
        [shipment] = await self.shipments(confirmation.order_id)
        return shipment.id

    async def move(self, *movements: Movement) -> list[Moved | DomainError]:
        async with self.database.transaction() as transaction:
            desk = desk_opener(self.clock)(transaction)
            return await record_movements(
                movements,
                shipments=desk.shipments,
                outbox=desk.outbox,
                now=self.clock.now(),
                eta_threshold=timedelta(hours=6),
            )

    async def dispatch(self, shipment_id: UUID, at: datetime | None = None) -> Moved | DomainError:
        [outcome] = await self.move(Movement(shipment_id=shipment_id, step=Step.DISPATCHED, at=at))
        return outcome

    async def shipments(self, order_id: UUID | None = None, status: Status | None = None) -> Sequence[Shipment]:
        async with self.database.transaction() as transaction:
            views = desk_opener(self.clock)(transaction).views
            return await views.page(order_id=order_id, status=status, before=None, limit=10_000)

    async def shipment(self, shipment_id: UUID) -> TrackedShipment:
        async with self.database.transaction() as transaction:
            found = await desk_opener(self.clock)(transaction).views.find(shipment_id)
        assert found is not None
        return found

    async def published(self, *types: type[Event]) -> list[Envelope]:
        """Return what waits in the outbox, oldest first."""
        reader = EventReader(EVENTS.values())
        async with self.database.transaction() as transaction:
            driver = await transaction.driver()
            rows = await driver.fetch("SELECT topic, key, headers, value FROM outbox_events ORDER BY id")
        envelopes = [reader.decode(record.value, record.headers) for row in rows for record in records_of(*row)]
        return [one for one in envelopes if not types or isinstance(one.event, types)]

    async def versions(self, shipment_id: UUID) -> list[int | None]:
        """Return the aggregate versions published for a shipment, in the order of publication."""
        return [one.aggregate_version for one in await self.published() if one.event.subject == str(shipment_id)]

    async def count(self, table: str) -> int:
        async with self.database.transaction() as transaction:
            driver = await transaction.driver()
            return int(await driver.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608

    def simulator(self, **settings: float) -> Simulator:
        return build_simulator(
            self.settings.model_copy(update=settings),
            database=self.database,
            clock=self.clock,
            open_desk=desk_opener(self.clock),
        )


def planned(envelopes: Sequence[Envelope]) -> list[ShipmentPlanned]:
    return [one.event for one in envelopes if isinstance(one.event, ShipmentPlanned)]
