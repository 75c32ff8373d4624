"""Events that the catalog publishes."""

from datetime import datetime
from typing import ClassVar

import msgspec

from libs.common.events.base import Event, Topic
from libs.common.events.topics import CATALOG_PRODUCT


class _ProductState(Event, frozen=True, kw_only=True):
    """The whole product, because the topic is compacted to the latest event of each SKU."""

    topic: ClassVar[Topic] = CATALOG_PRODUCT

    sku: str
    title: str
    category: str | None
    price_minor: int
    currency: str
    is_listed: bool
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    listed_at: datetime | None = None
    # Codes of categories from the root down to the product's own, when this was told.
    category_path: list[str] = msgspec.field(default_factory=list)


class ProductListed(_ProductState, frozen=True, kw_only=True):
    """A product can now be bought."""

    type: ClassVar[str] = "product.listed"


class ProductChanged(_ProductState, frozen=True, kw_only=True):
    """A product's description, category or attributes changed."""

    type: ClassVar[str] = "product.changed"


class ProductPriceChanged(_ProductState, frozen=True, kw_only=True):
    """A product's price changed; the other fields may have changed with it."""

    type: ClassVar[str] = "product.price-changed"

    previous_price_minor: int


class ProductDelisted(_ProductState, frozen=True, kw_only=True):
    """A product can no longer be bought."""

    type: ClassVar[str] = "product.delisted"
