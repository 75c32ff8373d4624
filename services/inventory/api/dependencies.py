"""What the routes call, put together in bootstrap."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import count, islice
from typing import Final, Protocol
from uuid import UUID
from zlib import crc32

from libs.common.clock import Clock
from libs.common.db import Database, Transaction, is_transient
from libs.common.errors import Unavailable
from libs.common.events.base import Envelope
from libs.common.http.batching import Coalescer
from libs.common.http.idempotency import KeyedWrite, StoredResponse, write_once
from libs.common.pacing import WorkPace
from libs.common.telemetry.logs import get_logger
from services.inventory import metrics
from services.inventory.api.hold_counter import HoldCounter
from services.inventory.domain.ageing import Layer
from services.inventory.domain.count_lists import CountLine, CountList, CountListStatus, Schedule
from services.inventory.domain.counts import CountStatus, HeldCount
from services.inventory.domain.plausibility import InvalidStockEvent
from services.inventory.domain.timeline import Timeline
from services.inventory.handlers.assortment import Assortment
from services.inventory.handlers.audit_report import AuditReports
from services.inventory.handlers.availability import Availability
from services.inventory.handlers.ports import Held, LotBalance, SequenceStore, Tools
from services.inventory.handlers.queries import InventoryViews
from services.inventory.handlers.reports import Reports
from services.inventory.handlers.stock_events import Outcome, apply_stock_events
from services.inventory.handlers.transfer_views import TransferViews


class TimelineViews(Protocol):
    """The histories of SKUs, in a transaction of their own."""

    async def timeline(
        self,
        sku: str,
        *,
        warehouse: str | None,
        at: datetime | None,
        beyond: tuple[datetime, int] | None,
        is_descending: bool,
        limit: int,
    ) -> Timeline | None:
        """Return the page of a SKU's history beyond a movement, None if nothing was ever reported of it."""
        ...


Result = Outcome | InvalidStockEvent
# A SKU always takes the same lane, so that one lane never waits for the locks of another: while PostgreSQL works for
# one, this process works for the other.
_LANES: Final = 2
# A transaction costs as much as twenty of the events in it, and each wakes the relay, the broker and every follower.
_PACE: Final = WorkPace(interval_seconds=0.015, share_max=0.5, rest_seconds_max=0.03, items_plenty=200)
# Blocks of uploads that share a transaction at most.
_BLOCKS_PER_TRANSACTION: Final = 4
# Some ten seconds in all: as long as a database takes to start again.
_ATTEMPTS_MAX: Final = 8
_RETRY_SECONDS_MIN: Final = 0.05

log = get_logger()


@dataclass(frozen=True, slots=True)
class Block:
    """Numbered events of an upload that are being applied, a share of them in each lane."""

    _shares: Sequence[tuple[Sequence[tuple[int, Envelope]], asyncio.Future[Sequence[Result]]]]

    async def results(self) -> list[tuple[int, Result]]:
        """Wait until all have been applied; return what became of each, by its number."""
        results: list[tuple[int, Result]] = []
        for share, applying in self._shares:
            outcomes = await applying
            results.extend(zip((number for number, _ in share), outcomes, strict=True))
        return results

    async def abandon(self) -> None:
        """Leave out what is not being applied already."""
        for _, applying in self._shares:
            applying.cancel()
        await asyncio.gather(*(applying for _, applying in self._shares), return_exceptions=True)


class StockEventIntake:
    """Applies what warehouses post; concurrent posts share transactions, as do the blocks of concurrent uploads."""

    def __init__(
        self, *, database: Database, tools_of: Callable[[Transaction], Tools], event_age_years_max: int
    ) -> None:
        """`coalescers` have to be entered before the first event is submitted."""
        self._database = database
        self._tools_of = tools_of
        self._event_age_years_max = event_age_years_max
        # One batch at a time: a second one would be smaller, and wait for the SKUs of the first.
        self._alone: Coalescer[Envelope, Outcome] = Coalescer(self._apply, in_flight_max=1, pace=_PACE)
        self._lanes: tuple[Coalescer[Sequence[Envelope], Sequence[Result]], ...] = tuple(
            Coalescer(self._apply_blocks, batch_size_max=_BLOCKS_PER_TRANSACTION, in_flight_max=1)
            for _ in range(_LANES)
        )

    @property
    def coalescers(self) -> tuple[AbstractAsyncContextManager[object], ...]:
        """What has to be entered before the first event is submitted."""
        return (self._alone, *self._lanes)

    async def submit(self, envelope: Envelope) -> Outcome:
        """
        Apply one event together with whatever else is waiting.

        :raises InvalidStockEvent: if it cannot be true.
        """
        return await self._alone.submit(envelope)

    def begin_block(self, rows: Sequence[tuple[int, Envelope]]) -> "Block":
        """
        Begin to apply some numbered events of an upload, together with those of others.

        :raises Unavailable: if too much is waiting or the process is stopping.
        """
        shares: list[list[tuple[int, Envelope]]] = [[] for _ in self._lanes]
        for row in rows:
            shares[crc32(row[1].event.key.encode()) % _LANES].append(row)
        return Block(
            [
                (share, lane.begin([envelope for _, envelope in share]))
                for lane, share in zip(self._lanes, shares, strict=True)
                if share
            ]
        )

    async def _apply_blocks(self, blocks: Sequence[Sequence[Envelope]]) -> Sequence[Sequence[Result]]:
        results = iter(await self._apply_in_the_end([envelope for block in blocks for envelope in block]))
        return [list(islice(results, len(block))) for block in blocks]

    async def _apply_in_the_end(self, batch: Sequence[Envelope]) -> Sequence[Result]:
        """
        Apply a batch, again while the database is away for a moment: its events are known again by their ids.

        An upload goes on for minutes, and would otherwise end with the first connection that is lost.
        """
        for attempt in count(1):
            try:
                return await self._apply(batch)
            except Exception as error:
                # `Unavailable`: an event of the same id was recorded for a SKU of the other lane; now it is known.
                passes = isinstance(error, Unavailable) or is_transient(error)
                if not passes or attempt == _ATTEMPTS_MAX:
                    raise
                log.warning("upload.block_failed", rows=len(batch), error=type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS_MIN * 2**attempt * random.uniform(0.5, 1))  # noqa: S311 - no secret
        raise AssertionError  # count() does not end

    async def _apply(self, batch: Sequence[Envelope]) -> Sequence[Result]:
        """Apply a batch in one transaction; return what became of each event."""

        async def work(transaction: Transaction) -> Sequence[Result]:
            applied = await apply_stock_events(
                batch, tools=self._tools_of(transaction), age_years_max=self._event_age_years_max
            )

            def note() -> None:
                metrics.count_outcomes(applied.outcomes, sold_out=applied.sold_out)
                metrics.count_stock_events(applied.tally(batch), way_in="http")

            transaction.after_commit(note)
            return applied.results

        return await self._database.run(work)


class HeldCounts(Protocol):
    """The counts that were held back, as they are read."""

    async def find(self, event_id: UUID) -> HeldCount | None:
        """Return one of them."""
        ...

    async def list(
        self, *, status: CountStatus | None, after: tuple[datetime, UUID], limit: int
    ) -> Sequence[HeldCount]:
        """Return them, the oldest first, behind the (time, id) given."""
        ...


class Lots(Protocol):
    """The lots, as they are read."""

    async def of_sku(self, sku: str) -> Sequence[LotBalance]:
        """Return the lots of a SKU by warehouse, the first to expire first."""
        ...

    async def of_order(self, order_id: UUID) -> Sequence[LotBalance]:
        """Return the lots that may be promised of the levels that an order holds units of."""
        ...

    async def holders_beside(self, order_id: UUID) -> Sequence[Held]:
        """Return who holds units of these levels, the order itself included, first approved first."""
        ...


class CountLists(Protocol):
    """The count lists, as they are read."""

    async def list(
        self, *, warehouse: str | None, status: CountListStatus | None, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[CountList]:
        """Return lists, the latest first, before the (time, id) given."""
        ...

    async def find(self, list_id: UUID) -> CountList | None:
        """Return a list without its lines."""
        ...

    async def lines(self, list_id: UUID) -> Sequence[CountLine]:
        """Return the lines of a list."""
        ...


class StockLayers(Protocol):
    """What is on hand by when it came, as it is read."""

    async def layers(
        self, *, warehouse: str | None, after_sku: str, limit: int, now: datetime
    ) -> tuple[Sequence[Layer], str | None]:
        """Return the layers of the next `limit` SKUs, and the last of these; None if there are no more SKUs."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """What the routes need."""

    database: Database
    tools_of: Callable[[Transaction], Tools]
    views_of: Callable[[Transaction], InventoryViews]
    sequences_of: Callable[[Transaction], SequenceStore]
    audit_reports_of: Callable[[Transaction], AuditReports]
    reports_of: Callable[[Transaction], Reports]
    holding_cost_yearly_rate: Decimal
    timelines_of: Callable[[Transaction], TimelineViews]
    transfers_of: Callable[[Transaction], TransferViews]
    counts_of: Callable[[Transaction], HeldCounts]
    lots_of: Callable[[Transaction], Lots]
    ageing_of: Callable[[Transaction], StockLayers]
    count_lists_of: Callable[[Transaction], CountLists]
    count_schedule: Schedule
    intake: StockEventIntake
    holds: HoldCounter
    availability: Availability
    assortment: Assortment
    clock: Clock
    event_age_years_max: int

    @property
    def coalescers(self) -> tuple[AbstractAsyncContextManager[object], ...]:
        """What has to be entered before the first request, and left after the last."""
        return (*self.intake.coalescers, self.holds.coalescer)

    async def write(
        self, write: KeyedWrite, effect: Callable[[Transaction], Awaitable[StoredResponse]]
    ) -> StoredResponse:
        """Run `effect` in one transaction, once for each key."""
        return await write_once(self.database, write, effect, now=self.clock.now())
