"""The part of the queues that a transaction does not serve: newcomers must neither overtake it nor swell it at will."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from libs.common.events.shapes import Shortage
from services.inventory.domain.stock import Stock
from services.inventory.domain.strategies import Free

Place = tuple[datetime, UUID]


@dataclass(slots=True, kw_only=True)
class Backlog:
    """
    The part of the queues that is not at hand.

    A queue too long for one transaction is served in several, and until they are through, the orders behind
    `unserved_after` (by SKU) still want `spoken_for` units: whoever comes after that place gets what these leave.
    `waited_for` has, for SKUs with a limit on backorders, the units that orders wait for. `newcomers` are the
    orders that do not yet stand in line.
    """

    newcomers: Collection[UUID] = ()
    unserved_after: Mapping[str, Place] = field(default_factory=dict)
    spoken_for: dict[str, int] = field(default_factory=dict)
    waited_for: dict[str, int] = field(default_factory=dict)

    def missing(self, wanted: Mapping[str, int], place: Place, free: Free) -> tuple[Shortage, ...]:
        """
        Return what those who come before `place` may yet need of `wanted`; empty if there is enough for all.

        `free` has the units by SKU and warehouse that can be promised.
        """
        missing = []
        for sku, quantity in wanted.items():
            after = self.unserved_after.get(sku)
            if after is not None and place > after:
                left = max(0, sum(free[sku].values()) - self.spoken_for.get(sku, 0))
                if left < quantity:
                    missing.append(Shortage(sku=sku, requested=quantity, available=left))
        return tuple(missing)

    def is_full(self, wanted: Mapping[str, int], shortages: Iterable[Shortage], stock: Stock) -> bool:
        """Tell whether the wait of an order that is short of something would exceed what may be waited for."""
        if not self.waited_for:
            return False
        for shortage in shortages:
            limit = stock.items[shortage.sku].policy.backorder_units_max
            if limit is not None and self.waited_for.get(shortage.sku, 0) + wanted[shortage.sku] > limit:
                return True
        return False

    def add(self, wanted: Mapping[str, int], place: Place) -> None:
        """Note that an order waits: those behind it heed it too."""
        for sku, quantity in wanted.items():
            after = self.unserved_after.get(sku)
            if after is not None and place > after:
                self.spoken_for[sku] = self.spoken_for.get(sku, 0) + quantity
            if sku in self.waited_for:
                self.waited_for[sku] += quantity
