"""
Which lots are there: folded from the ledger, so that the order in which reports arrived does not matter.

Outflows that do not name their lot take the one that expires first among those that were there and could be used, as
pickers are told to (first expired, first out). What a count finds missing was taken in the same way; what it finds in
surplus belongs to no known lot. The sum of the lots is what is on hand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.events.inventory import GoodsReceived, WarehouseReport
from services.inventory.domain.plausibility import InvalidStockEvent
from services.inventory.domain.stock import Movement, MovementKind

# Units whose lot nobody named; they do not expire.
NO_LOT: Final = ""
# A century: what must keep for longer is not tracked by lots. Days before the year 1 do not exist.
SHELF_LIFE_DAYS_MAX: Final = 36_525


class LotMissing(InvalidStockEvent):
    """Units of a SKU that tracks lots arrived without saying which lot they are of, or when it expires."""

    code = "lot-missing"


class LotLine(NamedTuple):
    """A line of the ledger, as far as it says something about lots."""

    event_id: UUID
    leg: int
    kind: MovementKind
    units: int
    occurred_at: datetime
    order_id: UUID | None = None
    lot: str | None = None
    expires_on: date | None = None
    counted: int | None = None
    picked: int | None = None


@dataclass(slots=True)
class Lot:
    """Units of one lot in one warehouse, there since `received_at`; one without `expires_on` does not expire."""

    lot: str
    units: int = 0
    expires_on: date | None = None
    received_at: datetime | None = None

    def is_usable(self, day: date, shelf_life_days_min: int) -> bool:
        """Tell whether units may be promised on `day`: they have to keep for `shelf_life_days_min` days after it."""
        return self.expires_on is None or (self.expires_on - day).days >= shelf_life_days_min

    def usable_until(self, shelf_life_days_min: int) -> date | None:
        """Return the last day on which units may be promised, None if any may."""
        return None if self.expires_on is None else self.expires_on - timedelta(days=shelf_life_days_min)


def check_lot(report: WarehouseReport) -> None:
    """
    Check a report about a SKU that tracks lots.

    :raises LotMissing: if units arrived from a supplier without a lot or its expiry.
    """
    if isinstance(report, GoodsReceived):
        for name in ("lot", "expires_on"):
            if getattr(report, name) is None:
                raise LotMissing("Units of this SKU arrive with their lot and the day it expires.", field=name)


def line_of(movement: Movement) -> LotLine:
    """Return what a movement says about lots."""
    cause = movement.cause
    return LotLine(
        event_id=cause.event_id,
        leg=movement.leg,
        kind=movement.kind,
        units=movement.delta_on_hand,
        occurred_at=movement.occurred_at,
        order_id=cause.order_id,
        lot=cause.lot,
        expires_on=cause.expires_on,
        counted=cause.counted,
        picked=cause.picked,
    )


def expiries_of(lines: Iterable[LotLine]) -> dict[str, date]:
    """Return when each lot of a SKU expires, by what was said in any warehouse; of several dates, the earliest."""
    expiries: dict[str, date] = {}
    for line in lines:
        if line.lot is not None and line.expires_on is not None:
            expiries[line.lot] = min(expiries.get(line.lot, line.expires_on), line.expires_on)
    return expiries


def fold_lots(lines: Iterable[LotLine], expiries: Mapping[str, date], *, shelf_life_days_min: int = 0) -> list[Lot]:
    """
    Return the lots that the ledger of one SKU in one warehouse leaves, the first to expire first.

    `lines` may come in any order. Corrections that the ledger needs because a report came late are left out; counts
    are taken for what they found.
    """
    shelf = _Shelf(expiries, shelf_life_days_min)
    for line in sorted(lines, key=_moment):
        shelf.take_in(line)
    return shelf.lots()


def blocked_units(lots: Iterable[Lot], day: date, *, shelf_life_days_min: int) -> int:
    """Return how many units have expired or will too soon."""
    return sum(lot.units for lot in lots if not lot.is_usable(day, shelf_life_days_min))


def first_expired_first(lot: Lot) -> tuple[date, str]:
    """Sort lots as they are to be used up: by expiry, those that do not expire last."""
    return (lot.expires_on or date.max, lot.lot)


def _moment(line: LotLine) -> tuple[datetime, int, UUID, int]:
    """Sort by time; of the same moment, arrivals come before departures, and counts see both."""
    if line.kind is MovementKind.COUNT:
        place = 3
    elif line.units == 0:
        place = 1
    else:
        place = 0 if line.units > 0 else 2
    return (line.occurred_at, place, line.event_id, line.leg)


@dataclass(slots=True)
class _Shelf:
    expiries: Mapping[str, date]
    shelf_life_days_min: int
    by_lot: dict[str, Lot] = field(default_factory=dict)
    # Units that left before they are known to have come.
    owed: int = 0
    packed: dict[UUID, dict[str, int]] = field(default_factory=dict)

    def lots(self) -> list[Lot]:
        return sorted((lot for lot in self.by_lot.values() if lot.units), key=first_expired_first)

    def take_in(self, line: LotLine) -> None:
        if line.kind is MovementKind.SHORTFALL:
            return
        if line.kind is MovementKind.COUNT:
            if line.counted is not None:
                self._count(line, line.counted)
        elif line.units > 0:
            self._put(line.lot or NO_LOT, line.units, line.occurred_at)
        elif line.units < 0:
            self._take(line, -line.units)
        elif line.picked and line.order_id is not None and line.lot is not None:
            packed = self.packed.setdefault(line.order_id, {})
            packed[line.lot] = packed.get(line.lot, 0) + line.picked

    def _count(self, line: LotLine, counted: int) -> None:
        there = sum(lot.units for lot in self.by_lot.values())
        self.owed = 0
        if counted > there:
            self._put(line.lot or NO_LOT, counted - there, line.occurred_at)
        elif counted < there:
            self._take(line, there - counted)

    def _put(self, name: str, units: int, at: datetime) -> None:
        made_up = min(units, self.owed)
        self.owed -= made_up
        if units == made_up:
            return
        lot = self.by_lot.get(name)
        if lot is None:
            lot = self.by_lot[name] = Lot(name, expires_on=self.expiries.get(name))
        if not lot.units:
            lot.received_at = at
        lot.units += units - made_up

    def _take(self, line: LotLine, units: int) -> None:
        if line.lot is not None:
            units -= self._take_from(line.lot, units)
        if line.kind is MovementKind.SHIP and line.order_id is not None:
            packed = self.packed.get(line.order_id, {})
            for name in sorted(packed):
                taken = self._take_from(name, min(units, packed[name]))
                packed[name] -= taken
                units -= taken
        for lot in self._in_turn(line):
            if not units:
                return
            units -= self._take_from(lot.lot, units)
        self.owed += units

    def _take_from(self, name: str, units: int) -> int:
        lot = self.by_lot.get(name)
        if lot is None:
            return 0
        taken = min(units, lot.units)
        lot.units -= taken
        return taken

    def _in_turn(self, line: LotLine) -> list[Lot]:
        day = line.occurred_at.date()
        usable, unusable = list[Lot](), list[Lot]()
        for lot in sorted(self.lots(), key=first_expired_first):
            (usable if lot.is_usable(day, self.shelf_life_days_min) else unusable).append(lot)
        if line.kind is MovementKind.WRITE_OFF:
            # What is written off has expired, if anything has.
            return unusable + usable
        # Somebody took a lot that should not have been used: the one that was still best.
        return usable + unusable[::-1]
