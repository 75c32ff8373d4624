"""What to count next: by class and by how long ago it was counted, and first whatever the books are unsure of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple
from uuid import UUID

from libs.common.errors import Conflict, NotFound
from services.inventory.domain.classes import AbcClass

LINES_MAX: Final = 1_000
# A SKU whose last count was off is counted again after this share of the usual time.
_AFTER_DISCREPANCY: Final = 1 / 3
_NEVER: Final = float("inf")

LineReason = Literal["shortfall", "discrepancy", "due", "requested"]


class CountListStatus(StrEnum):
    """Where a list stands: `counting` once a line of it has been counted, `done` when all have."""

    OPEN = "open"
    COUNTING = "counting"
    DONE = "done"
    CANCELLED = "cancelled"


class CountListNotFound(NotFound):
    """There is no count list with this id."""

    code = "count-list-not-found"


class NothingToCount(Conflict):
    """The warehouse has nothing of this kind that is not on a list already."""

    code = "nothing-to-count"


class CountListClosed(Conflict):
    """The list is done or cancelled."""

    code = "count-list-closed"


class Candidate(NamedTuple):
    """A SKU in one warehouse that could be counted; `discrepancy` is what its last count found, in units."""

    sku: str
    counted_at: datetime | None = None
    shortfall: int = 0
    discrepancy: int = 0


class ChosenLine(NamedTuple):
    """A SKU to be counted, and why."""

    sku: str
    abc_class: AbcClass
    reason: LineReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How many days after a count the SKUs of each class are counted again."""

    days: Mapping[AbcClass, int] = field(default_factory=lambda: {AbcClass.A: 30, AbcClass.B: 90, AbcClass.C: 180})

    def overdue(self, candidate: Candidate, abc_class: AbcClass, now: datetime) -> float:
        """Return the time since the last count as a ratio of what is usual; from 1 on a SKU is due."""
        if candidate.counted_at is None:
            return _NEVER
        usual = timedelta(days=self.days[abc_class])
        if candidate.discrepancy:
            usual *= _AFTER_DISCREPANCY
        return (now - candidate.counted_at) / usual


def choose_lines(
    candidates: Iterable[Candidate],
    classes: Mapping[str, AbcClass],
    *,
    now: datetime,
    schedule: Schedule,
    size: int,
    abc_class: AbcClass | None = None,
    only_due: bool,
) -> list[ChosenLine]:
    """
    Choose at most `size` SKUs to count, the most urgent first.

    First come those of which more left than ever came, which is certain to be wrong; then those whose last count was
    off; then those that are furthest over their time. Of equals, the better class comes first. `only_due` leaves out
    what is not due; `abc_class` all other classes.
    """
    ranked: list[tuple[tuple[bool, bool, float, AbcClass, str], ChosenLine]] = []
    for candidate in candidates:
        its_class = classes.get(candidate.sku, AbcClass.C)
        if abc_class is not None and its_class is not abc_class:
            continue
        overdue = schedule.overdue(candidate, its_class, now)
        is_wrong = candidate.shortfall > 0
        is_due = is_wrong or overdue >= 1
        if only_due and not is_due:
            continue
        was_off = candidate.discrepancy != 0 and is_due
        reason: LineReason = "shortfall" if is_wrong else "discrepancy" if was_off else "due" if is_due else "requested"
        key = (not is_wrong, not was_off, -overdue, its_class, candidate.sku)
        ranked.append((key, ChosenLine(candidate.sku, its_class, reason)))
    ranked.sort(key=lambda one: one[0])
    return [line for _, line in ranked[:size]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLine:
    """
    A line of a list: what was `counted` where the ledger `expected` so many, once it has been counted.

    Before that, `expected` is what is on hand now.
    """

    number: int
    sku: str
    abc_class: AbcClass
    reason: str
    expected: int
    event_id: UUID | None = None
    counted_at: datetime | None = None
    counted: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountList:
    """
    SKUs to be counted in one warehouse; `day` is set if it was made by itself for that day.

    `lines_counted` of its `lines_total` have been counted.
    """

    id: UUID
    warehouse: str
    day: date | None
    abc_class: AbcClass | None
    status: CountListStatus
    created_at: datetime
    created_by: str
    closed_at: datetime | None = None
    lines_total: int = 0
    lines_counted: int = 0
