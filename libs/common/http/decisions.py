"""Why a service decided as it did: one address and one form of answer for all that keep decision records."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request

from libs.common.db import Database
from libs.common.decisions import Decision
from libs.common.decisions.storage import decisions_about
from libs.common.http.auth import requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of


class AlternativeResponse(BaseModel):
    """Something that could have been chosen."""

    option: str
    score: float | None
    details: dict[str, Any]


class DecisionResponse(BaseModel):
    """One automated choice and its reason; `rule` is the rule or model and its version."""

    id: UUID
    decision: str
    subject: str
    chosen: str
    reason: str
    rule: str
    decided_at: datetime
    alternatives: list[AlternativeResponse]
    inputs: dict[str, Any]


def decisions_router(database_of: Callable[[Request], Database], *, scope: str, about: str) -> APIRouter:
    """
    Return `GET /v1/decisions` of a service, for callers with `scope`.

    `database_of` finds its records; `about` is what most of them are about, such as `order`.
    """
    subject_of_query = Query(
        pattern=r"^[a-z-]+:[\x21-\x7e]+$",
        max_length=200,
        description="What was decided about: its kind, a colon, its id.",
        examples=[f"{about}:018f2b6a-0000-7000-8000-000000000001"],
    )
    router = APIRouter(prefix="/v1", tags=["decisions"], dependencies=[requires(scope)])

    @router.get("/decisions")
    async def list_decisions(
        request: Request,
        subject: Annotated[str, subject_of_query],
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
        cursor: PageCursor = None,
    ) -> Page[DecisionResponse]:
        """Say why: the decisions about a subject, the latest first."""
        before_id = Cursor.decode(cursor, tuple[UUID])[0] if cursor else None
        found = await database_of(request).run(
            lambda transaction: decisions_about(transaction, subject=subject, before_id=before_id, limit=limit + 1)
        )
        return page_of(found, limit=limit, key=lambda one: (one.id,), item=_response)

    return router


def _response(decision: Decision) -> DecisionResponse:
    return DecisionResponse.model_validate(msgspec.to_builtins(decision))
