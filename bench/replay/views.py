"""Product views before each order: derived from what was bought; the data has no clicks."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.replay.draws import draw, pick
from bench.replay.facts import Sale
from bench.replay.products import Product

# A visitor is taken to have looked at some of what was bought and, now and then, at a neighbour on
# the same shelf that was left there.
VIEWED_SHARE = 0.5
BROWSED_SHARE = 0.2
VIEWS_PER_ORDER_MAX = 12
_SECONDS_BETWEEN_VIEWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One derived look at a product; always sent with its mark of being derived."""

    visitor: str
    customer: str
    session: str
    sku: str
    occurred_at: datetime


def derive_views(sales: Sequence[Sale], products: Iterable[Product], *, seed: str) -> tuple[View, ...]:
    """Return the views of all visitors by time; the same input gives the same views."""
    category_by_sku: dict[str, str] = {}
    shelves: defaultdict[str, list[str]] = defaultdict(list)
    for product in products:
        category_by_sku[product.sku] = product.category
        shelves[product.category].append(product.sku)
    views = [
        view
        for sale in sales
        for view in _views_before(sale, seed=seed, shelves=shelves, category_by_sku=category_by_sku)
    ]
    views.sort(key=lambda view: (view.occurred_at, view.session, view.sku))
    return tuple(views)


def _views_before(
    sale: Sale,
    *,
    seed: str,
    shelves: Mapping[str, Sequence[str]],
    category_by_sku: Mapping[str, str],
) -> Iterable[View]:
    seen: list[str] = []
    for sku in dict.fromkeys(line.sku for line in sale.lines):
        if draw(seed, "view", sale.invoice, sku) < VIEWED_SHARE:
            seen.append(sku)
        if draw(seed, "browse", sale.invoice, sku) < BROWSED_SHARE:
            seen.append(pick(shelves[category_by_sku[sku]], seed, "shelf", sale.invoice, sku))
        if len(seen) >= VIEWS_PER_ORDER_MAX:
            break
    for position, sku in enumerate(reversed(seen), start=1):
        yield View(
            visitor=f"visitor-{sale.customer}",
            customer=sale.customer,
            session=f"session-{sale.invoice}",
            sku=sku,
            occurred_at=sale.placed_at - timedelta(seconds=_SECONDS_BETWEEN_VIEWS * position),
        )
