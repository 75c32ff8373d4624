"""What a shop decides about a SKU: how much is kept back, how much may be promised before it is there, and its lots."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.common.errors import Invalid


class UnknownWarehouse(Invalid):
    """No warehouse is registered under a code that was named."""

    code = "unknown-warehouse"


@dataclass(frozen=True, slots=True, kw_only=True)
class StockPolicy:
    """
    The policy of one SKU.

    `safety_stock_units` are kept back in each warehouse, or what `safety_stock_by_warehouse` says for it. Orders may
    together wait for `backorder_units_max` units, for any number if it is None. If it `tracks_lots`, units that expire
    in fewer than `shelf_life_days_min` days are not promised.
    """

    safety_stock_units: int = 0
    safety_stock_by_warehouse: Mapping[str, int] = field(default_factory=dict)
    backorder_units_max: int | None = None
    tracks_lots: bool = False
    shelf_life_days_min: int = 0

    def safety_stock_in(self, warehouse: str) -> int:
        """Return the units that are kept back in a warehouse."""
        return self.safety_stock_by_warehouse.get(warehouse, self.safety_stock_units)


NO_POLICY: Final = StockPolicy()
