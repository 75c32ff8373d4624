"""
Parcels that nobody expects any longer: what is in them, what it cost, and what of that may still go back.

What is paid back for a parcel as it is given up, and for its goods should they come back all the same, is never more
than what they cost.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from msgspec import structs

from libs.common.events.shapes import Allocation, SkuQuantity
from services.orders.domain.order import OrderLine
from services.orders.domain.parcels import value_by_warehouse
from services.orders.domain.returns import Return, ReturnLine
from services.orders.domain.shares import apportion
from services.orders.domain.state import OrderState, StepKind, StepStatus


@dataclass(frozen=True, slots=True)
class Contents:
    """The units in a parcel, or in several, by SKU, and what they cost, in minor units."""

    units: Counter[str]
    value_minor: int


@dataclass(frozen=True, slots=True)
class PaidBack:
    """What is in parcels that were given up, and what of its price has not been paid back with them."""

    units: Counter[str]
    left_minor: int


def parts_of_remainder(
    allocations: Sequence[Allocation], lines: Iterable[OrderLine], missing: Iterable[SkuQuantity], value_minor: int
) -> dict[str, Contents]:
    """
    Return what is in the parcels of a remainder by warehouse; together they cost what its order pays for it.

    `lines` are that order's, which has the prices, and `missing` those of its units that became the remainder.
    """
    prices = units_of_remainder(lines, missing)
    warehouses = sorted({one.warehouse for one in allocations})
    if len(warehouses) == 1:
        return {warehouses[0]: Contents(Counter({one.sku: one.quantity for one in missing}), value_minor)}
    weights = value_by_warehouse(prices, allocations)
    values = apportion(value_minor, [weights.get(warehouse, 0) for warehouse in warehouses])
    return {
        warehouse: Contents(
            Counter({one.sku: one.quantity for one in allocations if one.warehouse == warehouse}), minor
        )
        for warehouse, minor in zip(warehouses, values, strict=True)
    }


def units_of_remainder(
    lines: Iterable[OrderLine], missing: Iterable[SkuQuantity], *, others_left: bool = True
) -> list[OrderLine]:
    """
    Return lines of the units that became an order's remainder, the latest ones, at what they bear of its price.

    What came back was of the other units first, if these have left.
    """
    wanted = Counter({one.sku: one.quantity for one in missing})
    found = []
    for line in sorted(lines, key=lambda line: -line.line):
        units = min(wanted[line.sku], line.quantity)
        if units:
            wanted[line.sku] -= units
            others = line.quantity - units
            returned = max(0, line.returned_quantity - others) if others_left else line.returned_quantity
            minor = line.share_minor(others, units)
            found.append(structs.replace(line, quantity=units, charged_minor=minor, returned_quantity=returned))
    return found


def came_back(lines: Sequence[OrderLine], packed: Contents | PaidBack, absent: Iterable[SkuQuantity] = ()) -> Contents:
    """
    Return the units that came back and can only have been in these parcels, and what they cost.

    `absent` are units that are in no parcel that has left.
    """
    by_line = _from_parcels({line.line: line.returned_quantity for line in lines}, lines, packed.units, absent)
    units = Counter[str]()
    for line in lines:
        units[line.sku] += by_line[line.line][0]
    return Contents(units, sum(minor for _, minor in by_line.values()))


def _from_parcels(
    returned: Mapping[int, int],
    lines: Sequence[OrderLine],
    packed: Counter[str],
    absent: Iterable[SkuQuantity] = (),
) -> dict[int, tuple[int, int]]:
    """Return by line how many of the `returned` units were in the parcels, and what they cost."""
    elsewhere = Counter[str]()
    for line in lines:
        elsewhere[line.sku] += line.quantity
    elsewhere -= packed
    elsewhere -= Counter({one.sku: one.quantity for one in absent})
    found = {}
    for line in lines:
        back = returned.get(line.line, 0)
        others = min(elsewhere[line.sku], back)
        elsewhere[line.sku] -= others
        found[line.line] = (back - others, line.share_minor(others, back - others))
    return found


def refunds_of_parcels(state: OrderState) -> dict[UUID, int]:
    """Return what was, or will be, paid back for each parcel that was given up, a remainder's included."""
    refunds: dict[UUID, int] = {}
    for step in state.steps:
        if step.kind is StepKind.REFUND and step.shipment_id is not None and step.status is not StepStatus.WITHDRAWN:
            refunds[step.shipment_id] = refunds.get(step.shipment_id, 0) + step.amount_minor
    return refunds


def without_what_was_paid(
    sent_back: Return, lines: Sequence[OrderLine], before: Mapping[int, int], paid: PaidBack
) -> Return:
    """
    Return a return without what was paid back for its units when their parcel was given up.

    `before` counts, by line, the units of other returns. Units count as received once they are, as announced until
    then.
    """
    is_here = sent_back.received_at is not None
    units = {line.line: line.received_quantity if is_here else line.quantity for line in sent_back.lines}
    earlier = _from_parcels(before, lines, paid.units)
    all_of_them = _from_parcels(
        {line.line: before.get(line.line, 0) + units.get(line.line, 0) for line in lines}, lines, paid.units
    )
    value_before = sum(minor for _, minor in earlier.values())
    value_after = sum(minor for _, minor in all_of_them.values())
    surplus = _beyond(value_after, paid.left_minor) - _beyond(value_before, paid.left_minor)
    if surplus <= 0:
        return sent_back
    return less(sent_back, surplus, [line.line for line in sent_back.lines if all_of_them[line.line][0]])


def less(sent_back: Return, minor: int, of_lines: Iterable[int] | None = None) -> Return:
    """Return a return that is worth that much less, taken off the lines in turn, or off those that are named."""
    chosen = {line.line for line in sent_back.lines} if of_lines is None else set(of_lines)
    worth: list[ReturnLine] = []
    for line in sent_back.lines:
        value = line.value_minor if sent_back.received_at is not None else line.announced_minor
        taken = min(minor, value) if line.line in chosen else 0
        minor -= taken
        worth.append(replace(line, refund_minor=value - taken) if taken else line)
    return replace(sent_back, lines=tuple(worth))


def _beyond(value_minor: int, left_minor: int) -> int:
    return min(value_minor, max(0, value_minor - left_minor))
