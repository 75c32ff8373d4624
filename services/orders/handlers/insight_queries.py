"""What is read of journeys and their sums: rows by column name, as they are stored."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

Row = Mapping[str, Any]


class InsightReads(Protocol):
    """The read side of journeys."""

    async def journey(self, order_id: UUID) -> Row | None:
        """Return an order's `placed_at`, `shift`, which leads to its own time, and what is kept of its journey."""
        ...

    async def queue(
        self, *, now: datetime, after: tuple[datetime, UUID], warehouse: str | None, limit: int
    ) -> Sequence[Row]:
        """Return open orders that are late or at risk, by the time by which they have to leave."""
        ...

    async def late_report(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return deliveries, late ones, and their lateness with its shares by cause, for each value of `by`."""
        ...

    async def calibration(self, *, first: date, last: date) -> Sequence[Row]:
        """Return by point and bin how many orders there were, how many of them late, and their probabilities."""
        ...

    async def funnel(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return for each value of `by` how many orders were placed and how many of them came how far."""
        ...

    async def revenue(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return for each value of `by` and currency what was ordered, captured and refunded, in minor units."""
        ...

    async def reasons(self, *, first: date, last: date, outcome: str, limit: int) -> Sequence[Row]:
        """Return reason and currency of orders with an outcome, the most frequent first."""
        ...

    async def cycle_times(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return for each stage and value of `by` how many orders passed it, their seconds and their buckets."""
        ...

    async def cohorts(self, *, first: date, last: date) -> Sequence[Row]:
        """Return by cohort, month and currency how many customers ordered again, how often, and for how much."""
        ...
