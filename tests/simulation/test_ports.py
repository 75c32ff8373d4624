"""The ports in memory answer as PostgreSQL does: the same orders go through both, and every load is compared."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.clock import FixedClock
from libs.common.db import Database, Transaction
from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import GoodsReceived
from libs.common.events.logistics import ShipmentDispatched
from libs.common.events.orders import OrderApproved, OrderCancelled
from libs.common.events.shapes import Allocation, Destination, SkuQuantity
from libs.common.ids import new_id
from libs.common.outbox import OutboxWriter
from services.inventory.bootstrap import SERVICE as INVENTORY
from services.inventory.domain.queue import FRONT
from services.inventory.domain.reservations import Reservation
from services.inventory.handlers.order_events import apply_order_events
from services.inventory.handlers.ports import Tools
from services.inventory.handlers.stock_events import apply_stock_events
from services.inventory.storage.reservations import PostgresReservations
from services.inventory.storage.stock import PostgresStock
from services.inventory.storage.transfers import PostgresTransfers
from services.inventory.storage.warehouses import PostgresWarehouses
from services.orders.bootstrap import SERVICE as ORDERS
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import receive
from services.orders.domain.order import Address, NewOrder, OrderFacts, OrderLine
from services.orders.domain.state import Deadlines, OrderState, StepKind
from services.orders.handlers.fulfilment import Addressed, Policy, Saga, advance_orders
from services.orders.handlers.ports import PaymentCommand
from services.orders.storage.unit import PostgresUnits
from tests.simulation.inventory_store import WAREHOUSES, memory_tools
from tests.simulation.orders_store import MemoryDecisions, MemoryUnits, NotSimulated
from tests.simulation.store import MemoryDatabase, Store
from tests.simulation.world import Process, World
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, fresh_database

NOON = datetime(2026, 3, 2, 9, tzinfo=UTC)
GB = Destination(country="GB", latitude=51.5, longitude=-0.1)
POLICY = Policy(Deadlines())
LINES = (
    OrderLine(line=1, sku="CRUNCHY-ARMCHAIR", quantity=2, unit_price_minor=1_000),
    OrderLine(line=2, sku="OMINOUS-MIRROR", quantity=1, unit_price_minor=500),
)
EVERYTHING = (
    Allocation(warehouse="LEEDS", sku="CRUNCHY-ARMCHAIR", quantity=2),
    Allocation(warehouse="LYON", sku="OMINOUS-MIRROR", quantity=1),
)


@pytest.fixture
async def orders_database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with fresh_database(infrastructure, ORDERS.name, ORDERS.migrations) as database:
        yield database


@pytest.fixture
async def inventory_database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with fresh_database(infrastructure, INVENTORY.name, INVENTORY.migrations) as database:
        yield database


def in_memory() -> MemoryDatabase:
    world = World(0)
    return MemoryDatabase(Store(world, "test"), Process(world, "test"))


def an_order() -> NewOrder:
    facts = OrderFacts(
        customer_id="customer-7",
        channel="web",
        reference=None,
        currency="GBP",
        total_minor=2_500,
        placed_at=NOON,
        received_at=NOON,
        destination=GB,
        on_shortage="backorder",
        is_split_allowed=True,
        correlation_id="basket-7",
    )
    return NewOrder(id=new_id(), facts=facts, lines=LINES, address=Address(), payment_token="tok_ok")


class Desk:
    """Moves orders through one kind of ports, and tells what is loaded after each step."""

    def __init__(self, units: Any) -> None:
        self._units = units
        self._now = NOON
        self.told: list[Any] = []

    async def place(self, order: NewOrder) -> None:
        async def work(unit: Any) -> None:
            saga = Saga(unit, policy=POLICY, now=self._now)
            saga.begin(order, receive(order, self._now, POLICY.deadlines))
            await saga.write()

        await self._units.run(work)
        await self._tell([order.id])

    async def say(self, order: NewOrder, *messages: on.Message) -> None:
        self._now += timedelta(seconds=1)
        addressed = [Addressed(order.id, message) for message in messages]
        answers = await self._units.run(lambda unit: advance_orders(addressed, unit=unit, policy=POLICY, now=self._now))
        self.told.append(answers)
        await self._tell([order.id])

    async def claim(self) -> dict[StepKind, PaymentCommand]:
        self._now += timedelta(seconds=1)
        claimed = await self._units.run(
            lambda unit: unit.payments.claim(
                provider="sandbox", now=self._now, leased_until=self._now + timedelta(seconds=60), limit=9
            )
        )
        self.told.append(sorted(claimed, key=lambda one: one.id))
        return {one.kind: one for one in claimed}

    async def reschedule(self, command: PaymentCommand) -> None:
        await self._units.run(lambda unit: unit.payments.reschedule([(command, self._now)]))

    async def _tell(self, order_ids: Sequence[UUID]) -> None:
        async def look(unit: Any) -> tuple[dict[UUID, OrderState], Any, Any]:
            later = self._now + timedelta(days=400)
            states = dict(await unit.orders.lock(order_ids))
            due = await unit.timers.due_of(order_ids, now=later)
            return states, sorted(due), await unit.timers.due_orders(now=later, limit=5)

        self.told.append(await self._units.run(look))


async def trade(desk: Desk, shipped: NewOrder, cancelled: NewOrder) -> None:
    parcels = {warehouse: UUID(int=number) for number, warehouse in enumerate(("LEEDS", "LYON"), start=1)}
    for order in (shipped, cancelled):
        await desk.place(order)
        await desk.say(order, on.ReviewPassed())
        await desk.say(order, on.StockReserved(EVERYTHING, 1), on.StockReserved(EVERYTHING, 1))
    first = await desk.claim()
    assert await desk.claim() == {}
    await desk.reschedule(first[StepKind.AUTHORISE])
    again = await desk.claim()
    authorise = again[StepKind.AUTHORISE]
    # The one who has lost the claim moves nothing.
    await desk.reschedule(first[StepKind.AUTHORISE])
    assert await desk.claim() == {}
    order = shipped if authorise.order_id == shipped.id else cancelled
    shipped, cancelled = order, cancelled if order is shipped else shipped
    await desk.say(shipped, on.AuthorisationSucceeded(authorise.id, "ref-1"))
    await desk.say(cancelled, on.CancellationRequested("changed-mind"))
    for warehouse, parcel in parcels.items():
        await desk.say(shipped, on.ShipmentPlanned(parcel, warehouse))
    for warehouse, parcel in parcels.items():
        await desk.say(shipped, on.ShipmentDispatched(parcel, warehouse, NOON))
        captures = await desk.claim()
        if StepKind.CAPTURE in captures:
            await desk.say(shipped, on.CaptureSucceeded(captures[StepKind.CAPTURE].id, "ref-1"))
    for parcel in parcels.values():
        await desk.say(shipped, on.ShipmentDelivered(parcel, NOON))


async def test_orders_are_loaded_alike(orders_database: FreshDatabase) -> None:
    clock = FixedClock(NOON)
    shipped, cancelled = an_order(), an_order()
    postgres = Desk(PostgresUnits(orders_database, clock=clock))
    memory = Desk(MemoryUnits(in_memory(), clock=clock))

    await trade(postgres, shipped, cancelled)
    await trade(memory, shipped, cancelled)

    assert len(memory.told) == len(postgres.told)
    for step, (told, expected) in enumerate(zip(memory.told, postgres.told, strict=True)):
        assert told == expected, step


def envelope(event: Event, seconds: int) -> Envelope:
    return Envelope(id=UUID(int=1_000 + seconds), event=event, time=NOON + timedelta(seconds=seconds), source="test")


def approval(order_id: UUID, **units: int) -> OrderApproved:
    return OrderApproved(
        order_id=order_id,
        customer_id="customer-7",
        channel="web",
        placed_at=NOON,
        lines=[SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in units.items()],
        destination=GB,
        on_shortage="backorder",
        is_split_allowed=True,
    )


def receipt(sku: str, warehouse: str, quantity: int) -> GoodsReceived:
    return GoodsReceived(sku=sku, warehouse=warehouse, occurred_at=NOON, quantity=quantity)


async def reserve(database: Database, tools_of: Callable[[Transaction], Tools]) -> list[Any]:
    first, second, third = (UUID(int=number) for number in range(1, 4))
    shipment = ShipmentDispatched(
        shipment_id=UUID(int=9),
        order_id=first,
        warehouse="LEEDS",
        lines=[SkuQuantity(sku="CHAIR", quantity=2)],
        dispatched_at=NOON,
        tracking_number="T",
    )
    batches: list[list[Event]] = [
        [receipt("CHAIR", "LEEDS", 3), receipt("MIRROR", "LYON", 1)],
        [approval(first, CHAIR=2), approval(second, CHAIR=2, MIRROR=1), approval(third, MIRROR=1)],
        [shipment],
        [OrderCancelled(order_id=third, reason="changed-mind", stage="reserved")],
        [receipt("CHAIR", "LYON", 5)],
        [OrderCancelled(order_id=UUID(int=4), reason="changed-mind", stage="approved"), approval(UUID(int=4), CHAIR=1)],
    ]
    told: list[Any] = []
    seconds = 0
    for batch in batches:
        envelopes = [envelope(event, seconds := seconds + 1) for event in batch]
        for _ in range(2):  # delivered twice
            async with database.transaction() as transaction:
                tools = tools_of(transaction)
                if isinstance(batch[0], GoodsReceived):
                    await apply_stock_events(envelopes, tools=tools, age_years_max=5)
                else:
                    await apply_order_events(envelopes, tools=tools)
            told.append(await look(database, tools_of))
    return told


async def look(database: Database, tools_of: Callable[[Transaction], Tools]) -> Any:
    async with database.transaction() as transaction:
        tools = tools_of(transaction)
        found = await tools.reservations.load([UUID(int=number) for number in range(1, 5)])
        places = await tools.reservations.waiting(["CHAIR", "MIRROR"], limit=9, after=FRONT)
        skus = await tools.reservations.skus_of([one.order_id for one in found])
        async with tools.stock.locked(["CHAIR", "MIRROR"]) as items:
            return (
                sorted(map(_of_reservation, found)),
                places,
                sorted(skus),
                [(one.version, one.levels) for one in items],
            )


def _of_reservation(one: Reservation) -> tuple[Any, ...]:
    lines = {key: (line.quantity, line.committed) for key, line in one.lines.items()}
    return one.order_id, one.status, one.version, lines, one.wanted


async def test_stock_and_reservations_are_loaded_alike(inventory_database: FreshDatabase) -> None:
    clock = FixedClock(NOON + timedelta(hours=1))
    async with inventory_database.transaction() as transaction:
        for warehouse in WAREHOUSES:
            await PostgresWarehouses(transaction).save(warehouse, changed_at=NOON)

    def of_postgres(transaction: Transaction) -> Tools:
        absent: Any = NotSimulated
        return Tools(
            stock=PostgresStock(transaction),
            reservations=PostgresReservations(transaction),
            hold_owners=absent("hold_owners"),
            warehouses=PostgresWarehouses(transaction),
            transfers=PostgresTransfers(transaction),
            outbox=OutboxWriter(transaction, source="inventory", clock=clock),
            decisions=_Forgetful(),
            counts=absent("counts"),
            lots=absent("lots"),
            count_lists=absent("count_lists"),
            clock=clock,
        )

    expected = await reserve(inventory_database, of_postgres)
    told = await reserve(in_memory(), lambda one: memory_tools(one, clock=clock, wake_relay=None))

    for step, pair in enumerate(zip(told, expected, strict=True)):
        assert pair[0] == pair[1], step


class _Forgetful(MemoryDecisions):
    """Keeps no decisions."""

    def __init__(self) -> None:
        pass

    def add(self, decision: object) -> None:
        """Forget it."""
