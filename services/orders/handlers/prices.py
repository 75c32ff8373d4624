"""Follows the catalog's prices, and checks new orders against them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Final, NamedTuple, Protocol

from msgspec.structs import replace

from libs.common.events.base import Envelope
from libs.common.events.catalog import ProductChanged, ProductDelisted, ProductListed, ProductPriceChanged
from services.orders import metrics
from services.orders.domain.charges import ChargeKind
from services.orders.domain.findings import Consequence, OrderFinding
from services.orders.domain.order import NewOrder, OrderLine
from services.orders.domain.prices import (
    OrderPriceRefused,
    PricePeriod,
    PricePolicy,
    check_line,
    follow_prices,
)
from services.orders.domain.promotions import Promotion, check_discount
from services.orders.domain.shares import check_taxes, chosen_lines
from services.orders.handlers.promotion_uses import take_more_off, use_promotions
from services.orders.handlers.promotions import Promotions

PRODUCT_EVENTS: Final = (ProductListed, ProductChanged, ProductPriceChanged, ProductDelisted)

_REMEMBERED_SKUS_MAX: Final = 50_000
# For how long a SKU that had no price is believed to have none still, where nothing follows from that.
_UNKNOWN_LASTS: Final = timedelta(seconds=1)


class Wanted(NamedTuple):
    """Which prices an order's line is held against: those valid at some time between `since` and `until`."""

    sku: str
    currency: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPrices:
    """
    What the history says: the prices in the wanted window, the latest last, and when the SKU first had one.

    `present` is the present price and since when; None while the product is not listed, or in another currency.
    """

    asked_minor: Sequence[int] = ()
    known_from: datetime | None = None
    present: tuple[int, datetime] | None = None


class Prices(Protocol):
    """The history of prices."""

    async def latest_of(self, skus: Collection[str]) -> Mapping[str, PricePeriod]:
        """Return the latest period of each SKU that has one."""
        ...

    async def add(self, periods: Sequence[PricePeriod]) -> None:
        """Add periods, and let each end where the next of its SKU begins."""
        ...

    async def keep_categories(self, told: Mapping[str, tuple[int, str]]) -> None:
        """Keep the categories of SKUs, each with the version of the product, unless a later one is known."""
        ...

    async def find(self, wanted: Sequence[Wanted]) -> Sequence[FoundPrices]:
        """Return what the history says of each, in order."""
        ...

    async def history_of(self, sku: str, *, limit: int) -> Sequence[PricePeriod]:
        """Return a SKU's periods, the latest first."""
        ...


async def follow_catalog(batch: Sequence[Envelope], *, prices: Prices) -> None:
    """Keep what products cost from when on, and their categories; events that were followed before change nothing."""
    told: dict[str, list[PricePeriod]] = {}
    categories: dict[str, tuple[int, str]] = {}
    for envelope in batch:
        event = envelope.event
        if isinstance(event, PRODUCT_EVENTS):
            period = PricePeriod(
                sku=event.sku,
                version=envelope.aggregate_version or 0,
                currency=event.currency,
                price_minor=event.price_minor,
                is_listed=event.is_listed,
                valid_from=envelope.time,
            )
            told.setdefault(event.sku, []).append(period)
            categories[event.sku] = max(categories.get(event.sku, (-1, "")), (period.version, event.category or ""))
    latest = await prices.latest_of(told.keys())
    new = [period for sku, periods in told.items() for period in follow_prices(latest.get(sku), periods)]
    if new:
        await prices.add(new)
    if categories:
        await prices.keep_categories(categories)


class _Remembered(NamedTuple):
    """What the history said of a SKU at `read_at`."""

    price_minor: int | None
    valid_from: datetime | None
    known_from: datetime | None
    read_at: datetime


class PriceCheck:
    """
    Holds the lines of new orders against the catalog's prices at the orders' time.

    A price that was valid within `grace` before the order was placed is right: the cart may be that old. So what the
    history said a moment ago is remembered and stays true for as long, and an order at the present prices costs no
    query; whatever seems wrong is looked up.
    """

    def __init__(
        self, *, standard: PricePolicy, by_channel: Mapping[str, PricePolicy] | None = None, grace: timedelta
    ) -> None:
        """`by_channel` are the policies of channels that have one of their own."""
        self._standard = standard
        self._by_channel = dict(by_channel or {})
        self._grace = grace
        self._remembered: dict[tuple[str, str], _Remembered] = {}

    async def check(
        self, orders: Sequence[NewOrder], *, prices: Prices, promotions: Promotions, now: datetime
    ) -> list[NewOrder | OrderPriceRefused]:
        """
        Return each order with what was found about its prices, discounts and taxes, or why it is refused.

        Those that are not refused have used their promotions by then, where these have limits.
        """
        findings = await self._check_lines(orders, prices=prices, now=now)
        charged = {number: order for number, order in enumerate(orders) if order.charges}
        codes = {one.code for order in charged.values() for one in order.charges if one.kind is ChargeKind.DISCOUNT}
        known = await promotions.find(codes) if codes else {}
        for number, found in self._check_charges(charged, known).items():
            findings.setdefault(number, []).extend(found)
        for one in chain.from_iterable(findings.values()):
            metrics.orders_findings_total.labels(one.kind, one.consequence).inc()
        checked = [_with_findings(order, findings.get(number, ())) for number, order in enumerate(orders)]
        limited = {code for code, promotion in known.items() if promotion.is_limited}
        if not limited:
            return checked
        return await use_promotions(
            checked,
            limited,
            promotions=promotions,
            policy_of=self._policy_of,
            with_findings=_with_findings,
            now=now,
        )

    def check_taxes(self, order: NewOrder) -> NewOrder | OrderPriceRefused:
        """Return an order with what was found about its taxes, or why it is refused."""
        found = list(check_taxes(order.lines, order.charges, self._policy_of(order)))
        for one in found:
            metrics.orders_findings_total.labels(one.kind, one.consequence).inc()
        return _with_findings(order, found)

    async def take_more_off(self, order: NewOrder, *, promotions: Promotions) -> NewOrder | OrderPriceRefused:
        """Count what an edited order takes off beyond what was counted (see `promotion_uses.take_more_off`)."""
        return await take_more_off(order, promotions=promotions, policy=self._policy_of(order))

    def _check_charges(
        self, charged: Mapping[int, NewOrder], known: Mapping[str, Promotion]
    ) -> dict[int, list[OrderFinding]]:
        findings = {}
        for number, order in charged.items():
            policy = self._policy_of(order)
            found = [*check_taxes(order.lines, order.charges, policy), *self._check_discounts(order, known, policy)]
            if found:
                findings[number] = found
        return findings

    def _check_discounts(
        self, order: NewOrder, known: Mapping[str, Promotion], policy: PricePolicy
    ) -> Iterator[OrderFinding]:
        for number, charge in enumerate(order.charges):
            if charge.kind is ChargeKind.DISCOUNT:
                finding = check_discount(
                    charge,
                    [order.lines[index] for index in chosen_lines(order.charges, number, len(order.lines))],
                    known.get(charge.code),
                    placed_at=order.facts.placed_at,
                    currency=order.facts.currency,
                    grace=self._grace,
                    policy=policy,
                )
                if finding is not None:
                    yield finding

    async def _check_lines(
        self, orders: Sequence[NewOrder], *, prices: Prices, now: datetime
    ) -> dict[int, list[OrderFinding]]:
        doubtful = [
            (number, line)
            for number, order in enumerate(orders)
            if self._policy_of(order).is_checked
            for line in self._doubtful_lines(order, now)
        ]
        if not doubtful:
            return {}
        found = await self._look_up(orders, doubtful, prices=prices, now=now)
        findings: dict[int, list[OrderFinding]] = {}
        for (number, line), asked in zip(doubtful, found, strict=True):
            finding = check_line(line, asked, self._policy_of(orders[number]))
            if finding is not None:
                findings.setdefault(number, []).append(finding)
        return findings

    def _policy_of(self, order: NewOrder) -> PricePolicy:
        return self._by_channel.get(order.facts.channel, self._standard)

    def _doubtful_lines(self, order: NewOrder, now: datetime) -> list[OrderLine]:
        facts = order.facts
        ignores_unknown = self._policy_of(order).on_unknown is Consequence.IGNORE
        doubtful = []
        for line in order.lines:
            known = self._remembered.get((line.sku, facts.currency))
            if known is None or not self._is_settled(
                known, line, placed_at=facts.placed_at, now=now, ignores_unknown=ignores_unknown
            ):
                doubtful.append(line)
        return doubtful

    def _is_settled(
        self, known: _Remembered, line: OrderLine, *, placed_at: datetime, now: datetime, ignores_unknown: bool
    ) -> bool:
        """Tell whether the line is right, or nothing can come out of looking, by what is remembered alone."""
        if known.price_minor == line.unit_price_minor and known.valid_from is not None:
            return known.valid_from <= placed_at <= known.read_at + self._grace
        if not ignores_unknown:
            return False
        if known.known_from is None:
            return now <= known.read_at + _UNKNOWN_LASTS
        # Before the catalog first told of it there was no price, and there never will have been.
        return placed_at < known.known_from

    async def _look_up(
        self, orders: Sequence[NewOrder], doubtful: Sequence[tuple[int, OrderLine]], *, prices: Prices, now: datetime
    ) -> list[Sequence[int]]:
        wanted: dict[Wanted, None] = {}
        keys = []
        for number, line in doubtful:
            facts = orders[number].facts
            one = Wanted(line.sku, facts.currency, facts.placed_at - self._grace, facts.placed_at)
            wanted[one] = None
            keys.append(one)
        found = dict(zip(wanted, await prices.find(list(wanted)), strict=True))
        for one, history in found.items():
            self._remember(one, history, now)
        return [found[one].asked_minor for one in keys]

    def _remember(self, wanted: Wanted, found: FoundPrices, now: datetime) -> None:
        price_minor, valid_from = found.present or (None, None)
        self._remembered.pop((wanted.sku, wanted.currency), None)
        self._remembered[wanted.sku, wanted.currency] = _Remembered(price_minor, valid_from, found.known_from, now)
        if len(self._remembered) > _REMEMBERED_SKUS_MAX:
            del self._remembered[next(iter(self._remembered))]


def _with_findings(order: NewOrder, findings: Sequence[OrderFinding]) -> NewOrder | OrderPriceRefused:
    refused = [one for one in findings if one.consequence is Consequence.REFUSE]
    if refused:
        return OrderPriceRefused(refused, order.facts.currency)
    return replace(order, findings=(*order.findings, *findings)) if findings else order
