"""What was said about an order, and how its customer is reached."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Protocol, TypeVar, cast
from uuid import UUID

from fastapi import APIRouter, Depends
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.http.auth import requires
from services.orders.domain.reminders import Audience, Channel, ContactNotFound, NotificationStatus
from services.orders.handlers.erasures import ErasedCustomers
from services.orders.handlers.reminders import NotificationView

router = APIRouter(prefix="/v1", tags=["reminders"])

Result = TypeVar("Result")

CustomerId = Annotated[str, PathParameter(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ReminderStore(Protocol):
    """What the routes read and write."""

    async def of_order(self, order_id: UUID) -> Sequence[NotificationView]:
        """Return what was sent, or waits to be, about an order."""
        ...

    async def set_contact(self, customer_id: str, *, email: str, now: datetime) -> None:
        """Keep how a customer is reached."""
        ...

    async def contact(self, customer_id: str) -> str | None:
        """Return a customer's e-mail address."""
        ...

    async def forget_contact(self, customer_id: str) -> None:
        """Erase how a customer was reached."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderDesk:
    """What the routes work with."""

    database: Database
    bind: Callable[[Transaction], ReminderStore]
    clock: Clock
    erased: ErasedCustomers

    async def run(self, work: Callable[[ReminderStore], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction."""
        return await self.database.run(lambda transaction: work(self.bind(transaction)))


def _desk_of(request: Request) -> ReminderDesk:
    return cast("ReminderDesk", request.app.state.reminders)


Desk = Annotated[ReminderDesk, Depends(_desk_of)]


class ContactRequest(BaseModel):
    """How a customer is reached."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: str = Field(
        min_length=3, max_length=254, pattern=r"^[!#-'*+\-./0-9=?A-Z^_`a-z{|}~]+@[A-Za-z0-9.\-]+\.[A-Za-z0-9\-]+$"
    )


class ContactResponse(BaseModel):
    """How a customer is reached."""

    email: str


class ReminderResponse(BaseModel):
    """A reminder over one channel; whom it reached is not shown."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    rule: str
    audience: Audience
    channel: Channel
    status: NotificationStatus
    subject_id: UUID = Field(description="The return or the parcel that it is about, or the order.")
    attempts: int
    created_at: datetime
    due_at: datetime | None = None
    sent_at: datetime | None = None
    last_outcome: str | None = None


class ReminderListResponse(BaseModel):
    """Everything that somebody was reminded of about an order, or will be."""

    items: list[ReminderResponse]


@router.get("/orders/{order_id}/reminders", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def list_reminders(order_id: UUID, desk: Desk) -> ReminderListResponse:
    """List the reminders about an order; an order that nobody was reminded of has none."""
    views = await desk.run(lambda store: store.of_order(order_id))
    return ReminderListResponse(items=[ReminderResponse.model_validate(view) for view in views])


@router.put(
    "/customers/{customer_id}/contact", status_code=HTTPStatus.NO_CONTENT, dependencies=[requires("orders:write")]
)
async def set_contact(customer_id: CustomerId, body: ContactRequest, desk: Desk) -> Response:
    """Keep how a customer is reached; again is the same as once."""
    desk.erased.check(customer_id)
    now = desk.clock.now()
    await desk.run(lambda store: store.set_contact(customer_id, email=body.email, now=now))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.get("/customers/{customer_id}/contact", dependencies=[requires("contacts:read")])
async def get_contact(customer_id: CustomerId, desk: Desk) -> ContactResponse:
    """Show how a customer is reached."""
    email = await desk.run(lambda store: store.contact(customer_id))
    if email is None:
        raise ContactNotFound
    return ContactResponse(email=email)


@router.delete(
    "/customers/{customer_id}/contact", status_code=HTTPStatus.NO_CONTENT, dependencies=[requires("orders:write")]
)
async def forget_contact(customer_id: CustomerId, desk: Desk) -> Response:
    """Erase how a customer is reached; no reminder is sent there any more."""
    await desk.run(lambda store: store.forget_contact(customer_id))
    return Response(status_code=HTTPStatus.NO_CONTENT)
