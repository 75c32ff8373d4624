"""What each report of a warehouse does to the stock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, NamedTuple
from uuid import UUID

from libs.common.events.base import Envelope
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsCounted,
    GoodsExpected,
    GoodsPicked,
    GoodsReceived,
    GoodsWrittenOff,
    TransferDispatched,
    TransferReceived,
    WarehouseReport,
)
from services.inventory.domain.arrivals import BEFORE_ALL_REPORTS, ArrivalKey, ArrivalKind, arrival_of_transfer
from services.inventory.domain.counts import CountFinding, CountLimits, UnitCost
from services.inventory.domain.plausibility import InvalidStockEvent
from services.inventory.domain.stock import Cause, MovementKind, Stock
from services.inventory.domain.transfers import LineKey, Transfer

REPORTS: Final[tuple[type[WarehouseReport], ...]] = (
    GoodsReceived,
    GoodsPicked,
    GoodsAdjusted,
    GoodsCounted,
    GoodsExpected,
    GoodsWrittenOff,
    TransferDispatched,
    TransferReceived,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What has to be known of the past to apply reports.

    `known_orders` are the orders with a reservation here; `units_since` has, by the id of a count's event, the
    units that moved after it; `transfers` are changed in place and then written, as `findings` are, what counts found.
    """

    known_orders: Collection[UUID] = ()
    units_since: Mapping[UUID, int] = field(default_factory=dict)
    transfers: Mapping[UUID, Transfer] = field(default_factory=dict)
    count_limits: CountLimits = field(default_factory=CountLimits)
    unit_costs: Mapping[str, UnitCost] = field(default_factory=dict)
    findings: list[CountFinding] = field(default_factory=list)


_KINDS: Final[Mapping[str, str]] = {
    GoodsExpected.type: "announcement",
    GoodsReceived.type: MovementKind.RECEIPT,
    GoodsPicked.type: MovementKind.PICK,
    GoodsAdjusted.type: MovementKind.ADJUST,
    GoodsCounted.type: MovementKind.COUNT,
    GoodsWrittenOff.type: MovementKind.WRITE_OFF,
    TransferDispatched.type: MovementKind.TRANSFER_OUT,
    TransferReceived.type: MovementKind.TRANSFER_IN,
}


class EventIdReused(InvalidStockEvent):
    """Something else was reported under the id of this event; one of the two would be lost without a word."""

    code: ClassVar[str] = "event-id-reused"


class Booked(NamedTuple):
    """What came first under the id of an event; its units as reported, None for a count that was held back."""

    kind: str
    sku: str
    warehouse: str
    units: int | None


def check_repeated(report: WarehouseReport, booked: Booked) -> None:
    """
    Check that a report of an id that was seen before says what was said then.

    Not when it happened: what is dispatched or received over HTTP may be reported by the warehouse too, with its time.

    :raises EventIdReused: if it says something else.
    """
    said = booked_of(report)
    if said[:3] != booked[:3] or booked.units not in {None, said.units}:
        units = "a number of units" if booked.units is None else f"{booked.units} units"
        raise EventIdReused(
            f"Under this id came a {booked.kind} of {units} of {booked.sku} in {booked.warehouse}.", field="id"
        )


def booked_of(report: WarehouseReport) -> Booked:
    """Return what is booked under the id of a report."""
    match report:
        case GoodsAdjusted(delta=units) | GoodsCounted(counted=units):
            pass
        case (
            GoodsExpected(quantity=units)
            | GoodsReceived(quantity=units)
            | GoodsPicked(quantity=units)
            | GoodsWrittenOff(quantity=units)
            | TransferDispatched(quantity=units)
            | TransferReceived(quantity=units)
        ):
            pass
        case _:
            msg = f"{report.type} books nothing"
            raise TypeError(msg)
    return Booked(_KINDS[report.type], report.sku, report.warehouse, units)


def report_of(envelope: Envelope) -> WarehouseReport:
    """Return the report in an envelope that is known to hold one."""
    if not isinstance(envelope.event, WarehouseReport):
        msg = f"{envelope.event.type} is no report of a warehouse"
        raise TypeError(msg)
    return envelope.event


def purchase_key(report: GoodsReceived | GoodsExpected) -> ArrivalKey:
    """Return what a supplier's goods are expected under, and arrive under."""
    return ArrivalKey(report.warehouse, ArrivalKind.PURCHASE, report.reference or "")


def transfer_arrival_key(report: TransferDispatched | TransferReceived) -> ArrivalKey:
    """Return what a transfer's goods are expected under."""
    destination = report.destination if isinstance(report, TransferDispatched) else report.warehouse
    return arrival_of_transfer(report.transfer_id, destination)


def apply_report(stock: Stock, envelope: Envelope, facts: Facts) -> None:
    """Turn one report into movements; in whatever order reports are applied, the levels end up the same."""
    report = report_of(envelope)
    sku, warehouse = report.sku, report.warehouse
    cause = _cause(report, envelope.id)
    match report:
        case GoodsReceived() | GoodsExpected():
            _supply(stock, report, cause)
        case GoodsPicked(quantity=quantity):
            # What is picked for an order lies packed in the same building, held for it, and leaves with its
            # shipment: taking it off here as well would take it off twice.
            is_packed = report.order_id in facts.known_orders
            if is_packed:
                cause = cause._replace(picked=quantity)
            stock.book(MovementKind.PICK, 0 if is_packed else -quantity, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsAdjusted(delta=delta):
            stock.book(MovementKind.ADJUST, delta, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsWrittenOff(quantity=quantity):
            stock.book(MovementKind.WRITE_OFF, -quantity, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsCounted():
            facts.findings.append(_count(stock, report, cause, facts))
        case TransferDispatched(quantity=quantity):
            _announce_transfer(stock, report, facts.transfers[report.transfer_id], cause)
            _dispatch(stock, report, facts.transfers[report.transfer_id])
            stock.book(MovementKind.TRANSFER_OUT, -quantity, sku=sku, warehouse=warehouse, cause=cause)
        case TransferReceived(quantity=quantity):
            stock.book(MovementKind.TRANSFER_IN, quantity, sku=sku, warehouse=warehouse, cause=cause)
            _receive(stock, report, facts.transfers[report.transfer_id])
        case _:
            msg = f"{report.type} has no effect here"
            raise TypeError(msg)


def _supply(stock: Stock, report: GoodsReceived | GoodsExpected, cause: Cause) -> None:
    sku, key = report.sku, purchase_key(report)
    if isinstance(report, GoodsExpected):
        stock.announce(report.quantity, sku=sku, key=key, expected_at=report.expected_at, cause=cause)
        return
    stock.book(MovementKind.RECEIPT, report.quantity, sku=sku, warehouse=report.warehouse, cause=cause)
    stock.arrive(report.quantity, sku=sku, key=key)


def _announce_transfer(stock: Stock, report: TransferDispatched, transfer: Transfer, cause: Cause) -> None:
    """Expect what is on its way, of which the transfer itself knows how much that is."""
    key = transfer_arrival_key(report)
    if report.expected_at is not None:
        stock.announce(0, sku=report.sku, key=key, expected_at=report.expected_at, cause=cause)
    elif transfer.expected_at is not None:
        # What was planned gives way to what any report says, whichever comes first.
        plan = Cause(event_id=transfer.transfer_id, occurred_at=BEFORE_ALL_REPORTS)
        stock.announce(0, sku=report.sku, key=key, expected_at=transfer.expected_at, cause=plan)


def _count(stock: Stock, report: GoodsCounted, cause: Cause, facts: Facts) -> CountFinding:
    sku, warehouse = report.sku, report.warehouse
    finding = CountFinding(
        event_id=cause.event_id,
        sku=sku,
        warehouse=warehouse,
        counted_at=report.occurred_at,
        counted=report.counted,
        expected=stock.expected(
            units_since=facts.units_since.get(cause.event_id, 0),
            sku=sku,
            warehouse=warehouse,
            counted_at=report.occurred_at,
        ),
        reference=report.reference,
        reason=report.reason,
        counted_by=report.counted_by,
        lot=report.lot,
        unit_cost=facts.unit_costs.get(sku),
    )
    held_because = facts.count_limits.exceeded(finding)
    if held_because is None or stock.is_overtaken(sku=sku, warehouse=warehouse, cause=cause):
        stock.count(finding.discrepancy, sku=sku, warehouse=warehouse, cause=cause)
        return finding
    stock.hold_count(sku=sku, warehouse=warehouse, cause=cause)
    return replace(finding, held_because=held_because)


def _cause(report: WarehouseReport, event_id: UUID) -> Cause:
    return Cause(
        event_id=event_id,
        occurred_at=report.occurred_at,
        reference=report.reference,
        reason=report.reason if isinstance(report, GoodsAdjusted | GoodsCounted | GoodsWrittenOff) else None,
        order_id=report.order_id if isinstance(report, GoodsPicked) else None,
        transfer_id=report.transfer_id if isinstance(report, TransferDispatched | TransferReceived) else None,
        sequence=report.sequence,
        unit_cost_minor=report.unit_cost_minor if isinstance(report, GoodsReceived) else None,
        currency=report.currency if isinstance(report, GoodsReceived) else None,
        lot=report.lot,
        expires_on=report.expires_on if isinstance(report, GoodsReceived) else None,
        counted=report.counted if isinstance(report, GoodsCounted) else None,
    )


def _dispatch(stock: Stock, report: TransferDispatched, transfer: Transfer) -> None:
    sku, source, destination = report.sku, report.warehouse, report.destination
    before = _in_transit(transfer, LineKey(sku, destination))
    freed = transfer.dispatch(sku, report.quantity, source=source, destination=destination, at=report.occurred_at)
    if transfer.plan is None and report.expected_at is not None:
        transfer.expected_at = max(transfer.expected_at or report.expected_at, report.expected_at)
    if freed:
        stock.hold(-freed, sku=sku, warehouse=source)
    _expect(stock, transfer, LineKey(sku, destination), before)


def _receive(stock: Stock, report: TransferReceived, transfer: Transfer) -> None:
    key = LineKey(report.sku, report.warehouse)
    before = _in_transit(transfer, key)
    transfer.receive(report.sku, report.quantity, destination=report.warehouse, at=report.occurred_at)
    _expect(stock, transfer, key, before)


def _in_transit(transfer: Transfer, key: LineKey) -> int:
    line = transfer.lines.get(key)
    return line.in_transit if line else 0


def _expect(stock: Stock, transfer: Transfer, key: LineKey, before: int) -> None:
    units = _in_transit(transfer, key)
    stock.expect(units - before, sku=key.sku, warehouse=key.destination)
    stock.correct_arrival(units, sku=key.sku, key=arrival_of_transfer(transfer.transfer_id, key.destination))
