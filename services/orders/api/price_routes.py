"""What orders know of the catalog's prices."""

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from libs.common.http.auth import requires
from services.orders.api.backend import BackendOfApp

router = APIRouter(prefix="/v1", tags=["prices"])

_PERIODS_MAX: Final = 200


class PricePeriodResponse(BaseModel):
    """What the catalog asked for a time; a product that was not listed had no price."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    version: int = Field(description="The catalog's version of the product.")
    currency: str
    price_minor: int
    is_listed: bool
    valid_from: datetime
    valid_to: datetime | None = None


class PriceHistoryResponse(BaseModel):
    """A SKU's prices, the latest first; none if the catalog never told of it."""

    model_config = ConfigDict(frozen=True)

    sku: str
    periods: list[PricePeriodResponse]


@router.get("/prices/{sku}", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def get_price_history(
    sku: Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")], backend: BackendOfApp
) -> PriceHistoryResponse:
    """Show the last two hundred prices that new orders are held against."""
    periods = await backend.run(lambda unit: unit.prices.history_of(sku, limit=_PERIODS_MAX))
    return PriceHistoryResponse(sku=sku, periods=[PricePeriodResponse.model_validate(one) for one in periods])
