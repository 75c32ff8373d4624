"""What the use cases need of the outside, each bound to one transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.common.events.base import Event
from services.catalog.domain.category import Category
from services.catalog.domain.product import Product


class ProductRepository(Protocol):
    """The products, for changing them."""

    async def lock(self, skus: Sequence[str]) -> dict[str, Product]:
        """Return those of `skus` that exist, by SKU; nobody else changes them before the transaction ends."""
        ...

    async def add(self, products: Sequence[Product]) -> set[str]:
        """Store new products; return the SKUs stored, without those that somebody else created meanwhile."""
        ...

    async def update(self, products: Sequence[Product]) -> None:
        """Store new versions of locked products."""
        ...


class CategoryRepository(Protocol):
    """The categories, for changing them and for putting products into them."""

    async def paths(self, codes: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the codes from the root down to each of `codes`, itself included, of those that exist."""
        ...

    async def lock_tree(self) -> dict[str, Category]:
        """Return all categories by code; nobody else changes one, or a product, before the transaction ends."""
        ...

    async def save(self, categories: Sequence[Category]) -> None:
        """Store new and changed categories, parents included, and let their products be found by the new names."""
        ...


class ProductEvents(Protocol):
    """What others are told of products."""

    def publish(self, event: Event, *, version: int) -> None:
        """Publish `event`, of this version of its product, if and only if the transaction commits."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOfWork:
    """What one use case may change, all of it together or not at all; `now` is the time at which it happens."""

    products: ProductRepository
    categories: CategoryRepository
    events: ProductEvents
    now: datetime
