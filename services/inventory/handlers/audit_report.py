"""What the auditor found, as it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One round over all SKUs, finished or under way."""

    look: str
    started_at: datetime
    finished_at: datetime | None
    skus: int
    ledger_units: int | None
    reservation_units: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftView:
    """A level that is, or was, off from a book by so many units: positive if it says more than the book."""

    sku: str
    warehouse: str
    book: str
    units: int
    first_seen_at: datetime
    last_changed_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """
    What the auditor knows.

    `drifts` are the first levels that are off, and `resolved` those that were, latest first. `checked_at` is when what
    changed was last checked, None if nobody ever did.
    """

    ledger_units: int
    reservation_units: int
    levels_off: int
    checked_at: datetime | None
    backlog_movements: int
    drifts: Sequence[DriftView]
    resolved: Sequence[DriftView]
    rounds: Sequence[RoundView]


class AuditReports(Protocol):
    """Reads what the auditor keeps, in one transaction."""

    async def audit_report(self, *, limit: int) -> AuditReport:
        """Return the state of the audit, with at most `limit` rows of each list."""
        ...
