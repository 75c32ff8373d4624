"""Events that the orders service publishes."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from libs.common.events.base import Event, Topic
from libs.common.events.shapes import (
    Allocation,
    Destination,
    OrderCharge,
    OrderFinding,
    OrderLine,
    Shortage,
    SkuQuantity,
)
from libs.common.events.topics import ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN


class _OrderEvent(Event, frozen=True, kw_only=True):
    topic: ClassVar[Topic] = ORDERS_ORDER

    order_id: UUID


class OrderPlaced(_OrderEvent, frozen=True, kw_only=True):
    """An order was received and is durable; `placed_at` is when the customer placed it."""

    type: ClassVar[str] = "order.placed"

    customer_id: str
    channel: str
    placed_at: datetime
    currency: str
    total_minor: int
    lines: list[OrderLine]
    destination: Destination
    # What the checks before the review found, such as a price that is not the catalog's.
    findings: list[OrderFinding] = msgspec.field(default_factory=list)
    # What it costs besides its goods: total_minor is lines - discounts + shipping + taxes that prices do not include.
    charges: list[OrderCharge] = msgspec.field(default_factory=list)


class OrderHeldForReview(_OrderEvent, frozen=True, kw_only=True):
    """Review rules, in their version `rules`, want a person to look at the order; `score` is the sum of theirs."""

    type: ClassVar[str] = "order.held-for-review"

    reasons: list[str]
    score: int = 0
    rules: str | None = None


class OrderReviewEscalated(_OrderEvent, frozen=True, kw_only=True):
    """Nobody has reviewed the order for too long; it waits until `deadline_at`."""

    type: ClassVar[str] = "order.review-escalated"

    deadline_at: datetime | None = None


class OrderApproved(_OrderEvent, frozen=True, kw_only=True):
    """
    The order passed review: this asks inventory to reserve its stock.

    `lines` are whole quantities by SKU; `on_shortage` is `backorder`, `refuse` or `partial` (hold what there is, wait
    for the rest); `is_split_allowed` says whether several warehouses may share the order. One that the customer
    collects is served by the store `collect_at` alone, a warehouse's code. `hold_id` names what was held for it
    before it was an order; what is held under its own id it takes over anyway. `review_score` is the sum of the
    scores of the review rules that counted. The order that is the remainder of another takes the place in line of
    `remainder_of`, and what is held for that beyond what it `keeps`.
    """

    type: ClassVar[str] = "order.approved"

    customer_id: str
    channel: str
    placed_at: datetime
    lines: list[SkuQuantity]
    destination: Destination
    on_shortage: str = "backorder"
    is_split_allowed: bool = True
    collect_at: str | None = None
    hold_id: UUID | None = None
    review_score: int = 0
    remainder_of: UUID | None = None
    keeps: list[Allocation] = msgspec.field(default_factory=list)


class OrderReserved(_OrderEvent, frozen=True, kw_only=True):
    """
    Stock is held in `warehouses`; the payment comes next.

    What is `missing` follows once it is there, as the remainder of the order; empty if all units are held. `shortages`
    say what could be had instead of that.
    """

    type: ClassVar[str] = "order.reserved"

    warehouses: list[str]
    missing: list[SkuQuantity] = msgspec.field(default_factory=list)
    shortages: list[Shortage] = msgspec.field(default_factory=list)


class OrderEdited(_OrderEvent, frozen=True, kw_only=True):
    """
    The customer has changed the order: `lines` are all that it has now, if they were changed.

    An address is told to nobody; that it is another one is.
    """

    type: ClassVar[str] = "order.edited"

    edit_id: UUID
    reason: str
    currency: str
    total_minor: int
    lines: list[OrderLine] | None = None
    is_address_changed: bool = False


class OrderEditRequested(_OrderEvent, frozen=True, kw_only=True):
    """
    The customer of an order that waits for goods wants other units: this asks inventory to have it wait for those.

    `lines` are all of them, by SKU. It is changed as a whole or, if something is held for it by then, not at all.

    With `is_held` its goods are held and no parcel is planned: what it wants no longer is let go of, and what it wants
    more is held, if all of that is free.
    """

    type: ClassVar[str] = "order.edit-requested"

    edit_id: UUID
    lines: list[SkuQuantity]
    is_held: bool = False


class OrderEditRefused(_OrderEvent, frozen=True, kw_only=True):
    """An edit was refused and the order stays as it was; `shortages` are of what it wanted more, if that is why."""

    type: ClassVar[str] = "order.edit-refused"

    edit_id: UUID
    reason: str
    shortages: list[Shortage] = msgspec.field(default_factory=list)


class OrderBackordered(_OrderEvent, frozen=True, kw_only=True):
    """The order waits for stock until `deadline_at`; all of it should be there at `expected_at`, if that is known."""

    type: ClassVar[str] = "order.backordered"

    shortages: list[Shortage]
    deadline_at: datetime
    expected_at: datetime | None = None


class OrderWaitExpired(_OrderEvent, frozen=True, kw_only=True):
    """The customer is to say whether to wait on; without an answer by `answer_by` the order is cancelled."""

    type: ClassVar[str] = "order.wait-expired"

    answer_by: datetime
    expected_at: datetime | None = None


class OrderDivided(_OrderEvent, frozen=True, kw_only=True):
    """What is missing of the order became an order of its own, `remainder_id`, which this one pays for."""

    type: ClassVar[str] = "order.divided"

    remainder_id: UUID
    lines: list[SkuQuantity]
    value_minor: int
    currency: str


class OrderConfirmed(_OrderEvent, frozen=True, kw_only=True):
    """
    Stock is held and payment authorised: this asks logistics to ship the allocations.

    Those of the store `collect_at`, if there is one, are not sent: the customer collects them there.
    """

    type: ClassVar[str] = "order.confirmed"

    customer_id: str
    placed_at: datetime
    confirmed_at: datetime
    currency: str
    total_minor: int
    allocations: list[Allocation]
    destination: Destination
    collect_at: str | None = None


class OrderRecallRequested(_OrderEvent, frozen=True, kw_only=True):
    """
    A confirmed order is being edited: this asks logistics to stop its shipments, for which others will be planned.

    Logistics stops all of them (`shipment.cancelled` for each) or, if one has left, none. Those of a confirmation whose
    `plan` is not below `before_plan` are planned for a later edit, and stay.
    """

    type: ClassVar[str] = "order.recall-requested"

    edit_id: UUID
    before_plan: int


class OrderReconfirmed(OrderConfirmed, frozen=True, kw_only=True):
    """
    An order whose shipments were stopped goes on: this asks logistics to ship these allocations instead.

    `plan` is larger than that of any earlier confirmation of the order; the first of all has none.
    """

    type: ClassVar[str] = "order.reconfirmed"

    plan: int


class OrderRefused(_OrderEvent, frozen=True, kw_only=True):
    """
    The shop will not fulfil the order; whatever is held for it must be released.

    If it is for want of goods, `shortages` say which, and what could be had instead.
    """

    type: ClassVar[str] = "order.refused"

    reason: str
    detail: str | None = None
    review_score: int | None = None
    shortages: list[Shortage] = msgspec.field(default_factory=list)


class OrderCancellationRequested(_OrderEvent, frozen=True, kw_only=True):
    """
    Somebody wants to call off a confirmed order: this asks logistics to stop its shipments.

    Logistics stops all of them (`shipment.cancelled` for each) or, if one has left, none.
    """

    type: ClassVar[str] = "order.cancellation-requested"

    reason: str


class OrderCancelled(_OrderEvent, frozen=True, kw_only=True):
    """The order was called off before it left; whatever is held for it must be released."""

    type: ClassVar[str] = "order.cancelled"

    reason: str
    stage: str


class OrderShipped(_OrderEvent, frozen=True, kw_only=True):
    """Every parcel of the order has left its warehouse."""

    type: ClassVar[str] = "order.shipped"

    shipped_at: datetime


class OrderDelivered(_OrderEvent, frozen=True, kw_only=True):
    """Every parcel of the order has arrived."""

    type: ClassVar[str] = "order.delivered"

    delivered_at: datetime


class OrderSettled(_OrderEvent, frozen=True, kw_only=True):
    """Delivered and paid: nothing is owed in either direction."""

    type: ClassVar[str] = "order.settled"

    currency: str
    captured_minor: int
    refunded_minor: int


class OrderLateRiskChanged(_OrderEvent, frozen=True, kw_only=True):
    """The estimated probability (0 to 1) that the order arrives after its promise changed."""

    type: ClassVar[str] = "order.late-risk-changed"

    probability: float
    promised_by: datetime


class _PaymentEvent(Event, frozen=True, kw_only=True):
    topic: ClassVar[Topic] = ORDERS_PAYMENT

    order_id: UUID
    amount_minor: int
    currency: str


class PaymentAuthorised(_PaymentEvent, frozen=True, kw_only=True):
    """The provider holds the amount for us."""

    type: ClassVar[str] = "payment.authorised"

    provider_reference: str


class PaymentCaptured(_PaymentEvent, frozen=True, kw_only=True):
    """The provider moved the amount to us."""

    type: ClassVar[str] = "payment.captured"

    provider_reference: str
    # The parcel that was paid for.
    shipment_id: UUID | None = None


class PaymentFailed(_PaymentEvent, frozen=True, kw_only=True):
    """The provider refused; `reason` is its code in our words."""

    type: ClassVar[str] = "payment.failed"

    reason: str


class PaymentVoided(_PaymentEvent, frozen=True, kw_only=True):
    """The provider let go of an amount that it held."""

    type: ClassVar[str] = "payment.voided"

    provider_reference: str


class RefundIssued(_PaymentEvent, frozen=True, kw_only=True):
    """The provider moved the amount back to the customer."""

    type: ClassVar[str] = "refund.issued"

    refund_id: UUID
    return_id: UUID | None = None


class _ReturnEvent(Event, frozen=True, kw_only=True):
    topic: ClassVar[Topic] = ORDERS_RETURN

    return_id: UUID
    order_id: UUID


class ReturnRequested(_ReturnEvent, frozen=True, kw_only=True):
    """A customer wants to send goods back."""

    type: ClassVar[str] = "return.requested"

    reason: str
    lines: list[SkuQuantity]
    reason_code: str = "other"
    is_exchange: bool = False


class ReturnLabelled(_ReturnEvent, frozen=True, kw_only=True):
    """The customer has a label to send the goods with; `reference` is its number at the carrier."""

    type: ClassVar[str] = "return.labelled"

    carrier: str
    reference: str


class ReturnReceived(_ReturnEvent, frozen=True, kw_only=True):
    """The goods are back in a warehouse; `restocked` of them can be sold again."""

    type: ClassVar[str] = "return.received"

    warehouse: str
    received_at: datetime
    lines: list[SkuQuantity]
    restocked: list[SkuQuantity] = msgspec.field(default_factory=list)


class ReturnInspected(_ReturnEvent, frozen=True, kw_only=True):
    """
    Goods that arrived earlier were looked at: what can be sold again, and what is written off.

    `refund_minor` goes back in money; `exchange_order_id` is the order of what is sent instead.
    """

    type: ClassVar[str] = "return.inspected"

    warehouse: str
    inspected_at: datetime
    restocked: list[SkuQuantity]
    written_off: list[SkuQuantity]
    refund_minor: int
    currency: str
    exchange_order_id: UUID | None = None


class ReturnClosed(_ReturnEvent, frozen=True, kw_only=True):
    """The customer has the money back, or an order for other goods instead."""

    type: ClassVar[str] = "return.closed"

    refunded_minor: int
    currency: str
