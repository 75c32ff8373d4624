"""Safety stock, backorder limits and lots over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from libs.common.db import Transaction
from libs.common.http.auth import requires
from services.inventory import metrics
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.lots import SHELF_LIFE_DAYS_MAX
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX, SKU_CHARACTERS_MAX, UNITS_MAX
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.queries import StockNotFound
from services.inventory.handlers.stock_policies import put_stock_policy

_WAREHOUSES_MAX = 1_000

Sku = Annotated[str, Path(min_length=1, max_length=SKU_CHARACTERS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")]
WarehouseCode = Annotated[str, Field(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]
Units = Annotated[int, Field(ge=0, le=UNITS_MAX)]


class StockPolicyBody(BaseModel):
    """The policy of a SKU; what is left out is nothing kept back, and no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    safety_stock_units: Units = Field(default=0, description="Kept back in each warehouse.")
    safety_stock_by_warehouse: dict[WarehouseCode, Units] = Field(
        default_factory=dict, max_length=_WAREHOUSES_MAX, description="Kept back in these warehouses instead."
    )
    backorder_units_max: Units | None = Field(
        default=None, description="Orders may wait for that many units together; null for any number."
    )
    tracks_lots: bool = Field(default=False, description="Whether units are of lots, first expired, first out.")
    shelf_life_days_min: Annotated[int, Field(ge=0, le=SHELF_LIFE_DAYS_MAX)] = Field(
        default=0, description="Units that expire in fewer days are not promised."
    )


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of policies."""
    router = APIRouter(prefix="/v1")
    database, tools_of, views_of = use_cases.database, use_cases.tools_of, use_cases.views_of

    @router.put("/stock/{sku}/policy", dependencies=[requires("stock:manage")])
    async def put_policy(sku: Sku, body: StockPolicyBody) -> StockPolicyBody:
        """Set how much of a SKU is kept back and may be waited for; saying the same again changes nothing."""
        policy = StockPolicy(**body.model_dump())

        async def work(transaction: Transaction) -> None:
            desk = await put_stock_policy(sku, policy, tools=tools_of(transaction))
            transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))

        await database.run(work)
        return body

    @router.get("/stock/{sku}/policy", dependencies=[requires("stock:read")])
    async def show_policy(sku: Sku) -> StockPolicyBody:
        """Show how much of a SKU is kept back and may be waited for."""

        async def work(transaction: Transaction) -> StockPolicy | None:
            return await views_of(transaction).policy(sku)

        found = await database.run(work)
        if found is None:
            raise StockNotFound("No warehouse has ever reported anything about this SKU.")
        return StockPolicyBody(
            safety_stock_units=found.safety_stock_units,
            safety_stock_by_warehouse=dict(found.safety_stock_by_warehouse),
            backorder_units_max=found.backorder_units_max,
            tracks_lots=found.tracks_lots,
            shelf_life_days_min=found.shelf_life_days_min,
        )

    return router
