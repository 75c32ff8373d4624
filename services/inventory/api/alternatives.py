"""What can be bought instead of something, answered from memory."""

from datetime import datetime
from itertools import islice
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from libs.common.http.auth import requires
from libs.common.http.query import IN_DIGITS
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE, RestockResponse
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX, SKU_CHARACTERS_MAX, UNITS_MAX

_TEXT: Final = r"^[^\x00-\x1f\x7f]+$"
_EXCLUDED_MAX: Final = 200
Sku = Annotated[str, Path(min_length=1, max_length=SKU_CHARACTERS_MAX, pattern=_TEXT)]
Excluded = Annotated[str, Field(min_length=1, max_length=SKU_CHARACTERS_MAX)]


class AlternativeSkuResponse(BaseModel):
    """A SKU that can be bought instead; the price is what the catalog asks, in minor units."""

    model_config = ConfigDict(from_attributes=True)

    sku: str
    price_minor: int
    currency: str
    available: int
    score: float = Field(description="How good an alternative it is, between 0 and 1.")
    reason: str


class AlternativesResponse(BaseModel):
    """What is free in the quantity that was asked for and could be bought instead of `sku`, the best first."""

    sku: str
    quantity: int
    available: int = Field(description="Units of the SKU itself that can be promised.")
    restock: RestockResponse | None = Field(description="When the SKU itself is expected.")
    as_of: datetime
    is_catalog_read: bool = Field(description="Until the catalog has been read once nothing is offered.")
    items: list[AlternativeSkuResponse]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the route of alternatives."""
    router = APIRouter(prefix="/v1")
    availability, assortment = use_cases.availability, use_cases.assortment

    @router.get("/availability/{sku}/alternatives", dependencies=[requires("availability:read")])
    async def show_alternatives(
        sku: Sku,
        quantity: Annotated[int, Query(ge=1, le=UNITS_MAX), IN_DIGITS] = 1,
        collect_at: Annotated[
            str | None,
            Query(
                pattern=WAREHOUSE_CODE,
                max_length=CODE_CHARACTERS_MAX,
                description="Count what is in this store, not what can be sent.",
            ),
        ] = None,
        exclude: Annotated[
            list[Excluded], Query(max_length=_EXCLUDED_MAX, description="SKUs that are in the cart already.")
        ] = [],  # noqa: B006 - never changed
    ) -> AlternativesResponse:
        """
        Name what can be bought instead of a SKU: like it, near in price, and free in the whole quantity now.

        It is no promise, and nothing is offered of a SKU that the catalog does not know.
        """
        ranked = assortment.alternatives(
            sku, lambda one: availability.units(one, collect_at=collect_at), quantity=quantity
        )
        offered = islice((one for one in ranked if one.sku not in exclude), assortment.policy.alternatives_max)
        restock = availability.restock(sku)
        return AlternativesResponse(
            sku=sku,
            quantity=quantity,
            available=availability.units(sku, collect_at=collect_at),
            restock=None if restock is None else RestockResponse.model_validate(restock, from_attributes=True),
            as_of=availability.as_of,
            is_catalog_read=assortment.is_complete,
            items=[AlternativeSkuResponse.model_validate(one) for one in offered],
        )

    return router
