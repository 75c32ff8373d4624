"""The ageing of stock over HTTP: units and value by how long they have been there, or still keep."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.csv import Cell, ExportFormat, csv_response, wants_csv
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.ageing import Ageing, AgeingBy, AgeingRow, Layer
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX
from services.inventory.domain.stock_figures import rounded

_PAGE_SKUS: Final = 1_000

WarehouseFilter = Annotated[str | None, Query(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]
By = Annotated[AgeingBy, Query(description="By days since receipt, or by days until expiry.")]


class AgeingAmount(BaseModel):
    """The value in one currency."""

    currency: str
    value_minor: int


class AgeingRowResponse(BaseModel):
    """Units of one age in one warehouse, and what they cost."""

    warehouse: str
    days: str = Field(description="Days since receipt, or until expiry.")
    units: int
    uncosted_units: int = Field(description="Of the units, those of unknown cost; they are worth nothing here.")
    amounts: list[AgeingAmount]


class AgeingResponse(BaseModel):
    """The ageing of stock on hand."""

    by: AgeingBy
    as_of: date
    items: list[AgeingRowResponse]


class LayerResponse(BaseModel):
    """Units that came in together and are still there."""

    sku: str
    warehouse: str
    units: int
    received_at: datetime | None = Field(description="Null for units that were only found.")
    days_since_receipt: int | None
    lot: str | None
    expires_on: date | None
    days_to_expiry: int | None
    unit_cost_minor: Decimal | None
    currency: str | None


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of the ageing report."""
    router = APIRouter(prefix="/v1", dependencies=[requires("stock:read")])
    database, ageing_of = use_cases.database, use_cases.ageing_of

    async def read_page(warehouse: str | None, after_sku: str, limit: int) -> tuple[Sequence[Layer], str | None]:
        async def work(transaction: Transaction) -> tuple[Sequence[Layer], str | None]:
            return await ageing_of(transaction).layers(
                warehouse=warehouse, after_sku=after_sku, limit=limit, now=use_cases.clock.now()
            )

        return await database.run(work)

    async def read_all(warehouse: str | None) -> AsyncIterator[Sequence[Layer]]:
        after_sku: str | None = ""
        while after_sku is not None:
            layers, after_sku = await read_page(warehouse, after_sku, _PAGE_SKUS)
            yield layers

    @router.get("/stock-ageing", response_model=AgeingResponse)
    async def show_ageing(
        request: Request,
        by: By = AgeingBy.RECEIPT,
        warehouse: WarehouseFilter = None,
        export_format: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
    ) -> Response:
        """Show how old stock is, or how long it keeps, by warehouse: units and value."""
        as_csv = wants_csv(request)
        ageing = Ageing(by, use_cases.clock.now().date())
        async for layers in read_all(warehouse):
            ageing.add(layers)
        rows = ageing.rows()
        if as_csv:
            own = [name for name in AgeingRowResponse.model_fields if name != "amounts"]
            return await csv_response(
                [*own, *AgeingAmount.model_fields], _row_pages(rows), filename=f"stock-ageing-by-{by}.csv"
            )
        content = AgeingResponse(by=by, as_of=ageing.today, items=[_row(row) for row in rows])
        return Response(content.model_dump_json(), media_type="application/json")

    @router.get("/stock-ageing/layers", response_model=Page[LayerResponse])
    async def list_layers(
        request: Request,
        warehouse: WarehouseFilter = None,
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
        cursor: PageCursor = None,
        export_format: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
    ) -> Response:
        """List what the report is made of, `limit` SKUs a page; as CSV all of it."""
        as_csv = wants_csv(request)
        today = use_cases.clock.now().date()
        if as_csv:
            columns = list(LayerResponse.model_fields)
            pages = _layer_pages(read_all(warehouse), today)
            return await csv_response(columns, pages, filename="stock-layers.csv")
        (after_sku,) = Cursor.decode(cursor, tuple[str]) if cursor else ("",)
        layers, last_sku = await read_page(warehouse, after_sku, limit)
        page = Page[LayerResponse](
            items=[_layer(layer, today) for layer in layers],
            next_cursor=None if last_sku is None else Cursor.encode(last_sku),
        )
        return Response(page.model_dump_json(), media_type="application/json")

    return router


def _row(row: AgeingRow) -> AgeingRowResponse:
    return AgeingRowResponse(
        warehouse=row.warehouse,
        days=row.bucket,
        units=row.units,
        uncosted_units=row.uncosted_units,
        amounts=[AgeingAmount(currency=currency, value_minor=value) for currency, value in row.values_minor.items()],
    )


def _layer(layer: Layer, today: date) -> LayerResponse:
    return LayerResponse(
        sku=layer.sku,
        warehouse=layer.warehouse,
        units=layer.units,
        received_at=layer.received_at,
        days_since_receipt=None if layer.received_at is None else (today - layer.received_at.date()).days,
        lot=layer.lot,
        expires_on=layer.expires_on,
        days_to_expiry=None if layer.expires_on is None else (layer.expires_on - today).days,
        unit_cost_minor=None if layer.unit_cost_minor is None else rounded(layer.unit_cost_minor),
        currency=layer.currency,
    )


async def _row_pages(rows: Sequence[AgeingRow]) -> AsyncIterator[list[Sequence[Cell]]]:
    """Yield a line for each currency, or one without any."""
    yield [
        [row.warehouse, row.bucket, row.units, row.uncosted_units, *amount]
        for row in rows
        for amount in row.values_minor.items() or [(None, None)]
    ]


async def _layer_pages(pages: AsyncIterator[Sequence[Layer]], today: date) -> AsyncIterator[list[Sequence[Cell]]]:
    async for layers in pages:
        yield [list(_layer(layer, today).model_dump().values()) for layer in layers]
