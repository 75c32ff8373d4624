"""
Which warehouses serve an order: one pure function.

What the order's strategy prefers among the warehouses, alone or together, that have everything (`strategies`).
An order is served whole or not at all.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final, NamedTuple

from libs.common.events.shapes import Allocation, Shortage
from services.inventory.domain.strategies import (
    NO_DEMAND,
    SCORE_DIGITS,
    AllocationPolicy,
    DailyDemand,
    Free,
    Option,
    Scoring,
    Strategy,
)
from services.inventory.domain.warehouses import RankedWarehouse

# Up to this size every combination of the nearest candidates is tried, so that the choice is the best there is;
# above it, the warehouse that has most of what is missing is added, one after the other.
COMBINED_MAX: Final = 3
CANDIDATES_MAX: Final = 12
# An order that needs a dozen warehouses is explained well enough by its nearest alternatives.
OPTIONS_MAX: Final = 8

DEFAULT_POLICY: Final = AllocationPolicy()

# A warehouse that has any of what is wanted, with the units of it that it has.
_Single = tuple[RankedWarehouse, int]

_ROUNDING: Final = 10.0**-SCORE_DIGITS
_NOTHING: Final[Mapping[str, int]] = {}
# With these no combination is ever better than one warehouse, nor a farther warehouse than a nearer one.
_NEAREST_SINGLE_WINS: Final = frozenset({Strategy.SINGLE_SOURCE_FIRST, Strategy.FEWEST_SPLITS})


class Choice(NamedTuple):
    """What was allocated, in the order's own sequence of SKUs; None if it cannot be served now."""

    allocations: tuple[Allocation, ...] | None
    options: tuple[Option, ...]
    strategy: Strategy
    rule: str

    @property
    def warehouses(self) -> tuple[str, ...]:
        """The warehouses that serve, each once."""
        return tuple(dict.fromkeys(one.warehouse for one in self.allocations or ()))


class _Candidate(NamedTuple):
    """A way to serve the order, with its place: what is preferred at equal scores."""

    option: Option
    allocations: tuple[Allocation, ...]
    place: tuple[int, ...]


def allocate(
    wanted: Mapping[str, int],
    free: Free,
    ranking: Sequence[RankedWarehouse],
    *,
    is_split_allowed: bool,
    policy: AllocationPolicy = DEFAULT_POLICY,
    channel: str | None = None,
    demand: DailyDemand = NO_DEMAND,
) -> Choice:
    """
    Choose where to take `wanted` (units by SKU) from.

    `free` has the units by SKU and warehouse that can be promised; `ranking` the warehouses, preferred first.
    The choice has the lowest score of all combinations of up to `COMBINED_MAX` of the first `CANDIDATES_MAX`
    warehouses that have any of it; of equal scores fewer parcels win, then the shorter way, then the ranking.
    """
    strategy = policy.strategy_for(channel)
    rule = policy.rule(strategy)
    singles = _singles(wanted, free, ranking)
    total = sum(wanted.values())
    if strategy in _NEAREST_SINGLE_WINS:
        for place, (warehouse, units) in enumerate(singles):
            if units == total:
                code = warehouse.code
                allocations = tuple([Allocation(warehouse=code, sku=sku, quantity=wanted[sku]) for sku in wanted])
                return Choice(allocations, _nearest_first(tuple(singles), place, total, strategy), strategy, rule)
    scoring = Scoring(policy, strategy, wanted, free, demand)
    if is_split_allowed and not _is_enough(wanted, free, ranking):
        found = []
    else:
        found = _search(scoring, singles, total, COMBINED_MAX if is_split_allowed else 1)
        if not found and is_split_allowed:
            found = [_greedy(scoring, singles)]
    if not found:
        return Choice(None, tuple(map(_partial, singles[:OPTIONS_MAX])), strategy, rule)
    found.sort(key=_key)
    options = [candidate.option for candidate in found[:OPTIONS_MAX]]
    options += map(_partial, [one for one in singles if one[1] < total][: OPTIONS_MAX - len(options)])
    return Choice(found[0].allocations, tuple(options), strategy, rule)


def obtainable(
    wanted: Mapping[str, int],
    free: Free,
    ranking: Sequence[RankedWarehouse],
    limits: Iterable[Shortage],
    *,
    is_split_allowed: bool,
) -> dict[str, int]:
    """
    Return the part of `wanted` that there is, by SKU; of a SKU in `limits` no more than is available by that.

    Without a split it is what the warehouse that has most of it has.
    """
    codes = [warehouse.code for warehouse in ranking]
    if not is_split_allowed and codes:
        codes = [max(codes, key=lambda code: sum(min(units, _units(free, sku, code)) for sku, units in wanted.items()))]
    limit_of = {one.sku: one.available for one in limits}
    part = {}
    for sku, units in wanted.items():
        there = sum(_units(free, sku, code) for code in codes)
        obtained = min(units, there, limit_of.get(sku, units))
        if obtained:
            part[sku] = obtained
    return part


def shortages(wanted: Mapping[str, int], free: Free, ranking: Sequence[RankedWarehouse]) -> tuple[Shortage, ...]:
    """
    Return what is missing of an order that could not be served.

    Where the units are there but in too many places, the shortages are those of the warehouse that has most.
    """
    codes = [warehouse.code for warehouse in ranking]
    missing = _missing(wanted, {sku: sum(_units(free, sku, code) for code in codes) for sku in wanted})
    if missing or not codes:
        return missing
    fullest = max(codes, key=lambda code: sum(min(units, _units(free, sku, code)) for sku, units in wanted.items()))
    return _missing(wanted, {sku: _units(free, sku, fullest) for sku in wanted})


def _singles(wanted: Mapping[str, int], free: Free, ranking: Iterable[RankedWarehouse]) -> list[_Single]:
    singles = []
    lines = [(free.get(sku, _NOTHING).get, quantity) for sku, quantity in wanted.items()]
    for warehouse in ranking:
        code = warehouse[0]
        units = 0
        for there, quantity in lines:
            # Half the time of min(), in the loop that every order goes through.
            units_there = there(code, 0)
            units += units_there if units_there < quantity else quantity  # noqa: FURB136
        if units:
            singles.append((warehouse, units))
    return singles


# Orders to one place find the same warehouses, most of them with everything.
@lru_cache(maxsize=16_384)
def _nearest_first(singles: tuple[_Single, ...], chosen: int, total: int, strategy: Strategy) -> tuple[Option, ...]:
    """Return the options where the nearest warehouse with everything was chosen, whose scores are simply known."""
    shown = (singles[chosen], *singles[:chosen], *singles[chosen + 1 :])[:OPTIONS_MAX]
    is_distance = strategy is Strategy.SINGLE_SOURCE_FIRST
    options = []
    for warehouse, units in shown:
        code, distance_km, _, _ = warehouse
        score = None
        if units == total:
            score = 0.0 if not is_distance else warehouse.remoteness_km if distance_km is None else distance_km
        options.append(Option((code,), units, distance_km, score))
    return tuple(options)


def _partial(single: _Single) -> Option:
    warehouse, units = single
    return Option((warehouse.code,), units, warehouse.distance_km)


def _is_enough(wanted: Mapping[str, int], free: Free, ranking: Sequence[RankedWarehouse]) -> bool:
    return all(
        sum(_units(free, sku, warehouse.code) for warehouse in ranking) >= quantity for sku, quantity in wanted.items()
    )


def _search(scoring: Scoring, singles: Sequence[_Single], total: int, size_max: int) -> list[_Candidate]:
    """Return the ways to serve the order that were worth scoring, the best one among them."""
    found = [_candidate(scoring, singles, (place,)) for place, (_, units) in enumerate(singles) if units == total]
    best = min((candidate.option.score or 0.0 for candidate in found), default=math.inf)
    per_parcel = scoring.per_further_parcel()
    bases = [scoring.base(warehouse) for warehouse, _ in singles[:CANDIDATES_MAX]]
    for size in range(2, size_max + 1):
        parcels = per_parcel * (size - 1)
        if parcels + sum(sorted(bases)[:size]) > best + _ROUNDING:
            break
        for places in combinations(range(len(bases)), size):
            if parcels + sum(bases[place] for place in places) > best + _ROUNDING:
                continue
            if not _has_all(scoring, [singles[place][0].code for place in places]):
                continue
            candidate = _candidate(scoring, singles, places)
            # One that takes from fewer has been scored as the smaller combination that it is.
            if len({one.warehouse for one in candidate.allocations}) == size:
                found.append(candidate)
                best = min(best, candidate.option.score or 0.0)
    return found


def _candidate(scoring: Scoring, singles: Sequence[_Single], places: tuple[int, ...]) -> _Candidate:
    warehouses = [singles[place][0] for place in places]
    allocations = _take(scoring.wanted, scoring.free, scoring.order(warehouses))
    return _Candidate(scoring.option(warehouses, allocations), allocations, places)


def _greedy(scoring: Scoring, singles: Sequence[_Single]) -> _Candidate:
    """Add the warehouse with most of what is still missing until nothing is; together they are known to have it."""
    missing = dict(scoring.wanted)
    remaining = list(range(len(singles)))
    places: list[int] = []
    while any(missing.values()):
        codes = {place: singles[place][0].code for place in remaining}
        best = max(
            remaining,
            key=lambda place: sum(
                min(units, _units(scoring.free, sku, codes[place])) for sku, units in missing.items()
            ),
        )
        remaining.remove(best)
        places.append(best)
        missing = {sku: max(0, units - _units(scoring.free, sku, codes[best])) for sku, units in missing.items()}
    candidate = _candidate(scoring, singles, tuple(sorted(places)))
    used = {one.warehouse for one in candidate.allocations}
    if len(used) == len(places):
        return candidate
    # What was added first is not needed where what was added later has a line whole.
    return _candidate(scoring, singles, tuple(place for place in candidate.place if singles[place][0].code in used))


def _key(candidate: _Candidate) -> tuple[float, int, float, tuple[int, ...]]:
    option = candidate.option
    return option.score or 0.0, len(option.warehouses), option.distance_km or 0.0, candidate.place


def _has_all(scoring: Scoring, codes: Sequence[str]) -> bool:
    free = scoring.free
    return all(sum(_units(free, sku, code) for code in codes) >= units for sku, units in scoring.wanted.items())


def _take(wanted: Mapping[str, int], free: Free, warehouses: Sequence[RankedWarehouse]) -> tuple[Allocation, ...]:
    """Take each line from the first warehouse that has it whole, else from one after the other."""
    codes = [warehouse.code for warehouse in warehouses]
    taken = []
    for sku, quantity in wanted.items():
        whole = next((code for code in codes if _units(free, sku, code) >= quantity), None)
        missing = quantity
        for code in codes if whole is None else (whole,):
            units = min(missing, _units(free, sku, code))
            if units:
                taken.append(Allocation(warehouse=code, sku=sku, quantity=units))
                missing -= units
    return tuple(taken)


def _missing(wanted: Mapping[str, int], there: Mapping[str, int]) -> tuple[Shortage, ...]:
    return tuple(
        Shortage(sku=sku, requested=quantity, available=there[sku])
        for sku, quantity in wanted.items()
        if there[sku] < quantity
    )


def _units(free: Free, sku: str, code: str) -> int:
    by_warehouse = free.get(sku)
    return by_warehouse.get(code, 0) if by_warehouse else 0
