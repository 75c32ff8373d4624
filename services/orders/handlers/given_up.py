"""Reads what is in parcels that were given up, and what of its price may still go back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from libs.common.events.shapes import SkuQuantity
from services.orders.domain.given_up import (
    Contents,
    PaidBack,
    parts_of_remainder,
    refunds_of_parcels,
    units_of_remainder,
)
from services.orders.domain.order import OrderLine, OrderStatus, units_by_sku
from services.orders.domain.remainders import parcel_values
from services.orders.domain.state import OrderState, RemainderStatus, Shipment
from services.orders.handlers.ports import Unit


@dataclass(frozen=True, slots=True)
class Bill:
    """What an order was divided into and at which prices: its lines, and those of its units that another one has."""

    lines: Sequence[OrderLine]
    missing: Sequence[SkuQuantity]

    def absent_of(self, payer: OrderState) -> Sequence[SkuQuantity]:
        """Return the units that became another order and have not left with that."""
        remainder = payer.payment.remainder
        return () if remainder is None or remainder.status is RemainderStatus.SHIPPED else self.missing

    def sold_by(self, payer: OrderState) -> Sequence[OrderLine]:
        """Return the lines as far as they are paid for: of an order that was called off, those of its remainder."""
        if payer.status is not OrderStatus.CANCELLED:
            return self.lines
        have_others_left = any(parcel.has_left for parcel in payer.shipments)
        kept = {one.line: one for one in units_of_remainder(self.lines, self.missing, others_left=have_others_left)}
        nothing = {"quantity": 0, "returned_quantity": 0, "unit_price_minor": 0, "charged_minor": None}
        return [kept.get(line.line) or structs.replace(line, **nothing) for line in self.lines]


async def bill_of(payer: OrderState, unit: Unit) -> Bill:
    """Read the bill of an order that pays for its parcels, and for those of its remainder."""
    _, missing = await unit.orders.allocations_of(payer.id)
    return Bill(await unit.orders.lines_of(payer.id), missing)


async def contents_of(parcel: Shipment, *, order: OrderState, payer: OrderState, bill: Bill, unit: Unit) -> Contents:
    """Return what is in a parcel of an order, and what the order that pays for it pays for that."""
    warehouse = parcel.warehouse or ""
    allocations, _ = await unit.orders.allocations_of(order.id)
    remainder = payer.payment.remainder
    if remainder is not None and order.id != payer.id:
        parts = parts_of_remainder(allocations, bill.lines, bill.missing, remainder.value_minor)
        return parts.get(warehouse, Contents(Counter(), 0))
    if remainder is None and len({one.warehouse for one in allocations}) <= 1:
        units = Counter({one.sku: one.quantity for one in units_by_sku(bill.lines)})
        return Contents(units, payer.facts.total_minor)
    values, _ = parcel_values(bill.lines, allocations, bill.missing)
    packed = Counter({one.sku: one.quantity for one in allocations if one.warehouse == warehouse})
    return Contents(packed, values.get(warehouse, 0))


async def paid_back_of(payer: OrderState, remainder: OrderState | None, bill: Bill, unit: Unit) -> PaidBack:
    """Return what was paid back with parcels that were given up, of an order or of its remainder."""
    refunds = refunds_of_parcels(payer)
    units, left_minor = Counter[str](), 0
    for order in (payer, remainder):
        for parcel in () if order is None else order.shipments:
            if order is not None and parcel.id in refunds:
                contents = await contents_of(parcel, order=order, payer=payer, bill=bill, unit=unit)
                units += contents.units
                left_minor += contents.value_minor - refunds[parcel.id]
    return PaidBack(units, left_minor)
