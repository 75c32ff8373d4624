"""The erasure of customers: what orders asks of all services, and what they answer."""

from typing import ClassVar
from uuid import UUID

import msgspec

from libs.common.events.base import Event, Topic
from libs.common.events.topics import ORDERS_CUSTOMER, ORDERS_ERASURE


class CustomerErasureRequested(Event, frozen=True, kw_only=True):
    """
    A person is to be forgotten: each service erases what it has about `customer`, `visitors` and `order_ids`.

    `customer` and `visitors` are pseudonyms, as in all events. A person with many orders takes several requests, one
    for each `part_id`; each is answered by every service. The topic keeps them for good, so that what comes back by a
    restore or a replay is erased again.
    """

    type: ClassVar[str] = "customer.erasure-requested"
    topic: ClassVar[Topic] = ORDERS_CUSTOMER

    erasure_id: UUID
    part_id: UUID
    customer: str
    visitors: list[str] = msgspec.field(default_factory=list)
    order_ids: list[UUID] = msgspec.field(default_factory=list)


class CustomerErased(Event, frozen=True, kw_only=True):
    """`service` has erased what it had; `rows` are how many of its rows held any of it."""

    type: ClassVar[str] = "customer.erased"
    topic: ClassVar[Topic] = ORDERS_ERASURE

    erasure_id: UUID
    part_id: UUID
    service: str
    rows: int
