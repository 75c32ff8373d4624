"""
Who is served when units are short: the orders in the sequence of their approval.

An order that cannot be served whole is passed over and keeps its place; those behind it may still be served. One that
takes parts holds what there is and waits for the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from libs.common.events.shapes import Shortage
from services.inventory.domain.allocation import DEFAULT_POLICY, Choice, allocate, obtainable, shortages
from services.inventory.domain.backlog import Backlog
from services.inventory.domain.reservations import Reservation, Terms
from services.inventory.domain.stock import Stock
from services.inventory.domain.strategies import NO_DEMAND, AllocationPolicy, DailyDemand, Free
from services.inventory.domain.warehouses import (
    RankedWarehouse,
    Warehouse,
    is_collection_point,
    only_at,
    rank,
)

_Place = tuple[str | None, str, float | None, float | None]


class QueuePlace(NamedTuple):
    """Where an order stands in line."""

    approved_at: datetime
    order_id: UUID


FRONT: Final = QueuePlace(datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the stock allows for one order.

    `shortages` are empty if `choice` allocates everything; `unknown_skus` are those of them that never had any
    stock. An order that `is_over_limit` must not begin to wait, and one that is not `is_collectable` would wait for
    nothing. Of a reservation that held nothing before `is_first`, it holds just what `choice` allocates.
    """

    reservation: Reservation
    choice: Choice
    shortages: tuple[Shortage, ...] = ()
    unknown_skus: tuple[str, ...] = ()
    is_over_limit: bool = False
    is_collectable: bool = True
    is_first: bool = False


@dataclass(slots=True)
class Allocator:
    """Serves orders in turn from the stock of one transaction, with regard for the `backlog`."""

    stock: Stock
    warehouses: Sequence[Warehouse]
    policy: AllocationPolicy = DEFAULT_POLICY
    demand: DailyDemand = field(default_factory=lambda: NO_DEMAND)
    backlog: Backlog = field(default_factory=Backlog)
    _rankings: dict[_Place, Sequence[RankedWarehouse]] = field(default_factory=dict)

    def serve(self, waiting: Iterable[Reservation]) -> list[Verdict]:
        """Hold stock for each of the `waiting` that can be served whole, first approved first."""
        # What is free changes meanwhile only by what is held here, which the stock is told of at the end.
        free: dict[str, dict[str, int]] = {}
        verdicts = [self._serve(reservation, free) for reservation in sorted(waiting, key=place_of)]
        self._hold_what_was_taken_from(free)
        return verdicts

    def shortages_of(self, reservation: Reservation) -> tuple[Shortage, ...]:
        """Return what a reservation waits for and the stock does not have now."""
        wanted = reservation.wanted
        return shortages(wanted, {sku: self._free_of(sku) for sku in wanted}, self._ranking_for(reservation))

    def _serve(self, reservation: Reservation, free: dict[str, dict[str, int]]) -> Verdict:
        wanted = reservation.wanted
        terms = terms_of(reservation)
        ranking = self._ranking_for(reservation)
        self._fill(free, wanted)
        choice = self._choose(wanted, free, ranking, terms)
        missing = self.backlog.missing(wanted, place_of(reservation), free) if self.backlog.unserved_after else ()
        if missing:
            choice = choice._replace(allocations=None)
        elif choice.allocations is None:
            missing = shortages(wanted, free, ranking)
        part = wanted
        if choice.allocations is None and terms.takes_parts:
            part = obtainable(wanted, free, ranking, missing, is_split_allowed=terms.is_split_allowed)
            if part:
                choice = self._choose(part, free, ranking, terms)
        is_newcomer = reservation.order_id in self.backlog.newcomers
        is_collectable = terms.collect_at is None or is_collection_point(self.warehouses, terms.collect_at)
        if missing and terms.may_wait and is_collectable:
            rest = _less(wanted, part) if choice.allocations is not None else wanted
            if is_newcomer and self.backlog.is_full(rest, missing, self.stock):
                return self._verdict(reservation, choice._replace(allocations=None), missing, is_over_limit=True)
            self.backlog.add(rest, place_of(reservation))
        verdict = self._verdict(reservation, choice, missing, is_collectable=is_collectable)
        if choice.allocations is not None:
            for one in choice.allocations:
                free[one.sku][one.warehouse] -= one.quantity
            reservation.hold(choice.allocations)
        return verdict

    def _hold_what_was_taken_from(self, free: Free) -> None:
        for sku, by_warehouse in free.items():
            levels = self.stock.items[sku].levels
            for code, left in by_warehouse.items():
                taken = levels[code].available - left
                if taken:
                    self.stock.hold(taken, sku=sku, warehouse=code)

    def _choose(
        self, wanted: Mapping[str, int], free: Free, ranking: Sequence[RankedWarehouse], terms: Terms
    ) -> Choice:
        if not wanted:
            # All of it came from a hold.
            strategy = self.policy.strategy_for(terms.channel)
            return Choice((), (), strategy, self.policy.rule(strategy))
        return allocate(
            wanted,
            free,
            ranking,
            is_split_allowed=terms.is_split_allowed,
            policy=self.policy,
            channel=terms.channel,
            demand=self.demand,
        )

    def _verdict(
        self,
        reservation: Reservation,
        choice: Choice,
        missing: tuple[Shortage, ...],
        *,
        is_over_limit: bool = False,
        is_collectable: bool = True,
    ) -> Verdict:
        return Verdict(
            reservation=reservation,
            choice=choice,
            shortages=missing,
            unknown_skus=tuple([one.sku for one in missing if not self.stock.items[one.sku].levels]) if missing else (),
            is_over_limit=is_over_limit,
            is_collectable=is_collectable,
            is_first=not reservation.lines,
        )

    def _ranking_for(self, reservation: Reservation) -> Sequence[RankedWarehouse]:
        terms = terms_of(reservation)
        ranking = self._ranking(terms)
        if terms.is_split_allowed or not reservation.lines:
            return ranking
        # What comes in one parcel comes from where the first part of it is held.
        codes = {one.warehouse for one in reservation.held()}
        return [one for one in ranking if one.code in codes] if codes else ranking

    def _fill(self, free: dict[str, dict[str, int]], wanted: Iterable[str]) -> None:
        for sku in wanted:
            if sku not in free:
                free[sku] = self._free_of(sku)

    def _free_of(self, sku: str) -> dict[str, int]:
        return {code: level.available for code, level in self.stock.items[sku].levels.items()}

    def _ranking(self, terms: Terms) -> Sequence[RankedWarehouse]:
        destination = terms.destination
        place = (terms.collect_at, destination.country, destination.latitude, destination.longitude)
        ranking = self._rankings.get(place)
        if ranking is None:
            if terms.collect_at is None:
                ranking = rank(self.warehouses, destination)
            else:
                ranking = only_at(self.warehouses, terms.collect_at)
            self._rankings[place] = ranking
        return ranking


def _less(wanted: Mapping[str, int], part: Mapping[str, int]) -> dict[str, int]:
    return {sku: units - part.get(sku, 0) for sku, units in wanted.items() if units > part.get(sku, 0)}


def place_of(reservation: Reservation) -> QueuePlace:
    """Return where a reservation stands in line."""
    return QueuePlace(terms_of(reservation).approved_at, reservation.order_id)


def terms_of(reservation: Reservation) -> Terms:
    """Return the terms of a reservation that was asked for; one released before that has none."""
    if reservation.terms is None:
        msg = f"order {reservation.order_id} never asked for stock"
        raise ValueError(msg)
    return reservation.terms
