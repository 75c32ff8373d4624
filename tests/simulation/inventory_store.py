"""The ports of inventory in memory: what `services.inventory.storage` keeps in PostgreSQL, by the same rules."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from libs.common.clock import Clock
from libs.common.db import Transaction
from libs.common.outbox import OutboxWriter
from services.inventory.domain.queue import QueuePlace
from services.inventory.domain.reservations import Reservation, ReservationStatus, ReservedLine, Terms
from services.inventory.domain.stock import Changes, Level, StockItem
from services.inventory.domain.stock_events import Booked
from services.inventory.domain.transfers import LineKey, Transfer, TransferLine
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers.ports import MoreSkusNeeded, ReservationRaced, Revisit, Tools
from services.inventory.storage.stock import StockEventRaced
from tests.simulation.orders_store import MemoryDecisions, NotSimulated
from tests.simulation.store import Session, session_of

WAREHOUSES: Final = (
    Warehouse(code="LEEDS", name="Leeds", country="GB", latitude=53.8, longitude=-1.55),
    Warehouse(code="LYON", name="Lyon", country="FR", latitude=45.76, longitude=4.84),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationRow:
    """A reservation with its lines, as quantities and committed quantities, and what it waits for."""

    order_id: UUID
    status: ReservationStatus
    version: int
    terms: Terms | None
    lines: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    wanted: Mapping[str, int] = field(default_factory=dict)

    @property
    def skus(self) -> set[str]:
        """The SKUs of its lines and of what it waits for."""
        return {sku for sku, _ in self.lines} | set(self.wanted)

    def held(self, sku: str, warehouse: str) -> int:
        """Return the units that are held of a level."""
        quantity, committed = self.lines.get((sku, warehouse), (0, 0))
        return quantity - committed


class MemoryStock:
    """The stock, in one transaction (see `StockStore`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    @asynccontextmanager
    async def locked(self, skus: Collection[str]) -> AsyncIterator[list[StockItem]]:
        """Lock and load SKUs; give the locks back if there must be more of them."""
        await self._session.statement()
        with self._session.savepoint(MoreSkusNeeded):
            for sku in sorted(skus):
                await self._session.lock(("stock_items", sku))
            await self._session.statement()
            items = {sku: StockItem(sku, self._session.get("stock_items", sku) or 0) for sku in sorted(skus)}
            for (sku, warehouse), level in self._session.rows("stock_levels"):
                if sku in items:
                    items[sku].levels[warehouse] = replace(level)
            for sku, item in items.items():
                revisit: Revisit | None = self._session.get("backorder_revisits", sku)
                if revisit is not None:
                    item.unserved_after = revisit.after
            yield list(items.values())

    async def recorded(self, event_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the events that are in the ledger."""
        await self._session.statement()
        return {one for one in event_ids if self._session.get("stock_movements", (one, 0)) is not None}

    async def booked(self, event_ids: Collection[UUID]) -> dict[UUID, Booked]:
        """Return what was booked first under the ids of events."""
        await self._session.statement()
        found: dict[UUID, Booked] = {}
        for event_id in event_ids:
            if movement := self._session.get("stock_movements", (event_id, 0)):
                units = movement.delta_on_hand if movement.kind == "adjust" else abs(movement.delta_on_hand)
                found[event_id] = Booked(movement.kind, movement.sku, movement.warehouse, units)
        return found

    async def save(self, changes: Changes, *, recorded_at: datetime) -> None:  # noqa: ARG002 - times are not kept
        """Write levels, versions and movements."""
        await self._session.statement()
        for sku, warehouse, level in changes.levels:
            self._session.put("stock_levels", (sku, warehouse), replace(level))
        for item in changes.items:
            self._session.put("stock_items", item.sku, item.version)
        assert not changes.arrivals
        for movement in changes.movements:
            if not await self._session.insert("stock_movements", (movement.cause.event_id, movement.leg), movement):
                raise StockEventRaced("The same event is being recorded for another SKU.")

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"stock.{method} is not simulated")


class MemoryReservations:
    """Reservations and the queue of those that wait, in one transaction (see `ReservationStore`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def skus_of(self, order_ids: Collection[UUID]) -> set[str]:
        """Return the SKUs that the orders hold, held or wait for."""
        await self._session.statement()
        return {sku for row in self._rows(order_ids) for sku in row.skus}

    async def load(self, order_ids: Collection[UUID]) -> list[Reservation]:
        """Load reservations with their lines."""
        await self._session.statement()
        return [
            Reservation(
                order_id=row.order_id,
                status=row.status,
                version=row.version,
                terms=row.terms,
                lines={key: ReservedLine(*units) for key, units in sorted(row.lines.items())},
                wanted=dict(sorted(row.wanted.items())),
            )
            for row in self._rows(order_ids)
        ]

    async def holders(self, *, sku: str, warehouse: str, units: int, besides: Collection[UUID]) -> list[UUID]:
        """Return the newest orders that together hold `units`."""
        await self._session.statement()
        holders = [
            (row.terms.approved_at, order_id, row.held(sku, warehouse))
            for order_id, row in self._session.rows("reservations")
            if order_id not in besides and row.terms is not None and row.held(sku, warehouse)
        ]
        found = []
        for _, order_id, held in sorted(holders, reverse=True):
            if units <= 0:
                break
            found.append(order_id)
            units -= held
        return found

    async def waiting(self, skus: Collection[str], *, limit: int, after: QueuePlace) -> list[QueuePlace]:
        """Return the first orders in line for any of `skus`."""
        await self._session.statement()
        places = sorted(
            QueuePlace(row.terms.approved_at, order_id)
            for order_id, row in self._session.rows("reservations")
            if row.terms is not None and not set(skus).isdisjoint(row.wanted)
        )
        return [place for place in places if place > after][:limit]

    async def waiting_units(
        self, after: Mapping[str, tuple[datetime, UUID]], *, besides: Collection[UUID]
    ) -> dict[str, int]:
        """Return by SKU the units that orders behind a place wait for."""
        await self._session.statement()
        units: dict[str, int] = {}
        for order_id, row in self._session.rows("reservations"):
            for sku, quantity in row.wanted.items():
                if sku in after and order_id not in besides and (row.terms.approved_at, order_id) > after[sku]:
                    units[sku] = units.get(sku, 0) + quantity
        return units

    async def save(self, reservations: Iterable[Reservation], *, changed_at: datetime) -> None:  # noqa: ARG002 - times are not kept
        """Write reservations in the order of their ids."""
        changed = sorted(reservations, key=lambda one: one.order_id)
        if not changed:
            return
        await self._session.statement()
        for one in changed:
            lines = {key: (line.quantity, line.committed) for key, line in one.lines.items() if line.quantity}
            known: ReservationRow | None = self._session.get("reservations", one.order_id)
            if known is not None:
                # Only those lines are written that are said to have changed.
                kept = {key: units for key, units in known.lines.items() if key not in one.changed_lines}
                lines = kept | {key: units for key, units in lines.items() if key in one.changed_lines}
            row = ReservationRow(
                order_id=one.order_id,
                status=one.status,
                version=one.version,
                terms=one.terms if one.is_new or one.has_new_terms or known is None else known.terms,
                lines=lines,
                wanted=dict(one.wanted) if one.terms is not None else {},
            )
            if not one.is_new:
                self._session.put("reservations", one.order_id, row)
            elif not await self._session.insert("reservations", one.order_id, row):
                raise ReservationRaced

    async def known(self, order_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the orders that have a reservation of whatever status."""
        await self._session.statement()
        return {order_id for order_id in order_ids if self._session.get("reservations", order_id) is not None}

    async def edited_by(self, edit_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the edits that were answered before."""
        await self._session.statement()
        return {edit_id for edit_id in edit_ids if self._session.get("reservation_edits", edit_id) is not None}

    async def note_edits(self, edit_ids: Collection[UUID]) -> None:
        """Remember that edits were answered; that they were before changes nothing."""
        await self._session.statement()
        for edit_id in sorted(edit_ids):
            await self._session.insert("reservation_edits", edit_id, True)

    async def due_holds(self, *, now: datetime, limit: int) -> list[UUID]:
        """Return the holds that expired first; none if another transaction is at it."""
        await self._session.statement()
        if not self._session.store.try_acquire(self._session, "expiry"):
            return []
        due = sorted(
            (row.terms.expires_at, order_id)
            for order_id, row in self._session.rows("reservations")
            if row.status is ReservationStatus.HELD and row.terms is not None and row.terms.expires_at is not None
        )
        return [order_id for expires_at, order_id in due if expires_at <= now][:limit]

    async def add_revisits(self, revisits: Iterable[Revisit]) -> None:
        """Remember places to go on from."""
        for one in revisits:
            known: Revisit | None = self._session.get("backorder_revisits", one.sku)
            if known is None or one.after < known.after:
                self._session.put("backorder_revisits", one.sku, one)

    async def next_revisit(self) -> Revisit | None:
        """Return any queue whose rest has yet to be served."""
        await self._session.statement()
        return next((one for _, one in sorted(self._session.rows("backorder_revisits"))), None)

    async def take_revisit(self, sku: str) -> Revisit | None:
        """Return and forget the place to go on from in this SKU's queue."""
        await self._session.statement()
        await self._session.lock(("backorder_revisits", sku))
        found: Revisit | None = self._session.get("backorder_revisits", sku)
        if found is not None:
            self._session.delete("backorder_revisits", sku)
        return found

    def _rows(self, order_ids: Collection[UUID]) -> list[ReservationRow]:
        rows = (self._session.get("reservations", order_id) for order_id in sorted(order_ids))
        return [row for row in rows if row is not None]

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"reservations.{method} is not simulated")


class MemoryWarehouses:
    """Two warehouses that never change."""

    async def all(self) -> list[Warehouse]:
        """Return every warehouse."""
        return list(WAREHOUSES)


class MemoryTransfers:
    """Transfers, in one transaction (see `TransferStore`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def skus_of(self, transfer_id: UUID) -> set[str]:
        """Return the SKUs of a transfer."""
        await self._session.statement()
        found: Transfer | None = self._session.get("transfers", transfer_id)
        return set() if found is None else found.skus

    async def stocked(self, skus: Collection[str], *, warehouse: str) -> set[str]:
        """Return those of the SKUs that a warehouse has ever had."""
        await self._session.statement()
        return {sku for sku in skus if self._session.get("stock_levels", (sku, warehouse)) is not None}

    async def add(self, transfer_ids: Collection[UUID], *, created_at: datetime) -> None:  # noqa: ARG002
        """Add those of the transfers that are new."""
        await self._session.statement()
        for transfer_id in sorted(transfer_ids):
            await self._session.insert("transfers", transfer_id, Transfer(transfer_id=transfer_id))

    async def load(self, transfer_ids: Collection[UUID]) -> dict[UUID, Transfer]:
        """Lock transfers and load them with all their lines."""
        if not transfer_ids:
            return {}
        await self._session.statement()
        ordered = sorted(transfer_ids)
        for transfer_id in ordered:
            await self._session.lock(("transfers", transfer_id))
        found = (self._session.get("transfers", transfer_id) for transfer_id in ordered)
        return {one.transfer_id: _copy(one) for one in found if one is not None}

    async def save(self, transfers: Iterable[Transfer], *, changed_at: datetime) -> None:  # noqa: ARG002
        """Write transfers that were loaded here, with those of their lines that changed."""
        saved = list(transfers)
        if not saved:
            return
        await self._session.statement()
        for one in saved:
            known: Transfer = self._session.get("transfers", one.transfer_id)
            lines = {**known.lines, **{key: one.lines[key] for key in one.changed_lines}}
            self._session.put("transfers", one.transfer_id, _copy(one, lines))
            one.changed_lines.clear()

    async def unhold(self, *, sku: str, warehouse: str, units: int) -> int:
        """Take up to `units` from those that transfers hold, the ones approved last first; return how many."""
        await self._session.statement()
        left = units
        for transfer_id, one in sorted(self._session.rows("transfers"), reverse=True):
            lines = dict(one.lines)
            for key, line in sorted(lines.items()):
                taken = min(left, line.held) if (key.sku, line.source) == (sku, warehouse) else 0
                if taken:
                    lines[key] = replace(line, held=line.held - taken)
                    left -= taken
                    self._session.put("transfers", transfer_id, _copy(one, lines))
        return units - left


def _copy(transfer: Transfer, lines: Mapping[LineKey, TransferLine] | None = None) -> Transfer:
    own = transfer.lines if lines is None else lines
    return replace(transfer, lines={key: replace(line) for key, line in own.items()}, changed_lines=set())


class MemoryHoldOwners:
    """Who made which hold, in one transaction (see `HoldOwners`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def of(self, reservation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return the owners of those holds that have one."""
        await self._session.statement()
        found = ((one, self._session.get("hold_owners", one)) for one in reservation_ids)
        return {one: owner for one, owner in found if owner is not None}

    def add(self, owners: Mapping[UUID, str]) -> None:
        """Note the owners of new holds."""
        for reservation_id, owner in owners.items():
            self._session.put("hold_owners", reservation_id, owner)


def memory_tools(transaction: Transaction, *, clock: Clock, wake_relay: Callable[[], None] | None) -> Tools:
    """Return what one transaction gives to a use case; the outbox is the real one."""
    session = session_of(transaction)
    absent: Any = NotSimulated
    return Tools(
        stock=MemoryStock(session),
        reservations=MemoryReservations(session),
        hold_owners=MemoryHoldOwners(session),
        warehouses=MemoryWarehouses(),  # type: ignore[arg-type]
        transfers=MemoryTransfers(session),
        outbox=OutboxWriter(transaction, source="inventory", clock=clock, wake_relay=wake_relay),
        decisions=MemoryDecisions(session),
        counts=absent("counts"),
        lots=absent("lots"),
        count_lists=absent("count_lists"),
        clock=clock,
    )


def initial_level(units: int) -> Level:
    """Return a level with units that were there from the beginning."""
    return Level(on_hand=units)
