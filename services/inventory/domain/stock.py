"""
Levels, and the ledger that explains them.

`on_hand` is always the sum of a level's ledger movements and is never negative. A warehouse may report that more
units left than were ever booked in, because its report of their arrival is late or lost. Such units are counted
as the level's `shortfall` and stand in the ledger as movements of their own, so that the report is kept, nothing
goes negative, and whatever order the reports come in, the levels end up the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from services.inventory.domain.arrivals import Arrival, ArrivalKey
from services.inventory.domain.stock_policy import NO_POLICY, StockPolicy


class MovementKind(StrEnum):
    """Why units came or went."""

    RECEIPT = "receipt"
    PICK = "pick"
    SHIP = "ship"
    RETURN = "return"
    ADJUST = "adjust"
    COUNT = "count"
    TRANSFER_OUT = "transfer-out"
    TRANSFER_IN = "transfer-in"
    SHORTFALL = "shortfall"
    WRITE_OFF = "write-off"


class Cause(NamedTuple):
    """
    The event behind movements: which one, when it happened in the warehouse, and what it said of itself.

    `counted` are the units that a count found; `picked` those that were packed for `order_id` and are still there.
    """

    event_id: UUID
    occurred_at: datetime
    reference: str | None = None
    reason: str | None = None
    order_id: UUID | None = None
    transfer_id: UUID | None = None
    sequence: int | None = None
    unit_cost_minor: int | None = None
    currency: str | None = None
    lot: str | None = None
    expires_on: date | None = None
    counted: int | None = None
    picked: int | None = None


class Movement(NamedTuple):
    """One line of the ledger; `leg` tells apart the movements of one event."""

    leg: int
    kind: MovementKind
    sku: str
    warehouse: str
    delta_on_hand: int
    occurred_at: datetime
    cause: Cause


class LevelState(NamedTuple):
    """What a level was before a transaction touched it."""

    on_hand: int
    reserved: int
    in_transit: int
    withheld: int


@dataclass(slots=True)
class Level:
    """
    The units of one SKU in one warehouse.

    `reserved` of those `on_hand` are held for orders; `in_transit` are on their way here. `counted_at` and
    `counted_by` (an event's id) name the latest count, which says what was there at that time. `blocked` units are
    there and may not be sold, because they have expired or will too soon. `safety_stock` units are kept back: they
    are promised only once somebody lowers it.
    """

    on_hand: int = 0
    reserved: int = 0
    in_transit: int = 0
    shortfall: int = 0
    counted_at: datetime | None = None
    counted_by: UUID | None = None
    blocked: int = 0
    safety_stock: int = 0

    @property
    def withheld(self) -> int:
        """Units on hand that are promised to nobody new."""
        return min(self.on_hand, self.blocked + self.safety_stock)

    @property
    def available(self) -> int:
        """Units that can be promised; never negative, whatever is about to be un-reserved."""
        units = self.on_hand - self.reserved - self.blocked - self.safety_stock
        return units if units > 0 else 0  # noqa: FURB136 - half the time of max(), for every level of every order

    @property
    def overdrawn(self) -> int:
        """Units that are held for orders and are not there to be sold to them."""
        return max(0, self.reserved - (self.on_hand - self.blocked))


@dataclass(slots=True)
class StockItem:
    """
    A SKU with its levels by warehouse and its policy; `version` counts the states that were published.

    `unserved_after` is the place (time of approval, order) behind which its queue has yet to be served, None if there
    is no such rest. `arrivals` are those that are expected; a SKU of which none was ever announced has none to look for
    (`has_arrivals`). `components` are what a bundle is made of, in units by SKU.
    """

    sku: str
    version: int = 0
    levels: dict[str, Level] = field(default_factory=dict)
    policy: StockPolicy = NO_POLICY
    unserved_after: tuple[datetime, UUID] | None = None
    has_arrivals: bool = False
    arrivals: dict[ArrivalKey, Arrival] = field(default_factory=dict)
    components: Mapping[str, int] = field(default_factory=dict)

    @property
    def available(self) -> int:
        """Units that can be promised, over all warehouses."""
        units = 0
        for level in self.levels.values():
            units += level.available
        return units


class Changes(NamedTuple):
    """What one transaction has to write: levels, the SKUs whose published state differs from before, the ledger."""

    levels: Sequence[tuple[str, str, Level]]
    items: Sequence[StockItem]
    movements: Sequence[Movement]
    arrivals: Sequence[tuple[str, ArrivalKey, Arrival]] = ()


@dataclass(slots=True)
class Stock:
    """
    The stock of the SKUs that one transaction has locked: it is changed here, and then written as a whole.

    `movements` are the ledger lines to add, `lot_skus` the SKUs that track lots.
    """

    items: Mapping[str, StockItem]
    movements: list[Movement] = field(default_factory=list)
    _legs: dict[UUID, int] = field(default_factory=dict)
    _recent: dict[tuple[str, str], list[tuple[datetime, int]]] = field(default_factory=dict)
    _before: dict[tuple[str, str], LevelState | None] = field(default_factory=dict)
    _available_before: dict[str, int] = field(default_factory=dict)
    _recomposed: set[str] = field(default_factory=set)
    lot_skus: frozenset[str] = frozenset()
    _regrouped: set[str] = field(default_factory=set)
    _arrivals_changed: set[tuple[str, ArrivalKey]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Note which SKUs track lots; most shops have none."""
        self.lot_skus = frozenset(sku for sku, item in self.items.items() if item.policy.tracks_lots)

    def book(self, kind: MovementKind, units: int, *, sku: str, warehouse: str, cause: Cause) -> None:
        """Book units that came (positive) or went, unless a later count has already seen that they did."""
        level = self._touch(sku, warehouse)
        self._add(kind, units, sku, warehouse, cause.occurred_at, cause)
        if level.counted_at is not None and cause.occurred_at <= level.counted_at:
            self._add(MovementKind.COUNT, -units, sku, warehouse, level.counted_at, cause)
        else:
            self._move(level, units, sku=sku, warehouse=warehouse, cause=cause)

    def expected(self, *, units_since: int, sku: str, warehouse: str, counted_at: datetime) -> int:
        """
        Return what the ledger says was there at `counted_at`; negative if more left than is known to have come.

        `units_since` is the sum of the recorded movements that happened after that, without those of this transaction
        and without shortfalls.
        """
        level = self._touch(sku, warehouse)
        units_since += sum(
            units for occurred_at, units in self._recent.get((sku, warehouse), ()) if occurred_at > counted_at
        )
        return level.on_hand - level.shortfall - units_since

    def is_overtaken(self, *, sku: str, warehouse: str, cause: Cause) -> bool:
        """Tell whether a later count than this one has been booked."""
        return _is_overtaken(self._touch(sku, warehouse), cause.occurred_at, cause.event_id)

    def count(self, discrepancy: int, *, sku: str, warehouse: str, cause: Cause, leg: int = 0) -> None:
        """
        Book what a count found in excess of what the ledger `expected` at its time, or missing from it.

        A count that a later one has overtaken changes nothing. `leg` is the number of the event's first movement now.
        """
        level = self._touch(sku, warehouse)
        self._legs.setdefault(cause.event_id, leg)
        if _is_overtaken(level, cause.occurred_at, cause.event_id):
            self._add(MovementKind.COUNT, 0, sku, warehouse, cause.occurred_at, cause)
            return
        level.counted_at, level.counted_by = cause.occurred_at, cause.event_id
        self._add(MovementKind.COUNT, discrepancy, sku, warehouse, cause.occurred_at, cause)
        self._move(level, discrepancy, sku=sku, warehouse=warehouse, cause=cause)

    def hold_count(self, *, sku: str, warehouse: str, cause: Cause) -> None:
        """Note in the ledger that there was a count, without believing it."""
        self._touch(sku, warehouse)
        self._add(MovementKind.COUNT, 0, sku, warehouse, cause.occurred_at, cause._replace(counted=None))

    def expect(self, units: int, *, sku: str, warehouse: str) -> None:
        """Change what is on its way to `warehouse`."""
        self._touch(sku, warehouse).in_transit += units

    def announce(self, units: int, *, sku: str, key: ArrivalKey, expected_at: datetime, cause: Cause) -> None:
        """Expect units under `key`, or none any more; a later announcement than this one stands."""
        arrival = self.items[sku].arrivals.setdefault(key, Arrival())
        if arrival.announce(
            units, expected_at=expected_at, announced_at=cause.occurred_at, announced_by=cause.event_id
        ):
            self._arrivals_changed.add((sku, key))

    def arrive(self, units: int, *, sku: str, key: ArrivalKey) -> None:
        """Note that units came under `key`, which uses up what is expected under it."""
        arrival = self.items[sku].arrivals.get(key)
        if arrival is not None:
            arrival.received += units
            self._arrivals_changed.add((sku, key))

    def correct_arrival(self, units: int, *, sku: str, key: ArrivalKey) -> None:
        """Expect another number of units than was announced."""
        arrival = self.items[sku].arrivals.get(key)
        if arrival is not None and arrival.units != units:
            arrival.units = units
            self._arrivals_changed.add((sku, key))

    def hold(self, units: int, *, sku: str, warehouse: str) -> None:
        """Hold units for an order, or let them go if `units` is negative."""
        self._touch(sku, warehouse).reserved += units

    def compose(self, sku: str, components: Mapping[str, int]) -> None:
        """Make a SKU a bundle of units by SKU, or none if there are no components."""
        self.items[sku].components = components
        self._recomposed.add(sku)

    def set_policy(self, sku: str, policy: StockPolicy) -> None:
        """Keep back other safety stock from now on; what is promised already stays promised."""
        item = self.items[sku]
        if item.policy.tracks_lots or policy.tracks_lots:
            self.regroup_lots(sku)
        item.policy = policy
        for warehouse in item.levels:
            self._touch(sku, warehouse).safety_stock = policy.safety_stock_in(warehouse)

    def regroup_lots(self, sku: str) -> None:
        """See to it that the lots of a SKU are folded anew, even if nothing of it moves."""
        self._regrouped.add(sku)

    def skus_of_lots(self) -> set[str]:
        """Return the SKUs whose lots are not what they were: those that track them and moved, and those of others."""
        moved = {one.sku for one in self.movements if one.sku in self.lot_skus} if self.lot_skus else set()
        return moved | self._regrouped

    def block(self, units: int, *, sku: str, warehouse: str) -> None:
        """Keep so many of the units on hand from being sold."""
        self._touch(sku, warehouse).blocked = units

    def overdrawn(self) -> list[tuple[str, str]]:
        """Return the (sku, warehouse) pairs that hold more for orders than is there."""
        return sorted(pair for pair in self._before if self.level(*pair).overdrawn)

    def freed(self) -> set[str]:
        """Return the SKUs of which more can be promised now than before this transaction."""
        return {sku for sku, units in self._available_before.items() if self.items[sku].available > units}

    def sold_out(self) -> list[str]:
        """Return the SKUs of which something could be promised before, and nothing now."""
        return [sku for sku, units in self._available_before.items() if units and not self.items[sku].available]

    def level(self, sku: str, warehouse: str) -> Level:
        """Return a level that exists or that this transaction touched."""
        return self.items[sku].levels[warehouse]

    def changes(self) -> "Changes":
        """Return what has to be written, in (sku, warehouse) order."""
        levels = []
        changed: dict[str, StockItem] = {}
        for (sku, warehouse), before in sorted(self._before.items(), key=_pair_of):
            item = self.items[sku]
            level = item.levels[warehouse]
            levels.append((sku, warehouse, level))
            if before != _state(level):
                changed[sku] = item
        # Not what came under a reference that nobody has announced.
        arrivals = [
            (sku, key, arrival)
            for sku, key in sorted(self._arrivals_changed)
            if (arrival := self.items[sku].arrivals[key]).is_announced
        ]
        for sku, _, _ in arrivals:
            changed[sku] = self.items[sku]
        for sku in sorted(self._recomposed):
            changed[sku] = self.items[sku]
        return Changes(levels, list(changed.values()), self.movements, arrivals)

    def _touch(self, sku: str, warehouse: str) -> Level:
        item = self.items[sku]
        if (sku, warehouse) in self._before:
            return item.levels[warehouse]
        if sku not in self._available_before:
            self._available_before[sku] = item.available
        level = item.levels.get(warehouse)
        self._before[sku, warehouse] = _state(level) if level is not None else None
        if level is None:
            level = item.levels[warehouse] = Level(safety_stock=item.policy.safety_stock_in(warehouse))
        return level

    def _move(self, level: Level, units: int, *, sku: str, warehouse: str, cause: Cause) -> None:
        balance = level.on_hand - level.shortfall + units
        shortfall = max(0, -balance)
        if shortfall != level.shortfall:
            difference = shortfall - level.shortfall
            self._add(MovementKind.SHORTFALL, difference, sku, warehouse, cause.occurred_at, cause)
        level.on_hand, level.shortfall = max(0, balance), shortfall

    def _add(  # noqa: PLR0917 - the columns of one line, always all of them
        self, kind: MovementKind, units: int, sku: str, warehouse: str, occurred_at: datetime, cause: Cause
    ) -> None:
        leg = self._legs.get(cause.event_id, 0)
        self._legs[cause.event_id] = leg + 1
        self.movements.append(Movement(leg, kind, sku, warehouse, units, occurred_at, cause))
        if kind is not MovementKind.SHORTFALL:
            self._recent.setdefault((sku, warehouse), []).append((occurred_at, units))


def stock_of(items: Iterable[StockItem]) -> Stock:
    """Put loaded items together."""
    return Stock({item.sku: item for item in items})


def _pair_of(touched: tuple[tuple[str, str], object]) -> tuple[str, str]:
    return touched[0]


def _state(level: Level) -> LevelState:
    return LevelState(level.on_hand, level.reserved, level.in_transit, level.withheld)


def _is_overtaken(level: Level, counted_at: datetime, event_id: UUID) -> bool:
    if level.counted_at is None or level.counted_by is None:
        return False
    # Two counts of the same moment contradict each other; the ids decide, so that their order of arrival does not.
    return (counted_at, event_id) < (level.counted_at, level.counted_by)
