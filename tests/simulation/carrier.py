"""A stand-in for logistics: parcels are planned when an order is confirmed, leave after a while, and arrive."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid5

from libs.common.db import Transaction, is_transient
from libs.common.events.base import Envelope, Event
from libs.common.events.logistics import ShipmentCancelled, ShipmentDelivered, ShipmentDispatched, ShipmentPlanned
from libs.common.events.orders import OrderCancellationRequested, OrderConfirmed
from libs.common.events.shapes import SkuQuantity
from libs.common.events.topics import ORDERS_ORDER
from libs.common.messaging.consumer import Subscription
from libs.common.outbox import OutboxWriter
from tests.simulation.store import MemoryDatabase, Session, session_of
from tests.simulation.world import World

GROUP: Final = "logistics.planning"
_STEP_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A parcel and how far it is: planned, dispatched, delivered or cancelled."""

    id: UUID
    order_id: UUID
    warehouse: str
    lines: tuple[tuple[str, int], ...]
    status: str = "planned"
    version: int = 1


class Logistics:
    """One process of the stand-in; it keeps its parcels by the same rules as the service."""

    def __init__(self, world: World, database: MemoryDatabase, wake_relay: Callable[[], None]) -> None:
        """Nothing happens before it is asked."""
        self._world = world
        self._database = database
        self._wake_relay = wake_relay

    def subscription(self) -> Subscription:
        """Return what it listens to."""
        return Subscription(
            group=GROUP,
            topics=(ORDERS_ORDER,),
            events=(OrderConfirmed, OrderCancellationRequested),
            handle=self._handle,
        )

    async def move(self, stop: asyncio.Event) -> None:
        """Let parcels leave and arrive, one at a time."""
        while not stop.is_set():
            await asyncio.sleep(self._world.chance.uniform(0.5, 2 * _STEP_SECONDS))
            try:
                await self._database.run(self._move_one)
            except Exception as error:
                if not is_transient(error):
                    raise

    async def _handle(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        session, outbox = session_of(transaction), self._outbox(transaction)
        await session.statement()
        for order_id in sorted({envelope.event.order_id for envelope in batch}):  # type: ignore[attr-defined]
            await session.lock(("parcels", order_id))
        for envelope in batch:
            # An effect that would be there twice, were the event applied twice.
            session.put("counted_events", envelope.id, (session.get("counted_events", envelope.id) or 0) + 1)
            match envelope.event:
                case OrderConfirmed() as order:
                    self._plan(session, outbox, order, envelope)
                case OrderCancellationRequested() as request:
                    parcels = _parcels_of(session, request.order_id)
                    if not any(parcel.status in {"dispatched", "delivered"} for parcel in parcels):
                        for parcel in parcels:
                            if parcel.status == "planned":
                                self._set(session, outbox, parcel, "cancelled", envelope)
                case _:
                    pass

    def _plan(self, session: Session, outbox: OutboxWriter, order: OrderConfirmed, cause: Envelope) -> None:
        if _parcels_of(session, order.order_id):
            return
        by_warehouse: dict[str, dict[str, int]] = {}
        for one in order.allocations:
            units = by_warehouse.setdefault(one.warehouse, {})
            units[one.sku] = units.get(one.sku, 0) + one.quantity
        for warehouse, units in sorted(by_warehouse.items()):
            parcel = Parcel(
                id=uuid5(order.order_id, warehouse),
                order_id=order.order_id,
                warehouse=warehouse,
                lines=tuple(units.items()),
            )
            session.put("parcels", parcel.id, parcel)
            event = ShipmentPlanned(
                shipment_id=parcel.id,
                order_id=order.order_id,
                warehouse=warehouse,
                lines=_lines(parcel),
                carrier="simulated",
                carrier_service="simulated",
                cost_minor=0,
                currency=order.currency,
                estimated_delivery_at=self._world.clock.now(),
                decision_id=parcel.id,
            )
            outbox.add(event, aggregate_version=1, cause=cause)

    async def _move_one(self, transaction: Transaction) -> None:
        session, outbox = session_of(transaction), self._outbox(transaction)
        await session.statement()
        moving = sorted(
            (one for _, one in session.rows("parcels") if one.status in {"planned", "dispatched"}),
            key=lambda one: one.id,
        )
        if not moving:
            return
        chosen: Parcel = self._world.chance.choice(moving)
        await session.lock(("parcels", chosen.order_id))
        parcel: Parcel = session.get("parcels", chosen.id)
        if parcel.status == "planned":
            self._set(session, outbox, parcel, "dispatched", None)
        elif parcel.status == "dispatched":
            self._set(session, outbox, parcel, "delivered", None)

    def _set(self, session: Session, outbox: OutboxWriter, parcel: Parcel, status: str, cause: Envelope | None) -> None:
        now = self._world.clock.now()
        changed = replace(parcel, status=status, version=parcel.version + 1)
        session.put("parcels", parcel.id, changed)
        event: Event
        match status:
            case "dispatched":
                event = ShipmentDispatched(
                    shipment_id=parcel.id,
                    order_id=parcel.order_id,
                    warehouse=parcel.warehouse,
                    lines=_lines(parcel),
                    dispatched_at=now,
                    tracking_number="simulated",
                )
            case "delivered":
                event = ShipmentDelivered(shipment_id=parcel.id, order_id=parcel.order_id, delivered_at=now)
            case _:
                event = ShipmentCancelled(shipment_id=parcel.id, order_id=parcel.order_id, reason="cancelled")
        outbox.add(event, aggregate_version=changed.version, cause=cause)

    def _outbox(self, transaction: Transaction) -> OutboxWriter:
        return OutboxWriter(transaction, source="logistics", clock=self._world.clock, wake_relay=self._wake_relay)


def _parcels_of(session: Session, order_id: UUID) -> list[Parcel]:
    found = (parcel for _, parcel in session.rows("parcels") if parcel.order_id == order_id)
    return sorted(found, key=lambda parcel: parcel.id)


def _lines(parcel: Parcel) -> list[SkuQuantity]:
    return [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in parcel.lines]
