"""How fast a SKU leaves a warehouse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

# A pair that has been there for less is taken to have been there for this long: one unit that is sold an hour after the
# first arrival is no demand of 24 a day.
OBSERVED_DAYS_MIN: Final = 7.0


class StockPair(NamedTuple):
    """A SKU in a warehouse."""

    sku: str
    warehouse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """
    Units of a SKU that left a warehouse for customers (shipped, or picked without an order).

    `units` are by periods of equal length, oldest first; `observed_days` is how long the pair has had movements, at
    most the length of all periods. Returns are no negative demand: whoever sends back has wanted it.
    """

    units: tuple[int, ...]
    observed_days: float

    @property
    def total(self) -> int:
        """Units of all periods."""
        return sum(self.units)

    @property
    def per_day(self) -> float:
        """Mean units a day since the pair is known, over a week at least."""
        return self.total / max(self.observed_days, OBSERVED_DAYS_MIN)


DemandByPair = Mapping[StockPair, Demand]
"""Demand by pair; a pair of which nothing left is not in it."""
