"""Warehouses over HTTP."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE, PutWarehouseRequest, WarehouseResponse
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX
from services.inventory.domain.warehouses import Warehouse, WarehouseKind, WarehouseNotFound
from services.inventory.handlers.warehouses import put_warehouse

WarehouseCode = Annotated[str, Path(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of warehouses."""
    router = APIRouter(prefix="/v1")
    database, tools_of, views_of = use_cases.database, use_cases.tools_of, use_cases.views_of

    @router.put(
        "/warehouses/{warehouse}",
        dependencies=[requires("stock:manage")],
        responses={HTTPStatus.CREATED: {"model": WarehouseResponse, "description": "It is new."}},
    )
    async def put(warehouse: WarehouseCode, body: PutWarehouseRequest, response: Response) -> WarehouseResponse:
        """Register a warehouse, or change it; saying the same again changes nothing."""
        wanted = Warehouse(code=warehouse, **body.model_dump() | {"kind": WarehouseKind(body.kind)})

        async def work(transaction: Transaction) -> tuple[Warehouse, bool]:
            return await put_warehouse(wanted, tools=tools_of(transaction))

        saved, is_new = await database.run(work)
        if is_new:
            response.status_code = HTTPStatus.CREATED
        return _response(saved)

    @router.get("/warehouses", dependencies=[requires("stock:read")])
    async def list_warehouses(
        limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None
    ) -> Page[WarehouseResponse]:
        """List warehouses in the order of their codes."""
        (after,) = Cursor.decode(cursor, tuple[str]) if cursor else ("",)

        async def work(transaction: Transaction) -> list[Warehouse]:
            return await views_of(transaction).warehouses(after=after, limit=limit + 1)

        found = await database.run(work)
        return page_of(found, limit=limit, key=lambda one: (one.code,), item=_response)

    @router.get("/warehouses/{warehouse}", dependencies=[requires("stock:read")])
    async def show_warehouse(warehouse: WarehouseCode) -> WarehouseResponse:
        """Show one warehouse."""

        async def work(transaction: Transaction) -> Warehouse | None:
            return await views_of(transaction).warehouse(warehouse)

        found = await database.run(work)
        if found is None:
            raise WarehouseNotFound("No warehouse is registered under this code.")
        return _response(found)

    return router


def _response(warehouse: Warehouse) -> WarehouseResponse:
    return WarehouseResponse(
        warehouse=warehouse.code,
        version=warehouse.version,
        name=warehouse.name,
        country=warehouse.country,
        latitude=warehouse.latitude,
        longitude=warehouse.longitude,
        priority=warehouse.priority,
        is_active=warehouse.is_active,
        kind=warehouse.kind.value,
        ships_orders=warehouse.ships_orders,
        is_collection_point=warehouse.is_collection_point,
    )
