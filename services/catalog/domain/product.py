"""What a product is, how it changes, and which event tells of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Literal, Self, TypeAlias

from libs.common.errors import Conflict, Invalid, NotFound
from libs.common.events.base import Event
from libs.common.events.catalog import (
    ProductChanged,
    ProductDelisted,
    ProductListed,
    ProductPriceChanged,
)

ATTRIBUTES_MAX = 50

Change: TypeAlias = Literal["listed", "changed", "price-changed", "delisted"]


class ProductNotFound(NotFound):
    """The catalog has no product under this SKU."""

    code: ClassVar[str] = "product-not-found"

    def __init__(self, sku: str) -> None:
        """Name the SKU."""
        super().__init__(f"There is no product {sku}.")


class ProductAlreadyExists(Conflict):
    """A product was to be created under a SKU that is taken; PUT or PATCH changes it."""

    code: ClassVar[str] = "product-already-exists"

    def __init__(self, sku: str) -> None:
        """Name the SKU."""
        super().__init__(f"There is a product {sku} already.", field="sku")


class TooManyAttributes(Invalid):
    """A product would have more attributes than one may have."""

    code: ClassVar[str] = "too-many-attributes"

    def __init__(self) -> None:
        """Name the limit."""
        super().__init__(f"A product may have {ATTRIBUTES_MAX} attributes.", field="attributes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductDetails:
    """Everything about a product that its shop decides; the price is in the minor unit of its currency."""

    title: str
    price_minor: int
    currency: str
    description: str = ""
    category: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    is_listed: bool = True

    def __post_init__(self) -> None:
        """Check what no single field can say."""
        if len(self.attributes) > ATTRIBUTES_MAX:
            raise TooManyAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product as it stands: `version` counts its changes from 1, `listed_at` is when it was first listed."""

    sku: str
    version: int
    details: ProductDetails
    listed_at: datetime | None
    created_at: datetime
    changed_at: datetime

    @classmethod
    def new(cls, sku: str, details: ProductDetails, now: datetime) -> Self:
        """Begin a product."""
        return cls(
            sku=sku,
            version=1,
            details=details,
            listed_at=now if details.is_listed else None,
            created_at=now,
            changed_at=now,
        )

    def with_details(self, details: ProductDetails, now: datetime) -> "Product":
        """Return the next version, or this very object if nothing would differ."""
        if details == self.details:
            return self
        return replace(
            self,
            version=self.version + 1,
            details=details,
            listed_at=self.listed_at or (now if details.is_listed else None),
            changed_at=now,
        )

    def delisted(self, now: datetime) -> "Product":
        """Return the product as one that can no longer be bought."""
        return self.with_details(replace(self.details, is_listed=False), now)


def change_between(before: Product | None, after: Product) -> Change:
    """
    Name the change for whoever follows the catalog; what matters most to a buyer wins.

    A change of currency is no change of price: the two amounts do not compare.
    """
    was_listed = before is not None and before.details.is_listed
    if after.details.is_listed and not was_listed:
        return "listed"
    if was_listed and not after.details.is_listed:
        return "delisted"
    if before is not None and _is_repriced(before.details, after.details):
        return "price-changed"
    return "changed"


def event_of(before: Product | None, after: Product, *, category_path: Sequence[str] = ()) -> Event:
    """
    Return the event that tells of a change; each carries the whole product, as its topic is compacted.

    `category_path` are the codes of its categories from the root down to its own.
    """
    details = after.details
    state: dict[str, Any] = {
        "sku": after.sku,
        "title": details.title,
        "category": details.category,
        "price_minor": details.price_minor,
        "currency": details.currency,
        "is_listed": details.is_listed,
        "attributes": dict(details.attributes),
        "listed_at": after.listed_at,
        "category_path": list(category_path),
    }
    match change_between(before, after):
        case "listed":
            return ProductListed(**state)
        case "delisted":
            return ProductDelisted(**state)
        case "price-changed" if before is not None:
            return ProductPriceChanged(**state, previous_price_minor=before.details.price_minor)
        case _:
            return ProductChanged(**state)


def _is_repriced(before: ProductDetails, after: ProductDetails) -> bool:
    return before.currency == after.currency and before.price_minor != after.price_minor
