"""What happens to orders, turned into reservations and movements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from libs.common.errors import Invalid
from libs.common.events.base import Envelope
from libs.common.events.logistics import ShipmentDispatched
from libs.common.events.orders import (
    OrderApproved,
    OrderCancelled,
    OrderEditRequested,
    OrderRefused,
    ReturnInspected,
    ReturnReceived,
)
from libs.common.events.shapes import SkuQuantity
from libs.common.ids import quick_id
from services.inventory.domain.bundles import unpack
from services.inventory.domain.plausibility import SKU_CHARACTERS_MAX, UNITS_MAX
from services.inventory.domain.reservations import OnShortage, Reservation, ReservationStatus, Terms
from services.inventory.domain.stock import Cause, MovementKind
from services.inventory.handlers.desk import Desk, RequestedEdit, quantities, work_on_stock
from services.inventory.handlers.ports import MoreSkusNeeded, Tools

_ON_SHORTAGE: Final[Mapping[str, OnShortage]] = {"refuse": "refuse", "partial": "partial"}


class UnusableOrder(Invalid):
    """An event about an order asks for what no stock can be."""

    code = "unusable-order"


async def apply_order_events(batch: Sequence[Envelope], *, tools: Tools) -> Desk:
    """
    Reserve, release, commit and restock for a batch of events, in one transaction.

    Everything that frees or takes units comes before anything is promised: then the orders that were waiting and
    those that are new are served together, in the sequence of their approval.

    Every event has its effect once, however often it comes: what was booked is in the ledger under its id, and a
    reservation is asked for, and let go of, once.

    :raises UnusableOrder: if an order has no lines or impossible ones.
    :raises ReservationRaced: if an order was reserved by another transaction meanwhile; it can be tried again.
    """
    concerned = _concerned(batch)
    # Read without locks, so that the first set of locks is nearly always the right one, and that nobody waits for locks
    # while thousands of new orders are looked up in vain: one that comes to be meanwhile fails the batch.
    skus = concerned.skus | await tools.reservations.skus_of(concerned.known_ids)
    loaded_ids = concerned.known_ids | await tools.reservations.known(concerned.new_ids)
    booked_ids, edit_ids = concerned.booked_ids, concerned.edit_ids

    async def work(desk: Desk) -> None:
        await desk.load(loaded_ids)
        # Asked under the locks: the same event in another transaction meets itself here.
        done = await tools.stock.recorded(booked_ids) if booked_ids else set[UUID]()
        edited = await tools.reservations.edited_by(edit_ids) if edit_ids else set[UUID]()
        for envelope in batch:
            if isinstance(envelope.event, OrderEditRequested):
                _edit(desk, envelope, envelope.event, edited)
            elif envelope.id not in done:
                _apply(desk, envelope)
            if envelope.id in booked_ids:
                done.add(envelope.id)
        await desk.settle()
        if edit_ids:
            await tools.reservations.note_edits(edit_ids)

    return await work_on_stock(tools, skus, work)


@dataclass(slots=True)
class _Concerned:
    """What a batch is about: the orders' reservations, and which of its events are known again by what."""

    skus: set[str] = field(default_factory=set)
    new_ids: set[UUID] = field(default_factory=set)
    known_ids: set[UUID] = field(default_factory=set)
    # Events that are in the ledger once they were applied, and edits.
    booked_ids: set[UUID] = field(default_factory=set)
    edit_ids: set[UUID] = field(default_factory=set)


def _concerned(batch: Sequence[Envelope]) -> _Concerned:
    found = _Concerned()
    for envelope in batch:
        match envelope.event:
            case OrderApproved(order_id=order_id, lines=lines, hold_id=hold_id, remainder_of=remainder_of):
                found.new_ids.add(order_id)
                if hold_id is not None:
                    found.known_ids.add(hold_id)
                if remainder_of is not None:
                    found.known_ids.add(remainder_of)
                found.skus.update([line.sku for line in lines])
            case OrderCancelled(order_id=order_id) | OrderRefused(order_id=order_id):
                found.known_ids.add(order_id)
            case OrderEditRequested(order_id=order_id, edit_id=edit_id, lines=lines):
                found.known_ids.add(order_id)
                found.edit_ids.add(edit_id)
                found.skus.update([line.sku for line in lines])
            case ReturnInspected(order_id=order_id, restocked=lines, written_off=written_off):
                found.known_ids.add(order_id)
                found.booked_ids.add(envelope.id)
                found.skus.update(line.sku for line in (*lines, *written_off))
            case (
                ShipmentDispatched(order_id=order_id, lines=lines) | ReturnReceived(order_id=order_id, restocked=lines)
            ):
                found.known_ids.add(order_id)
                found.booked_ids.add(envelope.id)
                found.skus.update(line.sku for line in lines)
            case _:
                pass
    return found


def _apply(desk: Desk, envelope: Envelope) -> None:
    match envelope.event:
        case OrderApproved() as event:
            _approve(desk, envelope, event)
        case OrderCancelled(order_id=order_id):
            _release(desk, envelope, order_id, reason="order-cancelled")
        case OrderRefused(order_id=order_id):
            _release(desk, envelope, order_id, reason="order-refused")
        case ShipmentDispatched() as event:
            _ship(desk, envelope, event)
        case ReturnReceived() as event:
            _restock(desk, envelope, event.restocked, event, event.received_at)
        case ReturnInspected() as event:
            _restock(desk, envelope, event.restocked, event, event.inspected_at)
            _restock(desk, envelope, event.written_off, event, event.inspected_at, is_written_off=True)
        case _:
            pass


def _approve(desk: Desk, envelope: Envelope, event: OrderApproved) -> None:
    # Looked up and written a dozen times from here on.
    order_id = quick_id(event.order_id)
    known = desk.reservation(order_id)
    # Reserved before, or released before it could be: either way there is nothing more to do.
    if known is not None and not known.is_hold:
        return
    wanted, bundles = desk.unpack(_wanted(event.lines))
    desk.caused_by(envelope, order_id=order_id, skus=wanted)
    terms = Terms(
        approved_at=envelope.time,
        destination=event.destination,
        on_shortage=_ON_SHORTAGE.get(event.on_shortage, "backorder"),
        is_split_allowed=event.is_split_allowed,
        channel=event.channel,
        collect_at=event.collect_at,
    )
    if known is not None:
        desk.become_order(known, terms, wanted, bundles)
        return
    reservation = Reservation(
        order_id=order_id,
        status=ReservationStatus.WAITING,
        terms=terms,
        wanted=dict(wanted),
        bundles=bundles,
        is_new=True,
    )
    hold = desk.reservation(event.hold_id) if event.hold_id is not None else None
    if hold is not None:
        desk.caused_by(envelope, order_id=hold.order_id)
        desk.adopt(hold, reservation)
    origin = desk.reservation(event.remainder_of) if event.remainder_of is not None else None
    if origin is not None:
        desk.divide(origin, reservation, {(one.sku, one.warehouse): one.quantity for one in event.keeps})
    desk.ask(reservation)


def _edit(desk: Desk, envelope: Envelope, event: OrderEditRequested, edited: set[UUID]) -> None:
    if event.edit_id in edited:
        return
    edited.add(event.edit_id)
    reservation = desk.reservation(event.order_id)
    if reservation is None:
        raise UnusableOrder("Nothing was ever asked for of this order.", field="order_id")
    # What was sold as a bundle stays what it was made of then.
    known = reservation.bundles if event.is_held else {}
    wanted, bundles = desk.unpack(_wanted(event.lines), known)
    desk.caused_by(envelope, order_id=event.order_id, skus=[*reservation.skus, *wanted])
    edit = RequestedEdit(reservation, event.edit_id, wanted, bundles, envelope.time)
    if event.is_held and reservation.status is ReservationStatus.HELD:
        desk.edit_held(edit)
    else:
        desk.edit(edit)


def _release(desk: Desk, envelope: Envelope, order_id: UUID, *, reason: str) -> None:
    reservation = desk.reservation(order_id)
    desk.caused_by(envelope, order_id=order_id, skus=reservation.skus if reservation else ())
    desk.release(order_id, reason)
    if reservation is not None and reservation.is_hold and reservation.status is ReservationStatus.RELEASED:
        desk.bury(reservation)


def _ship(desk: Desk, envelope: Envelope, event: ShipmentDispatched) -> None:
    lines = [line for line in event.lines if line.quantity > 0]
    desk.caused_by(envelope, order_id=event.order_id, skus=[line.sku for line in lines])
    cause = Cause(
        event_id=envelope.id,
        occurred_at=event.dispatched_at,
        reference=str(event.shipment_id),
        order_id=event.order_id,
    )
    for line in lines:
        desk.stock.book(MovementKind.SHIP, -line.quantity, sku=line.sku, warehouse=event.warehouse, cause=cause)
    reservation = desk.reservation(event.order_id)
    if reservation is not None and lines:
        desk.ship(reservation, event.warehouse, lines)


def _restock(
    desk: Desk,
    envelope: Envelope,
    lines_back: Iterable[SkuQuantity],
    event: ReturnReceived | ReturnInspected,
    occurred_at: datetime,
    *,
    is_written_off: bool = False,
) -> None:
    """Book what came back; what is written off comes and goes, so that the ledger knows of it."""
    units = {line.sku: line.quantity for line in lines_back if line.quantity > 0}
    reservation = desk.reservation(event.order_id)
    # What comes back is what was reserved, whatever a bundle is made of by now.
    parts = desk.unpack(units)[0] if reservation is None else unpack(units, reservation.bundles)
    if unlocked := {sku for sku in parts if sku not in desk.stock.items}:
        # Of an order that holds nothing any more and waits for nothing, nobody knew what its bundles are made of.
        raise MoreSkusNeeded(unlocked)
    lines = quantities(parts)
    desk.caused_by(envelope, skus=[line.sku for line in lines])
    cause = Cause(
        event_id=envelope.id,
        occurred_at=occurred_at,
        reference=str(event.return_id),
        order_id=event.order_id,
    )
    for line in lines:
        desk.stock.book(MovementKind.RETURN, line.quantity, sku=line.sku, warehouse=event.warehouse, cause=cause)
        if is_written_off:
            desk.stock.book(
                MovementKind.WRITE_OFF, -line.quantity, sku=line.sku, warehouse=event.warehouse, cause=cause
            )


def _wanted(lines: Iterable[SkuQuantity]) -> dict[str, int]:
    """Add up what an order wants, by SKU."""
    wanted: dict[str, int] = {}
    for line in lines:
        if not 0 < line.quantity <= UNITS_MAX or not 0 < len(line.sku) <= SKU_CHARACTERS_MAX:
            raise UnusableOrder("A line has no SKU or an impossible quantity.", field="lines")
        wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
    if not wanted:
        raise UnusableOrder("The order has no lines.", field="lines")
    return wanted
