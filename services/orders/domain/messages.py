"""Everything that can happen to an order, as the saga hears it. `name` is how timelines and metrics call it."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, TypeAlias
from uuid import UUID

from libs.common.events.shapes import Allocation, Destination, Shortage, SkuQuantity
from services.orders.domain.order import OrderLine
from services.orders.domain.state import TimerKind


@dataclass(frozen=True, slots=True)
class ReviewPassed:
    """The review rules, or a person, approve the order; `reasons` are the rules that counted all the same."""

    name: ClassVar[str] = "review.passed"

    reasons: tuple[str, ...] = ()
    score: int = 0


@dataclass(frozen=True, slots=True)
class ReviewHeld:
    """The review rules want a person to look at the order."""

    name: ClassVar[str] = "review.held"

    reasons: tuple[str, ...]
    score: int = 0
    rules: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewRefused:
    """A person, or the review rules, refuse the order."""

    name: ClassVar[str] = "review.refused"

    reason: str
    score: int | None = None


@dataclass(frozen=True, slots=True)
class StockReserved:
    """All units are held."""

    name: ClassVar[str] = "stock.reserved"

    allocations: tuple[Allocation, ...]
    version: int = 0


@dataclass(frozen=True, slots=True)
class StockBackordered:
    """Not all units are there, or not any more; the order waits in line. `version` numbers what inventory says."""

    name: ClassVar[str] = "stock.backordered"

    shortages: tuple[Shortage, ...]
    version: int = 0


@dataclass(frozen=True, slots=True)
class StockPartlyReserved:
    """Some units are held, and what is `missing` is waited for."""

    name: ClassVar[str] = "stock.partly-reserved"

    allocations: tuple[Allocation, ...]
    missing: tuple[SkuQuantity, ...]
    version: int = 0
    shortages: tuple[Shortage, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitProlonged:
    """The customer waits on for goods, until then."""

    name: ClassVar[str] = "wait.prolonged"

    reason: str
    until: datetime


@dataclass(frozen=True, slots=True)
class RemainderShipped:
    """What was missing of the order has left; `shipment_id` is the parcel that it is to be paid with."""

    name: ClassVar[str] = "remainder.shipped"

    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class RemainderEnded:
    """What was missing of the order will not come."""

    name: ClassVar[str] = "remainder.ended"

    reason: str


@dataclass(frozen=True, slots=True)
class RemainderLost:
    """Nobody expects a parcel any longer that what was missing of the order has left in; so much goes back for it."""

    name: ClassVar[str] = "remainder.lost"

    shipment_id: UUID
    refund_minor: int


@dataclass(frozen=True, slots=True)
class ExchangeEnded:
    """What goods of the order were exchanged for will not come, or came back; it was paid for with so much."""

    name: ClassVar[str] = "exchange.ended"

    exchange_order_id: UUID
    amount_minor: int


@dataclass(frozen=True, slots=True)
class StockRejected:
    """Nothing is held and nothing waits."""

    name: ClassVar[str] = "stock.rejected"

    reason: str
    shortages: tuple[Shortage, ...] = ()


@dataclass(frozen=True, slots=True)
class _StepResult:
    step_id: UUID


@dataclass(frozen=True, slots=True)
class AuthorisationSucceeded(_StepResult):
    """The provider holds the amount."""

    name: ClassVar[str] = "payment.authorised"

    provider_reference: str


@dataclass(frozen=True, slots=True)
class AuthorisationDeclined(_StepResult):
    """The provider does not hold the amount."""

    name: ClassVar[str] = "payment.declined"

    reason: str


@dataclass(frozen=True, slots=True)
class AuthorisationWithdrawn(_StepResult):
    """The provider was never asked, because the order no longer needs it."""

    name: ClassVar[str] = "payment.withdrawn"


@dataclass(frozen=True, slots=True)
class CaptureSucceeded(_StepResult):
    """The provider moved the amount to us."""

    name: ClassVar[str] = "payment.captured"

    provider_reference: str


@dataclass(frozen=True, slots=True)
class CaptureDeclined(_StepResult):
    """The provider does not move an amount that it held."""

    name: ClassVar[str] = "payment.capture-declined"

    reason: str


@dataclass(frozen=True, slots=True)
class VoidSucceeded(_StepResult):
    """The provider let go of the amount."""

    name: ClassVar[str] = "payment.voided"

    provider_reference: str


@dataclass(frozen=True, slots=True)
class VoidDeclined(_StepResult):
    """The provider does not let go of the amount."""

    name: ClassVar[str] = "payment.void-declined"

    reason: str


@dataclass(frozen=True, slots=True)
class RefundSucceeded(_StepResult):
    """The provider moved the amount back."""

    name: ClassVar[str] = "payment.refunded"

    provider_reference: str


@dataclass(frozen=True, slots=True)
class RefundDeclined(_StepResult):
    """The provider does not move the amount back."""

    name: ClassVar[str] = "payment.refund-declined"

    reason: str


@dataclass(frozen=True, slots=True)
class ShipmentPlanned:
    """A warehouse will send a parcel."""

    name: ClassVar[str] = "shipment.planned"

    shipment_id: UUID
    warehouse: str


@dataclass(frozen=True, slots=True)
class ShipmentDispatched:
    """A parcel has left."""

    name: ClassVar[str] = "shipment.dispatched"

    shipment_id: UUID
    warehouse: str
    dispatched_at: datetime


@dataclass(frozen=True, slots=True)
class ShipmentDelivered:
    """A parcel has arrived."""

    name: ClassVar[str] = "shipment.delivered"

    shipment_id: UUID
    delivered_at: datetime


@dataclass(frozen=True, slots=True)
class ShipmentFailed:
    """A parcel that had left could not be delivered."""

    name: ClassVar[str] = "shipment.failed"

    shipment_id: UUID
    reason: str


@dataclass(frozen=True, slots=True)
class ShipmentCancelled:
    """A parcel was called off before it left."""

    name: ClassVar[str] = "shipment.cancelled"

    shipment_id: UUID


@dataclass(frozen=True, slots=True)
class ParcelGivenUp:
    """A person expects a parcel no longer, and owes the customer so much for it."""

    name: ClassVar[str] = "parcel.given-up"

    shipment_id: UUID
    refund_minor: int
    reason: str


@dataclass(frozen=True, slots=True)
class OperatorRetried:
    """A person wants a stuck order to try again; `lines` are its units if inventory is to be asked again."""

    name: ClassVar[str] = "operator.retry"

    reason: str
    lines: tuple[SkuQuantity, ...] = ()


@dataclass(frozen=True, slots=True)
class OperatorSkipped:
    """A person wants a stuck order to go on without what it waits for."""

    name: ClassVar[str] = "operator.skip"

    reason: str


@dataclass(frozen=True, slots=True)
class OperatorCompensated:
    """
    A person wants an order to end, and its money to go back, wherever its goods are.

    `exchanges` are those of its goods under way, oldest first: what of its price is kept for each, in minor units.
    `returned_minor` is of an exchange: what the order that it comes of gave back, or will, for goods that came back.
    """

    name: ClassVar[str] = "operator.force-compensate"

    reason: str
    exchanges: tuple[tuple[UUID, int], ...] = ()
    returned_minor: int = 0


@dataclass(frozen=True, slots=True)
class CancellationRequested:
    """Somebody wants the order called off."""

    name: ClassVar[str] = "cancellation.requested"

    reason: str


@dataclass(frozen=True, slots=True)
class OrderEdited:
    """
    The customer wants other lines, all of which are given, or another address in the same country.

    `sequence` is that of the order that the customer saw: an edit of what it no longer is changes nothing.
    """

    name: ClassVar[str] = "order.edited"

    edit_id: UUID
    sequence: int
    reason: str
    lines: tuple[OrderLine, ...] | None = None
    destination: Destination | None = None


@dataclass(frozen=True, slots=True)
class StockChanged:
    """
    Inventory waits for what an edit asked for, with its `lines`; `version` numbers what inventory says.

    Of a confirmed order it holds what was asked for, which `allocations` are.
    """

    name: ClassVar[str] = "stock.changed"

    edit_id: UUID
    reason: str
    lines: tuple[OrderLine, ...]
    version: int = 0
    allocations: tuple[Allocation, ...] = ()


@dataclass(frozen=True, slots=True)
class StockChangeRefused:
    """Inventory goes on with what the order was before an edit."""

    name: ClassVar[str] = "stock.change-refused"

    edit_id: UUID
    reason: str
    version: int = 0
    shortages: tuple[Shortage, ...] = ()


@dataclass(frozen=True, slots=True)
class RefundRequested:
    """Goods are back and their price is owed to the customer."""

    name: ClassVar[str] = "refund.requested"

    return_id: UUID
    amount_minor: int


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """A stage lasts longer than it may."""

    name: ClassVar[str] = "deadline.passed"

    timer: TimerKind


StepResult: TypeAlias = (
    AuthorisationSucceeded
    | AuthorisationDeclined
    | AuthorisationWithdrawn
    | CaptureSucceeded
    | CaptureDeclined
    | VoidSucceeded
    | VoidDeclined
    | RefundSucceeded
    | RefundDeclined
)
SUCCESSES: Final = (AuthorisationSucceeded, CaptureSucceeded, VoidSucceeded, RefundSucceeded)
ShipmentMessage: TypeAlias = (
    ShipmentPlanned | ShipmentDispatched | ShipmentDelivered | ShipmentFailed | ShipmentCancelled
)
OperatorMessage: TypeAlias = OperatorRetried | OperatorSkipped | OperatorCompensated
Message: TypeAlias = (
    ReviewPassed
    | ReviewHeld
    | ReviewRefused
    | StockReserved
    | StockBackordered
    | StockPartlyReserved
    | StockRejected
    | WaitProlonged
    | RemainderShipped
    | RemainderEnded
    | RemainderLost
    | ExchangeEnded
    | StepResult
    | ShipmentMessage
    | ParcelGivenUp
    | OperatorMessage
    | CancellationRequested
    | OrderEdited
    | StockChanged
    | StockChangeRefused
    | RefundRequested
    | DeadlinePassed
)

MESSAGES: Final[tuple[type[Message], ...]] = (
    ReviewPassed,
    ReviewHeld,
    ReviewRefused,
    StockReserved,
    StockBackordered,
    StockPartlyReserved,
    StockRejected,
    WaitProlonged,
    RemainderShipped,
    RemainderEnded,
    RemainderLost,
    ExchangeEnded,
    AuthorisationSucceeded,
    AuthorisationDeclined,
    AuthorisationWithdrawn,
    CaptureSucceeded,
    CaptureDeclined,
    VoidSucceeded,
    VoidDeclined,
    RefundSucceeded,
    RefundDeclined,
    ShipmentPlanned,
    ShipmentDispatched,
    ShipmentDelivered,
    ShipmentFailed,
    ShipmentCancelled,
    ParcelGivenUp,
    OperatorRetried,
    OperatorSkipped,
    OperatorCompensated,
    CancellationRequested,
    OrderEdited,
    StockChanged,
    StockChangeRefused,
    RefundRequested,
    DeadlinePassed,
)
