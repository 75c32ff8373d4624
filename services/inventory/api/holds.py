"""Holding units before there is an order, over HTTP."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from libs.common.errors import Invalid
from libs.common.events.shapes import Destination
from libs.common.http.auth import Principal, requires
from libs.common.http.idempotency import IdempotentWrite
from libs.common.http.problems import Problem, ProblemError, problem_response
from services.inventory.api.dependencies import UseCases
from services.inventory.api.hold_schemas import (
    CommitHoldRequest,
    ExtendHoldRequest,
    HoldLineRequest,
    HoldResponse,
    PlaceHoldRequest,
)
from services.inventory.domain.holds import ANYWHERE, HoldShort
from services.inventory.domain.plausibility import UNITS_MAX
from services.inventory.handlers.holds import CommitHold, CommitLine, ExtendHold, PlaceHold, ReleaseHold

_SHORT: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.CONFLICT: {"model": Problem, "description": "Short, or there is a reservation of this id."}
}
# Coordinates as coarse as those that orders publish.
_DECIMALS: Final = 1


_CHANGES: Final = "reservations:write"
# Changes whatever anybody holds.
_CHANGES_ANY: Final = "stock:manage"

Caller = Annotated[Principal, requires(_CHANGES)]


def router_of(use_cases: UseCases) -> APIRouter:
    """Return the routes that change holds."""
    router = APIRouter(prefix="/v1", dependencies=[requires(_CHANGES)])
    holds = use_cases.holds

    @router.post("/reservations", status_code=HTTPStatus.CREATED, response_model=HoldResponse, responses=_SHORT)
    async def place(body: PlaceHoldRequest, write: IdempotentWrite, request: Request) -> Response:
        """Hold units until `expires_at`: all of them, or with `best-effort` what there is."""
        command = PlaceHold(
            reservation_id=body.reservation_id,
            channel=body.channel,
            wanted=_units(body.lines),
            destination=_destination(body),
            mode=body.mode,
            is_split_allowed=body.is_split_allowed,
            ttl_seconds=body.ttl_seconds,
            by=write.principal,
        )
        try:
            stored = await holds.submit(write, command)
        except HoldShort as short:
            return _short(short, body.lines, request)
        response = stored.response()
        response.headers["Location"] = f"/v1/reservations/{body.reservation_id}"
        return response

    @router.post("/reservations/{reservation_id}/extend", response_model=HoldResponse)
    async def extend(
        reservation_id: UUID, write: IdempotentWrite, caller: Caller, body: ExtendHoldRequest | None = None
    ) -> Response:
        """Hold for so long from now on; it never becomes shorter, and never longer than the policy's lifetime."""
        ttl_seconds = body.ttl_seconds if body else None
        stored = await holds.submit(
            write, ExtendHold(reservation_id=reservation_id, ttl_seconds=ttl_seconds, by=_bound(caller))
        )
        return stored.response()

    @router.post("/reservations/{reservation_id}/release", response_model=HoldResponse)
    async def release(reservation_id: UUID, write: IdempotentWrite, caller: Caller) -> Response:
        """Let everything go that is held; what has been released stays so."""
        command = ReleaseHold(reservation_id=reservation_id, by=_bound(caller))
        return (await holds.submit(write, command)).response()

    @router.post("/reservations/{reservation_id}/commit", response_model=HoldResponse)
    async def commit(
        reservation_id: UUID, write: IdempotentWrite, caller: Caller, body: CommitHoldRequest | None = None
    ) -> Response:
        """Let units leave their warehouses for good: all that are held, or some; the rest stays held."""
        lines = None
        if body is not None and body.lines is not None:
            lines = tuple(CommitLine(**line.model_dump()) for line in body.lines)
        command = CommitHold(reservation_id=reservation_id, lines=lines, by=_bound(caller))
        return (await holds.submit(write, command)).response()

    return router


def _bound(caller: Principal) -> str | None:
    """Return by whom holds must have been made that `caller` changes, None for anybody's."""
    return None if caller.allows(_CHANGES_ANY) else caller.name


def _units(lines: Iterable[HoldLineRequest]) -> dict[str, int]:
    units: dict[str, int] = {}
    for index, line in enumerate(lines):
        units[line.sku] = units.get(line.sku, 0) + line.quantity
        if units[line.sku] > UNITS_MAX:
            raise Invalid(f"More than {UNITS_MAX} units of a SKU.", field=f"/lines/{index}/quantity")
    return units


def _destination(body: PlaceHoldRequest) -> Destination:
    place = body.destination
    if place is None:
        return ANYWHERE
    if place.latitude is None or place.longitude is None:
        return Destination(country=place.country)
    return Destination(
        country=place.country,
        latitude=round(place.latitude, _DECIMALS),
        longitude=round(place.longitude, _DECIMALS),
    )


def _short(short: HoldShort, lines: Sequence[HoldLineRequest], request: Request) -> Response:
    missing = {one.sku: one for one in short.shortages}
    errors = [
        ProblemError(
            pointer=f"/lines/{index}/quantity",
            field=f"lines.{index}.quantity",
            reason=f"{missing[line.sku].requested} units are wanted, {missing[line.sku].available} there.",
        )
        for index, line in enumerate(lines)
        if line.sku in missing
    ]
    # Components of bundles stand in no line.
    named = {line.sku for line in lines}
    errors += [
        ProblemError(
            pointer="/lines",
            field="lines",
            reason=f"{one.requested} units of {one.sku} are wanted, {one.available} there.",
        )
        for sku, one in missing.items()
        if sku not in named
    ]
    return problem_response(
        status=HTTPStatus.CONFLICT, code=short.code, detail=short.detail, instance=request.url.path, errors=errors
    )
