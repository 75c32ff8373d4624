"""What is missing of a warehouse's reports, over HTTP."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from libs.common.db import Transaction
from libs.common.http.auth import requires
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import WAREHOUSE_CODE
from services.inventory.domain.plausibility import CODE_CHARACTERS_MAX, SEQUENCE_MAX, TEXT_CHARACTERS_MAX
from services.inventory.domain.sequences import Gap, NotMissing, SequenceState
from services.inventory.domain.warehouses import WarehouseNotFound

WarehouseCode = Annotated[str, Path(pattern=WAREHOUSE_CODE, max_length=CODE_CHARACTERS_MAX)]


class GapResponse(BaseModel):
    """Numbers that are missing, from `first` to `last`."""

    first: int
    last: int
    missing: int
    since: datetime = Field(description="When a higher number first came.")


class SequenceConflictResponse(BaseModel):
    """Several events came with one number; all were applied."""

    sequence: int
    event_ids: list[UUID]
    latest_at: datetime


class GapsResponse(Page[GapResponse]):
    """What came of the numbers of one warehouse's reports."""

    warehouse: str
    highest: int | None = Field(description="The highest number seen; absent if the warehouse numbers nothing.")
    missing: int = Field(description="How many numbers below it have not come.")
    given_up: int = Field(description="How many missing numbers are not waited for, because the gaps were too many.")
    conflicts: list[SequenceConflictResponse] = Field(description="The latest.")


class AcceptGapRequest(BaseModel):
    """Missing numbers that will not come."""

    model_config = ConfigDict(extra="forbid", strict=True)

    first: int = Field(ge=1, le=SEQUENCE_MAX)
    last: int = Field(ge=1, le=SEQUENCE_MAX)
    reason: Annotated[
        str, StringConstraints(min_length=1, max_length=TEXT_CHARACTERS_MAX), Field(examples=["before we began"])
    ]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of gaps."""
    router = APIRouter(prefix="/v1/warehouses/{warehouse}/gaps")
    database, sequences_of = use_cases.database, use_cases.sequences_of

    @router.get("", dependencies=[requires("stock:read")])
    async def show_gaps(
        warehouse: WarehouseCode, limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None
    ) -> GapsResponse:
        """Show which numbers of a warehouse's reports are missing since when, and which came more than once."""
        after = Cursor.decode(cursor, tuple[int])[0] if cursor else 0
        if not 0 <= after <= SEQUENCE_MAX:
            after = SEQUENCE_MAX

        async def work(transaction: Transaction) -> SequenceState:
            if await use_cases.views_of(transaction).warehouse(warehouse) is None:
                raise WarehouseNotFound("No warehouse is registered under this code.")
            sequences = sequences_of(transaction)
            await sequences.catch_up(use_cases.clock.now(), is_fresh=True)
            return await sequences.state(warehouse, after=after, limit=limit + 1)

        return _gaps(warehouse, await database.run(work), limit)

    @router.post("/accept", dependencies=[requires("stock:manage")], response_model=GapsResponse)
    async def accept_gap(warehouse: WarehouseCode, body: AcceptGapRequest, write: IdempotentWrite) -> Response:
        """Take missing numbers for lost, so that nobody waits for them; should they come, they are applied."""
        if body.last < body.first:
            raise NotMissing("The last number must not be below the first.", field="last")

        async def effect(transaction: Transaction) -> StoredResponse:
            if await use_cases.views_of(transaction).warehouse(warehouse) is None:
                raise WarehouseNotFound("No warehouse is registered under this code.")
            sequences, now = sequences_of(transaction), use_cases.clock.now()
            await sequences.catch_up(now, is_fresh=True)
            await sequences.accept(
                warehouse,
                first=body.first,
                last=body.last,
                reason=body.reason,
                accepted_by=write.principal,
                accepted_at=now,
            )
            state = await sequences.state(warehouse, after=0, limit=PAGE_LIMIT_DEFAULT + 1)
            answer = _gaps(warehouse, state, PAGE_LIMIT_DEFAULT)
            return StoredResponse(HTTPStatus.OK, answer.model_dump_json().encode())

        return (await use_cases.write(write, effect)).response()

    return router


def _gaps(warehouse: str, state: SequenceState, limit: int) -> GapsResponse:
    page = page_of(state.gaps, limit=limit, key=lambda gap: (gap.first,), item=_gap)
    return GapsResponse(
        warehouse=warehouse,
        highest=state.highest,
        missing=state.missing,
        given_up=state.given_up,
        conflicts=[
            SequenceConflictResponse(sequence=one.sequence, event_ids=list(one.event_ids), latest_at=one.latest_at)
            for one in state.conflicts
        ],
        items=page.items,
        next_cursor=page.next_cursor,
    )


def _gap(gap: Gap) -> GapResponse:
    return GapResponse(first=gap.first, last=gap.last, missing=gap.last - gap.first + 1, since=gap.since)
