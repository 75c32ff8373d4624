"""What the saga knows of one order, and what a transition makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from libs.common.events.base import Event
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from libs.common.ids import named_id
from services.orders.domain.ledger import Transfer
from services.orders.domain.order import CaptureMoment, OrderFacts, OrderLine, OrderStatus


class ShipmentStatus(StrEnum):
    """How far a parcel is; a later member outweighs an earlier one that arrives late."""

    PLANNED = "planned"
    CANCELLED = "cancelled"
    # Stopped because its order was edited; others were planned for it.
    REPLACED = "replaced"
    DISPATCHED = "dispatched"
    FAILED = "failed"
    # Nobody expects it any longer; should it arrive all the same, it has arrived.
    LOST = "lost"
    DELIVERED = "delivered"


# They have left, and may arrive.
UNDER_WAY: Final = frozenset({ShipmentStatus.DISPATCHED, ShipmentStatus.FAILED})
SHIPMENT_RANK: Final[Mapping[ShipmentStatus, int]] = {status: rank for rank, status in enumerate(ShipmentStatus)}


# Structs: a frozen dataclass takes ten times as long to make, and every transition makes several.
class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel as far as logistics has told; the warehouse is unknown until it was planned or dispatched."""

    id: UUID
    status: ShipmentStatus
    warehouse: str | None = None
    dispatched_at: datetime | None = None
    delivered_at: datetime | None = None

    @property
    def has_left(self) -> bool:
        """Whether the parcel has left its warehouse."""
        return SHIPMENT_RANK[self.status] >= SHIPMENT_RANK[ShipmentStatus.DISPATCHED]


class StepKind(StrEnum):
    """What a payment provider can be asked to do."""

    AUTHORISE = "authorise"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class StepStatus(StrEnum):
    """
    Where a payment step is.

    `waiting` is not to be carried out yet; `withdrawn` never was, or was replaced by another; `waived` was declined,
    and a person has decided to do without it.
    """

    WAITING = "waiting"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    WAIVED = "waived"


# Orders that nobody fulfils any more.
ENDED: Final = frozenset({OrderStatus.REFUSED, OrderStatus.CANCELLED})
OPEN_STEP: Final = frozenset({StepStatus.WAITING, StepStatus.PENDING})
# A provider that was believed to have done nothing may still say that it did.
REVISABLE: Final = frozenset({StepStatus.DECLINED, StepStatus.WITHDRAWN})


class PaymentStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing asked of the payment provider; its id is the idempotency key, so it happens at most once."""

    id: UUID
    kind: StepKind
    amount_minor: int
    status: StepStatus = StepStatus.PENDING
    return_id: UUID | None = None
    # The parcel that a capture, or the refund of a parcel that was lost, is for.
    shipment_id: UUID | None = None
    # The authorisation that it is about, if the order has several.
    authorisation_id: UUID | None = None
    # Of an authorisation beside the payment's own: the provider's name for the amount that it holds.
    reference: str | None = None


class RemainderStatus(StrEnum):
    """What is known of the goods that were missing of an order and became one of their own."""

    OPEN = "open"
    SHIPPED = "shipped"
    ENDED = "ended"


class Remainder(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an order pays for another one, which what was missing of it became; `value_minor` is of its total.

    `returned_minor` is known of an order that ended: what was, or will be, given back for goods of it that came back.
    """

    value_minor: int
    status: RemainderStatus = RemainderStatus.OPEN
    returned_minor: int = 0


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the provider has done so far, in minor units; `version` counts the payment's own events.

    `reference` is the provider's name for the amount that it holds.
    """

    version: int = 0
    capture_at: CaptureMoment = CaptureMoment.EACH_DISPATCH
    reference: str | None = None
    authorised_minor: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    voided_minor: int = 0
    remainder: Remainder | None = None

    @property
    def is_remainder_open(self) -> bool:
        """Whether goods may yet leave that are paid for with this, as another order."""
        return self.remainder is not None and self.remainder.status is RemainderStatus.OPEN

    @property
    def open_remainder_minor(self) -> int:
        """What is to be paid for them if they leave."""
        return self.remainder.value_minor if self.remainder is not None and self.is_remainder_open else 0

    @property
    def shipped_remainder_minor(self) -> int:
        """What is owed for them since they have left."""
        has_left = self.remainder is not None and self.remainder.status is RemainderStatus.SHIPPED
        return self.remainder.value_minor if self.remainder is not None and has_left else 0

    @property
    def ended_remainder_minor(self) -> int:
        """What nobody pays for them because they will not come."""
        has_ended = self.remainder is not None and self.remainder.status is RemainderStatus.ENDED
        return self.remainder.value_minor if self.remainder is not None and has_ended else 0

    @property
    def held_minor(self) -> int:
        """What the provider holds for us and has neither moved nor let go."""
        return self.authorised_minor - self.captured_minor - self.voided_minor

    def has_room_for(self, step: PaymentStep) -> bool:
        """Tell whether a step can have happened besides all that has."""
        match step.kind:
            case StepKind.AUTHORISE:
                # Each holds an amount of its own.
                return True
            case StepKind.CAPTURE | StepKind.VOID:
                return step.amount_minor <= self.held_minor
            case StepKind.REFUND:
                return step.amount_minor <= self.captured_minor - self.refunded_minor


class TimerKind(StrEnum):
    """What an order may wait for only so long."""

    REVIEW = "review"
    REVIEW_ESCALATION = "review-escalation"
    STOCK_REPLY = "stock-reply"
    BACKORDER = "backorder"
    PAYMENT = "payment"
    DISPATCH = "dispatch"
    CANCELLATION = "cancellation"
    DELIVERY = "delivery"
    SETTLEMENT = "settlement"


# Every stage that is not final waits for something until a known time; nothing waits for ever unseen.
STAGE_TIMER: Final[Mapping[OrderStatus, TimerKind]] = {
    OrderStatus.RECEIVED: TimerKind.REVIEW,
    OrderStatus.HELD: TimerKind.REVIEW,
    OrderStatus.APPROVED: TimerKind.STOCK_REPLY,
    OrderStatus.BACKORDERED: TimerKind.BACKORDER,
    OrderStatus.RESERVED: TimerKind.PAYMENT,
    OrderStatus.CONFIRMED: TimerKind.DISPATCH,
    # What logistics, inventory and the provider are asked then is as soon answered as whether parcels are stopped.
    OrderStatus.EDITING: TimerKind.CANCELLATION,
    OrderStatus.CANCELLING: TimerKind.CANCELLATION,
    OrderStatus.SHIPPED: TimerKind.DELIVERY,
    OrderStatus.DELIVERED: TimerKind.SETTLEMENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """
    How long an order may stay in each stage.

    A review is escalated after `review_escalation`, if there is any; at its deadline the order is refused, or kept
    for a person and marked as stuck.
    """

    review: timedelta = timedelta(days=7)
    review_escalation: timedelta | None = None
    is_review_kept: bool = False
    stock_reply: timedelta = timedelta(minutes=2)
    backorder: timedelta = timedelta(days=30)
    wait: timedelta = timedelta(days=7)
    # How long the customer has to say whether to wait on; nobody is asked if there is no time for it.
    wait_answer: timedelta = timedelta(0)
    payment: timedelta = timedelta(minutes=15)
    dispatch: timedelta = timedelta(days=7)
    cancellation: timedelta = timedelta(minutes=30)
    delivery: timedelta = timedelta(days=30)
    settlement: timedelta = timedelta(hours=24)

    def of(self, kind: TimerKind) -> timedelta:
        """Return how long the stage with this timer may last."""
        limit: timedelta = getattr(self, kind.replace("-", "_"))
        return limit


class PendingEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What a confirmed order is to be, if its parcels can be stopped, its goods be had and its price be held."""

    id: UUID
    reason: str
    lines: tuple[OrderLine, ...]
    total_minor: int


class OrderState(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything the saga decides by.

    `version` is the last `aggregate_version` used on orders.order.v1, `sequence` counts the stages entered.
    `lines` are known while the order is under review, `allocations` while it waits for its payment, and both, with
    prices, while it may leave in several parcels: the long lists are needed nowhere else. `warehouses` are those that a
    parcel must come from. `stock_version` numbers the last word of inventory that was followed, 0 if it had no number.
    `missing` is what does not go with the rest, known as long as allocations are; goods that are waited for should be
    there at `expected_at`. `edit` is what is asked for while the order is being edited.
    """

    id: UUID
    facts: OrderFacts
    status: OrderStatus
    version: int = 0
    sequence: int = 0
    stock_version: int = 0
    status_reason: str | None = None
    deadline_at: datetime | None = None
    stuck_since: datetime | None = None
    payment: Payment = msgspec.field(default_factory=Payment)
    steps: tuple[PaymentStep, ...] = ()
    shipments: tuple[Shipment, ...] = ()
    warehouses: tuple[str, ...] = ()
    lines: tuple[SkuQuantity, ...] = ()
    priced_lines: tuple[OrderLine, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    missing: tuple[SkuQuantity, ...] = ()
    expected_at: datetime | None = None
    edit: PendingEdit | None = None

    def step(self, step_id: UUID) -> PaymentStep | None:
        """Return a payment step."""
        return next((step for step in self.steps if step.id == step_id), None)

    def open_minor(self, kind: StepKind) -> int:
        """Return the sum of the steps of a kind that may still happen."""
        return sum(step.amount_minor for step in self.steps if step.kind is kind and step.status in OPEN_STEP)

    @property
    def unpromised_minor(self) -> int:
        """What of the order's price was neither given back nor will be."""
        gone = self.payment.refunded_minor + self.open_minor(StepKind.REFUND)
        gone += sum(
            step.amount_minor
            for step in self.steps
            if step.kind is StepKind.REFUND and step.status is StepStatus.WAIVED
        )
        gone += self.payment.voided_minor + self.open_minor(StepKind.VOID) + self.payment.open_remainder_minor
        left_minor = max(0, self.payment.authorised_minor - gone)
        # Of an order that ended all is let go of, or given back, but the price of what left as its remainder.
        return min(left_minor, self.kept_for_remainder_minor) if self.status in ENDED else left_minor

    @property
    def kept_for_remainder_minor(self) -> int:
        """What was captured, or will be, of an order that ended for goods that left as its remainder."""
        returned_minor = self.payment.remainder.returned_minor if self.payment.remainder is not None else 0
        gone = self.given_back_of_remainder_minor + returned_minor
        return max(0, self.payment.shipped_remainder_minor - gone)

    @property
    def given_back_of_remainder_minor(self) -> int:
        """What was, or will be, given back for parcels of the remainder that were lost."""
        own = {parcel.id for parcel in self.shipments}
        parcels = ((step.shipment_id, step.amount_minor) for step in self._refunds())
        return sum(minor for parcel, minor in parcels if parcel is not None and parcel not in own)

    def paid_back_of_exchange_minor(self, exchange_order_id: UUID) -> int:
        """Return what of goods that came back for an exchange was paid back with all else as the order ended."""
        step = self.step(exchange_step_id(self.id, exchange_order_id))
        return 0 if step is None else step.amount_minor

    def _refunds(self) -> list[PaymentStep]:
        return [step for step in self.steps if step.kind is StepKind.REFUND and step.status is not StepStatus.WITHDRAWN]

    def has_room_for(self, step: PaymentStep) -> bool:
        """Tell whether a step that was believed not to have happened can have, besides all that has."""
        is_replaced = step.kind is not StepKind.AUTHORISE and any(
            _purpose(one) == _purpose(step) and one.status not in REVISABLE for one in self.steps
        )
        return self.payment.has_room_for(step) and not is_replaced


def _purpose(step: PaymentStep) -> tuple[StepKind, UUID | None, UUID | None, UUID | None]:
    return step.kind, step.return_id, step.shipment_id, step.authorisation_id


def step_id(order_id: UUID, name: str) -> UUID:
    """Return the id of a payment step: deciding the same twice names the same step."""
    return named_id(order_id, name)


def exchange_step_id(order_id: UUID, exchange_order_id: UUID) -> UUID:
    """Return the id of the withdrawn refund that says what of an exchange went back with all else of an order."""
    return step_id(order_id, f"exchange:{exchange_order_id}")


class Answer(StrEnum):
    """What the table says to a message in a stage."""

    ADVANCE = "advance"
    IGNORE = "ignore-duplicate"
    REJECT = "reject"
    COMPENSATE = "compensate"


class Publish(msgspec.Struct, frozen=True):
    """Tell the other services."""

    event: Event
    aggregate_version: int


class Pay(msgspec.Struct, frozen=True):
    """Have a step carried out by the payment provider."""

    step: PaymentStep


class Book(msgspec.Struct, frozen=True):
    """Write a fact into the ledger."""

    transfer: Transfer


class CloseReturn(msgspec.Struct, frozen=True):
    """The customer has the money of a return back."""

    return_id: UUID
    refunded_minor: int


class Divide(msgspec.Struct, frozen=True):
    """Make an order of what is missing of this one, which pays `value_minor` for it."""

    order_id: UUID
    lines: tuple[SkuQuantity, ...]
    keeps: tuple[Allocation, ...]
    value_minor: int


class Tell(msgspec.Struct, frozen=True):
    """Tell an order that has to do with this one, in the same transaction."""

    order_id: UUID
    message: Any


class ConcludeEdit(msgspec.Struct, frozen=True):
    """Keep what became of an edit of a confirmed order: it was applied, or refused for a reason."""

    edit: PendingEdit
    refusal: str | None = None
    shortages: tuple[Shortage, ...] = ()


class NoteUnstopped(msgspec.Struct, frozen=True):
    """Keep that a parcel has left although its order was ended: somebody has to be told."""

    shipment_id: UUID


Command: TypeAlias = Publish | Pay | Book | CloseReturn | Divide | Tell | ConcludeEdit | NoteUnstopped


class SetTimer(msgspec.Struct, frozen=True):
    """Wake this order at `due_at`."""

    kind: TimerKind
    due_at: datetime


class ClearTimer(msgspec.Struct, frozen=True):
    """Forget a timer."""

    kind: TimerKind


TimerChange: TypeAlias = SetTimer | ClearTimer


class StageEntered(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the order's timeline; `cause` is what led there, `detail` more about it, `shortages` what was short."""

    sequence: int
    stage: OrderStatus
    entered_at: datetime
    cause: str
    detail: str | None = None
    shortages: tuple[Shortage, ...] = ()


class Transition(msgspec.Struct, frozen=True):
    """What a message makes of an order: its next state and everything to be done with it, in order."""

    state: OrderState
    answer: Answer
    commands: tuple[Command, ...] = ()
    timers: tuple[TimerChange, ...] = ()
    entered: tuple[StageEntered, ...] = ()
