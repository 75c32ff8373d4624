"""Lots, and which of them to take for an order, over HTTP."""

from datetime import date, datetime
from itertools import groupby
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from libs.common.db import Transaction
from libs.common.http.auth import requires
from services.inventory.api.dependencies import UseCases
from services.inventory.domain.lots import NO_LOT
from services.inventory.domain.picks import picks_of
from services.inventory.domain.plausibility import SKU_CHARACTERS_MAX
from services.inventory.domain.reservations import ReservationNotFound
from services.inventory.handlers.ports import LotBalance
from services.inventory.handlers.queries import ReservationView, StockNotFound

Sku = Annotated[str, Path(max_length=SKU_CHARACTERS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")]


class LotResponse(BaseModel):
    """Units of one lot in one warehouse."""

    warehouse: str
    lot: str | None = Field(description="Null for units whose lot nobody named.")
    units: int
    expires_on: date | None
    usable_until: date | None = Field(description="After this day the units are not promised.")
    is_blocked: bool
    received_at: datetime | None


class LotsResponse(BaseModel):
    """The lots of a SKU, in each warehouse the first to expire first; none if it does not track them."""

    sku: str
    tracks_lots: bool
    lots: list[LotResponse]


class PickResponse(BaseModel):
    """Units to take from the shelf."""

    sku: str
    warehouse: str
    quantity: int
    lot: str | None = Field(description="Null where it does not matter which.")
    expires_on: date | None


class PicksResponse(BaseModel):
    """What to take, of what is held for an order or as a hold."""

    reservation_id: UUID = Field(description="The order's id, or that of the hold.")
    picks: list[PickResponse]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes of lots."""
    router = APIRouter(prefix="/v1", dependencies=[requires("stock:read")])
    database, views_of, lots_of = use_cases.database, use_cases.views_of, use_cases.lots_of

    @router.get("/stock/{sku}/lots")
    async def list_lots(sku: Sku) -> LotsResponse:
        """List what is there of each lot of a SKU."""

        async def work(transaction: Transaction) -> LotsResponse:
            policy = await views_of(transaction).policy(sku)
            if policy is None:
                raise StockNotFound("No warehouse has ever reported anything about this SKU.")
            found = await lots_of(transaction).of_sku(sku)
            return LotsResponse(sku=sku, tracks_lots=policy.tracks_lots, lots=[_lot(one) for one in found])

        return await database.run(work)

    @router.get("/reservations/{reservation_id}/picks")
    async def list_picks(reservation_id: UUID) -> PicksResponse:
        """Say which units to take for an order: of SKUs that track lots, those that expire first."""

        async def work(transaction: Transaction) -> PicksResponse:
            reservation = await views_of(transaction).reservation(reservation_id)
            if reservation is None:
                raise ReservationNotFound("Nothing was ever reserved under this id.")
            return await _picks(reservation, transaction)

        return await database.run(work)

    async def _picks(reservation: ReservationView, transaction: Transaction) -> PicksResponse:
        lots = lots_of(transaction)
        usable: dict[tuple[str, str], list[LotBalance]] = {}
        for one in await lots.of_order(reservation.order_id):
            usable.setdefault((one.sku, one.warehouse), []).append(one)
        picks: list[PickResponse] = []
        holders = await lots.holders_beside(reservation.order_id)
        for (sku, warehouse), level in groupby(holders, key=lambda one: (one.sku, one.warehouse)):
            found = picks_of(
                reservation.order_id,
                sku=sku,
                warehouse=warehouse,
                holders=[(one.order_id, one.units) for one in level],
                lots=[one.lot for one in usable.get((sku, warehouse), ())],
            )
            picks += [PickResponse(**pick._asdict()) for pick in found]
        return PicksResponse(reservation_id=reservation.order_id, picks=picks)

    return router


def _lot(balance: LotBalance) -> LotResponse:
    lot = balance.lot
    return LotResponse(
        warehouse=balance.warehouse,
        lot=None if lot.lot == NO_LOT else lot.lot,
        units=lot.units,
        expires_on=lot.expires_on,
        usable_until=balance.usable_until,
        is_blocked=balance.is_blocked,
        received_at=lot.received_at,
    )
