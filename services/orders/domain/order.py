"""What an order is: its stages, its lines, the facts that never change, and the refusals that concern it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final, Literal
from uuid import UUID

import msgspec

from libs.common.errors import Conflict, Invalid, NotFound
from libs.common.events.shapes import Allocation, Destination, SkuQuantity
from libs.common.money import MINOR_MAX
from services.orders.domain.charges import Charge
from services.orders.domain.findings import OrderFinding

_BUSINESS_TIME_FUTURE_MAX: Final = timedelta(days=1)

# What becomes of an order that is short: it is refused, what there is goes ahead, or all of it waits, either until the
# customer is asked (`wait`) or as long as goods may take (`backorder`).
OnShortage = Literal["refuse", "split", "wait", "backorder"]

# Channels of orders that come of another; nobody can place one there.
REPLACEMENT_CHANNEL: Final = "replacement"
REMAINDER_CHANNEL: Final = "remainder"
EXCHANGE_CHANNEL: Final = "exchange"
DERIVED_CHANNELS: Final = frozenset({REPLACEMENT_CHANNEL, REMAINDER_CHANNEL, EXCHANGE_CHANNEL})

SANDBOX_PROVIDER: Final = "sandbox"


class OrderStatus(StrEnum):
    """The stages of an order, in the order of the columns of the saga's table."""

    RECEIVED = "received"
    HELD = "held"
    APPROVED = "approved"
    BACKORDERED = "backordered"
    RESERVED = "reserved"
    CONFIRMED = "confirmed"
    EDITING = "editing"
    CANCELLING = "cancelling"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    SETTLED = "settled"
    REFUSED = "refused"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({OrderStatus.SETTLED, OrderStatus.REFUSED, OrderStatus.CANCELLED})
# Goods have left: from here on there are returns, no cancellation.
SHIPPED_OR_LATER: Final = frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.SETTLED})


class OrderNotFound(NotFound):
    """There is no order with this id."""

    code: ClassVar[str] = "order-not-found"

    def __init__(self, order_id: UUID) -> None:
        """Name the order."""
        super().__init__(f"There is no order {order_id}.")


class OrderAlreadyShipped(Conflict):
    """A parcel of the order has left: it can be sent back, but no longer be called off."""

    code: ClassVar[str] = "order-already-shipped"

    def __init__(self, order_id: UUID) -> None:
        """Name the order."""
        super().__init__(f"A parcel of order {order_id} has left; open a return instead.")


class OrderAlreadyRefused(Conflict):
    """The shop has refused the order, so there is nothing to call off."""

    code: ClassVar[str] = "order-already-refused"

    def __init__(self, order_id: UUID) -> None:
        """Name the order."""
        super().__init__(f"Order {order_id} was refused; there is nothing to call off.")


class OrderNotHeld(Conflict):
    """The order does not wait for a review."""

    code: ClassVar[str] = "order-not-held"

    def __init__(self, order_id: UUID, status: OrderStatus) -> None:
        """Name the order and where it is."""
        super().__init__(f"Order {order_id} is {status}; only a held order can be reviewed.")


class OrderNotWaiting(Conflict):
    """The order does not wait for goods."""

    code: ClassVar[str] = "order-not-waiting"

    def __init__(self, order_id: UUID, status: OrderStatus) -> None:
        """Name the order and where it is."""
        super().__init__(f"Order {order_id} is {status}; only a backordered order can wait on.")


class OrderTooExpensive(Invalid):
    """The total is beyond what can be represented."""

    code: ClassVar[str] = "total-out-of-range"


class PaymentMethodNotOffered(Invalid):
    """The shop takes no payments of this kind."""

    code: ClassVar[str] = "payment-method-not-offered"

    def __init__(self, offered: Iterable[str]) -> None:
        """Name those that it takes."""
        super().__init__(f"The shop takes {', '.join(sorted(offered))}.", field="/payment/method")


class ImplausibleTime(Invalid):
    """A business time lies too far from now to be true."""

    code: ClassVar[str] = "implausible-time"


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """
    One line at the price that the customer accepted; a SKU may be on several lines.

    `charged_minor` is what the line bears of the order's total, discounts, shipping and taxes included; None if the
    order has none of these, and a line costs its units times their price.
    """

    line: int
    sku: str
    quantity: int
    unit_price_minor: int
    returned_quantity: int = 0
    charged_minor: int | None = None

    def share_minor(self, first: int, units: int) -> int:
        """Return what `units` of the line's units cost after the `first`; all of them together cost the whole."""
        if self.charged_minor is None:
            return units * self.unit_price_minor
        before, after = first * self.charged_minor, (first + units) * self.charged_minor
        return after // self.quantity - before // self.quantity

    @property
    def returnable_quantity(self) -> int:
        """How many units can still come back."""
        return self.quantity - self.returned_quantity


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where the parcel goes, to the door. Personal data: it stays in this service's database."""

    name: str | None = None
    address_lines: tuple[str, ...] = ()
    city: str | None = None
    postal_code: str | None = None


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The order that another comes of; `prepaid_minor` is what that one pays for, or has paid, of its goods."""

    order_id: UUID
    prepaid_minor: int = 0
    # Of a remainder: what the origin's own parcels are made of.
    keeps: tuple[Allocation, ...] = ()


class OrderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an order when it is received and never changes."""

    customer_id: str
    channel: str
    reference: str | None
    currency: str
    total_minor: int
    placed_at: datetime
    received_at: datetime
    destination: Destination
    on_shortage: OnShortage
    is_split_allowed: bool
    # Ties together everything that this order sets off, also what no event or request causes directly.
    correlation_id: str
    # The trace of the request that placed it, which those go on in too.
    traceparent: str | None = None
    # The store where the customer collects it; sent otherwise.
    collect_at: str | None = None
    # What inventory held for it before it was an order.
    hold_id: UUID | None = None
    origin: Origin | None = None

    @property
    def is_remainder(self) -> bool:
        """Whether it is what was missing of another order, which pays for it."""
        return self.origin is not None and self.channel == REMAINDER_CHANNEL

    def business_time(self, now: datetime) -> datetime:
        """Return `now` in the time the order was placed in: replayed orders live in the past."""
        return self.placed_at + (now - self.received_at)


class CaptureMoment(StrEnum):
    """When an order is charged: for each parcel that leaves, or all at once with the first or the last of them."""

    EACH_DISPATCH = "each-dispatch"
    FIRST_DISPATCH = "first-dispatch"
    LAST_DISPATCH = "last-dispatch"


class PaymentTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Who moves an order's money, and when; settled as it is placed."""

    provider: str = SANDBOX_PROVIDER
    capture_at: CaptureMoment = CaptureMoment.EACH_DISPATCH


class ReviewInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What is told for an order's review alone, and not kept; `email_hash` is a SHA-256 in hexadecimal digits."""

    billing_country: str | None = None
    email_hash: str | None = None


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order as it is placed."""

    id: UUID
    facts: OrderFacts
    lines: tuple[OrderLine, ...]
    address: Address
    payment_token: str
    payment_terms: PaymentTerms = PaymentTerms()
    # What the checks before the review found.
    findings: tuple[OrderFinding, ...] = ()
    review: ReviewInputs = ReviewInputs()
    # Discounts, shipping and taxes, which the lines bear.
    charges: tuple[Charge, ...] = ()


def total_of(lines: Iterable[OrderLine]) -> int:
    """
    Return what the lines cost, in minor units.

    :raises OrderTooExpensive: if it is beyond what every reader of JSON represents exactly.
    """
    return check_total(sum(line.quantity * line.unit_price_minor for line in lines))


def total_borne(lines: Iterable[OrderLine]) -> int:
    """
    Return what the lines cost with the discounts, shipping and taxes that they bear, in minor units.

    :raises OrderTooExpensive: if it is beyond what every reader of JSON represents exactly.
    """
    return check_total(sum(line.share_minor(0, line.quantity) for line in lines))


def check_total(total_minor: int) -> int:
    """
    Return a total.

    :raises OrderTooExpensive: if it is beyond what every reader of JSON represents exactly.
    """
    if total_minor > MINOR_MAX:
        raise OrderTooExpensive(f"The lines add up to more than {MINOR_MAX} minor units.", field="/lines")
    return total_minor


def units_by_sku(lines: Iterable[OrderLine]) -> tuple[SkuQuantity, ...]:
    """Return the units of each SKU, in the order in which the SKUs first appear."""
    units: dict[str, int] = {}
    for line in lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    return tuple(SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in units.items())


def check_business_time(moment: datetime, *, now: datetime, age_max: timedelta, field: str) -> None:
    """
    Refuse a business time that cannot be meant.

    :raises ImplausibleTime: if it is longer ago than `age_max` or more than a day ahead.
    """
    if moment > now + _BUSINESS_TIME_FUTURE_MAX:
        raise ImplausibleTime("The time is more than a day ahead.", field=field)
    if moment < now - age_max:
        raise ImplausibleTime(f"The time is more than {age_max.days} days ago.", field=field)
