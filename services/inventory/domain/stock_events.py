"""What each report of a warehouse does to the stock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from libs.common.events.base import Envelope
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsCounted,
    GoodsPicked,
    GoodsReceived,
    GoodsWrittenOff,
    TransferDispatched,
    TransferReceived,
    WarehouseReport,
)
from services.inventory.domain.counts import CountFinding, CountLimits, UnitCost
from services.inventory.domain.stock import Cause, MovementKind, Stock
from services.inventory.domain.transfers import Transfer, TransferKey

REPORTS: Final[tuple[type[WarehouseReport], ...]] = (
    GoodsReceived,
    GoodsPicked,
    GoodsAdjusted,
    GoodsCounted,
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
    transfers: dict[TransferKey, Transfer] = field(default_factory=dict)
    count_limits: CountLimits = field(default_factory=CountLimits)
    unit_costs: Mapping[str, UnitCost] = field(default_factory=dict)
    findings: list[CountFinding] = field(default_factory=list)


def report_of(envelope: Envelope) -> WarehouseReport:
    """Return the report in an envelope that is known to hold one."""
    if not isinstance(envelope.event, WarehouseReport):
        msg = f"{envelope.event.type} is no report of a warehouse"
        raise TypeError(msg)
    return envelope.event


def transfer_key(report: TransferDispatched | TransferReceived) -> TransferKey:
    """Return what a transfer's report is about."""
    destination = report.destination if isinstance(report, TransferDispatched) else report.warehouse
    return TransferKey(report.transfer_id, report.sku, destination)


def apply_report(stock: Stock, envelope: Envelope, facts: Facts) -> None:
    """Turn one report into movements; in whatever order reports are applied, the levels end up the same."""
    report = report_of(envelope)
    sku, warehouse = report.sku, report.warehouse
    cause = _cause(report, envelope.id)
    match report:
        case GoodsReceived(quantity=quantity):
            stock.book(MovementKind.RECEIPT, quantity, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsPicked(quantity=quantity):
            # What is picked for an order lies packed in the same building, held for it, and leaves with its
            # shipment: taking it off here as well would take it off twice.
            is_packed = report.order_id in facts.known_orders
            cause = cause._replace(picked=quantity if is_packed else None)
            stock.book(MovementKind.PICK, 0 if is_packed else -quantity, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsAdjusted(delta=delta):
            stock.book(MovementKind.ADJUST, delta, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsWrittenOff(quantity=quantity):
            stock.book(MovementKind.WRITE_OFF, -quantity, sku=sku, warehouse=warehouse, cause=cause)
        case GoodsCounted():
            facts.findings.append(_count(stock, report, cause, facts))
        case TransferDispatched(quantity=quantity):
            stock.book(MovementKind.TRANSFER_OUT, -quantity, sku=sku, warehouse=warehouse, cause=cause)
            _change_transfer(stock, transfer_key(report), facts, dispatched=quantity)
        case TransferReceived(quantity=quantity):
            stock.book(MovementKind.TRANSFER_IN, quantity, sku=sku, warehouse=warehouse, cause=cause)
            _change_transfer(stock, transfer_key(report), facts, received=quantity)
        case _:
            msg = f"{report.type} has no effect here"
            raise TypeError(msg)


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


def _change_transfer(stock: Stock, key: TransferKey, facts: Facts, *, dispatched: int = 0, received: int = 0) -> None:
    transfer = facts.transfers.setdefault(key, Transfer())
    before = transfer.in_transit
    transfer.dispatched += dispatched
    transfer.received += received
    stock.expect(transfer.in_transit - before, sku=key.sku, warehouse=key.destination)
