"""Goods received: derived from the demand, since the data set has no stock in it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from bench.replay.draws import draw
from bench.replay.facts import Sale
from bench.replay.geography import destination, nearest_warehouse

# A purchasing department that knows the future, and fails now and then: what a fortnight will sell arrives before it
# begins, where its orders are nearest, except that some deliveries are late and some products run short. The figures
# leave nine of ten orders fillable at once, some after a wait, and a few never.
PERIOD = timedelta(days=14)
LATE_DELIVERY_SHARE = 0.012
LATE_BY_DAYS_MAX = 6
SCARCE_PRODUCT_SHARE = 0.006
# Which part of its demand a scarce product gets: from its first period on, so that it runs out.
SCARCE_SUPPLY_SHARE = 0.7

_OPENING_LEAD = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Goods received at one warehouse; `number` tells apart the deliveries of one SKU to it."""

    sku: str
    warehouse: str
    quantity: int
    received_at: datetime
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """All goods received, derived: what lies there at the start, and what comes later by time."""

    opening: tuple[Delivery, ...]
    later: tuple[Delivery, ...]
    units_demanded: int
    units_supplied: int


class _Demand(NamedTuple):
    sku: str
    warehouse: str
    period: int


def plan_supply(sales: Sequence[Sale], *, seed: str, is_faultless: bool = False) -> Supply:
    """Plan deliveries for what the sales demand, faultless or not; the same sales and seed give the same plan."""
    if not sales:
        return Supply(opening=(), later=(), units_demanded=0, units_supplied=0)
    begins_at = min(sale.placed_at for sale in sales)
    planned = (
        _delivery(demand, units, begins_at=begins_at, seed=None if is_faultless else seed)
        for demand, units in _demand(sales, begins_at).items()
    )
    deliveries = [delivery for delivery in planned if delivery.quantity]
    deliveries.sort(key=lambda delivery: (delivery.received_at, delivery.sku, delivery.warehouse))
    return Supply(
        opening=tuple(item for item in deliveries if item.received_at < begins_at),
        later=tuple(item for item in deliveries if item.received_at >= begins_at),
        units_demanded=sum(line.quantity for sale in sales for line in sale.lines),
        units_supplied=sum(delivery.quantity for delivery in deliveries),
    )


def _demand(sales: Iterable[Sale], begins_at: datetime) -> Mapping[_Demand, int]:
    demand: Counter[_Demand] = Counter()
    for sale in sales:
        period = (sale.placed_at - begins_at) // PERIOD
        place = destination(country=sale.country, customer=sale.customer)
        for line in sale.lines:
            demand[_Demand(line.sku, nearest_warehouse(place), period)] += line.quantity
    return demand


def _delivery(demand: _Demand, units: int, *, begins_at: datetime, seed: str | None) -> Delivery:
    is_scarce = seed is not None and draw(seed, "scarce", demand.sku) < SCARCE_PRODUCT_SHARE
    arrives_at = begins_at + demand.period * PERIOD - _OPENING_LEAD
    if seed is not None and draw(seed, "late", demand.sku, demand.period) < LATE_DELIVERY_SHARE:
        days = 1 + int(draw(seed, "days", demand.sku, demand.period) * LATE_BY_DAYS_MAX)
        arrives_at += timedelta(days=days)
    return Delivery(
        sku=demand.sku,
        warehouse=demand.warehouse,
        quantity=math.floor(units * SCARCE_SUPPLY_SHARE) if is_scarce else units,
        received_at=arrives_at,
        number=demand.period,
    )
