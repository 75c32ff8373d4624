"""Customers who are forgotten: what stands for them then, what holds that up, and what may be told of them before."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

import msgspec

from libs.common.errors import Conflict, NotFound
from libs.common.events.base import Event
from libs.common.events.orders import (
    OrderApproved,
    OrderCancellationRequested,
    OrderCancelled,
    OrderConfirmed,
    OrderEdited,
    OrderPlaced,
    OrderReconfirmed,
    OrderRefused,
    ReturnLabelled,
    ReturnRequested,
)
from libs.common.privacy import Pseudonyms, told

_ERASED: Final = re.compile(r"erased-[0-9a-f]{32}")

# Who has to answer: every service that knows of orders or of visitors. Orders answers to itself first.
OWN_SERVICE: Final = "orders"
OTHER_SERVICES: Final = ("inventory", "logistics", "recommender")
ORDERS_PER_PART_MAX: Final = 5_000

_NAMING: Final = frozenset({OrderPlaced, OrderApproved, OrderConfirmed, OrderReconfirmed})
_REASONED: Final = frozenset({OrderEdited, OrderCancelled, OrderCancellationRequested, ReturnRequested})


class ErasureStatus(StrEnum):
    """How far an erasure is: it waits until orders are over, then until every service has answered."""

    REQUESTED = "requested"
    SPREADING = "spreading"
    DONE = "done"


class ErasureNotFound(NotFound):
    """Nobody has asked for this customer's erasure."""

    code: ClassVar[str] = "erasure-not-found"

    def __init__(self) -> None:
        """Repeat no id."""
        super().__init__("No erasure of this customer was requested.")


class CustomerIsErased(Conflict):
    """The customer was erased; whoever comes back gets a new id."""

    code: ClassVar[str] = "customer-erased"

    def __init__(self) -> None:
        """Repeat no id."""
        super().__init__("This customer was erased, or is about to be. Give whoever comes back a new id.")


class OrderIsErased(Conflict):
    """The order's customer was erased: what is kept of it is for the books alone."""

    code: ClassVar[str] = "order-erased"

    def __init__(self, order_id: UUID) -> None:
        """Name the order."""
        super().__init__(f"The customer of order {order_id} was erased; nothing more can be done about it.")


@dataclass(frozen=True, slots=True)
class Holdup:
    """An order that is not over yet, and what of it is not: its own status, a `return`, or a `payment`."""

    order_id: UUID
    because: str


@dataclass(frozen=True, slots=True)
class ServiceAnswer:
    """What a service has said: in how many of its rows it found something, and when it had erased the last of them."""

    service: str
    rows: int
    erased_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure; `customer` is a pseudonym, and `customer_id` is known until it is carried out."""

    id: UUID
    customer: str
    customer_id: str | None
    visitors: Sequence[str]
    order_ids: Sequence[UUID]
    status: ErasureStatus
    reason: str
    requested_at: datetime
    requested_by: str
    erased_at: datetime | None = None
    done_at: datetime | None = None
    rows: int = 0
    answers: Sequence[ServiceAnswer] = ()
    holdups: Sequence[Holdup] = field(default=())

    @property
    def erased_name(self) -> str:
        """Return what stands in the place of the customer's id."""
        return erased_name(self.id)


def erased_name(erasure_id: UUID) -> str:
    """Return what stands in the place of a customer's id."""
    return f"erased-{erasure_id.hex}"


def check_not_erased(order_id: UUID, customer_id: str) -> None:
    """
    Refuse to do more about an order.

    :raises OrderIsErased: if its customer was erased.
    """
    if _ERASED.fullmatch(customer_id):
        raise OrderIsErased(order_id)


def parts(order_ids: Collection[UUID]) -> list[list[UUID]]:
    """Divide orders among requests, of which there is at least one; each fits into a message."""
    ordered = sorted(order_ids)
    return [
        ordered[start : start + ORDERS_PER_PART_MAX] for start in range(0, max(1, len(ordered)), ORDERS_PER_PART_MAX)
    ]


def published(event: Event, pseudonyms: Pseudonyms) -> Event:
    """
    Return an event without what says who somebody is, for the bus keeps it where nothing can be erased.

    Ids of customers become pseudonyms, sentences and the numbers of labels are left out: whoever needs them asks for
    the order.
    """
    kind = type(event)
    if kind in _NAMING:
        customer_id: str = event.customer_id  # type: ignore[attr-defined]
        return msgspec.structs.replace(event, customer_id=pseudonyms.of(customer_id))
    if kind in _REASONED:
        reason: str = event.reason  # type: ignore[attr-defined]
        public = told(reason)
        return event if public == reason else msgspec.structs.replace(event, reason=public)
    if isinstance(event, OrderRefused) and event.detail is not None:
        return msgspec.structs.replace(event, detail=told(event.detail))
    if isinstance(event, ReturnLabelled):
        return msgspec.structs.replace(event, reference="")
    return event
