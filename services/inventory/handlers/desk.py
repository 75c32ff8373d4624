"""
One transaction's work on stock: lock, change, serve whoever waits, write.

Lock order, the same everywhere, so that nobody waits in a circle: first the SKUs, sorted, and all of them at once;
then reservations, in the order of their ids, which only the holder of their SKUs' locks changes. Work that turns
out to concern more SKUs gives its locks back and starts again with the larger set.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from libs.common.decisions import Decision
from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import (
    ExpectedArrival,
    StockChanged,
    StockChangeRefused,
    StockCommitted,
    StockHoldExtended,
    StockLevelChanged,
    StockReleased,
    WarehouseLevel,
)
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from services.inventory.domain.arrivals import expected_when, soonest
from services.inventory.domain.backlog import Backlog
from services.inventory.domain.bundles import Compositions, unpack
from services.inventory.domain.queue import FRONT, Allocator, QueuePlace, Verdict, place_of, terms_of
from services.inventory.domain.reservations import Reservation, ReservationStatus, Terms
from services.inventory.domain.stock import Stock, StockItem, stock_of
from services.inventory.domain.strategies import NO_DEMAND
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers import explanations
from services.inventory.handlers.alternatives import AlternativesFinder, with_alternatives
from services.inventory.handlers.lot_groups import regroup_lots
from services.inventory.handlers.ports import MoreSkusNeeded, Revisit, Tools

# A queue that is longer is served in several transactions, so that one arrival of goods never locks for long.
WAITING_ORDERS_MAX: Final = 200
# Waiting orders that need SKUs beyond those locked are worth starting again for, but not without end.
_ATTEMPTS_MAX: Final = 3
# What is written behind the work (`Transaction.write`) goes on when the work pauses.
_PAUSE_EVERY: Final = 50
_DECISIONS_AT_A_TIME: Final = 500


class RequestedEdit(NamedTuple):
    """What an order wants to hold, or to wait for, instead of what it does, all of it by SKU."""

    reservation: Reservation
    edit_id: UUID
    wanted: Mapping[str, int]
    bundles: Compositions
    asked_at: datetime


class _Announcement(NamedTuple):
    event: Event
    version: int
    cause: Envelope | None


@dataclass(slots=True)
class Desk:
    """The stock that one transaction has locked, and what it does with it; nothing is written before `save`."""

    tools: Tools
    stock: Stock
    warehouses: Sequence[Warehouse]
    now: datetime
    may_start_again: bool
    outcomes: Counter[str] = field(default_factory=Counter)
    _has_no_bundles: bool = field(init=False)
    _reservations: dict[UUID, Reservation] = field(default_factory=dict)
    _changed: dict[UUID, Reservation] = field(default_factory=dict)
    _asking: list[Reservation] = field(default_factory=list)
    _newcomers: set[UUID] = field(default_factory=set)
    _announcements: list[_Announcement] = field(default_factory=list)
    _decisions: list[Decision] = field(default_factory=list)
    _refused_holds: dict[UUID, Sequence[Shortage]] = field(default_factory=dict)
    _partial_holds: dict[UUID, Sequence[Shortage]] = field(default_factory=dict)
    _given_back: set[str] = field(default_factory=set)
    _edits_of_held: list[RequestedEdit] = field(default_factory=list)
    # They want more of what only so many units may be waited for.
    _edits_of_limited: list[RequestedEdit] = field(default_factory=list)
    _order_causes: dict[UUID, Envelope] = field(default_factory=dict)
    _sku_causes: dict[str, Envelope] = field(default_factory=dict)
    _revisits: list[Revisit] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look once whether any of the SKUs is made of others: mostly none is."""
        self._has_no_bundles = not any(item.components for item in self.stock.items.values())

    @property
    def sold_out(self) -> int:
        """How many SKUs lost the last unit that could be promised."""
        return len(self.stock.sold_out())

    async def load(self, order_ids: Collection[UUID]) -> None:
        """
        Load the reservations of `order_ids` for change.

        :raises MoreSkusNeeded: if one of them concerns SKUs that are not locked.
        """
        missing = {order_id for order_id in order_ids if order_id not in self._reservations}
        if not missing:
            return
        loaded = await self.tools.reservations.load(missing)
        unlocked = {sku for one in loaded for sku in one.skus if sku not in self.stock.items}
        if unlocked:
            raise MoreSkusNeeded(unlocked)
        self._reservations.update((one.order_id, one) for one in loaded)

    def reservation(self, order_id: UUID) -> Reservation | None:
        """Return a loaded reservation, None if there is none for this order."""
        return self._reservations.get(order_id)

    def caused_by(self, envelope: Envelope, *, skus: Iterable[str] = (), order_id: UUID | None = None) -> None:
        """Remember which event led to what is announced about `skus` and the order."""
        for sku in skus:
            self._sku_causes[sku] = envelope
        if order_id is not None:
            self._order_causes[order_id] = envelope

    def unpack(
        self, wanted: Mapping[str, int], known: Compositions | None = None
    ) -> tuple[Mapping[str, int], Compositions]:
        """
        Return the units by SKU that reserve what is wanted, and what the bundles among it are made of.

        Those that are `known` are made of what they were made of then.

        :raises MoreSkusNeeded: if components are not locked.
        """
        items = self.stock.items
        if self._has_no_bundles and not known:
            return wanted, {}
        current = {sku: items[sku].components for sku in wanted if items[sku].components}
        bundles = {**current, **{sku: parts for sku, parts in known.items() if sku in wanted}} if known else current
        if not bundles:
            return wanted, bundles
        parts = unpack(wanted, bundles)
        if unlocked := {sku for sku in parts if sku not in items}:
            raise MoreSkusNeeded(unlocked)
        return parts, bundles

    def ask(self, reservation: Reservation) -> None:
        """Put a new reservation in line; it is served when the desk settles."""
        self._reservations[reservation.order_id] = reservation
        self._changed[reservation.order_id] = reservation
        self._asking.append(reservation)
        self._newcomers.add(reservation.order_id)

    def release(self, order_id: UUID, reason: str) -> None:
        """Let go of everything held for an order, or see to it that nothing ever will be."""
        reservation = self._reservations.get(order_id)
        if reservation is None:
            tombstone = Reservation(order_id=order_id, status=ReservationStatus.RELEASED, is_new=True)
            self._reservations[order_id] = self._changed[order_id] = tombstone
            return
        is_unanswered = reservation in self._asking
        if is_unanswered:
            self._asking.remove(reservation)
        if not reservation.is_live:
            return
        freed = reservation.release()
        self._let_go(freed)
        self._changed[order_id] = reservation
        if not is_unanswered:
            self._announce(reservation, StockReleased(order_id=order_id, reason=reason, allocations=freed))
        self.outcomes["released"] += 1

    def adopt(self, hold: Reservation, reservation: Reservation) -> None:
        """Give an order, before it is put in line, what it wants of what a hold holds; the hold lets go of the rest."""
        if hold.is_hold and hold.is_live:
            collect_at = terms_of(reservation).collect_at
            reservation.hold(hold.hand_over(reservation.wanted, collect_at=collect_at))
            self.release(hold.order_id, "adopted")
            self.outcomes["adopted"] += 1

    def divide(self, origin: Reservation, remainder: Reservation, keeps: Mapping[tuple[str, str], int]) -> None:
        """Give an order, before it is put in line, what another one waits for, and holds beyond what it `keeps`."""
        if not origin.is_live:
            return
        remainder.terms = msgspec.structs.replace(terms_of(remainder), approved_at=terms_of(origin).approved_at)
        remainder.hold(origin.part_with(remainder.wanted, keeps))
        if origin in self._asking and not origin.wanted:
            # A parcel of it has just left, and what it waited for is the other's.
            self._asking.remove(origin)
        self._changed[origin.order_id] = origin
        self.outcomes["divided"] += 1

    def become_order(self, hold: Reservation, terms: Terms, wanted: Mapping[str, int], bundles: Compositions) -> None:
        """Let an order go on with the hold of its own id; what it does not want of it becomes free."""
        if hold.is_live:
            self.outcomes["adopted"] += 1
        self._let_go(hold.become_order(terms, wanted))
        hold.bundles = bundles
        self.ask(hold)

    def edit(self, edit: RequestedEdit) -> None:
        """Let an order that holds nothing wait for other units: at its place, or a new one if it wants more of any."""
        reservation = edit.reservation
        if reservation.status is not ReservationStatus.WAITING or reservation.is_hold:
            self._refuse_edit(reservation, edit.edit_id, reservation.status.value)
        elif any(self.stock.items[sku].policy.backorder_units_max is not None for sku in _grown(edit)):
            self._edits_of_limited.append(edit)
        else:
            self._wait_for(edit)

    def _wait_for(self, edit: RequestedEdit) -> None:
        reservation, before = edit.reservation, dict(edit.reservation.wanted)
        terms, grown = terms_of(reservation), _grown(edit)
        reservation.wanted, reservation.bundles, reservation.has_new_terms = dict(edit.wanted), edit.bundles, True
        if grown:
            reservation.terms = msgspec.structs.replace(terms, approved_at=edit.asked_at)
        self._changed[reservation.order_id] = reservation
        self._announce(reservation, StockChanged(order_id=reservation.order_id, edit_id=edit.edit_id))
        if reservation not in self._asking:
            self._asking.append(reservation)
        # Whoever stands behind it may be served now.
        self._given_back.update(before)
        self.outcomes["edited"] += 1

    def edit_held(self, edit: RequestedEdit) -> None:
        """
        Let an order that holds its goods hold others, all of them or none; it is decided when the desk settles.

        What it wants more comes after whoever waits for it already, like a new order.
        """
        self._edits_of_held.append(edit)

    def _refuse_edit(
        self, reservation: Reservation, edit_id: UUID, reason: str, shortages: Sequence[Shortage] = ()
    ) -> None:
        refused = StockChangeRefused(
            order_id=reservation.order_id, edit_id=edit_id, reason=reason, shortages=list(shortages)
        )
        self._announce(reservation, refused)
        self._changed[reservation.order_id] = reservation
        self.outcomes["edit-refused"] += 1

    def extend(self, hold: Reservation, expires_at: datetime) -> None:
        """Let a hold last until `expires_at`."""
        hold.terms, hold.has_new_terms = msgspec.structs.replace(terms_of(hold), expires_at=expires_at), True
        self._changed[hold.order_id] = hold
        self._announce(hold, StockHoldExtended(order_id=hold.order_id, expires_at=expires_at))
        self.outcomes["extended"] += 1

    def bury(self, reservation: Reservation) -> None:
        """Let no order ever be reserved under the id of a hold that has ended."""
        reservation.bury()
        self._changed[reservation.order_id] = reservation

    def shortages_of_refused(self, reservation_id: UUID) -> Sequence[Shortage] | None:
        """Return why a hold was refused, None if it was not."""
        return self._refused_holds.get(reservation_id)

    def shortages_of_held(self, reservation_id: UUID) -> Sequence[Shortage]:
        """Return what a hold that was served now wanted and does not have."""
        return self._partial_holds.get(reservation_id, ())

    def ship(self, reservation: Reservation, warehouse: str, lines: Sequence[SkuQuantity]) -> None:
        """Note that units left `warehouse` for an order; the ledger is booked apart from this."""
        for line in lines:
            self._let_go(reservation.ship(line.sku, warehouse, line.quantity))
        self._changed[reservation.order_id] = reservation
        committed = StockCommitted(order_id=reservation.order_id, warehouse=warehouse, lines=list(lines))
        self._announce(reservation, committed)
        if reservation.status is ReservationStatus.COMMITTED:
            self.outcomes["committed"] += 1
        elif reservation.wanted and reservation not in self._asking:
            # It waits for less than before; that much may be there.
            self._asking.append(reservation)

    async def settle(self, revisit: Revisit | None = None) -> None:
        """
        Un-reserve what is not there any more, then serve in turn whoever waits for what became free.

        `revisit` adds the rest of a queue that an earlier transaction left.
        """
        if skus := self.stock.skus_of_lots():
            await regroup_lots(skus, stock=self.stock, lots=self.tools.lots, today=self.now.date())
        await self._unreserve_overdrawn()
        for edit in self._edits_of_limited:
            await self._decide_limited(edit)
        freed = sorted(self.stock.freed())
        if freed:
            await self._call_waiting(freed)
        if revisit is not None:
            await self._call_waiting([revisit.sku], after=revisit.after)
        await self._serve_asking([*freed, revisit.sku] if revisit is not None else freed)
        for edit in self._edits_of_held:
            await self._decide_edit(edit)
        while self._given_back:
            given_back = sorted(self._given_back)
            self._given_back.clear()
            await self._call_waiting(given_back)
            await self._serve_asking(given_back)

    async def _serve_asking(self, called: Collection[str]) -> None:
        """Serve in turn whoever asks; the queues of `called` SKUs are at hand."""
        asked = {one.order_id: dict(one.wanted) for one in self._asking}
        policy = self.tools.allocation
        demand = NO_DEMAND
        if policy.needs_demand and asked:
            wanted = {sku for skus in asked.values() for sku in skus}
            demand = await self.tools.stock.daily_demand(wanted, until=self.now)
        backlog = await self._backlog(called)
        verdicts: Sequence[Verdict] = Allocator(self.stock, self.warehouses, policy, demand, backlog).serve(
            self._asking
        )
        if any(verdict.shortages for verdict in verdicts):
            verdicts = await self._with_promises(verdicts)
            verdicts = await self._with_alternatives(verdicts)
        for number, verdict in enumerate(verdicts, start=1):
            self._answer(verdict, asked[verdict.reservation.order_id])
            if len(self._decisions) >= _DECISIONS_AT_A_TIME:
                await self._record_decisions()
            elif number % _PAUSE_EVERY == 0:
                await asyncio.sleep(0)
        self._asking.clear()
        self._newcomers.clear()

    async def _decide_edit(self, edit: RequestedEdit) -> None:
        reservation = edit.reservation
        if reservation.status is not ReservationStatus.HELD or reservation.has_shipped:
            # Called off, not there any more, or on its way, since it was asked.
            reason = "shipped" if reservation.has_shipped else reservation.status.value
            self._refuse_edit(reservation, edit.edit_id, reason)
            return
        held = reservation.held_by_sku()
        more = {sku: units - held.get(sku, 0) for sku, units in edit.wanted.items() if units > held.get(sku, 0)}
        if more:
            verdict = await self._hold_more(reservation, more, edit.asked_at)
            if verdict.choice.allocations is None:
                shortages = await self._instead_of(verdict.shortages, reservation)
                self._refuse_edit(reservation, edit.edit_id, "insufficient-stock", shortages)
                return
        freed = reservation.hold_no_more_than(edit.wanted)
        self._let_go(freed)
        self._given_back.update(one.sku for one in freed)
        reservation.bundles, reservation.has_new_terms = edit.bundles, True
        self._changed[reservation.order_id] = reservation
        changed = StockChanged(order_id=reservation.order_id, edit_id=edit.edit_id, allocations=reservation.held())
        self._announce(reservation, changed)
        self.outcomes["edited"] += 1

    async def _decide_limited(self, edit: RequestedEdit) -> None:
        reservation, grown, items = edit.reservation, _grown(edit), self.stock.items
        if reservation.status is not ReservationStatus.WAITING:
            self._refuse_edit(reservation, edit.edit_id, reservation.status.value)
            return
        # Those who ask now may have to wait, too.
        waited_for = Counter(await self._waiting_units(dict.fromkeys(grown, FRONT)))
        for one in self._asking:
            waited_for.update(one.wanted)
        over = [
            Shortage(sku=sku, requested=more, available=0)
            for sku, more in grown.items()
            if (limit := items[sku].policy.backorder_units_max) is not None and waited_for[sku] + more > limit
        ]
        if over:
            self._refuse_edit(reservation, edit.edit_id, "over-limit", await self._instead_of(over, reservation))
        else:
            self._wait_for(edit)

    async def _instead_of(self, short: Sequence[Shortage], reservation: Reservation) -> Sequence[Shortage]:
        """Return what is missing of what an order wants more, with what it could have instead."""
        finder = AlternativesFinder(self.tools.assortment, self.stock, self.warehouses)
        await finder.load({one.sku for one in short}, self.tools)
        return finder.name(short, reservation) if finder.finds_any else short

    async def _hold_more(self, reservation: Reservation, more: Mapping[str, int], asked_at: datetime) -> Verdict:
        """Hold more units for an order, all or none: at best where it holds others, so that no parcel is added."""
        terms, policy = terms_of(reservation), self.tools.allocation
        reservation.wanted = dict(more)
        self._asking.append(reservation)
        backlog = await self._backlog([])
        self._asking.clear()
        demand = await self.tools.stock.daily_demand(set(more), until=self.now) if policy.needs_demand else NO_DEMAND
        allocator = Allocator(self.stock, self.warehouses, policy, demand, backlog)
        asks = msgspec.structs.replace(terms, on_shortage="refuse", approved_at=asked_at)
        reservation.terms = msgspec.structs.replace(asks, is_split_allowed=False)
        [verdict] = allocator.serve([reservation])
        if verdict.choice.allocations is None and terms.is_split_allowed:
            reservation.terms = asks
            [verdict] = allocator.serve([reservation])
        self.tools.decisions.add(explanations.decision_of(verdict, more, self.now))
        reservation.terms = terms
        reservation.forget_rest()
        return verdict

    async def _with_promises(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Say of those who begin to wait, or are refused, when goods on their way should have filled it for them."""
        items = self.stock.items
        short_ones = [one for one in verdicts if one.shortages]
        skus = {short.sku for one in short_ones for short in one.shortages if items[short.sku].arrivals}
        if not skus or not any(one.reservation.order_id in self._newcomers for one in short_ones):
            return verdicts
        units = await self._waiting_units(dict.fromkeys(skus, FRONT))
        dates: dict[UUID, dict[str, datetime | None]] = {}
        for one in sorted(short_ones, key=lambda verdict: place_of(verdict.reservation)):
            reservation = one.reservation
            terms = terms_of(reservation)
            places = self._places_for(terms)
            for sku in skus & reservation.wanted.keys():
                asked_for = units[sku] + reservation.wanted[sku]
                if terms.may_wait:
                    units[sku] = asked_for
                needed = asked_for - sum(
                    items[sku].levels[code].available for code in places & items[sku].levels.keys()
                )
                when = expected_when(items[sku].arrivals.items(), needed, places=places, now=self.now)
                dates.setdefault(reservation.order_id, {})[sku] = when
        return [
            msgspec.structs.replace(
                one,
                shortages=tuple(
                    msgspec.structs.replace(short, expected_at=found.get(short.sku)) for short in one.shortages
                ),
            )
            if (found := dates.get(one.reservation.order_id)) and one.shortages
            else one
            for one in verdicts
        ]

    async def _with_alternatives(self, verdicts: Sequence[Verdict]) -> Sequence[Verdict]:
        """Say what orders that are told of a shortage now could have instead."""
        told = [
            one
            for one in verdicts
            if one.shortages
            and not one.reservation.is_hold
            and (one.choice.allocations is not None or one.reservation.order_id in self._newcomers)
        ]
        if not told:
            return verdicts
        return await with_alternatives(verdicts, told, stock=self.stock, warehouses=self.warehouses, tools=self.tools)

    def _places_for(self, terms: Terms) -> set[str]:
        if terms.collect_at is not None:
            return {terms.collect_at}
        return {one.code for one in self.warehouses if one.is_active and one.ships_orders}

    async def save(self) -> None:
        """Write everything and announce it."""
        changes = self.stock.changes()
        for item in changes.items:
            item.version += 1
        await self.tools.stock.save(changes, recorded_at=self.now)
        await self.tools.reservations.save(self._changed.values(), changed_at=self.now)
        # Where nothing is left to give, the next arrival will start from the front anyway.
        revisits = [one for one in self._revisits if self.stock.items[one.sku].available]
        await self.tools.reservations.add_revisits(revisits)
        await self._record_decisions()
        for item in changes.items:
            levels = [
                WarehouseLevel(
                    warehouse=code,
                    on_hand=level.on_hand,
                    reserved=level.reserved,
                    in_transit=level.in_transit,
                    withheld=level.withheld,
                )
                for code, level in sorted(item.levels.items())
            ]
            self.tools.outbox.add(
                StockLevelChanged(
                    sku=item.sku,
                    levels=levels,
                    expected=self._expected(item) if item.arrivals else [],
                    components=quantities(item.components),
                ),
                aggregate_version=item.version,
                cause=self._sku_causes.get(item.sku),
            )
        for number, one in enumerate(self._announcements, start=1):
            self.tools.outbox.add(one.event, aggregate_version=one.version, cause=one.cause)
            if number % _PAUSE_EVERY == 0:
                await asyncio.sleep(0)

    def _expected(self, item: StockItem) -> list[ExpectedArrival]:
        return [
            ExpectedArrival(warehouse=key.warehouse, at=arrival.expected_at, units=arrival.left, kind=key.kind)
            for key, arrival in soonest(item.arrivals.items(), self.now)
        ]

    async def _record_decisions(self) -> None:
        await self.tools.decisions.add_all(self._decisions)
        self._decisions = []

    def _answer(self, verdict: Verdict, wanted: dict[str, int]) -> None:
        reservation = verdict.reservation
        is_newcomer = reservation.order_id in self._newcomers
        is_passed_over = verdict.choice.allocations is None
        if is_passed_over and not is_newcomer and not reservation.is_hold:
            # It has been announced that the order waits; it goes on waiting.
            return
        if is_passed_over and is_newcomer and reservation.is_hold:
            self._refuse_hold(verdict, wanted)
            return
        is_refused = verdict.is_over_limit or not verdict.is_collectable or not terms_of(reservation).may_wait
        if is_passed_over and is_refused:
            freed = [] if reservation.is_hold else reservation.reject()
            self._let_go(freed)
            self._given_back.update(one.sku for one in freed)
        if reservation.is_hold:
            reservation.forget_rest()
            self._partial_holds[reservation.order_id] = verdict.shortages
        decision = explanations.decision_of(verdict, wanted, self.now)
        self._decisions.append(decision)
        self._changed[reservation.order_id] = reservation
        outcome, event = explanations.announcement(verdict, decision)
        self._announce(reservation, event)
        self.outcomes[outcome] += 1

    def _refuse_hold(self, verdict: Verdict, wanted: dict[str, int]) -> None:
        """Leave no trace of a hold that cannot be, but the reason: whoever asked may ask again."""
        reservation_id = verdict.reservation.order_id
        self._decisions.append(explanations.decision_of(verdict, wanted, self.now))
        self._refused_holds[reservation_id] = verdict.shortages
        del self._changed[reservation_id], self._reservations[reservation_id]
        self.outcomes["hold-refused"] += 1

    async def _unreserve_overdrawn(self) -> None:
        allocator = Allocator(self.stock, self.warehouses)
        finder = AlternativesFinder(self.tools.assortment, self.stock, self.warehouses)
        for sku, warehouse in self.stock.overdrawn():
            level = self.stock.level(sku, warehouse)
            # Customers come before shelves: what approved transfers hold goes first.
            given = await self.tools.transfers.unhold(sku=sku, warehouse=warehouse, units=level.overdrawn)
            if given:
                self.stock.hold(-given, sku=sku, warehouse=warehouse)
            if not level.overdrawn:
                continue
            holders = await self.tools.reservations.holders(
                sku=sku,
                warehouse=warehouse,
                units=level.overdrawn,
                besides=self._reservations.keys(),
            )
            await self.load(holders)
            for reservation in sorted(self._holding(sku, warehouse), key=place_of, reverse=True):
                if not level.overdrawn:
                    break
                self._let_go(reservation.unreserve(sku, warehouse, level.overdrawn))
                self._changed[reservation.order_id] = reservation
                if reservation not in self._asking:
                    self._asking.append(reservation)
                if not reservation.is_hold:
                    shortages = allocator.shortages_of(reservation)
                    await finder.load({short.sku for short in shortages}, self.tools)
                    named = finder.name(shortages, reservation)
                    self._announce(reservation, explanations.waiting(reservation, named))
                self.outcomes["unreserved"] += 1

    def _holding(self, sku: str, warehouse: str) -> list[Reservation]:
        key = (sku, warehouse)
        return [one for one in self._reservations.values() if (line := one.lines.get(key)) and line.held]

    async def _call_waiting(self, skus: Sequence[str], after: QueuePlace = FRONT) -> None:
        places = await self.tools.reservations.waiting(skus, limit=WAITING_ORDERS_MAX + 1, after=after)
        called = places[:WAITING_ORDERS_MAX]
        try:
            await self.load([place.order_id for place in called])
        except MoreSkusNeeded:
            if self.may_start_again:
                raise
            # Not forgotten: the follow-up locks what these orders need from the start.
            self._revisits.extend(Revisit(sku=sku, after=after) for sku in skus)
            return
        if len(places) > len(called):
            self._revisits.extend(Revisit(sku=sku, after=called[-1]) for sku in skus)
        asking = {one.order_id for one in self._asking}
        for place in called:
            reservation = self._reservations[place.order_id]
            if reservation.wanted and place.order_id not in asking:
                self._asking.append(reservation)
                asking.add(place.order_id)
        # Whoever began to wait in this very transaction is not among the places yet.
        for reservation in self._changed.values():
            if reservation.order_id not in asking and not reservation.wanted.keys().isdisjoint(skus):
                self._asking.append(reservation)

    async def _backlog(self, called: Collection[str]) -> Backlog:
        """Return what is to be heeded of the queues of `called` SKUs, now at hand, and of all others."""
        items = self.stock.items
        wanted = {sku for one in self._asking for sku in one.wanted}
        unserved_after = {sku: items[sku].unserved_after for sku in wanted if sku not in called}
        for one in self._revisits:
            # Its queue was called up to there, or not at all.
            unserved_after[one.sku] = min(one.after, unserved_after.get(one.sku) or one.after)
        marks = {sku: after for sku, after in unserved_after.items() if after is not None}
        limited = {
            sku
            for one in self._asking
            if one.order_id in self._newcomers
            for sku in one.wanted
            if items[sku].policy.backorder_units_max is not None
        }
        return Backlog(
            newcomers=self._newcomers,
            unserved_after=marks,
            spoken_for=await self._waiting_units(marks) if marks else {},
            waited_for=await self._waiting_units(dict.fromkeys(limited, FRONT)) if limited else {},
        )

    async def _waiting_units(self, after: Mapping[str, tuple[datetime, UUID]]) -> dict[str, int]:
        """Return by SKU the units that orders wait for who stand behind a place, but do not ask now."""
        loaded = self._reservations
        units = dict.fromkeys(after, 0) | await self.tools.reservations.waiting_units(after, besides=loaded.keys())
        asking = {one.order_id for one in self._asking}
        for one in loaded.values():
            if one.wanted and one.order_id not in asking:
                for sku, quantity in one.wanted.items():
                    if sku in after and place_of(one) > after[sku]:
                        units[sku] += quantity
        return units

    def _let_go(self, freed: Iterable[Allocation]) -> None:
        for one in freed:
            self.stock.hold(-one.quantity, sku=one.sku, warehouse=one.warehouse)

    def _announce(self, reservation: Reservation, event: Event) -> None:
        reservation.version += 1
        cause = self._order_causes.get(reservation.order_id)
        if cause is None:
            causes = (self._sku_causes.get(sku) for sku in sorted(reservation.skus))
            cause = next((one for one in causes if one is not None), None)
        self._announcements.append(_Announcement(event, reservation.version, cause))


async def work_on_stock(tools: Tools, skus: Iterable[str], work: Callable[[Desk], Awaitable[None]]) -> Desk:
    """
    Lock `skus`, do `work` and write it; return the desk with what came of it.

    `work` is called again from the start if it turns out to concern more SKUs.
    """
    now = tools.clock.now()
    locked = set(skus)
    for attempt in count(1):
        try:
            async with tools.stock.locked(locked) as items:
                desk = Desk(
                    tools=tools,
                    stock=stock_of(items),
                    warehouses=await tools.warehouses.all(),
                    now=now,
                    may_start_again=attempt < _ATTEMPTS_MAX,
                )
                await work(desk)
                await desk.save()
                return desk
        except MoreSkusNeeded as needed:
            locked |= needed.skus
    raise AssertionError  # count() does not end


def quantities(units: Mapping[str, int]) -> list[SkuQuantity]:
    """Return units by SKU as events have them."""
    return [SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in units.items()]


def _grown(edit: RequestedEdit) -> dict[str, int]:
    """Return how many units more an edited order would wait for."""
    before = edit.reservation.wanted
    return {sku: units - before.get(sku, 0) for sku, units in edit.wanted.items() if units > before.get(sku, 0)}
