"""The numbers that a warehouse gives its reports, from 1 without gaps, so that a lost one is noticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from libs.common.errors import Invalid

# Reports reach the ledger out of the order of their numbers, because the bus orders them by SKU: while a backlog is
# worked off, gaps are many and close again. A warehouse that has more than this counts in a way of its own; the oldest
# are given up, so that keeping watch stays cheap.
GAPS_MAX: Final = 100_000
# Of so many, the lowest are shown with their age.
GAPS_KEPT_MAX: Final = 1_000


class NotMissing(Invalid):
    """No number of the range is missing, so that nothing can be accepted as lost."""

    code = "not-missing"


class Gap(NamedTuple):
    """The numbers from `first` to `last` are missing; `since` is when a higher one first came."""

    first: int
    last: int
    since: datetime


class SequenceConflict(NamedTuple):
    """Several events came with one number; all were applied."""

    sequence: int
    event_ids: Sequence[UUID]
    latest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceState:
    """
    What came of one warehouse's numbers.

    `highest` is None as long as it numbers nothing; `missing` counts the numbers below it that have not come, without
    those `given_up`, whose gaps were too many. `gaps` are a page of them in their order, `conflicts` the latest.
    """

    highest: int | None
    missing: int
    given_up: int
    gaps: Sequence[Gap]
    conflicts: Sequence[SequenceConflict]


class GapSummary(NamedTuple):
    """The gaps of one warehouse now; `oldest_since` is None if there are none."""

    warehouse: str
    missing: int
    oldest_since: datetime | None
    conflicts: int

    def oldest_seconds(self, now: datetime) -> float:
        """Return how long the oldest gap has been there; 0 if there is none."""
        return max(0.0, (now - self.oldest_since).total_seconds()) if self.oldest_since else 0.0
