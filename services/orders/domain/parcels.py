"""What the goods of each warehouse's parcel cost."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping

from libs.common.events.shapes import Allocation
from services.orders.domain.order import OrderLine


def value_by_warehouse(lines: Iterable[OrderLine], allocations: Collection[Allocation]) -> dict[str, int]:
    """
    Return what the units that each warehouse holds for an order cost, in minor units.

    Where a SKU is on several lines at different prices, the warehouses get the lines' units in the order of their
    codes: whichever way they are counted, the values add up to the price of what is allocated. A bundle's line names
    no SKU that is allocated: its price goes with the units that no line names, to each warehouse by their number.
    """
    units: dict[str, deque[list[int]]] = {}
    for line in sorted(lines, key=lambda line: line.line):
        units.setdefault(line.sku, deque()).append([line.quantity, line.unit_price_minor])
    values: dict[str, int] = {}
    parts: dict[str, int] = {}
    for allocation in sorted(allocations, key=lambda one: (one.warehouse, one.sku)):
        values.setdefault(allocation.warehouse, 0)
        waiting, wanted = units.get(allocation.sku, deque()), allocation.quantity
        while wanted and waiting:
            taken = min(wanted, waiting[0][0])
            values[allocation.warehouse] += taken * waiting[0][1]
            waiting[0][0] -= taken
            wanted -= taken
            if not waiting[0][0]:
                waiting.popleft()
        parts[allocation.warehouse] = parts.get(allocation.warehouse, 0) + wanted
    allocated = {allocation.sku for allocation in allocations}
    price = sum(units_left * unit_price for sku, rest in units.items() if sku not in allocated
                for units_left, unit_price in rest)  # fmt: skip
    _spread(price, parts, values)
    return values


def _spread(price_minor: int, parts: Mapping[str, int], values: dict[str, int]) -> None:
    """Add a price to the values in proportion to the parts, to the last penny."""
    total = sum(parts.values())
    before = 0
    for warehouse, units in parts.items():
        after = before + units
        if total:
            values[warehouse] += price_minor * after // total - price_minor * before // total
        before = after
