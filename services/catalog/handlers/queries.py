"""What can be asked of the catalog, and the form of the answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from services.catalog.domain.category import Category
from services.catalog.domain.product import Product

Sort: TypeAlias = Literal["newest", "price", "title"]
Status: TypeAlias = Literal["listed", "delisted", "all"]
MatchedBy: TypeAlias = Literal["words", "similarity"]

# The value sorted by, and the SKU: the last item of one page, after which the next begins.
ListPosition: TypeAlias = tuple[datetime | int | str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFilter:
    """Which products are wanted; a category stands for all below it as well."""

    status: Status = "listed"
    category: str | None = None
    words: str | None = None
    currency: str | None = None
    price_min_minor: int | None = None
    price_max_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPosition:
    """Where a page of search results ended; the next one is found in the same way."""

    matched_by: MatchedBy
    score: float
    sku: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A product that was found, and how well it matches: higher is better, within one search only."""

    product: Product
    score: float


@dataclass(frozen=True, slots=True)
class Facet:
    """How many of the matches lie directly in a category, None for those in no category."""

    category: str | None
    name: str | None
    products: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One page of hits, best first, and how they were found."""

    hits: Sequence[Hit]
    matched_by: MatchedBy
    facets: Sequence[Facet] = field(default=())


class CatalogViews(Protocol):
    """The catalog, for reading."""

    async def product(self, sku: str) -> Product:
        """
        Return a product, listed or not.

        :raises ProductNotFound: if there is none.
        """
        ...

    async def products(
        self, wanted: ProductFilter, *, sort: Sort, after: ListPosition | None, limit: int
    ) -> Sequence[Product]:
        """Return up to `limit` products in order, those behind `after` if given."""
        ...

    async def search(
        self,
        words: str,
        wanted: ProductFilter,
        *,
        after: SearchPosition | None,
        limit: int,
        has_facets: bool,
    ) -> SearchResult:
        """Return up to `limit` hits by rank: by their words, or, where none has them, by similar words."""
        ...

    async def category(self, code: str) -> Category:
        """
        Return a category.

        :raises CategoryNotFound: if there is none.
        """
        ...

    async def categories(self, *, parent: str | None, after: str | None, limit: int) -> Sequence[Category]:
        """Return up to `limit` categories by code, those directly below `parent` if given."""
        ...
