"""Forgetting a customer, and how far that is."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.http.auth import Principal, requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from libs.common.privacy import Pseudonyms
from services.orders.domain.erasure import OWN_SERVICE, Erasure, ErasureStatus
from services.orders.handlers.erasures import ErasureUnits, find_erasure, request_erasure

router = APIRouter(prefix="/v1", tags=["erasures"])

CustomerId = Annotated[str, PathParameter(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
VisitorId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s@\x00-\x1f\x7f\x85]+$")]


class ErasureDesk:
    """What the routes work with."""

    def __init__(self, units: ErasureUnits, *, pseudonyms: Pseudonyms, clock: Clock) -> None:
        """Work in transactions of `units`."""
        self.units = units
        self.pseudonyms = pseudonyms
        self.clock = clock


def _desk_of(request: Request) -> ErasureDesk:
    return cast("ErasureDesk", request.app.state.erasures)


Desk = Annotated[ErasureDesk, Depends(_desk_of)]


class ErasureRequest(BaseModel):
    """Why, and which visitors of the storefront were this customer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str = Field(
        default="requested", pattern=r"^[a-z0-9][a-z0-9:./-]{0,63}$", description="A code such as a ticket's number."
    )
    visitor_ids: list[VisitorId] = Field(default_factory=list, max_length=1_000)


class HoldupResponse(BaseModel):
    """An order that is not over: its status, `return` if goods of it are coming back, or `payment`."""

    model_config = ConfigDict(from_attributes=True)

    order_id: UUID
    because: str


class ServiceResponse(BaseModel):
    """A service, in how many of its rows it found something, and since when it has nothing more."""

    service: str
    rows: int
    erased_at: datetime | None = None


class ErasureResponse(BaseModel):
    """
    How far an erasure is: `requested` until nothing holds it up, `spreading` until every service has answered, `done`.

    `erased_name` stands in the place of the customer's id in whatever is kept.
    """

    id: UUID
    status: ErasureStatus
    erased_name: str
    reason: str
    requested_at: datetime
    requested_by: str
    waits_for: list[HoldupResponse] = Field(description="What holds it up, a hundred orders at most.")
    orders: int = Field(description="How many orders were the customer's.")
    services: list[ServiceResponse]
    erased_at: datetime | None = None
    done_at: datetime | None = None

    @classmethod
    def of(cls, erasure: Erasure) -> "ErasureResponse":
        """Shape an erasure."""
        is_here = erasure.status is not ErasureStatus.REQUESTED
        own = ServiceResponse(service=OWN_SERVICE, rows=erasure.rows, erased_at=erasure.erased_at if is_here else None)
        others = [
            ServiceResponse(service=one.service, rows=one.rows, erased_at=one.erased_at) for one in erasure.answers
        ]
        return cls(
            id=erasure.id,
            status=erasure.status,
            erased_name=erasure.erased_name,
            reason=erasure.reason,
            requested_at=erasure.requested_at,
            requested_by=erasure.requested_by,
            waits_for=[HoldupResponse.model_validate(one) for one in erasure.holdups],
            orders=len(erasure.order_ids),
            services=[own, *others],
            erased_at=erasure.erased_at,
            done_at=erasure.done_at,
        )


@router.post("/customers/{customer_id}/erasure", status_code=HTTPStatus.ACCEPTED, response_model_exclude_none=True)
async def erase_customer(
    customer_id: CustomerId,
    desk: Desk,
    principal: Annotated[Principal, requires("customers:erase")],
    body: ErasureRequest | None = None,
) -> ErasureResponse:
    """
    Forget a customer, in every service, as soon as their orders are over; asked again, it is the same erasure.

    Amounts, goods and dates of orders stay, under a name that stands for nobody. From now on nothing is taken in under
    the customer's id.
    """
    wanted = body or ErasureRequest()
    erasure = await desk.units.run(
        lambda unit: request_erasure(
            customer_id,
            visitor_ids=wanted.visitor_ids,
            reason=wanted.reason,
            requested_by=principal.name,
            erasures=unit.erasures,
            pseudonyms=desk.pseudonyms,
            now=desk.clock.now(),
        )
    )
    return ErasureResponse.of(erasure)


@router.get(
    "/customers/{customer_id}/erasure",
    dependencies=[requires("customers:erase")],
    response_model_exclude_none=True,
)
async def get_erasure(customer_id: CustomerId, desk: Desk) -> ErasureResponse:
    """Show how far a customer's erasure is, and what it waits for."""
    customer = desk.pseudonyms.of(customer_id)
    return ErasureResponse.of(await desk.units.run(lambda unit: find_erasure(customer, erasures=unit.erasures)))


@router.get("/erasures", dependencies=[requires("customers:erase")], response_model_exclude_none=True)
async def list_erasures(
    desk: Desk,
    status: ErasureStatus | None = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[ErasureResponse]:
    """List erasures, newest first."""
    before_id = Cursor.decode(cursor, tuple[UUID])[0] if cursor else None
    found = await desk.units.run(lambda unit: unit.erasures.page(status=status, before_id=before_id, limit=limit + 1))
    return page_of(found, limit=limit, key=lambda erasure: (erasure.id,), item=ErasureResponse.of)
