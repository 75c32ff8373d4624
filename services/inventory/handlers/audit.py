"""
Checking, all the time, that levels are what the ledger and the reservations say.

Three looks at the same books. What changed is checked at once, by adding what is new in the ledger to checkpoints of
what was in it before. A round over every SKU compares in the same way the levels that nobody changed, at least not by
booking. A slow second round trusts no checkpoint and adds up the whole ledger again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from libs.common.clock import Clock
from libs.common.telemetry.logs import get_logger

# What one step checks of the rounds, and how long a step of the slow one should take.
_PAGE_SKUS: Final = 500
_RESCAN_SKUS_MIN: Final = 1
_RESCAN_SKUS_MAX: Final = 1_000
_RESCAN_STEP_SECONDS: Final = 0.1
# Named in the log; all of them are in the table.
_NAMED_MAX: Final = 20

log = get_logger()


class Drift(NamedTuple):
    """Units by which levels are off from the ledger, and by which what is reserved is off from what is held."""

    ledger_units: int
    reservation_units: int


class Book(StrEnum):
    """What a level is compared with."""

    LEDGER = "ledger"
    RESERVATIONS = "reservations"


class Look(StrEnum):
    """A kind of round over all SKUs: against the checkpoints, or against the whole ledger."""

    LEVELS = "levels"
    RESCAN = "rescan"


class DriftKey(NamedTuple):
    """Which level is off, and from which book."""

    sku: str
    warehouse: str
    book: Book


class CheckedSkus(NamedTuple):
    """
    What was found among some SKUs, of all of which the levels were compared in one snapshot.

    `units` has those that are off: what the level says more than the book. `last_sku` is None if there were none left.
    """

    units: Mapping[DriftKey, int]
    skus: int
    last_sku: str | None


class Progress(StrEnum):
    """What a step of a round came to; one that has to wait checked nothing."""

    GOES_ON = "goes-on"
    FINISHED = "finished"
    WAITS = "waits"


class Round(NamedTuple):
    """A round under way: the SKUs up to `after_sku`, `skus` of them, are checked."""

    look: Look
    after_sku: str
    skus: int
    started_at: datetime


class Books(Protocol):
    """What the auditor reads and keeps, in one transaction; one auditor at a time."""

    async def take_turn(self) -> bool:
        """Answer whether no other auditor is at work; none will be until the transaction ends."""
        ...

    async def check_changed(self) -> CheckedSkus:
        """Compare the levels of all SKUs with movements behind the checkpoints, and of those that were off."""
        ...

    async def advance(self, *, checked_at: datetime) -> bool:
        """Move the checkpoints over what is settled in the ledger; return whether more of it is left."""
        ...

    async def is_behind(self) -> bool:
        """Answer whether so much of the ledger is behind the checkpoints that they do not help to compare."""
        ...

    async def check_levels(self, *, after_sku: str, limit: int) -> CheckedSkus:
        """Compare the levels of the next SKUs with checkpoints, what came after them, and reservations."""
        ...

    async def rescan(self, *, after_sku: str, limit: int) -> CheckedSkus:
        """Compare the levels of the next SKUs with all of their ledger, and put their checkpoints right."""
        ...

    async def open_drifts(self, *, after_sku: str = "", last_sku: str | None = None) -> Mapping[DriftKey, int]:
        """Return what is known to be off, of the SKUs behind `after_sku` up to `last_sku`."""
        ...

    async def save_drifts(
        self, *, off: Mapping[DriftKey, int], repaired: Collection[DriftKey], seen_at: datetime
    ) -> None:
        """Note what is off by how much, and what is not any more."""
        ...

    async def drift(self) -> Drift:
        """Return the units of everything that is known to be off."""
        ...

    async def round(self, look: Look, *, now: datetime) -> Round:
        """Return the round under way, or begin one."""
        ...

    async def save_round(self, one: Round, *, finished_at: datetime | None) -> None:
        """Note how far a round is, and its end."""
        ...

    async def waiting_orders(self) -> int:
        """Return how many orders wait for stock."""
        ...

    async def shortfall_units(self) -> int:
        """Return how many units were reported gone that had never been reported as arrived."""
        ...


@dataclass(slots=True)
class Auditor:
    """Takes one step of a look at a time, so that no step is long and nothing is kept in memory."""

    clock: Clock
    page_skus: int = _PAGE_SKUS
    rescan_skus: int = 50

    async def check_changes(self, books: Books) -> bool:
        """Check what changed, then move the checkpoints; return whether more of the ledger is left."""
        if not await books.is_behind():
            checked = await books.check_changed()
            await self._note(books, checked, await books.open_drifts())
        return await books.advance(checked_at=self.clock.now())

    async def step(self, look: Look, books: Books) -> Progress:
        """Check the next SKUs of a round."""
        if look is Look.LEVELS and await books.is_behind():
            return Progress.WAITS
        one = await books.round(look, now=self.clock.now())
        if look is Look.LEVELS:
            checked = await books.check_levels(after_sku=one.after_sku, limit=self.page_skus)
        else:
            checked = await self._rescan(books, one.after_sku)
        known = await books.open_drifts(after_sku=one.after_sku, last_sku=checked.last_sku)
        await self._note(books, checked, known)
        is_finished = checked.last_sku is None
        reached = one._replace(after_sku=checked.last_sku or one.after_sku, skus=one.skus + checked.skus)
        await books.save_round(reached, finished_at=self.clock.now() if is_finished else None)
        return Progress.FINISHED if is_finished else Progress.GOES_ON

    async def _rescan(self, books: Books, after_sku: str) -> CheckedSkus:
        began = self.clock.monotonic_seconds()
        checked = await books.rescan(after_sku=after_sku, limit=self.rescan_skus)
        # Histories differ by orders of magnitude: the next step takes as many SKUs as fit into its time.
        took = self.clock.monotonic_seconds() - began
        factor = min(2.0, max(0.25, _RESCAN_STEP_SECONDS / max(took, 0.001)))
        self.rescan_skus = max(_RESCAN_SKUS_MIN, min(_RESCAN_SKUS_MAX, int(self.rescan_skus * factor)))
        return checked

    async def _note(self, books: Books, checked: CheckedSkus, known: Mapping[DriftKey, int]) -> None:
        off = {key: units for key, units in checked.units.items() if known.get(key) != units}
        repaired = [key for key in known if key not in checked.units]
        if not off and not repaired:
            return
        await books.save_drifts(off=off, repaired=repaired, seen_at=self.clock.now())
        if off:
            named = [{**key._asdict(), "units": units} for key, units in list(off.items())[:_NAMED_MAX]]
            log.error("audit.drifted", levels=len(off), drifts=named)
        if repaired:
            log.info("audit.repaired", levels=len(repaired), drifts=_named(repaired))


def _named(keys: Sequence[DriftKey]) -> list[dict[str, str]]:
    return [key._asdict() for key in keys[:_NAMED_MAX]]
