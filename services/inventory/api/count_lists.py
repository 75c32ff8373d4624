"""Count lists over HTTP."""

from collections.abc import AsyncIterator, Sequence
from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.csv import Cell, ExportFormat, csv_response, wants_csv
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.classes import AbcClass
from services.inventory.domain.count_lists import (
    LINES_MAX,
    CountLine,
    CountList,
    CountListNotFound,
    CountListStatus,
)
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX
from services.inventory.handlers.count_lists import cancel_count_list, make_count_list

WarehouseFilter = Annotated[str | None, Query(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]
ShowExpected = Annotated[
    bool, Query(alias="expected", description="Show what the ledger expects; a counter should not know.")
]


class MakeCountListRequest(BaseModel):
    """What to put onto a list: the most urgent SKUs of a warehouse."""

    model_config = ConfigDict(extra="forbid")

    warehouse: str = Field(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX, strict=True)
    size: int = Field(ge=1, le=LINES_MAX, strict=True)
    abc_class: AbcClass | None = Field(default=None, description="Only SKUs of this class.")


class CountListResponse(BaseModel):
    """A list of SKUs to be counted in one warehouse."""

    id: UUID = Field(description="Say it as the `reference` of `goods.counted`.")
    warehouse: str
    day: date | None = Field(description="Set if the list was made by itself for that day.")
    abc_class: AbcClass | None
    status: CountListStatus
    created_at: datetime
    created_by: str
    closed_at: datetime | None
    lines_total: int
    lines_counted: int


class CountLineResponse(BaseModel):
    """A SKU to be counted; what is expected and the discrepancy are shown only if asked for."""

    number: int
    sku: str
    abc_class: AbcClass
    reason: str = Field(description="Why it is on the list: shortfall, discrepancy, due, requested.")
    is_counted: bool
    counted_at: datetime | None
    counted: int | None
    expected: int | None = None
    discrepancy: int | None = None


class CountListWithLinesResponse(CountListResponse):
    """A list with its lines, the most urgent first."""

    lines: list[CountLineResponse]


def router_of(use_cases: UseCases) -> APIRouter:  # noqa: C901 - one function a route
    """Return the routes of count lists."""
    router = APIRouter(prefix="/v1")
    database, tools_of, lists_of = use_cases.database, use_cases.tools_of, use_cases.count_lists_of

    @router.post(
        "/count-lists",
        status_code=HTTPStatus.CREATED,
        dependencies=[requires("stock:write")],
        responses={HTTPStatus.CREATED: {"model": CountListWithLinesResponse}},
    )
    async def make(body: MakeCountListRequest, write: IdempotentWrite) -> Response:
        """Make a list of what is most urgently to be counted in a warehouse and is on no other list."""

        async def effect(transaction: Transaction) -> StoredResponse:
            made = await make_count_list(
                body.warehouse,
                size=body.size,
                abc_class=body.abc_class,
                created_by=write.principal,
                schedule=use_cases.count_schedule,
                tools=tools_of(transaction),
            )
            lines = await lists_of(transaction).lines(made.id)
            content = _with_lines(made, lines, shows_expected=False)
            return StoredResponse(HTTPStatus.CREATED, content.model_dump_json().encode())

        return (await use_cases.write(write, effect)).response()

    @router.post(
        "/count-lists/{list_id}/cancel",
        dependencies=[requires("stock:write")],
        responses={HTTPStatus.OK: {"model": CountListResponse}},
    )
    async def cancel(list_id: UUID, write: IdempotentWrite) -> Response:
        """Close a list that nobody will count any more."""

        async def effect(transaction: Transaction) -> StoredResponse:
            await cancel_count_list(list_id, tools=tools_of(transaction))
            content = _response(await _found(list_id, transaction))
            return StoredResponse(HTTPStatus.OK, content.model_dump_json().encode())

        return (await use_cases.write(write, effect)).response()

    @router.get("/count-lists", dependencies=[requires("stock:read")])
    async def list_lists(
        warehouse: WarehouseFilter = None,
        status: CountListStatus | None = None,
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
        cursor: PageCursor = None,
    ) -> Page[CountListResponse]:
        """List the count lists, the latest first."""
        before = Cursor.decode(cursor, tuple[datetime, UUID]) if cursor else None

        async def work(transaction: Transaction) -> Sequence[CountList]:
            return await lists_of(transaction).list(warehouse=warehouse, status=status, before=before, limit=limit + 1)

        found = await database.run(work)
        return page_of(found, limit=limit, key=lambda one: (one.created_at, one.id), item=_response)

    @router.get(
        "/count-lists/{list_id}",
        dependencies=[requires("stock:read")],
        response_model=CountListWithLinesResponse,
    )
    async def show(
        list_id: UUID,
        request: Request,
        shows_expected: ShowExpected = False,  # noqa: FBT002 - a query parameter
        export_format: ExportFormat = None,  # noqa: ARG001 - read by wants_csv
    ) -> Response:
        """Show a list with its lines, as JSON or CSV to print."""
        as_csv = wants_csv(request)

        async def work(transaction: Transaction) -> tuple[CountList, Sequence[CountLine]]:
            return await _found(list_id, transaction), await lists_of(transaction).lines(list_id)

        found, lines = await database.run(work)
        content = _with_lines(found, lines, shows_expected=shows_expected)
        if not as_csv:
            return Response(content.model_dump_json(), media_type="application/json")
        return await csv_response(
            _columns(shows_expected=shows_expected),
            _pages(content, shows_expected=shows_expected),
            filename=f"count-list-{list_id}.csv",
        )

    async def _found(list_id: UUID, transaction: Transaction) -> CountList:
        found = await lists_of(transaction).find(list_id)
        if found is None:
            raise CountListNotFound("There is no count list with this id.")
        return found

    return router


def _response(one: CountList) -> CountListResponse:
    return CountListResponse.model_validate(one, from_attributes=True)


def _with_lines(one: CountList, lines: Sequence[CountLine], *, shows_expected: bool) -> CountListWithLinesResponse:
    return CountListWithLinesResponse(
        **_response(one).model_dump(), lines=[_line(line, shows_expected=shows_expected) for line in lines]
    )


def _line(line: CountLine, *, shows_expected: bool) -> CountLineResponse:
    is_counted = line.counted is not None
    return CountLineResponse(
        number=line.number,
        sku=line.sku,
        abc_class=line.abc_class,
        reason=line.reason,
        is_counted=is_counted,
        counted_at=line.counted_at,
        counted=line.counted,
        expected=line.expected if shows_expected else None,
        discrepancy=line.counted - line.expected if shows_expected and line.counted is not None else None,
    )


def _columns(*, shows_expected: bool) -> list[str]:
    columns = ["number", "warehouse", "sku", "abc_class", "reason", "counted_at", "counted"]
    return [*columns, "expected", "discrepancy"] if shows_expected else columns


async def _pages(content: CountListWithLinesResponse, *, shows_expected: bool) -> AsyncIterator[list[list[Cell]]]:
    rows: list[list[Cell]] = []
    for line in content.lines:
        row: list[Cell] = [
            line.number,
            content.warehouse,
            line.sku,
            line.abc_class.value,
            line.reason,
            line.counted_at,
            line.counted,
        ]
        rows.append([*row, line.expected, line.discrepancy] if shows_expected else row)
    yield rows
