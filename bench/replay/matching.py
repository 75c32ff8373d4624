"""Which purchases a cancellation takes back: the data names none, so the latest earlier ones."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from bench.replay.facts import Cancellation, Sale


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodsBack:
    """
    The part of one cancellation that concerns one sale; `quantities` is by SKU.

    `is_whole` says that it takes back every unit of the sale at once.
    """

    cancellation: str
    sale: str
    at: datetime
    quantities: dict[str, int]
    is_whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What cancellations take back, in the order of time, and what fits no earlier purchase."""

    goods_back: tuple[GoodsBack, ...]
    matched_units: int
    unmatched_units: int
    unmatched_cancellations: int


@dataclass(slots=True)
class _Purchase:
    sale: Sale
    remaining: int


# What each customer bought of each SKU, oldest first.
_Purchases = defaultdict[tuple[str, str], list[_Purchase]]


def match_cancellations(sales: Sequence[Sale], cancellations: Sequence[Cancellation]) -> Matching:
    """
    Match every cancelled unit with the customer's latest earlier purchase that still has one.

    A cancellation may split over several sales; a sale at the same minute counts as earlier.
    """
    purchases = _Purchases(list)
    pending = iter(sorted(sales, key=attrgetter("placed_at")))
    upcoming = next(pending, None)
    goods_back: list[GoodsBack] = []
    unmatched_units = unmatched_cancellations = 0
    for cancellation in sorted(cancellations, key=attrgetter("cancelled_at")):
        while upcoming is not None and upcoming.placed_at <= cancellation.cancelled_at:
            _remember(purchases, upcoming)
            upcoming = next(pending, None)
        parts, unmatched = _match(purchases, cancellation)
        goods_back.extend(parts)
        unmatched_units += unmatched
        unmatched_cancellations += not parts
    return Matching(
        goods_back=tuple(goods_back),
        matched_units=sum(sum(back.quantities.values()) for back in goods_back),
        unmatched_units=unmatched_units,
        unmatched_cancellations=unmatched_cancellations,
    )


def bought_quantities(sale: Sale) -> Counter[str]:
    """Return how many units of each SKU a sale has over all its lines."""
    quantities: Counter[str] = Counter()
    for line in sale.lines:
        quantities[line.sku] += line.quantity
    return quantities


def _remember(purchases: _Purchases, sale: Sale) -> None:
    for sku, quantity in bought_quantities(sale).items():
        purchases[sale.customer, sku].append(_Purchase(sale, quantity))


def _match(purchases: _Purchases, cancellation: Cancellation) -> tuple[list[GoodsBack], int]:
    taken: defaultdict[str, Counter[str]] = defaultdict(Counter)
    sales: dict[str, Sale] = {}
    unmatched = 0
    for line in cancellation.lines:
        wanted = line.quantity
        for purchase in reversed(purchases[cancellation.customer, line.sku]):
            units = min(wanted, purchase.remaining)
            if units:
                purchase.remaining -= units
                taken[purchase.sale.invoice][line.sku] += units
                sales[purchase.sale.invoice] = purchase.sale
                wanted -= units
        unmatched += wanted
    parts = [
        GoodsBack(
            cancellation=cancellation.invoice,
            sale=invoice,
            at=cancellation.cancelled_at,
            quantities=dict(quantities),
            is_whole=quantities == bought_quantities(sales[invoice]),
        )
        for invoice, quantities in taken.items()
    ]
    return parts, unmatched
