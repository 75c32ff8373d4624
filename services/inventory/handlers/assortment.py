"""What the catalog sells, kept in memory to find alternatives in: a copy of its compacted topic."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from libs.common.events.base import Envelope
from libs.common.events.catalog import ProductChanged, ProductDelisted, ProductListed, ProductPriceChanged
from libs.common.events.shapes import AlternativeSku
from services.inventory.domain.alternatives import (
    AlternativesPolicy,
    CategoryPath,
    Likeness,
    Product,
    likeness,
    product_of,
    rank_alternatives,
    wanted_of,
)

PRODUCT_EVENTS: Final = (ProductListed, ProductChanged, ProductPriceChanged, ProductDelisted)
# The most like products of a SKU that are looked at for units, and how many are compared to find them.
LIKE_MAX: Final = 100
_COMPARED_MAX: Final = 400
_REMEMBERED_SKUS_MAX: Final = 5_000

# Products of a category, or of none, in one currency: price and SKU, in this order.
_Shelf = list[tuple[int, str]]


class Assortment:
    """
    The copy. It is changed by one task and read by the same event loop, so that it needs no lock.

    What is like a SKU is worked out when it is asked for and kept until the catalog changes. While the catalog is being
    read for the first time nothing is like anything: what was listed once may have been delisted since.
    """

    def __init__(self, policy: AlternativesPolicy = AlternativesPolicy()) -> None:  # noqa: B008 - immutable
        """Start empty; a follower fills it."""
        self.policy = policy
        self.is_complete = False
        self._products: dict[str, Product] = {}
        self._shelves: dict[tuple[str | None, str], _Shelf] = {}
        # Where no category says what belongs together: SKUs by the words of their titles.
        self._by_word: dict[str, dict[str, None]] = {}
        self._paths: dict[str, CategoryPath] = {}
        self._path_times: dict[str, datetime] = {}
        self._below: dict[str, set[str]] = {}
        self._like: dict[str, Sequence[Likeness]] = {}

    def __len__(self) -> int:
        """How many SKUs the catalog has told of."""
        return len(self._products)

    def has(self, sku: str) -> bool:
        """Tell whether the catalog has a SKU, delisted or not; while it is being read for the first time it may."""
        return not self.is_complete or sku in self._products

    def complete(self) -> None:
        """Note that the catalog has been read to its end once."""
        self.is_complete = True

    def apply(self, envelope: Envelope) -> None:
        """Take in one event; one that is older than what is known changes nothing."""
        event = envelope.event
        if not isinstance(event, PRODUCT_EVENTS):
            return
        known = self._products.get(event.sku)
        version = envelope.aggregate_version or 0
        if known is not None and version <= known.version:
            return
        if known is not None:
            self._take_down(known)
        product = product_of(
            event.sku,
            version=version,
            title=event.title,
            category=event.category,
            price_minor=event.price_minor,
            currency=event.currency,
            is_listed=event.is_listed,
            attributes=event.attributes,
        )
        if product.category is not None:
            self._place(product.category, tuple(event.category_path), envelope.time)
        self._products[product.sku] = product
        if product.is_listed:
            self._put_up(product)
        self._like.clear()

    def forget(self, key: bytes) -> None:
        """Forget a SKU whose record was deleted; told of again, it is new, whatever its version."""
        known = self._products.pop(key.decode(errors="replace"), None)
        if known is not None:
            self._take_down(known)
            self._like.clear()

    def like(self, sku: str) -> Sequence[Likeness]:
        """Return what is sold and like a SKU, the most like first; nothing if the catalog does not know it."""
        if not self.is_complete:
            return ()
        found = self._like.get(sku)
        if found is None:
            if len(self._like) >= _REMEMBERED_SKUS_MAX:
                self._like.clear()
            found = self._like[sku] = self._compare(sku)
        return found

    def alternatives(self, sku: str, units_of: Callable[[str], int], *, quantity: int) -> Sequence[AlternativeSku]:
        """Return what of `quantity` is free by `units_of` and can be bought instead of a SKU, the best first."""
        wanted = self._products.get(sku)
        if wanted is None:
            return ()
        with_units = ((one, units_of(one.product.sku)) for one in self.like(sku))
        return rank_alternatives(wanted, [each for each in with_units if each[1] >= quantity], self.policy)

    def _compare(self, sku: str) -> Sequence[Likeness]:
        wanted = self._products.get(sku)
        if wanted is None:
            return ()
        basis = wanted_of(wanted)
        found = [
            one
            for other in islice(self._candidates(wanted), _COMPARED_MAX)
            if (one := likeness(basis, self._products[other], self._paths, self.policy)) is not None
        ]
        found.sort(key=lambda one: (-one.weighted / one.weight if one.weight else 0.0, one.product.sku))
        return found[:LIKE_MAX]

    def _candidates(self, wanted: Product) -> Iterator[str]:
        """Go from the category outwards, in each by nearness of price; without one, from the rarest word on."""
        if wanted.category is None:
            yield from self._with_words(wanted.words)
            return
        seen = {wanted.category}
        yield from self._near_in_price(wanted, seen)
        for ancestor in reversed(self._paths.get(wanted.category, ())):
            categories = self._below.get(ancestor, set()) - seen
            seen |= categories
            yield from self._near_in_price(wanted, categories)

    def _near_in_price(self, wanted: Product, categories: Collection[str]) -> Iterator[str]:
        price, ratio = wanted.price_minor, self.policy.price_ratio_max
        found: list[tuple[int, str]] = []
        for category in categories:
            shelf = self._shelves.get((category, wanted.currency), ())
            if price <= 0:
                found.extend(shelf[:_COMPARED_MAX])
                continue
            middle = bisect_left(shelf, (price,))
            first = max(bisect_left(shelf, (int(price / ratio),)), middle - _COMPARED_MAX)
            last = min(bisect_right(shelf, (int(price * ratio) + 1,)), middle + _COMPARED_MAX)
            found.extend(shelf[first:last])
        found.sort(key=lambda one: (abs(one[0] - price), one[1]))
        return (sku for _, sku in found)

    def _with_words(self, words: Iterable[str]) -> Iterator[str]:
        seen: set[str] = set()
        postings = sorted([self._by_word[word] for word in words if word in self._by_word], key=len)
        for skus in postings:
            for sku in islice(skus, _COMPARED_MAX):
                if sku not in seen:
                    seen.add(sku)
                    yield sku

    def _place(self, category: str, path: CategoryPath, told_at: datetime) -> None:
        """Keep where a category lies by whoever told of it last: each of its products does."""
        if category in self._paths and told_at < self._path_times[category]:
            return
        self._path_times[category] = told_at
        path = path if path and path[-1] == category else (category,)
        before = self._paths.get(category, ())
        if path == before:
            return
        for ancestor in before:
            self._below[ancestor].discard(category)
        for ancestor in path:
            self._below.setdefault(ancestor, set()).add(category)
        self._paths[category] = path

    def _put_up(self, product: Product) -> None:
        insort(self._shelves.setdefault((product.category, product.currency), []), (product.price_minor, product.sku))
        if product.category is None:
            for word in product.words:
                self._by_word.setdefault(word, {})[product.sku] = None

    def _take_down(self, product: Product) -> None:
        if not product.is_listed:
            return
        shelf = self._shelves[product.category, product.currency]
        del shelf[bisect_left(shelf, (product.price_minor, product.sku))]
        if product.category is None:
            for word in product.words:
                del self._by_word[word][product.sku]


NO_ASSORTMENT: Final = Assortment(AlternativesPolicy(alternatives_max=0))


def usable_units(
    free: Mapping[str, int], *, sending: Collection[str], collect_at: str | None, is_split_allowed: bool
) -> int:
    """Return how many of the free units, by warehouse, one order can have: in parcels, in one, or in a store."""
    if collect_at is not None:
        return free.get(collect_at, 0)
    units = [quantity for code, quantity in free.items() if code in sending]
    return sum(units) if is_split_allowed else max(units, default=0)
