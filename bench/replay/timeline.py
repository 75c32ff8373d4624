"""The replay's whole script: everything that happens, cut into slices of event time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bench.replay.facts import Exclusion, Sale, Tally, Trading
from bench.replay.matching import GoodsBack, Matching, match_cancellations
from bench.replay.products import Product, products
from bench.replay.supply import Delivery, Supply, plan_supply
from bench.replay.views import View, derive_views


@dataclass(slots=True, kw_only=True)
class Slice:
    """What happens within one hour; deliveries and views come before the orders that use them."""

    begins_at: datetime
    deliveries: list[Delivery] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)
    goods_back: list[GoodsBack] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A data set as the replay plays it. Orders and cancellations are real, the rest derived."""

    dataset: str
    products: tuple[Product, ...]
    sales: tuple[Sale, ...]
    matching: Matching
    supply: Supply
    views: tuple[View, ...]
    excluded: dict[Exclusion, Tally]
    is_faultless: bool = False

    @property
    def begins_at(self) -> datetime:
        """Return when the first order was placed."""
        return self.sales[0].placed_at

    @property
    def ends_at(self) -> datetime:
        """Return when the last order was placed."""
        return self.sales[-1].placed_at


def write_script(
    trading: Trading, *, dataset: str, orders_max: int | None = None, is_faultless: bool = False
) -> Script:
    """
    Plan a replay of the first `orders_max` orders, or of all of them; in a faultless one nothing runs short.

    A shortened replay is a data set of its own: its name, and with it every idempotency key,
    differs, because its stock and its cancellations do.
    """
    sales: Sequence[Sale] = trading.sales
    if orders_max is not None and orders_max < len(sales):
        sales = sales[:orders_max]
        dataset = f"{dataset}-{orders_max}"
        last = sales[-1].placed_at
        cancellations = [item for item in trading.cancellations if item.cancelled_at <= last]
    else:
        cancellations = list(trading.cancellations)
    if is_faultless:
        dataset = f"{dataset}-faultless"
    listed = products(sales, trading.descriptions)
    return Script(
        dataset=dataset,
        products=listed,
        sales=tuple(sales),
        matching=match_cancellations(sales, cancellations),
        supply=plan_supply(sales, seed=dataset, is_faultless=is_faultless),
        views=derive_views(sales, listed, seed=dataset),
        excluded=trading.excluded,
        is_faultless=is_faultless,
    )


def slices(script: Script) -> Iterator[Slice]:
    """Yield the hours in which something happens, in order; opening stock is in none of them."""
    by_hour: dict[datetime, Slice] = {}

    def at(moment: datetime) -> Slice:
        hour = moment.replace(minute=0, second=0, microsecond=0)
        return by_hour.setdefault(hour, Slice(begins_at=hour))

    for delivery in script.supply.later:
        at(delivery.received_at).deliveries.append(delivery)
    for view in script.views:
        at(view.occurred_at).views.append(view)
    for sale in script.sales:
        at(sale.placed_at).sales.append(sale)
    for goods_back in script.matching.goods_back:
        at(goods_back.at).goods_back.append(goods_back)
    for hour in sorted(by_hour):
        yield by_hour[hour]
