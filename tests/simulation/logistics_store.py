"""The ports of logistics in memory: what `services.logistics.storage` keeps in PostgreSQL, by the same rules."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from libs.common.clock import Clock
from libs.common.db import Transaction
from libs.common.outbox import OutboxWriter
from services.logistics.domain.carriers import RateTable
from services.logistics.domain.choice import Policy
from services.logistics.domain.geography import Facility, Site, Zone
from services.logistics.domain.shipment import Scan, Shipment
from services.logistics.handlers.ports import Desk
from tests.simulation.orders_store import MemoryDecisions, NotSimulated
from tests.simulation.store import Session, session_of

# No carrier goes anywhere, which spares every parcel the choice of one.
_RATES: Final = RateTable(version=1, carriers=())
POLICY: Final = Policy(promise_days=dict.fromkeys(Zone, 3), far_km=3_000, unit_weight_grams=500)


class MemoryShipments:
    """The shipments of one transaction (see `Shipments`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def lock(self, shipment_ids: Collection[UUID]) -> Sequence[Shipment]:
        """Return those that exist, locked in the order of their ids."""
        await self._session.statement()
        return await self._locked(one for one in shipment_ids if self._session.get("shipments", one) is not None)

    async def lock_of_orders(self, order_ids: Collection[UUID]) -> Sequence[Shipment]:
        """Return all shipments of the orders, locked in the order of their ids."""
        await self._session.statement()
        return await self._locked(
            shipment_id for shipment_id, one in self._session.rows("shipments") if one.order_id in order_ids
        )

    async def add(self, shipments: Sequence[Shipment]) -> Collection[UUID]:
        """Add new shipments and return the ids of those that were not there yet."""
        await self._session.statement()
        ordered = sorted(shipments, key=lambda one: one.id)
        return {one.id for one in ordered if await self._session.insert("shipments", one.id, one)}

    async def save(self, shipments: Sequence[Shipment]) -> None:
        """Store the new state of locked shipments."""
        await self._session.statement()
        for one in shipments:
            self._session.put("shipments", one.id, one)

    async def scans_known(self, shipment_ids: Collection[UUID]) -> Collection[tuple[UUID, datetime, str]]:
        """Return none: nobody scans parcels here."""
        raise NotImplementedError

    async def add_scans(self, scans: Sequence[Scan]) -> None:
        """Record none."""
        raise NotImplementedError

    async def _locked(self, shipment_ids: Any) -> list[Shipment]:
        found = sorted(shipment_ids)
        for shipment_id in found:
            await self._session.lock(("shipments", shipment_id))
        return [self._session.get("shipments", shipment_id) for shipment_id in found]


class MemoryTombstones:
    """Orders that were called off before they had any shipment (see `CancellationTombstones`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def find(self, order_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return those that are marked, with the reason."""
        found = ((order_id, self._session.get("tombstones", order_id)) for order_id in order_ids)
        return {order_id: reason for order_id, reason in found if reason is not None}

    async def add(self, reasons: Mapping[UUID, str]) -> None:
        """Mark orders."""
        await self._session.statement()
        for order_id, reason in sorted(reasons.items()):
            await self._session.insert("tombstones", order_id, reason)


class _Rates:
    async def current(self) -> RateTable:
        """Return a table in which nobody offers anything."""
        return _RATES


class _Warehouses:
    async def put(self, facilities: Sequence[Facility]) -> None:
        """Hear of none."""
        raise NotImplementedError

    async def find(self, warehouses: Collection[str]) -> Mapping[str, Site]:  # noqa: ARG002 - none is known
        """Know none."""
        return {}


def memory_desk(transaction: Transaction, *, clock: Clock, wake_relay: Callable[[], None] | None) -> Desk:
    """Return what one transaction gives to a use case; the outbox is the real one."""
    session = session_of(transaction)
    absent: Any = NotSimulated
    rates: Any = _Rates()
    return Desk(
        shipments=MemoryShipments(session),
        views=absent("views"),
        tombstones=MemoryTombstones(session),
        rates=rates,
        warehouses=_Warehouses(),
        decisions=MemoryDecisions(session),
        outbox=OutboxWriter(transaction, source="logistics", clock=clock, wake_relay=wake_relay),
    )
