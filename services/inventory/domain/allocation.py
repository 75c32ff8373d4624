"""
Which warehouses serve an order: one pure function.

The nearest warehouse that has everything; if none has, the fewest that have it together, and of those the nearest.
An order is served whole or not at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

from libs.common.events.shapes import Allocation, Shortage
from services.inventory.domain.warehouses import RankedWarehouse

RULE: Final = "single-source-nearest/1"
# Up to this size every combination of the nearest candidates is tried, so that the choice is the best there is;
# above it, the warehouse that has most of what is missing is added, one after the other.
COMBINED_MAX: Final = 3
CANDIDATES_MAX: Final = 12
# An order that needs a dozen warehouses is explained well enough by its nearest alternatives.
OPTIONS_MAX: Final = 8

Free = Mapping[str, Mapping[str, int]]

_NOTHING: Final[Mapping[str, int]] = {}


class Option(NamedTuple):
    """Warehouses that could have served; `units` of the order's they have, over `distance_km` in total."""

    warehouses: tuple[str, ...]
    units: int
    distance_km: float | None


class Choice(NamedTuple):
    """What was allocated, in the order's own sequence of SKUs; None if it cannot be served now."""

    allocations: tuple[Allocation, ...] | None
    options: tuple[Option, ...]

    @property
    def warehouses(self) -> tuple[str, ...]:
        """The warehouses that serve, each once."""
        return tuple(dict.fromkeys(one.warehouse for one in self.allocations or ()))


def allocate(
    wanted: Mapping[str, int], free: Free, ranking: Sequence[RankedWarehouse], *, is_split_allowed: bool
) -> Choice:
    """
    Choose where to take `wanted` (units by SKU) from.

    `free` has the units by SKU and warehouse that can be promised; `ranking` the warehouses, preferred first.
    """
    singles = _singles(wanted, free, ranking)
    total = sum(wanted.values())
    for option in singles:
        if option.units == total:
            return Choice(allocations=_take(wanted, free, option.warehouses), options=_shown(singles, option))
    if not is_split_allowed or not _is_enough(wanted, free, ranking):
        return Choice(allocations=None, options=tuple(singles[:OPTIONS_MAX]))
    option = _best_combination(wanted, free, singles) or _greedy(wanted, free, singles)
    return Choice(allocations=_take(wanted, free, option.warehouses), options=(option, *singles[: OPTIONS_MAX - 1]))


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


def _singles(wanted: Mapping[str, int], free: Free, ranking: Iterable[RankedWarehouse]) -> list[Option]:
    options = []
    lines = [(free.get(sku, _NOTHING), quantity) for sku, quantity in wanted.items()]
    for code, distance_km in ranking:
        units = 0
        for there, quantity in lines:
            units += min(there.get(code, 0), quantity)
        if units:
            options.append(Option((code,), units, distance_km))
    return options


def _shown(options: Sequence[Option], chosen: Option) -> tuple[Option, ...]:
    others = [option for option in options if option is not chosen]
    return (chosen, *others[: OPTIONS_MAX - 1])


def _is_enough(wanted: Mapping[str, int], free: Free, ranking: Sequence[RankedWarehouse]) -> bool:
    return all(
        sum(_units(free, sku, warehouse.code) for warehouse in ranking) >= quantity for sku, quantity in wanted.items()
    )


def _best_combination(wanted: Mapping[str, int], free: Free, singles: Sequence[Option]) -> Option | None:
    for size in range(2, COMBINED_MAX + 1):
        best: Option | None = None
        # Combinations come in the order of preference, so that of equally far ones the first is kept.
        for parts in combinations(singles[:CANDIDATES_MAX], size):
            option = _combined(wanted, parts)
            is_better = best is None or _distance(option) < _distance(best)
            if is_better and _has_all(wanted, free, option.warehouses):
                best = option
        if best is not None:
            return best
    return None


def _greedy(wanted: Mapping[str, int], free: Free, singles: Sequence[Option]) -> Option:
    """Add the warehouse with most of what is still missing until nothing is; together they are known to have it."""
    missing = dict(wanted)
    remaining = list(singles)
    parts: list[Option] = []
    while any(missing.values()):
        best = max(
            remaining,
            key=lambda part: sum(min(units, _units(free, sku, part.warehouses[0])) for sku, units in missing.items()),
        )
        remaining.remove(best)
        parts.append(best)
        missing = {sku: max(0, units - _units(free, sku, best.warehouses[0])) for sku, units in missing.items()}
    preference = {single.warehouses[0]: place for place, single in enumerate(singles)}
    parts.sort(key=lambda part: preference[part.warehouses[0]])
    return _combined(wanted, parts)


def _combined(wanted: Mapping[str, int], parts: Sequence[Option]) -> Option:
    distances = [part.distance_km for part in parts if part.distance_km is not None]
    return Option(
        warehouses=tuple(part.warehouses[0] for part in parts),
        units=sum(wanted.values()),
        distance_km=round(sum(distances), 1) if len(distances) == len(parts) else None,
    )


def _has_all(wanted: Mapping[str, int], free: Free, codes: Sequence[str]) -> bool:
    return all(sum(_units(free, sku, code) for code in codes) >= quantity for sku, quantity in wanted.items())


def _take(wanted: Mapping[str, int], free: Free, codes: Sequence[str]) -> tuple[Allocation, ...]:
    """Take each line from the first warehouse that has it whole, else from one after the other."""
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


def _distance(option: Option) -> float:
    return option.distance_km if option.distance_km is not None else 0.0
