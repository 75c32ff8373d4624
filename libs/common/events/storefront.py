"""Events about what visitors do; the recommender's intake publishes them for the storefronts."""

from datetime import datetime
from typing import ClassVar

from libs.common.events.base import Event, Topic
from libs.common.events.topics import STOREFRONT_BEHAVIOUR


class _Behaviour(Event, frozen=True, kw_only=True):
    """One act of one visitor; `is_derived` marks acts computed from other data instead of observed."""

    topic: ClassVar[Topic] = STOREFRONT_BEHAVIOUR

    visitor_id: str
    occurred_at: datetime
    customer_id: str | None = None
    session_id: str | None = None
    is_derived: bool = False


class ProductViewed(_Behaviour, frozen=True, kw_only=True):
    """A visitor looked at a product."""

    type: ClassVar[str] = "product.viewed"

    sku: str


class ProductClicked(_Behaviour, frozen=True, kw_only=True):
    """A visitor followed a link to a product, for example from a recommendation or a search."""

    type: ClassVar[str] = "product.clicked"

    sku: str
    placement: str | None = None
    recommendation_id: str | None = None


class SearchPerformed(_Behaviour, frozen=True, kw_only=True):
    """A visitor searched; `results` is how many products were found."""

    type: ClassVar[str] = "search.performed"

    query: str
    results: int | None = None


class CartAdded(_Behaviour, frozen=True, kw_only=True):
    """A visitor put units of a product into the basket."""

    type: ClassVar[str] = "cart.added"

    sku: str
    quantity: int


class CartRemoved(_Behaviour, frozen=True, kw_only=True):
    """A visitor took units of a product out of the basket."""

    type: ClassVar[str] = "cart.removed"

    sku: str
    quantity: int


class RecommendationShown(_Behaviour, frozen=True, kw_only=True):
    """A visitor was shown these products, in this order."""

    type: ClassVar[str] = "recommendation.shown"

    recommendation_id: str
    placement: str
    skus: list[str]
