"""
Which counts are believed at once, and which wait for somebody to approve them.

A count that finds far more or far less than the ledger says is as likely a mistake of the count as of the ledger.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from libs.common.errors import Conflict, NotFound
from libs.common.money import MINOR_MAX


class CountStatus(StrEnum):
    """What became of a count that was held back; one that a later count has overtaken has `lapsed`."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    LAPSED = "lapsed"


class CountNotFound(NotFound):
    """No count with this id was held back for approval."""

    code = "count-not-found"


class CountDecided(Conflict):
    """The count does not wait for approval any more."""

    code = "count-decided"


class UnitCost(NamedTuple):
    """What a unit costs on average, in minor units of `currency`."""

    minor: Decimal
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLimits:
    """
    How far a count may be off the ledger and still be believed; None is no limit.

    `units` and `value_minor` (in the currency of the cost) are of the discrepancy, `share` is its ratio to what the
    ledger expected. A discrepancy over any of them waits. With none set, nothing ever waits.
    """

    units: int | None = None
    share: float | None = None
    value_minor: int | None = None

    def exceeded(self, finding: "CountFinding") -> str | None:
        """Return which limit a finding is over, as a reason for people; None if it is over none."""
        missing_or_surplus = abs(finding.discrepancy)
        if self.units is not None and missing_or_surplus > self.units:
            return f"{missing_or_surplus} units are more than the limit of {self.units}"
        if self.share is not None and missing_or_surplus > self.share * max(0, finding.expected):
            return f"{missing_or_surplus} of {finding.expected} units are more than the limit of {self.share:.0%}"
        value = finding.value_minor
        if self.value_minor is not None and value is not None and abs(value) > self.value_minor:
            return (
                f"a value of {abs(value)} {finding.currency} minor units is more than the limit of {self.value_minor}"
            )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CountFinding:
    """
    What a count found: `counted` units where the ledger, at the time of the count, `expected` others.

    The value of the discrepancy is None where no cost is known. `held_because` is set if it waits for approval.
    """

    event_id: UUID
    sku: str
    warehouse: str
    counted_at: datetime
    counted: int
    expected: int
    reference: str | None = None
    reason: str | None = None
    counted_by: str | None = None
    lot: str | None = None
    unit_cost: UnitCost | None = None
    held_because: str | None = None

    @property
    def discrepancy(self) -> int:
        """Units that are there and were not expected; negative if some are missing."""
        return self.counted - self.expected

    @property
    def value_minor(self) -> int | None:
        """The discrepancy at average cost, as far as it can be written down."""
        if self.unit_cost is None:
            return None
        exact = int((self.unit_cost.minor * self.discrepancy).to_integral_value(rounding=ROUND_HALF_EVEN))
        return max(-MINOR_MAX, min(MINOR_MAX, exact))

    @property
    def currency(self) -> str | None:
        """The currency of its value."""
        return None if self.unit_cost is None else self.unit_cost.currency


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCount:
    """A count that was held back: what it found when it came in, and who decided what about it, when and why."""

    event_id: UUID
    sku: str
    warehouse: str
    counted_at: datetime
    counted: int
    expected: int
    value_minor: int | None
    currency: str | None
    reference: str | None
    reason: str | None
    counted_by: str | None
    lot: str | None
    held_because: str
    held_at: datetime
    status: CountStatus = CountStatus.PENDING
    decided_at: datetime | None = None
    decided_by: str | None = None
    decision_reason: str | None = None
    booked_units: int | None = None

    @property
    def discrepancy(self) -> int:
        """Units that are there and were not expected; negative if some are missing."""
        return self.counted - self.expected
