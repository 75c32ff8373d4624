"""What the goods of each warehouse's parcel cost."""

from collections import deque
from collections.abc import Iterable

from libs.common.events.shapes import Allocation
from services.orders.domain.order import OrderLine


def value_by_warehouse(lines: Iterable[OrderLine], allocations: Iterable[Allocation]) -> dict[str, int]:
    """
    Return what the units that each warehouse holds for an order cost, in minor units.

    Where a SKU is on several lines at different prices, the warehouses get the lines' units in the order of their
    codes: whichever way they are counted, the values add up to the price of what is allocated.
    """
    units: dict[str, deque[list[int]]] = {}
    for line in sorted(lines, key=lambda line: line.line):
        units.setdefault(line.sku, deque()).append([line.quantity, line.unit_price_minor])
    values: dict[str, int] = {}
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
    return values
