"""
Which units to move between warehouses before one runs short: one pure function for each SKU.

A warehouse runs short if what it has and what is on its way there is less than its demand until goods that are asked
for at the next review could have come (lead time and review period), and what orders wait for there. It is filled up to
its cover; a source gives only what it does not need for its own cover. A move is worth it if the shortage that it
avoids costs more than the move. What people have declined rests: other sources are asked first, and the same one again
only for much more.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

RULE: Final = "cover-rebalancing/2"
# A proposal is left as it is while what is needed differs from it by no more than this share.
REVISED_SHARE: Final = 0.2
NOTHING_DECLINED: Final[Mapping[tuple[str, str], int]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RebalancingPolicy:
    """
    What moves cost and what shortages do, in minor units of `currency`.

    A unit short costs `shortage_share` of what it is worth, or `shortage_minor` where that is not known in `currency`.
    """

    lead_days: float = 3.0
    review_days: float = 1.0
    cover_days: float = 14.0
    transfer_minor: float = 1_000.0
    unit_km_minor: float = 0.0
    shortage_share: float = 0.3
    shortage_minor: float = 300.0
    currency: str = "GBP"

    @property
    def horizon_days(self) -> float:
        """Days until goods that are asked for at the next review would be there."""
        return self.lead_days + self.review_days

    @property
    def kept_days(self) -> float:
        """Days of demand that a source keeps and a destination is filled up to."""
        return max(self.cover_days, self.horizon_days)


class Position(NamedTuple):
    """
    A SKU in one warehouse: units that can be promised, those that come, and those that leave.

    `outgoing` units are planned to leave and not yet held: they cannot be given to anybody else, and nobody is short of
    them before somebody approves that. `backlog` is what orders wait for that could only be served from here.
    """

    warehouse: str
    available: int
    incoming: int = 0
    outgoing: int = 0
    per_day: float = 0.0
    backlog: int = 0

    @property
    def cover_days(self) -> float | None:
        """Days until what is here and incoming is gone; None if nothing leaves."""
        return _position(self) / self.per_day if self.per_day else None


class SourceOption(NamedTuple):
    """
    What one source could give: `benefit_minor` is the shortage avoided.

    A person has lately refused to move `declined_units` from there.
    """

    source: str
    units: int
    avoided_units: int
    benefit_minor: float
    cost_minor: float
    declined_units: int = 0

    @property
    def score_minor(self) -> float:
        """What the move is worth beyond its cost."""
        return self.benefit_minor - self.cost_minor

    @property
    def is_proposable(self) -> bool:
        """Whether the move is worth it, and nobody has answered already."""
        return self.score_minor > 0 and not is_declined(self.declined_units, self.units)


class Move(NamedTuple):
    """Units to move to `destination`, where `short_units` would be missing, with all sources there were."""

    destination: str
    short_units: int
    chosen: SourceOption
    options: Sequence[SourceOption]


def plan_moves(
    positions: Iterable[Position],
    policy: RebalancingPolicy,
    *,
    unit_minor: float | None,
    distance_km: Callable[[str, str], float],
    declined: Mapping[tuple[str, str], int] = NOTHING_DECLINED,
) -> list[Move]:
    """
    Return the moves of one SKU that are worth it, the largest shortage first.

    `unit_minor` is what a unit is worth in the policy's currency, None if that is not known; `declined` has the units
    that people refused to move, by source and destination.
    """
    places = sorted(positions)
    shortage_minor = policy.shortage_minor if unit_minor is None else policy.shortage_share * unit_minor
    spare = {place.warehouse: spare_units(place, policy) for place in places}
    in_need = [(short_units(place, policy), place) for place in places]
    moves = []
    for short, place in sorted(in_need, key=lambda need: (-need[0], need[1].warehouse)):
        missing, wanted = short, wanted_units(place, policy)
        while missing > 0:
            options = [
                _option(
                    place.warehouse,
                    source,
                    min(wanted, units),
                    missing,
                    policy,
                    shortage_minor,
                    distance_km,
                    declined_units=declined.get((source, place.warehouse), 0),
                )
                for source, units in spare.items()
                if units > 0 and source != place.warehouse
            ]
            options.sort(key=lambda option: (option.declined_units > 0, -option.score_minor, option.source))
            chosen = next((option for option in options if option.is_proposable), None)
            if chosen is None:
                break
            moves.append(Move(place.warehouse, short, chosen, options))
            spare[chosen.source] -= chosen.units
            wanted -= chosen.units
            missing -= chosen.avoided_units
    return moves


def short_units(place: Position, policy: RebalancingPolicy) -> int:
    """Return the whole units that will be missing within the horizon."""
    needed = place.per_day * policy.horizon_days + place.backlog
    return max(0, math.floor(needed - _position(place)))


def wanted_units(place: Position, policy: RebalancingPolicy) -> int:
    """Return the units that fill a place up to its cover."""
    return max(0, math.ceil(place.per_day * policy.kept_days + place.backlog - _position(place)))


def spare_units(place: Position, policy: RebalancingPolicy) -> int:
    """Return the units that a place can give and keep its own cover, without counting on what is still to come."""
    kept = place.per_day * policy.kept_days + place.backlog
    return max(0, math.floor(place.available - place.outgoing - kept))


def is_outdated(proposed_units: int, wanted: int) -> bool:
    """Tell whether a proposal differs so much from what is needed that it is revised."""
    return abs(wanted - proposed_units) > REVISED_SHARE * proposed_units


def is_declined(declined_units: int, wanted: int) -> bool:
    """Tell whether a person who refused to move so many units has thereby answered what is wanted now."""
    return wanted <= declined_units or not is_outdated(declined_units, wanted)


def _position(place: Position) -> int:
    return place.available + place.incoming


def _option(  # noqa: PLR0917 - one source of one move, with all that scores it
    destination: str,
    source: str,
    units: int,
    missing: int,
    policy: RebalancingPolicy,
    shortage_minor: float,
    distance_km: Callable[[str, str], float],
    *,
    declined_units: int,
) -> SourceOption:
    avoided = min(units, missing)
    cost = policy.transfer_minor + policy.unit_km_minor * units * distance_km(source, destination)
    return SourceOption(source, units, avoided, round(avoided * shortage_minor, 2), round(cost, 2), declined_units)
