"""
By what one way to serve an order is better than another: strategies, and the terms that their scores are made of.

A score is the sum of what every further parcel adds, of what each warehouse adds by where it stands, and of what
the units taken there add; lower is better. None of the three is ever negative, so that the first two are a lower
bound of the whole and combinations that cannot win need not be tried.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from libs.common.events.shapes import Allocation
from services.inventory.domain.warehouses import RankedWarehouse

# No distance on Earth outweighs another parcel: three parcels go at most 60,000 km.
PARCEL_KM: Final = 100_000.0
# What one unit of each term is, so that weights compare like with like.
DISTANCE_SCALE_KM: Final = 1_000.0
COST_SCALE_MINOR: Final = 1_000.0
COVER_SCALE: Final = 30.0
PRIORITY_SCALE: Final = 100.0
# A SKU that nobody asks for is covered for long, not for ever.
COVER_MAX: Final = 365.0
SCORE_DIGITS: Final = 6

Free = Mapping[str, Mapping[str, int]]
# Units a day by SKU and warehouse. The demand for a SKU that is missing is unknown; a warehouse that is missing
# under a SKU has none.
DailyDemand = Mapping[str, Mapping[str, float]]

NO_DEMAND: Final[DailyDemand] = {}


class Strategy(StrEnum):
    """What is preferred when several warehouses could serve an order."""

    SINGLE_SOURCE_FIRST = "single-source-first"
    FEWEST_SPLITS = "fewest-splits"
    NEAREST = "nearest"
    CHEAPEST = "cheapest"
    BALANCE_COVER = "balance-cover"
    WEIGHTED = "weighted"

    # That of an enumeration is computed in Python; this one is looked up several times for each order.
    __hash__ = str.__hash__


REASONS: Final[Mapping[Strategy, str]] = {
    Strategy.SINGLE_SOURCE_FIRST: "the fewest parcels, then the nearest; the score is kilometres",
    Strategy.FEWEST_SPLITS: "the fewest further parcels and split lines, which the score counts, then the nearest",
    Strategy.NEAREST: "the shortest way of all parcels together; the score is kilometres",
    Strategy.CHEAPEST: "the lowest cost of parcels, distance and units; the score is in minor units",
    Strategy.BALANCE_COVER: "the fewest parcels, then where most cover is left; the score falls with cover",
    Strategy.WEIGHTED: "the lowest weighted sum of the terms",
}
_RULES: Final[Mapping[Strategy, str]] = {strategy: f"{strategy}/1" for strategy in Strategy}
_NEEDS_COVER: Final = frozenset({Strategy.BALANCE_COVER, Strategy.WEIGHTED})


class ShippingCost(NamedTuple):
    """What a parcel from a warehouse costs, in minor units: fixed, by distance, and by unit in it."""

    parcel_minor: float = 0.0
    per_km_minor: float = 0.0
    per_unit_minor: float = 0.0


class Weights(NamedTuple):
    """
    How much each term counts in a weighted choice.

    One further parcel, 1,000 km, 1,000 minor units, no cover left instead of endless cover, and a priority number
    of 100 all count 1 before they are weighted.
    """

    parcels: float = 1.0
    distance: float = 1.0
    cost: float = 0.0
    cover: float = 0.0
    priority: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationPolicy:
    """The strategy of each channel with what it needs to know; `costs` are by warehouse code."""

    strategy: Strategy = Strategy.SINGLE_SOURCE_FIRST
    strategy_by_channel: Mapping[str, Strategy] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    cost: ShippingCost = field(default_factory=ShippingCost)
    costs: Mapping[str, ShippingCost] = field(default_factory=dict)

    @property
    def needs_demand(self) -> bool:
        """Whether any order may be allocated by how long stock lasts."""
        return not _NEEDS_COVER.isdisjoint((self.strategy, *self.strategy_by_channel.values()))

    def strategy_for(self, channel: str | None) -> Strategy:
        """Return the strategy for orders of a channel."""
        if channel is None or not self.strategy_by_channel:
            return self.strategy
        return self.strategy_by_channel.get(channel, self.strategy)

    def rule(self, strategy: Strategy) -> str:
        """Return the name and version of a strategy, with its weights where it has any."""
        if strategy is not Strategy.WEIGHTED:
            return _RULES[strategy]
        weights = ",".join(f"{name}={weight:g}" for name, weight in self.weights._asdict().items() if weight)
        return f"{_RULES[strategy]};{weights}"


class Option(NamedTuple):
    """
    Warehouses that could have served: `units` of the order's they have, over `distance_km` in total.

    `score` is None where they could not have served the whole order. The other terms are there if the strategy
    looked at them: `cover_left` is in days, or in orders like this one where demand is not known.
    """

    warehouses: tuple[str, ...]
    units: int
    distance_km: float | None
    score: float | None = None
    split_lines: int = 0
    cost_minor: float | None = None
    cover_left: float | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scores combinations of warehouses for one order."""

    policy: AllocationPolicy
    strategy: Strategy
    wanted: Mapping[str, int]
    free: Free
    demand: DailyDemand

    def per_further_parcel(self) -> float:
        """Return what every parcel beyond the first adds to a score."""
        match self.strategy:
            case Strategy.SINGLE_SOURCE_FIRST:
                return PARCEL_KM
            case Strategy.FEWEST_SPLITS | Strategy.BALANCE_COVER:
                return 1.0
            case Strategy.WEIGHTED:
                return self.policy.weights.parcels
            case _:
                return 0.0

    def base(self, warehouse: RankedWarehouse) -> float:
        """Return what a warehouse adds to a score by where it stands, whatever is taken there."""
        match self.strategy:
            case Strategy.SINGLE_SOURCE_FIRST | Strategy.NEAREST:
                return warehouse.remoteness_km
            case Strategy.CHEAPEST:
                return self._way_cost(warehouse)
            case Strategy.WEIGHTED:
                weights = self.policy.weights
                distance = weights.distance * warehouse.remoteness_km / DISTANCE_SCALE_KM
                return distance + weights.cost * self._way_cost(warehouse) / COST_SCALE_MINOR
            case _:
                return 0.0

    def order(self, warehouses: Sequence[RankedWarehouse]) -> Sequence[RankedWarehouse]:
        """Return in which order lines are taken from warehouses that serve together."""
        match self.strategy:
            case Strategy.CHEAPEST:
                return sorted(warehouses, key=lambda one: self._cost(one.code).per_unit_minor)
            case Strategy.BALANCE_COVER:
                return sorted(warehouses, key=lambda one: -self._cover_of(one.code))
            case _:
                return warehouses

    def option(self, warehouses: Sequence[RankedWarehouse], allocations: Sequence[Allocation]) -> Option:
        """Score what was taken from warehouses that serve the whole order, each of them a part of it."""
        distances = [one.distance_km for one in warehouses if one.distance_km is not None]
        cost = cover = priority = None
        split_lines = len(allocations) - len(self.wanted)
        score = self.per_further_parcel() * (len(warehouses) - 1) + sum(map(self.base, warehouses))
        match self.strategy:
            case Strategy.FEWEST_SPLITS:
                score += split_lines
            case Strategy.CHEAPEST:
                score = cost = self._whole_cost(warehouses, allocations)
            case Strategy.BALANCE_COVER:
                cover = self._cover_left(allocations)
                score += _scarcity(cover)
            case Strategy.WEIGHTED:
                weights = self.policy.weights
                cover = self._cover_left(allocations)
                priority = max(one.priority for one in warehouses)
                score += weights.cover * _scarcity(cover) + weights.priority * priority / PRIORITY_SCALE
                if weights.cost:
                    cost = self._whole_cost(warehouses, allocations)
                    score += weights.cost * self._units_cost(allocations) / COST_SCALE_MINOR
            case _:
                pass
        return Option(
            warehouses=tuple(one.code for one in warehouses),
            units=sum(self.wanted.values()),
            distance_km=round(sum(distances), 1) if len(distances) == len(warehouses) else None,
            score=round(score, SCORE_DIGITS),
            split_lines=split_lines,
            cost_minor=None if cost is None else round(cost, 2),
            cover_left=None if cover is None else round(cover, 1),
            priority=priority,
        )

    def _cost(self, code: str) -> ShippingCost:
        return self.policy.costs.get(code, self.policy.cost)

    def _way_cost(self, warehouse: RankedWarehouse) -> float:
        cost = self._cost(warehouse.code)
        return cost.parcel_minor + cost.per_km_minor * warehouse.remoteness_km

    def _units_cost(self, allocations: Sequence[Allocation]) -> float:
        return sum(self._cost(one.warehouse).per_unit_minor * one.quantity for one in allocations)

    def _whole_cost(self, warehouses: Sequence[RankedWarehouse], allocations: Sequence[Allocation]) -> float:
        return sum(map(self._way_cost, warehouses)) + self._units_cost(allocations)

    def _cover_left(self, allocations: Sequence[Allocation]) -> float:
        return min(self._cover(one.sku, one.warehouse, one.quantity) for one in allocations)

    def _cover_of(self, code: str) -> float:
        return min(self._cover(sku, code, 0) for sku in self.wanted)

    def _cover(self, sku: str, code: str, taken: int) -> float:
        """Return how long the rest lasts: in days, or counted in orders like this one if any demand is unknown."""
        left = max(0, self.free.get(sku, {}).get(code, 0) - taken)
        if any(wanted_sku not in self.demand for wanted_sku in self.wanted):
            return min(COVER_MAX, left / self.wanted[sku])
        rate = self.demand[sku].get(code, 0.0)
        return min(COVER_MAX, left / rate) if rate > 0 else COVER_MAX


def _scarcity(cover: float) -> float:
    """Return 1 for no cover, falling towards 0 the more of it there is."""
    return 1 / (1 + cover / COVER_SCALE)
