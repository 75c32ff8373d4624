"""Keeping the costs of what moved: only SKUs whose ledger changed, from the day on that changed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple, Protocol

from services.inventory.domain.costs import CostedMovement, SkuCost, StockCost

# What one step folds, so that nobody waits long for the processor.
_SKUS_MAX: Final = 200
_MOVEMENTS_MAX: Final = 20_000


class Revaluation(NamedTuple):
    """A SKU to fold again from `since` on; `cost` is what it was at the end of the days before."""

    sku: str
    since: date
    cost: SkuCost


class LedgerDay(NamedTuple):
    """All movements of a SKU on one day (UTC)."""

    sku: str
    day: date
    movements: Sequence[CostedMovement]


class CostBooks(Protocol):
    """What is kept of costs, in one transaction; one writer at a time."""

    async def follow(self) -> bool:
        """Note the SKUs that are new in the ledger, and since when; return whether more of it is left."""
        ...

    async def pending(self, *, limit: int) -> list[Revaluation]:
        """Return SKUs that changed, in the order of their codes."""
        ...

    def days(self, work: Sequence[Revaluation]) -> AsyncIterator[LedgerDay]:
        """Yield what happened to these SKUs, SKU by SKU and day by day."""
        ...

    def close_day(self, sku: str, day: date, cost: SkuCost, stocks: Mapping[str, StockCost]) -> None:
        """Keep the costs of a SKU at the end of a day, on which something happened to `stocks`."""
        ...

    async def save(self, finished: Sequence[Revaluation], *, stopped: tuple[Revaluation, date] | None) -> None:
        """
        Replace what was kept of these SKUs since their change by the days that were closed.

        `stopped` is a SKU of which the days from a date on are still to be folded.
        """
        ...


async def keep_costs(books: CostBooks, *, skus_max: int = _SKUS_MAX, movements_max: int = _MOVEMENTS_MAX) -> bool:
    """Take one step; return whether there is more to do."""
    if await books.follow():
        return True
    work = await books.pending(limit=skus_max)
    if not work:
        return False
    by_sku = {one.sku: one for one in work}
    reached: dict[str, None] = {}
    movements, stopped = 0, None
    async for sku, day, lines in books.days(work):
        if movements >= movements_max:
            stopped = (by_sku[sku], day)
            break
        cost = by_sku[sku].cost
        books.close_day(sku, day, cost, cost.fold_day(day, lines))
        movements += len(lines)
        reached[sku] = None
    if stopped is None:
        await books.save(work, stopped=None)
    else:
        # Of the SKU at which it stopped some days may be closed; those behind it have not been looked at.
        finished = [one for one in work if one.sku < stopped[0].sku]
        await books.save(finished, stopped=stopped if stopped[0].sku in reached else None)
    return True
