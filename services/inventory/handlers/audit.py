"""Checking, all the time, that levels are what the ledger and the reservations say."""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol


class Drift(NamedTuple):
    """Units by which levels are off from the ledger, and by which what is reserved is off from what is held."""

    ledger_units: int
    reservation_units: int


_NONE: Final = Drift(0, 0)


class AuditedPage(NamedTuple):
    """What was found among some SKUs; `last_sku` is None when there were none left."""

    drift: Drift
    last_sku: str | None


class Books(Protocol):
    """What the auditor reads, in one transaction."""

    async def audit(self, *, after_sku: str, limit: int) -> AuditedPage:
        """Recompute the levels of the next `limit` SKUs behind `after_sku` from ledger and reservations."""
        ...

    async def waiting_orders(self) -> int:
        """Return how many orders wait for stock."""
        ...

    async def shortfall_units(self) -> int:
        """Return how many units were reported gone that had never been reported as arrived."""
        ...


@dataclass(slots=True)
class Audit:
    """
    One round after the other over all SKUs, a page at a time.

    `drift` is the larger of what the last round found and what this one has found so far, so that a drift is
    visible as soon as it is met and until a whole round finds none.
    """

    page_skus: int = 500
    _after_sku: str = ""
    _last_round: Drift = _NONE
    _this_round: Drift = _NONE

    @property
    def drift(self) -> Drift:
        """Units that do not add up; 0 unless there is a fault."""
        return Drift(*map(max, self._last_round, self._this_round))

    async def next_page(self, books: Books) -> bool:
        """Audit the next SKUs; return whether the round goes on."""
        page = await books.audit(after_sku=self._after_sku, limit=self.page_skus)
        self._this_round = Drift(
            self._this_round.ledger_units + page.drift.ledger_units,
            self._this_round.reservation_units + page.drift.reservation_units,
        )
        if page.last_sku is not None:
            self._after_sku = page.last_sku
            return True
        self._last_round, self._this_round, self._after_sku = self._this_round, _NONE, ""
        return False
