"""Which lots to take for an order: those that expire first, after the orders that were approved before it."""

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple
from uuid import UUID

from services.inventory.domain.lots import NO_LOT, Lot, first_expired_first


class Pick(NamedTuple):
    """Units to take; `lot` is None where it does not matter which."""

    sku: str
    warehouse: str
    quantity: int
    lot: str | None = None
    expires_on: date | None = None


def picks_of(
    order_id: UUID, *, sku: str, warehouse: str, holders: Iterable[tuple[UUID, int]], lots: Iterable[Lot]
) -> list[Pick]:
    """
    Return what to take for an order from one level.

    `holders` are the orders that hold units of it and how many, first approved first; each takes from the `lots` that
    may be used what those before it left, first expired first. What no lot is left for is any unit.
    """
    remaining = [(lot, lot.units) for lot in sorted(lots, key=first_expired_first)]
    for holder, units in holders:
        picks = []
        wanted = units
        left = []
        for lot, there in remaining:
            taken = min(wanted, there)
            wanted -= taken
            if taken:
                name = None if lot.lot == NO_LOT else lot.lot
                picks.append(Pick(sku, warehouse, taken, name, lot.expires_on))
            if there > taken:
                left.append((lot, there - taken))
        remaining = left
        if holder == order_id:
            of_any = wanted + sum(pick.quantity for pick in picks if pick.lot is None)
            named = [pick for pick in picks if pick.lot is not None]
            return [*named, Pick(sku, warehouse, of_any)] if of_any else named
    return []
