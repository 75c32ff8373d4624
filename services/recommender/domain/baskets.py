"""Baskets, the pairs of products in them, and what each pair counts for."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from services.recommender.domain.popularity import NOTHING

# Weights are whole thousandths, so that sums are exact and do not depend on the order of events.
WEIGHT_UNIT: Final = 1000
# A wholesaler's order can have over a thousand lines: 620,000 pairs, each of which says next to nothing.
BASKET_SKUS_MAX: Final = 50


def basket_weight(size: int) -> int:
    """
    Return what a basket of `size` distinct products counts for, in thousandths: 1/log2(1 + size).

    The larger a basket, the less any two products in it have to do with each other; the logarithm is the
    discount of Adamic & Adar, "Friends and neighbors on the Web" (Social Networks 25, 2003).
    """
    if size < 1:
        message = "a basket holds at least one product"
        raise ValueError(message)
    return round(WEIGHT_UNIT / math.log2(1 + size))


def sampled(skus: Iterable[str], *, basket_id: str) -> tuple[str, ...]:
    """
    Return the distinct `skus` of a basket, in order; at most 50, chosen by a hash of basket and product.

    The hash makes the choice random over baskets, so that no product is favoured, and the same whenever the
    same basket is counted again.
    """
    distinct = sorted(set(skus))
    if len(distinct) <= BASKET_SKUS_MAX:
        return tuple(distinct)
    chosen = sorted(distinct, key=lambda sku: _draw(basket_id, sku))[:BASKET_SKUS_MAX]
    return tuple(sorted(chosen))


def _draw(basket_id: str, sku: str) -> bytes:
    return hashlib.blake2b(f"{basket_id}/{sku}".encode(), digest_size=8).digest()


@dataclass(slots=True)
class PairWeight:
    """How strongly two products go together; `viewed_derived` is the part of `viewed` nobody observed."""

    bought: int = 0
    viewed: int = 0
    viewed_derived: int = 0


@dataclass(slots=True)
class ItemWeight:
    """In how many baskets and browsing windows a product was, by weight, and its popularity."""

    bought: int = 0
    viewed: int = 0
    popularity: float = NOTHING


@dataclass(slots=True)
class Tally:
    """
    Counts of a batch of events, one entry for each product and each pair, whatever the batch holds.

    A pair's key is (smaller SKU, larger SKU): which of the two came first never matters.
    """

    items: defaultdict[str, ItemWeight] = field(default_factory=lambda: defaultdict(ItemWeight))
    pairs: defaultdict[tuple[str, str], PairWeight] = field(default_factory=lambda: defaultdict(PairWeight))

    def count_purchase(self, skus: Iterable[str], *, basket_id: str) -> None:
        """
        Count the pairs of one order.

        The weight goes by the whole order's size. Products that the sample leaves out are not counted as
        bought either: a pair can then never outweigh one of its products.
        """
        distinct = set(skus)
        if not distinct:
            return
        weight = basket_weight(len(distinct))
        basket = sampled(distinct, basket_id=basket_id)
        for sku in basket:
            self.items[sku].bought += weight
        for pair in combinations(basket, 2):
            self.pairs[pair].bought += weight

    def count_view(self, sku: str) -> None:
        """Count that a product appeared in a browsing window."""
        self.items[sku].viewed += WEIGHT_UNIT

    def count_viewed_together(self, sku: str, other: str, *, is_derived: bool) -> None:
        """Count two different products in one browsing window."""
        if sku == other:
            message = "a product does not go together with itself"
            raise ValueError(message)
        weight = self.pairs[min(sku, other), max(sku, other)]
        weight.viewed += WEIGHT_UNIT
        if is_derived:
            weight.viewed_derived += WEIGHT_UNIT
