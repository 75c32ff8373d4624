"""Counts that wait for approval, over HTTP."""

from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.idempotency import IdempotentWrite, KeyedWrite, StoredResponse
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory import metrics
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import DecideCountRequest, HeldCountResponse
from services.inventory.domain.counts import CountNotFound, CountStatus, HeldCount
from services.inventory.handlers.counts import Verdict, decide_count

_FIRST: Final = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))

StatusFilter = Annotated[CountStatus | None, Query(description="Only counts of which this became.")]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of counts that were held back."""
    router = APIRouter(prefix="/v1")
    database, tools_of, counts_of = use_cases.database, use_cases.tools_of, use_cases.counts_of

    @router.get("/counts", dependencies=[requires("stock:read")])
    async def list_counts(
        status: StatusFilter = None, limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None
    ) -> Page[HeldCountResponse]:
        """List the counts that were held back, the oldest first."""
        after = Cursor.decode(cursor, tuple[datetime, UUID]) if cursor else _FIRST

        async def work(transaction: Transaction) -> list[HeldCount]:
            return list(await counts_of(transaction).list(status=status, after=after, limit=limit + 1))

        found = await database.run(work)
        return page_of(found, limit=limit, key=lambda one: (one.held_at, one.event_id), item=_response)

    @router.get("/counts/{count_id}", dependencies=[requires("stock:read")])
    async def show_count(count_id: UUID) -> HeldCountResponse:
        """Show a count that was held back."""

        async def work(transaction: Transaction) -> HeldCount | None:
            return await counts_of(transaction).find(count_id)

        found = await database.run(work)
        if found is None:
            raise CountNotFound("No count with this id was held back.")
        return _response(found)

    @router.post(
        "/counts/{count_id}/approve",
        dependencies=[requires("counts:approve")],
        responses={HTTPStatus.OK: {"model": HeldCountResponse}},
    )
    async def approve(count_id: UUID, body: DecideCountRequest, write: IdempotentWrite) -> Response:
        """Believe a count: what it found is booked at the time it was taken."""
        return await _decide(count_id, "approve", body, write)

    @router.post(
        "/counts/{count_id}/reject",
        dependencies=[requires("counts:approve")],
        responses={HTTPStatus.OK: {"model": HeldCountResponse}},
    )
    async def reject(count_id: UUID, body: DecideCountRequest, write: IdempotentWrite) -> Response:
        """Do not believe a count: the ledger stays as it is."""
        return await _decide(count_id, "reject", body, write)

    async def _decide(count_id: UUID, verdict: Verdict, body: DecideCountRequest, write: KeyedWrite) -> Response:
        async def effect(transaction: Transaction) -> StoredResponse:
            decided, desk = await decide_count(
                count_id, verdict=verdict, decided_by=write.principal, reason=body.reason, tools=tools_of(transaction)
            )
            transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))
            return StoredResponse(HTTPStatus.OK, _response(decided).model_dump_json().encode())

        return (await use_cases.write(write, effect)).response()

    return router


def _response(count: HeldCount) -> HeldCountResponse:
    content = asdict(count)
    return HeldCountResponse(id=content.pop("event_id"), discrepancy=count.discrepancy, **content)
