"""Reservations and the decisions about them, read over HTTP."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query

from libs.common.db import Transaction
from libs.common.decisions import Decision
from libs.common.http.auth import requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import (
    DecisionResponse,
    ReservationResponse,
    ReservedLineResponse,
    WantedLineResponse,
)
from services.inventory.domain.reservations import ReservationNotFound
from services.inventory.handlers.queries import ReservationView

Subject = Annotated[str, Query(min_length=1, max_length=200, examples=["order:018f2b6a-0000-7000-8000-000000000001"])]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of reservations."""
    router = APIRouter(prefix="/v1")
    database, views_of = use_cases.database, use_cases.views_of

    @router.get("/reservations/{order_id}", dependencies=[requires("reservations:read")])
    async def show_reservation(order_id: UUID) -> ReservationResponse:
        """Show what is held for an order, and what it waits for."""

        async def work(transaction: Transaction) -> ReservationView | None:
            return await views_of(transaction).reservation(order_id)

        found = await database.run(work)
        if found is None:
            raise ReservationNotFound("Nothing was ever reserved for this order.")
        return _reservation(found)

    @router.get("/decisions", dependencies=[requires("stock:read")])
    async def list_decisions(
        subject: Subject, limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None
    ) -> Page[DecisionResponse]:
        """List the decisions about a subject, newest first: why its stock was allocated as it was."""
        before_id = Cursor.decode(cursor, tuple[UUID])[0] if cursor else None

        async def work(transaction: Transaction) -> list[Decision]:
            return await use_cases.decisions_about(transaction, subject=subject, before_id=before_id, limit=limit + 1)

        found = await database.run(work)
        return page_of(found, limit=limit, key=lambda one: (one.id,), item=_decision)

    return router


def _reservation(view: ReservationView) -> ReservationResponse:
    return ReservationResponse.model_validate(
        {
            "order_id": view.order_id,
            "version": view.version,
            "status": view.status,
            "approved_at": view.approved_at,
            "lines": [ReservedLineResponse(**asdict(line)) for line in view.lines],
            "waiting_for": [WantedLineResponse(sku=sku, quantity=quantity) for sku, quantity in view.wanted],
        }
    )


def _decision(decision: Decision) -> DecisionResponse:
    return DecisionResponse.model_validate(msgspec.to_builtins(decision))
