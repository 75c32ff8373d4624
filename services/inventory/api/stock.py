"""Stock and its ledger, read over HTTP."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import (
    LevelResponse,
    MovementResponse,
    StockResponse,
)
from services.inventory.domain.plausibility import SKU_CHARACTERS_MAX
from services.inventory.handlers.queries import MovementView, StockNotFound, StockView

Sku = Annotated[str, Path(max_length=SKU_CHARACTERS_MAX)]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the reading routes."""
    router = APIRouter(prefix="/v1", dependencies=[requires("stock:read")])
    database, views_of = use_cases.database, use_cases.views_of

    @router.get("/stock/{sku}")
    async def show_stock(sku: Sku) -> StockResponse:
        """Show the levels of a SKU in every warehouse that ever had it."""

        async def work(transaction: Transaction) -> StockView | None:
            return await views_of(transaction).stock(sku)

        found = await database.run(work)
        if found is None:
            raise StockNotFound("No warehouse has ever reported anything about this SKU.")
        return _stock(found)

    @router.get("/stock/{sku}/movements")
    async def list_movements(
        sku: Sku, limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None
    ) -> Page[MovementResponse]:
        """List the ledger of a SKU, latest first: what explains its levels."""
        before = Cursor.decode(cursor, tuple[datetime, int]) if cursor else None

        async def work(transaction: Transaction) -> list[MovementView]:
            return await views_of(transaction).movements(sku, before=before, limit=limit + 1)

        found = await database.run(work)
        return page_of(
            found,
            limit=limit,
            key=lambda one: (one.occurred_at, one.id),
            item=lambda one: MovementResponse(**asdict(one)),
        )

    return router


def _stock(view: StockView) -> StockResponse:
    return StockResponse(
        sku=view.sku,
        version=view.version,
        on_hand=sum(level.on_hand for level in view.levels),
        reserved=sum(level.reserved for level in view.levels),
        available=sum(level.available for level in view.levels),
        levels=[LevelResponse(**asdict(level)) for level in view.levels],
    )
