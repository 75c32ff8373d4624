"""What the goods of each warehouse's parcel cost."""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.events.shapes import Allocation
from services.orders.domain.order import OrderLine

# What card networks move multiples of, where that is more than the minor unit: https://docs.stripe.com/currencies
_PAYABLE_STEPS_MINOR: Final[Mapping[str, int]] = {**dict.fromkeys(["BHD", "JOD", "KWD", "OMR", "TND"], 10), "MGA": 100}


def value_by_warehouse(lines: Iterable[OrderLine], allocations: Collection[Allocation]) -> dict[str, int]:
    """
    Return what the units that each warehouse holds for an order cost, in minor units.

    Where a SKU is on several lines at different prices, the warehouses get the lines' units in the order of their
    codes: whichever way they are counted, the values add up to the price of what is allocated. A bundle's line names
    no SKU that is allocated: its price goes with the units that no line names, to each warehouse by their number.
    """
    units: dict[str, deque[_Waiting]] = {}
    for line in sorted(lines, key=lambda line: line.line):
        units.setdefault(line.sku, deque()).append(_Waiting(line))
    values: dict[str, int] = {}
    parts: dict[str, int] = {}
    for allocation in sorted(allocations, key=lambda one: (one.warehouse, one.sku)):
        values.setdefault(allocation.warehouse, 0)
        waiting, wanted = units.get(allocation.sku, deque()), allocation.quantity
        while wanted and waiting:
            taken = min(wanted, waiting[0].left)
            values[allocation.warehouse] += waiting[0].take(taken)
            wanted -= taken
            if not waiting[0].left:
                waiting.popleft()
        parts[allocation.warehouse] = parts.get(allocation.warehouse, 0) + wanted
    allocated = {allocation.sku for allocation in allocations}
    price = sum(one.take(one.left) for sku, rest in units.items() if sku not in allocated for one in rest)
    _spread(price, parts, values)
    return values


def payable_part(value_minor: int, currency: str) -> int:
    """Return what of a part of a price can be moved by itself, in minor units; the rest goes with the last part."""
    return value_minor - value_minor % _PAYABLE_STEPS_MINOR.get(currency, 1)


@dataclass(slots=True)
class _Waiting:
    """A line, and how many of its units are in a parcel already."""

    line: OrderLine
    taken: int = 0

    @property
    def left(self) -> int:
        return self.line.quantity - self.taken

    def take(self, units: int) -> int:
        """Take units and return what they cost."""
        minor = self.line.share_minor(self.taken, units)
        self.taken += units
        return minor


def _spread(price_minor: int, parts: Mapping[str, int], values: dict[str, int]) -> None:
    """Add a price to the values in proportion to the parts, to the last penny."""
    total = sum(parts.values())
    before = 0
    for warehouse, units in parts.items():
        after = before + units
        if total:
            values[warehouse] += price_minor * after // total - price_minor * before // total
        before = after
