"""Why on hand is what it is: the ledger of a SKU as things happened, with what was there after each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """
    One movement with all that is known of its cause.

    `counted` is there only where a count was booked: `delta_on_hand` is then what the count found in excess of what was
    expected. `picked` units lie packed for their order. `other_warehouse` is the other end of a transfer.
    """

    id: int
    event_id: UUID
    leg: int
    kind: str
    warehouse: str
    delta_on_hand: int
    occurred_at: datetime
    recorded_at: datetime
    reference: str | None = None
    reason: str | None = None
    order_id: UUID | None = None
    transfer_id: UUID | None = None
    other_warehouse: str | None = None
    unit_cost_minor: int | None = None
    currency: str | None = None
    lot: str | None = None
    expires_on: date | None = None
    counted: int | None = None
    picked: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTotal:
    """
    All movements of one kind in one warehouse up to the time asked for.

    `opening` are the units of those before the page, `recorded_after` when the first of those behind it was recorded.
    """

    warehouse: str
    kind: str
    movements: int
    units: int
    opening: int
    recorded_after: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Units that are held: for an order, by a hold without one, or for a transfer that has been approved."""

    holder: str
    id: UUID
    warehouse: str
    units: int
    since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What is held now: `holds` are the newest of `holders`, `units` those of all."""

    units: int
    holders: int
    holds: Sequence[Hold]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """A movement with what was on hand after it, in its warehouse and in all that are shown."""

    line: LedgerLine
    on_hand: int
    on_hand_total: int
    is_late: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A page of a SKU's history; `totals` are of the whole of it, `reserved` is None for a time in the past."""

    lines: Sequence[LedgerLine]
    totals: Sequence[KindTotal]
    reserved: Reserved | None

    @property
    def on_hand(self) -> dict[str, int]:
        """Units by warehouse at the end of the history."""
        units = Counter[str]()
        for total in self.totals:
            units[total.warehouse] += total.units
        return dict(units)

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Return movements and units by kind; the units add up to what is on hand."""
        found: dict[str, tuple[int, int]] = {}
        for total in self.totals:
            movements, units = found.get(total.kind, (0, 0))
            found[total.kind] = (movements + total.movements, units + total.units)
        return found

    def entries(self) -> list[TimelineEntry]:
        """Return the page with running levels, in the order in which things happened."""
        opening = Counter[str]()
        for total in self.totals:
            opening[total.warehouse] += total.opening
        return running(self.lines, opening=opening, late_before=self._recorded_after())

    def _recorded_after(self) -> dict[str, datetime]:
        earliest: dict[str, datetime] = {}
        for total in self.totals:
            if total.recorded_after is not None:
                known = earliest.get(total.warehouse, total.recorded_after)
                earliest[total.warehouse] = min(known, total.recorded_after)
        return earliest


def running(
    lines: Iterable[LedgerLine], *, opening: Mapping[str, int], late_before: Mapping[str, datetime]
) -> list[TimelineEntry]:
    """
    Add up `lines`, which are in the order of their event times, from the `opening` units by warehouse.

    A movement is late if something that happened later in the same warehouse was recorded before it; `late_before` is
    when the first of those behind the page was recorded.
    """
    ordered = list(lines)
    recorded_after = dict(late_before)
    lateness: list[bool] = []
    for line in reversed(ordered):
        earliest = recorded_after.get(line.warehouse)
        lateness.append(earliest is not None and earliest < line.recorded_at)
        recorded_after[line.warehouse] = min(earliest or line.recorded_at, line.recorded_at)
    levels = Counter(opening)
    total = sum(opening.values())
    entries = []
    for line, is_late in zip(ordered, reversed(lateness), strict=True):
        levels[line.warehouse] += line.delta_on_hand
        total += line.delta_on_hand
        entries.append(TimelineEntry(line=line, on_hand=levels[line.warehouse], on_hand_total=total, is_late=is_late))
    return entries
