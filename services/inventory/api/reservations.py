"""Reservations, read over HTTP."""

from dataclasses import asdict
from uuid import UUID

from fastapi import APIRouter

from libs.common.db import Transaction
from libs.common.http.auth import requires
from services.inventory.api.dependencies import UseCases
from services.inventory.api.schemas import (
    ReservationResponse,
    ReservedLineResponse,
    WantedLineResponse,
)
from services.inventory.domain.reservations import ReservationNotFound
from services.inventory.handlers.queries import ReservationView


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of reservations."""
    router = APIRouter(prefix="/v1")
    database, views_of = use_cases.database, use_cases.views_of

    @router.get("/reservations/{reservation_id}", dependencies=[requires("reservations:read")])
    async def show_reservation(reservation_id: UUID) -> ReservationResponse:
        """Show what is held for an order or as a hold, and what it waits for."""

        async def work(transaction: Transaction) -> ReservationView | None:
            return await views_of(transaction).reservation(reservation_id)

        found = await database.run(work)
        if found is None:
            raise ReservationNotFound("Nothing was ever reserved under this id.")
        return _reservation(found)

    return router


def _reservation(view: ReservationView) -> ReservationResponse:
    return ReservationResponse.model_validate(
        {
            "reservation_id": view.order_id,
            "version": view.version,
            "status": view.status,
            "approved_at": view.approved_at,
            "lines": [ReservedLineResponse(**asdict(line)) for line in view.lines],
            "waiting_for": [WantedLineResponse(sku=sku, quantity=quantity) for sku, quantity in view.wanted],
        }
    )
