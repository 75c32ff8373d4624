"""What the use cases need from outside."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from libs.common.clock import Clock
from libs.common.decisions import DecisionLog
from libs.common.events.base import Envelope
from libs.common.events.outbox import Outbox
from services.inventory.domain.allocation import DEFAULT_POLICY
from services.inventory.domain.arrivals import Arrival, ArrivalKey
from services.inventory.domain.classes import AbcClass
from services.inventory.domain.count_lists import Candidate, ChosenLine, CountList, CountListStatus
from services.inventory.domain.counts import CountFinding, CountLimits, HeldCount, UnitCost
from services.inventory.domain.lots import Lot, LotLine
from services.inventory.domain.queue import QueuePlace
from services.inventory.domain.reservations import Reservation
from services.inventory.domain.sequences import SequenceState
from services.inventory.domain.stock import Changes, StockItem
from services.inventory.domain.stock_events import Booked
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.domain.strategies import AllocationPolicy, DailyDemand
from services.inventory.domain.transfers import Transfer
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers.assortment import NO_ASSORTMENT, Assortment


class MoreSkusNeeded(Exception):
    """The work concerns SKUs that are not locked: it starts again with these as well."""

    def __init__(self, skus: Collection[str]) -> None:
        """`skus` are those that were missing."""
        super().__init__(f"{len(skus)} more SKUs")
        self.skus = frozenset(skus)


class ReservationRaced(Exception):
    """Another transaction created the same order's reservation first; the work starts again and finds it."""


class CountTaken(NamedTuple):
    """A count, as far as it takes to find what moved since."""

    event_id: UUID
    sku: str
    warehouse: str
    counted_at: datetime


class StockStore(Protocol):
    """Stock and its ledger, in one transaction."""

    def locked(self, skus: Collection[str]) -> AbstractAsyncContextManager[list[StockItem]]:
        """
        Lock `skus`, adding those that are new, and load them; other transactions wait for the rest of this one.

        The warehouses do not change meanwhile either.
        If the block raises `MoreSkusNeeded`, everything in it is undone and the locks are given back.
        """
        ...

    async def unreserved(self, skus: Collection[str]) -> list[StockItem]:
        """
        Load those of `skus` of which units may be free, and what bundles among them are made of, without locks.

        SKUs are left out whose queue has yet to be served: what there is of them is somebody's.
        """
        ...

    async def daily_demand(self, skus: Collection[str], *, until: datetime) -> DailyDemand:
        """Return how many units of `skus` left each warehouse a day, lately; those that never did are left out."""
        ...

    async def recorded(self, event_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the events that are in the ledger."""
        ...

    async def booked(self, event_ids: Collection[UUID]) -> Mapping[UUID, Booked]:
        """Return what was booked first under the ids of events, as far as they are in the ledger."""
        ...

    async def arrivals(self, keys: Collection[tuple[str, ArrivalKey]]) -> Sequence[tuple[str, ArrivalKey, Arrival]]:
        """Return what is known of expected arrivals of locked SKUs; of one never announced, what was received."""
        ...

    async def number_announcements(self, announcements: Collection[Envelope], *, recorded_at: datetime) -> None:
        """Keep the numbers of announcements that have one; what was announced before under one stays."""
        ...

    async def units_since(self, counts: Sequence[CountTaken]) -> Mapping[UUID, int]:
        """Return by event id the units that moved after each count; shortfalls do not count."""
        ...

    async def save(self, changes: Changes, *, recorded_at: datetime) -> None:
        """Write what changed, and add its movements to the ledger."""
        ...

    async def bundles_of(self, sku: str) -> list[str]:
        """Return the bundles of which a SKU is a component."""
        ...

    async def save_components(self, sku: str, components: Mapping[str, int]) -> None:
        """Write what a locked SKU is made of."""
        ...

    async def save_policy(self, sku: str, policy: StockPolicy) -> None:
        """Write the policy of a locked SKU."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisit:
    """The rest of a queue that has yet to be served: the orders that wait for `sku` behind `after`."""

    sku: str
    after: QueuePlace


class ReservationStore(Protocol):
    """Reservations and the queue of those that wait, in one transaction."""

    async def known(self, order_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the orders that have a reservation of whatever status."""
        ...

    async def skus_of(self, order_ids: Collection[UUID]) -> set[str]:
        """Return the SKUs that concern the orders' reservations; without their locks that may change."""
        ...

    async def load(self, order_ids: Collection[UUID]) -> list[Reservation]:
        """Load reservations; those that do not exist are left out."""
        ...

    async def holders(self, *, sku: str, warehouse: str, units: int, besides: Collection[UUID]) -> list[UUID]:
        """Return the newest orders, without `besides`, that together hold `units` or all there are."""
        ...

    async def waiting(self, skus: Collection[str], *, limit: int, after: QueuePlace) -> list[QueuePlace]:
        """Return the first orders in line, behind `after`, that wait for any of `skus`."""
        ...

    async def waiting_units(
        self, after: Mapping[str, tuple[datetime, UUID]], *, besides: Collection[UUID]
    ) -> dict[str, int]:
        """Return by SKU the units that orders, without `besides`, wait for who stand behind its place in `after`."""
        ...

    async def save(self, reservations: Iterable[Reservation], *, changed_at: datetime) -> None:
        """
        Write reservations.

        :raises ReservationRaced: if another transaction created one of them meanwhile.
        """
        ...

    async def edited_by(self, edit_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the edits that were answered before."""
        ...

    async def note_edits(self, edit_ids: Collection[UUID]) -> None:
        """Remember that edits were answered; that they were before changes nothing."""
        ...

    async def due_holds(self, *, now: datetime, limit: int) -> list[UUID]:
        """Return the holds that expired first; none if another transaction is at it."""
        ...

    async def next_revisit(self) -> Revisit | None:
        """Return a queue whose rest has yet to be served; another process may be at it."""
        ...

    async def take_revisit(self, sku: str) -> Revisit | None:
        """Return the place to go on from in this SKU's queue and forget it; None if its queue is done with."""
        ...

    async def add_revisits(self, revisits: Iterable[Revisit]) -> None:
        """Remember to serve the rest of these queues, from the earlier place where there is one already."""
        ...


class WarehouseStore(Protocol):
    """The registered warehouses, in one transaction."""

    async def all(self) -> list[Warehouse]:
        """Return every warehouse, in the order of their codes."""
        ...

    async def lock(self, code: str) -> Warehouse | None:
        """Load one warehouse, None if it is not registered, and keep stock and warehouses from all others."""
        ...

    async def save(self, warehouse: Warehouse, *, changed_at: datetime) -> None:
        """Write a warehouse, new or changed."""
        ...

    async def skus_waited_for(self, code: str) -> list[str]:
        """Return the SKUs that orders wait for and that could be promised from this warehouse."""
        ...


class SequenceStore(Protocol):
    """The numbers that warehouses give their reports, in one transaction."""

    async def catch_up(self, now: datetime, *, is_fresh: bool = False) -> bool:
        """
        Take in the numbers of what was booked since the last time; return whether there is more.

        What other transactions may still come before is taken in only if it has to be `is_fresh`.
        """
        ...

    async def accept(
        self, warehouse: str, *, first: int, last: int, reason: str, accepted_by: str, accepted_at: datetime
    ) -> None:
        """
        Take the missing numbers from `first` to `last` for lost: nobody waits for them any more.

        :raises NotMissing: if none of them is missing.
        """
        ...

    async def state(self, warehouse: str, *, after: int, limit: int) -> SequenceState:
        """Return what came of a warehouse's numbers, and its gaps behind `after`."""
        ...


class CountStore(Protocol):
    """Counts that wait for approval, in one transaction; whoever changes one has locked its SKU."""

    async def unit_costs(self, skus: Collection[str]) -> Mapping[str, UnitCost]:
        """Return what units of `skus` cost on average, where that is known."""
        ...

    async def record(self, findings: Sequence[CountFinding], *, recorded_at: datetime) -> None:
        """Keep what was held back, and let what these counts have overtaken lapse."""
        ...

    async def find(self, event_id: UUID) -> HeldCount | None:
        """Return a count that was held back."""
        ...

    async def decide(self, count: HeldCount) -> None:
        """Write what was decided about a count."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LotBalance:
    """What is there of one lot of a SKU in a warehouse; after `usable_until` it may not be promised."""

    sku: str
    warehouse: str
    lot: Lot
    usable_until: date | None
    is_blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Units of a level that are held for an order."""

    sku: str
    warehouse: str
    order_id: UUID
    units: int


class LotStore(Protocol):
    """What is there of each lot, in one transaction; whoever changes it has locked the SKU."""

    async def lines(self, skus: Collection[str]) -> Mapping[str, Mapping[str, Sequence[LotLine]]]:
        """Return the recorded ledger of `skus`, by SKU and warehouse."""
        ...

    async def replace(self, skus: Collection[str], lots: Iterable[LotBalance]) -> None:
        """Write what is there of the lots of `skus`; there is nothing besides."""
        ...

    async def to_block(self, today: date, *, limit: int) -> set[str]:
        """Return SKUs of which units may not be promised any more since `today`, or before."""
        ...


class CountListStore(Protocol):
    """Count lists, in one transaction; lines are ticked off by whoever has locked their SKU."""

    async def has_list(self, warehouse: str, day: date) -> bool:
        """Tell whether a list was made by itself for this warehouse and day."""
        ...

    async def candidates(self, warehouse: str) -> Sequence[Candidate]:
        """Return what is there, or missing, and on no list that is still to be counted."""
        ...

    async def classes(self) -> Mapping[str, AbcClass]:
        """Return the classes of SKUs as they were last reported; none before the first report."""
        ...

    async def consumption(self, warehouse: str, *, since: datetime) -> Mapping[str, float]:
        """Return the value of what was sold of each SKU."""
        ...

    async def add(self, made: CountList, lines: Sequence[ChosenLine]) -> bool:
        """Write a new list, unless there is one for its warehouse and day; tell whether it was written."""
        ...

    async def record(self, findings: Sequence[CountFinding], *, recorded_at: datetime) -> None:
        """Tick off the lines that these counts are of."""
        ...

    async def reopen(self, event_id: UUID, *, reopened_at: datetime) -> None:
        """Let the lines that a count was of be counted again."""
        ...

    async def lock(self, list_id: UUID) -> CountListStatus | None:
        """Lock a list and return where it stands, None if there is none."""
        ...

    async def cancel(self, list_id: UUID, *, cancelled_at: datetime) -> None:
        """Close a list."""
        ...


class TransferStore(Protocol):
    """
    Transfers, in one transaction.

    Whoever changes a line has locked its SKU; whoever changes anything else of a transfer, or a line's sums, has locked
    the transfer, behind the SKUs.
    """

    async def skus_of(self, transfer_id: UUID) -> set[str]:
        """Return the SKUs of a transfer; without their locks that may change."""
        ...

    async def stocked(self, skus: Collection[str], *, warehouse: str) -> set[str]:
        """Return those of the SKUs that a warehouse has ever had."""
        ...

    async def add(self, transfer_ids: Collection[UUID], *, created_at: datetime) -> None:
        """Add those of the transfers that are new."""
        ...

    async def load(self, transfer_ids: Collection[UUID]) -> dict[UUID, Transfer]:
        """Lock transfers and load them with all their lines."""
        ...

    async def save(self, transfers: Iterable[Transfer], *, changed_at: datetime) -> None:
        """Write transfers that were loaded here, with those of their lines that changed."""
        ...

    async def unhold(self, *, sku: str, warehouse: str, units: int) -> int:
        """Take up to `units` from those that transfers hold; return how many."""
        ...


class HoldOwners(Protocol):
    """Who made which hold, in one transaction; a hold's owner never changes."""

    async def of(self, reservation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return the owners of those holds that have one."""
        ...

    def add(self, owners: Mapping[UUID, str]) -> None:
        """Note the owners of new holds; they are written before the transaction commits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What one transaction gives to a use case."""

    stock: StockStore
    reservations: ReservationStore
    hold_owners: HoldOwners
    warehouses: WarehouseStore
    transfers: TransferStore
    outbox: Outbox
    decisions: DecisionLog
    counts: CountStore
    lots: LotStore
    count_lists: CountListStore
    clock: Clock
    allocation: AllocationPolicy = DEFAULT_POLICY
    assortment: Assortment = NO_ASSORTMENT
    refuses_unknown_skus: bool = False
    count_limits: CountLimits = field(default_factory=CountLimits)
