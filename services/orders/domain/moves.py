"""What each message does to an order once the table has let it through."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from libs.common.events.orders import (
    OrderApproved,
    OrderBackordered,
    OrderCancellationRequested,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderHeldForReview,
    OrderReconfirmed,
    OrderRefused,
    OrderReserved,
    OrderReviewEscalated,
    OrderSettled,
    OrderShipped,
    OrderWaitExpired,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
    RefundIssued,
)
from libs.common.events.shapes import Shortage, SkuQuantity
from services.orders.domain import edits, remainders
from services.orders.domain import messages as on
from services.orders.domain.authorisations import ask_for, parts_of
from services.orders.domain.draft import Draft
from services.orders.domain.ledger import Fact
from services.orders.domain.order import CaptureMoment, OrderStatus
from services.orders.domain.parcels import payable_part
from services.orders.domain.state import (
    ENDED,
    OPEN_STEP,
    SHIPMENT_RANK,
    Deadlines,
    OrderState,
    PaymentStep,
    RemainderStatus,
    Shipment,
    ShipmentStatus,
    StepKind,
    StepStatus,
    TimerKind,
    step_id,
)

PARCEL_HAS_LEFT: Final = "a parcel had already left"
_REVIEW_EXPIRED: Final = "review-expired"
_REVIEW_ESCALATED: Final = "review-escalated"
_BACKORDER_EXPIRED: Final = "backorder-expired"
PAYMENT_TIMED_OUT: Final = "payment-timed-out"
PAYMENT_DECLINED: Final = "payment-declined"
_SHIPMENTS_CANCELLED: Final = "shipments-cancelled"
ORDER_ENDED: Final = "order-ended"
STOCK_MOVED: Final = "stock-moved"
_WAIT_EXPIRED: Final = "wait-expired"
# How inventory is asked for what an order may be short of.
_ASKED_FOR: Final = {"split": "partial", "wait": "backorder"}
_UNSHIPPED: Final = frozenset({OrderStatus.CONFIRMED, OrderStatus.CANCELLING, OrderStatus.BACKORDERED})
_PAID_BACK: Final = frozenset({StepStatus.SUCCEEDED, StepStatus.WAIVED})
_CONCLUDED: Final = frozenset({ShipmentStatus.LOST, ShipmentStatus.DELIVERED})


def pass_review(draft: Draft, message: on.ReviewPassed) -> None:
    """Ask inventory for the stock."""
    ask_for_stock(draft, draft.state.lines, review_score=message.score)
    draft.enter(OrderStatus.APPROVED, detail=", ".join(message.reasons) or None)


def ask_for_stock(draft: Draft, lines: Sequence[SkuQuantity], *, review_score: int = 0) -> None:
    """Have inventory reserve units; asked twice, it reserves once."""
    facts = draft.state.facts
    draft.publish(
        OrderApproved(
            order_id=draft.state.id,
            customer_id=facts.customer_id,
            channel=facts.channel,
            placed_at=facts.placed_at,
            lines=list(lines),
            destination=facts.destination,
            on_shortage=_ASKED_FOR.get(facts.on_shortage, facts.on_shortage),
            is_split_allowed=facts.is_split_allowed,
            collect_at=facts.collect_at,
            hold_id=facts.hold_id,
            review_score=review_score,
            remainder_of=facts.origin.order_id if facts.origin is not None and facts.is_remainder else None,
            keeps=list(facts.origin.keeps) if facts.origin is not None and facts.is_remainder else [],
        )
    )


def hold(draft: Draft, message: on.ReviewHeld) -> None:
    """Wait for a person."""
    draft.publish(
        OrderHeldForReview(
            order_id=draft.state.id, reasons=list(message.reasons), score=message.score, rules=message.rules
        )
    )
    draft.enter(OrderStatus.HELD, reason=", ".join(message.reasons))


def refuse_review(draft: Draft, message: on.ReviewRefused) -> None:
    """End an order that a person, or the rules, do not want to fulfil."""
    _refuse(draft, "review-refused", detail=message.reason, review_score=message.score)


def escalate_review(draft: Draft) -> None:
    """Tell that nobody has decided yet; the order waits on, with the same deadline."""
    draft.forget_timer(TimerKind.REVIEW_ESCALATION)
    draft.publish(OrderReviewEscalated(order_id=draft.state.id, deadline_at=draft.state.deadline_at))
    draft.note(detail=_REVIEW_ESCALATED)


def reserve(draft: Draft, message: on.StockReserved) -> None:
    """Ask for the money, now that the goods are there; once it was held, there is no need to ask again."""
    planned = draft.state.warehouses if draft.state.status is OrderStatus.BACKORDERED else ()
    warehouses = tuple(sorted({allocation.warehouse for allocation in message.allocations}))
    draft.change(stock_version=max(message.version, draft.state.stock_version))
    if planned and planned != warehouses:
        # The parcels that logistics has planned come from elsewhere: what to do with them is for a person to decide.
        draft.enter(OrderStatus.CONFIRMED, reason=STOCK_MOVED)
        draft.mark_stuck()
        return
    draft.change(allocations=message.allocations, warehouses=warehouses, expected_at=None)
    if draft.state.payment.remainder is None:
        draft.change(missing=())
    if planned:
        confirm(draft)
    else:
        _enter_reserved(draft)


def reserve_part(draft: Draft, message: on.StockPartlyReserved) -> None:
    """Go ahead with what is held; once parcels are planned, only see to it that it is still what they are made of."""
    state = draft.state
    draft.change(stock_version=max(message.version, state.stock_version))
    if state.status is OrderStatus.CONFIRMED:
        _wait(draft, message.shortages)
        draft.publish(
            OrderBackordered(order_id=state.id, shortages=list(message.shortages), deadline_at=_deadline(draft))
        )
    elif state.warehouses and state.status is OrderStatus.BACKORDERED:
        confirm(draft)
    else:
        warehouses = tuple(sorted({allocation.warehouse for allocation in message.allocations}))
        draft.change(allocations=message.allocations, warehouses=warehouses, missing=message.missing, expected_at=None)
        _enter_reserved(draft, message.shortages)


def _enter_reserved(draft: Draft, shortages: tuple[Shortage, ...] = ()) -> None:
    """Ask for the money, now that goods are there; once it was held, there is no need to ask again."""
    draft.enter(OrderStatus.RESERVED, shortages=shortages)
    state = draft.state
    draft.publish(
        OrderReserved(
            order_id=state.id,
            warehouses=list(state.warehouses),
            missing=list(state.missing),
            shortages=list(shortages),
        )
    )
    if covered_minor(state) >= due_minor(state, state.facts.total_minor):
        confirm(draft)
    elif not state.open_minor(StepKind.AUTHORISE):
        draft.pay(StepKind.AUTHORISE, state.facts.total_minor)


def backorder(draft: Draft, message: on.StockBackordered) -> None:
    """Wait for goods, perhaps again: what is held or asked for of the customer's money stays as it is."""
    draft.change(stock_version=max(message.version, draft.state.stock_version))
    if draft.state.status is OrderStatus.RESERVED:
        draft.change(allocations=(), warehouses=(), missing=())
    times = [shortage.expected_at for shortage in message.shortages]
    known = [moment for moment in times if moment is not None]
    expected_at = max(known) if known and len(known) == len(times) else None
    draft.change(expected_at=expected_at)
    _wait(draft, message.shortages)
    draft.publish(
        OrderBackordered(
            order_id=draft.state.id,
            shortages=list(message.shortages),
            deadline_at=_deadline(draft),
            expected_at=expected_at,
        )
    )


def _wait(draft: Draft, shortages: tuple[Shortage, ...]) -> None:
    expected_at = draft.state.expected_at
    detail = None if expected_at is None else f"expected at {expected_at.isoformat()}"
    lasts = patience(draft.state, draft.deadlines)
    draft.enter(OrderStatus.BACKORDERED, detail=detail, lasts=lasts, shortages=shortages)


def patience(state: OrderState, deadlines: Deadlines) -> timedelta:
    """Return how long an order waits for goods."""
    return deadlines.wait if state.facts.on_shortage == "wait" else deadlines.backorder


def _deadline(draft: Draft) -> datetime:
    return draft.now + patience(draft.state, draft.deadlines)


def wait_on(draft: Draft, message: on.WaitProlonged) -> None:
    """Wait longer, as the customer wants."""
    draft.enter(OrderStatus.BACKORDERED, detail=message.reason, lasts=message.until - draft.now)


def _wait_or_end(draft: Draft) -> None:
    """Ask the customer, once, whether to wait on; otherwise nobody waits any longer."""
    state = draft.state
    answer_by = draft.now + draft.deadlines.wait_answer
    if state.facts.on_shortage != "wait" or state.status_reason == _WAIT_EXPIRED or answer_by <= draft.now:
        cancel(draft, _BACKORDER_EXPIRED)
        return
    draft.enter(OrderStatus.BACKORDERED, reason=_WAIT_EXPIRED, lasts=draft.deadlines.wait_answer)
    draft.publish(OrderWaitExpired(order_id=state.id, answer_by=answer_by, expected_at=state.expected_at))


def charge_remainder(draft: Draft, message: on.RemainderShipped) -> None:
    """Charge for what was missing, now that it has left."""
    value_minor = remainders.conclude(draft, RemainderStatus.SHIPPED)
    state = draft.state
    parcel = Shipment(id=message.shipment_id, status=ShipmentStatus.DISPATCHED)
    if state.status in ENDED or state.payment.capture_at is CaptureMoment.EACH_DISPATCH:
        _charge(draft, parcel, min(value_minor, _uncharged_minor(state)))
    elif state.payment.capture_at is CaptureMoment.FIRST_DISPATCH:
        _charge(draft, parcel, _unasked_minor(state))
    else:
        _capture_what_left(draft)
    if state.status in ENDED and not draft.state.open_minor(StepKind.CAPTURE):
        # It cost nothing, so that no capture will come after which the rest is let go of.
        _let_go(draft)
    go_on_with_what_waits(draft)
    settle_if_complete(draft)


def give_up_remainder(draft: Draft, _message: on.RemainderEnded) -> None:
    """Let go of, or give back, the price of what was missing."""
    value_minor = remainders.conclude(draft, RemainderStatus.ENDED) - draft.state.given_back_of_remainder_minor
    if draft.state.status in ENDED:
        _let_go(draft)
        return
    if value_minor > 0:
        let_go_of_part(draft, value_minor)
    if draft.state.payment.capture_at is CaptureMoment.LAST_DISPATCH:
        _capture_what_left(draft)
    go_on_with_what_waits(draft)
    settle_if_complete(draft)


def refund_remainder(draft: Draft, message: on.RemainderLost) -> None:
    """Give back what is owed for a parcel of what was missing."""
    _give_back(draft, message.refund_minor, shipment_id=message.shipment_id)


def reject_stock(draft: Draft, message: on.StockRejected) -> None:
    """End an order that cannot be filled."""
    if draft.state.warehouses:
        _ask_to_stop(draft, message.reason)
    else:
        _refuse(draft, message.reason, shortages=message.shortages)


def authorise(draft: Draft, message: on.AuthorisationSucceeded) -> None:
    """Book the hold; confirm the order, or let go of money that comes too late."""
    is_first = _is_first(draft.state, message.step_id)
    step = book_authorisation(draft, message)
    if draft.state.status in ENDED:
        _let_go(draft)
    elif not is_first:
        # For an edit that was given up: what the order costs is held already.
        let_go_of(draft, step)
    elif draft.state.status is OrderStatus.RESERVED:
        confirm(draft)


def _is_first(state: OrderState, one: UUID) -> bool:
    """Tell whether an authorisation is that of the order's price as it was placed, and not of an edit."""
    return one == step_id(state.id, f"{StepKind.AUTHORISE}:1")


def let_go_of(draft: Draft, authorisation: PaymentStep) -> None:
    """Let go of all that one of several authorisations holds."""
    draft.pay(StepKind.VOID, authorisation.amount_minor, authorisation_id=authorisation.id)


def covered_minor(state: OrderState) -> int:
    """Return what is held, or was charged, for the order's price, however much will be let go of in the end."""
    gone = sum(
        step.amount_minor
        for step in state.steps
        if (step.kind, step.status) in {(StepKind.VOID, StepStatus.PENDING), (StepKind.REFUND, StepStatus.PENDING)}
    )
    payment = state.payment
    return payment.authorised_minor - payment.voided_minor - payment.refunded_minor - gone


def due_minor(state: OrderState, total_minor: int) -> int:
    """Return what is paid of a total: all but the price of what was missing and will not come."""
    return total_minor - state.payment.ended_remainder_minor


def keep_what_it_costs(draft: Draft) -> None:
    """Have what is held beyond the order's price let go of, once the price was captured."""
    for step in draft.state.steps:
        if step.kind is StepKind.VOID and step.status is StepStatus.WAITING:
            draft.set_step(step.id, StepStatus.WITHDRAWN)
    surplus = covered_minor(draft.state) - due_minor(draft.state, draft.state.facts.total_minor)
    if surplus > 0:
        let_go_of_part(draft, surplus)
    go_on_with_what_waits(draft)


def book_authorisation(draft: Draft, message: on.AuthorisationSucceeded) -> PaymentStep:
    """Book what the provider holds, and return the step that asked for it."""
    step = draft.set_step(message.step_id, StepStatus.SUCCEEDED)
    payment = draft.state.payment
    if payment.reference is not None:
        draft.refer(step.id, message.provider_reference)
    draft.change(
        payment=replace(
            payment,
            authorised_minor=payment.authorised_minor + step.amount_minor,
            reference=payment.reference or message.provider_reference,
        )
    )
    draft.publish(
        PaymentAuthorised(
            order_id=draft.state.id,
            amount_minor=step.amount_minor,
            currency=draft.state.facts.currency,
            provider_reference=message.provider_reference,
        )
    )
    draft.book(Fact.AUTHORISED, step)
    return step


def decline_authorisation(draft: Draft, message: on.AuthorisationDeclined) -> None:
    """Refuse an order that nobody pays for."""
    step = draft.set_step(message.step_id, StepStatus.DECLINED)
    publish_failure(draft, step, message.reason)
    if _is_first(draft.state, step.id) and draft.state.status in {OrderStatus.RESERVED, OrderStatus.BACKORDERED}:
        _refuse(draft, PAYMENT_DECLINED, detail=message.reason)


def withdraw_authorisation(draft: Draft, message: on.AuthorisationWithdrawn) -> None:
    """Note that the provider was never asked."""
    draft.set_step(message.step_id, StepStatus.WITHDRAWN)


def capture(draft: Draft, message: on.CaptureSucceeded) -> None:
    """Book the money; refunds that waited for it can go."""
    step = draft.set_step(message.step_id, StepStatus.SUCCEEDED)
    payment = draft.state.payment
    draft.change(payment=replace(payment, captured_minor=payment.captured_minor + step.amount_minor))
    draft.publish(
        PaymentCaptured(
            order_id=draft.state.id,
            amount_minor=step.amount_minor,
            currency=draft.state.facts.currency,
            provider_reference=message.provider_reference,
            shipment_id=step.shipment_id,
        )
    )
    draft.book(Fact.CAPTURED, step)
    draft.book(Fact.RELEASED, step)
    go_on_with_what_waits(draft)
    if draft.state.status in ENDED:
        _let_go(draft)
    settle_if_complete(draft)


def void(draft: Draft, message: on.VoidSucceeded) -> None:
    """Book that nothing is held any more."""
    step = draft.set_step(message.step_id, StepStatus.SUCCEEDED)
    payment = draft.state.payment
    draft.change(payment=replace(payment, voided_minor=payment.voided_minor + step.amount_minor))
    draft.publish(
        PaymentVoided(
            order_id=draft.state.id,
            amount_minor=step.amount_minor,
            currency=draft.state.facts.currency,
            provider_reference=message.provider_reference,
        )
    )
    draft.book(Fact.VOIDED, step)
    settle_if_complete(draft)


def refund(draft: Draft, message: on.RefundSucceeded) -> None:
    """Book the money that went back, and close the return that it was for."""
    step = draft.set_step(message.step_id, StepStatus.SUCCEEDED)
    payment = draft.state.payment
    draft.change(payment=replace(payment, refunded_minor=payment.refunded_minor + step.amount_minor))
    draft.publish(
        RefundIssued(
            order_id=draft.state.id,
            amount_minor=step.amount_minor,
            currency=draft.state.facts.currency,
            refund_id=step.id,
            return_id=step.return_id,
        )
    )
    draft.book(Fact.REFUNDED, step)
    close_return_of(draft, step)
    settle_if_complete(draft)


def close_return_of(draft: Draft, refunded: PaymentStep) -> None:
    """Close the return that a refund was for, once all of its parts are back."""
    parts = [
        step
        for step in draft.state.steps
        if step.return_id == refunded.return_id and step.status is not StepStatus.WITHDRAWN
    ]
    if refunded.return_id is not None and all(step.status in _PAID_BACK for step in parts):
        draft.close_return(refunded.return_id, sum(step.amount_minor for step in parts))


def note_declined_step(draft: Draft, message: on.CaptureDeclined | on.VoidDeclined | on.RefundDeclined) -> None:
    """Ask for a person: behind the capture there is no way back, and the provider does not go forward."""
    step = draft.set_step(message.step_id, StepStatus.DECLINED)
    publish_failure(draft, step, message.reason)
    if step.kind is StepKind.CAPTURE and draft.state.status in ENDED:
        # Nothing is owed for an order that was called off: let go of what was to be captured.
        if step.shipment_id not in {parcel.id for parcel in draft.state.shipments}:
            remainders.conclude(draft, RemainderStatus.ENDED)
        draft.book(Fact.UNEARNED, step)
        draft.set_step(step.id, StepStatus.WAIVED)
        _let_go(draft)
    else:
        draft.mark_stuck()


def move_parcel(draft: Draft, message: on.ShipmentMessage) -> None:
    """Note how far a parcel is, and follow with the order."""
    before = draft.state.shipments
    draft.change(shipments=with_news(before, message))
    if draft.state.status in ENDED and not any(one.id == message.shipment_id and one.has_left for one in before):
        # In an ended stage the table lets through only what says that a parcel has left.
        draft.note_unstopped(message.shipment_id)
    is_held_back = draft.state.status in {OrderStatus.CANCELLING, OrderStatus.BACKORDERED}
    if is_held_back and any(parcel.has_left for parcel in draft.state.shipments):
        draft.enter(OrderStatus.CONFIRMED, detail=PARCEL_HAS_LEFT)
    follow_parcels(draft)
    if isinstance(message, on.ShipmentFailed) and draft.state.status is OrderStatus.SHIPPED:
        draft.mark_stuck()


def request_cancellation(draft: Draft, message: on.CancellationRequested) -> None:
    """Call the order off at once, or ask logistics to stop its parcels first."""
    if draft.state.status is OrderStatus.CONFIRMED or _is_planned(draft.state):
        _ask_to_stop(draft, message.reason)
    else:
        cancel(draft, message.reason)
    remainders.call_off(draft, message)


def give_up_parcel(draft: Draft, message: on.ParcelGivenUp) -> None:
    """Expect a parcel no longer, and give back what is owed for it."""
    parcels = tuple(
        replace(parcel, status=ShipmentStatus.LOST) if parcel.id == message.shipment_id else parcel
        for parcel in draft.state.shipments
    )
    draft.change(shipments=parcels)
    draft.enter(OrderStatus.SHIPPED, detail=message.reason)
    if draft.state.facts.is_remainder:
        remainders.tell_lost(draft, message)
    elif message.refund_minor:
        _give_back(draft, message.refund_minor, shipment_id=message.shipment_id)
    follow_parcels(draft)


def request_refund(draft: Draft, message: on.RefundRequested) -> None:
    """Send money back, as soon as there is any to send back."""
    if message.amount_minor == 0:
        draft.close_return(message.return_id, 0)
        return
    _give_back(
        draft,
        message.amount_minor,
        return_id=message.return_id,
        own_id=refund_step_id(draft.state.id, message.return_id),
    )


def _give_back(
    draft: Draft,
    amount_minor: int,
    *,
    return_id: UUID | None = None,
    shipment_id: UUID | None = None,
    own_id: UUID | None = None,
) -> None:
    """Refund an amount, as soon as so much was captured."""
    if draft.state.status in ENDED and shipment_id is None:
        # All else goes back by itself, however late it is captured; of a parcel that was lost the step tells.
        remainders.take_back(draft, amount_minor)
    if amount_minor <= _refundable_minor(draft.state):
        ask_for(draft, StepKind.REFUND, amount_minor, return_id=return_id, shipment_id=shipment_id, own_id=own_id)
    else:
        draft.pay(
            StepKind.REFUND,
            amount_minor,
            status=StepStatus.WAITING,
            return_id=return_id,
            shipment_id=shipment_id,
            own_id=own_id,
        )


def refund_exchange(draft: Draft, message: on.ExchangeEnded) -> None:
    """Give back the price of goods that were to be sent for others, and will not."""
    owed_minor = message.amount_minor - draft.state.paid_back_of_exchange_minor(message.exchange_order_id)
    _give_back(draft, owed_minor, own_id=refund_step_id(draft.state.id, message.exchange_order_id))


def pass_deadline(draft: Draft, message: on.DeadlinePassed) -> None:
    """End what nobody waits for any longer; what must go on is marked for a person."""
    match draft.state.status:
        case OrderStatus.HELD if message.timer is TimerKind.REVIEW_ESCALATION:
            escalate_review(draft)
        case OrderStatus.HELD if draft.deadlines.is_review_kept:
            draft.mark_stuck()
        case OrderStatus.RECEIVED | OrderStatus.HELD:
            _refuse(draft, _REVIEW_EXPIRED)
        case OrderStatus.BACKORDERED if _is_planned(draft.state):
            _ask_to_stop(draft, _BACKORDER_EXPIRED)
        case OrderStatus.BACKORDERED:
            _wait_or_end(draft)
        case OrderStatus.DELIVERED if draft.state.payment.is_remainder_open:
            # What was missing has deadlines of its own.
            draft.wait_on()
        case OrderStatus.EDITING if edits.is_unpaid(draft.state):
            # The provider's answer is unknown, not "no": should it still say yes, the amount is voided.
            edits.refuse(draft, reason=PAYMENT_TIMED_OUT)
            draft.enter(OrderStatus.CONFIRMED, detail=PAYMENT_TIMED_OUT)
        case OrderStatus.RESERVED:
            # The provider's answer is unknown, not "no": should it still say yes, the amount is voided.
            _refuse(draft, PAYMENT_TIMED_OUT)
        case _:
            draft.mark_stuck()


def refund_step_id(order_id: UUID, return_id: UUID) -> UUID:
    """Return the id of the step that refunds a return."""
    return step_id(order_id, f"refund:{return_id}")


def parcel_after(known: Shipment | None, message: on.ShipmentMessage) -> Shipment:
    """Return what is known of a parcel after a message, which may be old or repeated."""
    parcel = known or Shipment(id=message.shipment_id, status=ShipmentStatus.PLANNED)
    match message:
        case on.ShipmentPlanned(warehouse=warehouse):
            return replace(parcel, warehouse=warehouse)
        case on.ShipmentDispatched(warehouse=warehouse, dispatched_at=dispatched_at):
            status = _later(parcel.status, ShipmentStatus.DISPATCHED)
            return replace(parcel, status=status, warehouse=warehouse, dispatched_at=dispatched_at)
        case on.ShipmentDelivered(delivered_at=delivered_at):
            return replace(parcel, status=ShipmentStatus.DELIVERED, delivered_at=delivered_at)
        case on.ShipmentFailed():
            return replace(parcel, status=_later(parcel.status, ShipmentStatus.FAILED))
        case on.ShipmentCancelled():
            return replace(parcel, status=_later(parcel.status, ShipmentStatus.CANCELLED))


def _later(one: ShipmentStatus, other: ShipmentStatus) -> ShipmentStatus:
    return max(one, other, key=SHIPMENT_RANK.__getitem__)


def with_news(parcels: tuple[Shipment, ...], message: on.ShipmentMessage) -> tuple[Shipment, ...]:
    for index, parcel in enumerate(parcels):
        if parcel.id == message.shipment_id:
            return (*parcels[:index], parcel_after(parcel, message), *parcels[index + 1 :])
    return (*parcels, parcel_after(None, message))


def departures(state: OrderState) -> tuple[set[str], set[str]]:
    """Return the warehouses whose parcel has left, and those whose parcel never will."""
    left = {parcel.warehouse for parcel in state.shipments if parcel.warehouse is not None and parcel.has_left}
    stopped = {
        parcel.warehouse
        for parcel in state.shipments
        if parcel.warehouse is not None and parcel.status is ShipmentStatus.CANCELLED
    }
    return left, stopped - left


def follow_parcels(draft: Draft) -> None:
    """Move the order on once every warehouse that owes a parcel has sent it, or none will."""
    state = draft.state
    expected = set(state.warehouses)
    left, stopped = departures(state)
    if state.status in _UNSHIPPED and expected <= stopped:
        cancel(draft, state.status_reason or _SHIPMENTS_CANCELLED)
    elif state.status is OrderStatus.CONFIRMED and expected <= left:
        _ship(draft)
    elif state.status is OrderStatus.CONFIRMED:
        _capture_what_left(draft)
        if expected <= left | stopped:
            # One parcel left and another never will: what to do about the rest is for a person to decide.
            draft.mark_stuck()
    done = {parcel.warehouse for parcel in state.shipments if parcel.status in _CONCLUDED}
    if draft.state.status is OrderStatus.SHIPPED and expected <= done:
        times = [parcel.delivered_at for parcel in state.shipments if parcel.delivered_at is not None]
        if times:
            draft.publish(OrderDelivered(order_id=state.id, delivered_at=max(times)))
        draft.enter(OrderStatus.DELIVERED)
        settle_if_complete(draft)


def _ship(draft: Draft) -> None:
    state = draft.state
    times = [parcel.dispatched_at for parcel in state.shipments if parcel.dispatched_at is not None]
    # A parcel whose delivery was heard of before its dispatch has no time of its own.
    shipped_at = max(times, default=state.facts.business_time(draft.now))
    draft.publish(OrderShipped(order_id=state.id, shipped_at=shipped_at))
    draft.enter(OrderStatus.SHIPPED)
    _capture_what_left(draft)
    if state.facts.is_remainder:
        remainders.tell_shipped(draft, state.shipments[-1].id)


def _capture_what_left(draft: Draft) -> None:
    """Ask for the price of parcels that have left; with the last of them, for all that remains."""
    state = draft.state
    charged = {step.shipment_id for step in state.steps if step.kind is StepKind.CAPTURE}
    parcels = [
        parcel
        for parcel in state.shipments
        if parcel.has_left and parcel.warehouse in state.warehouses and parcel.id not in charged
    ]
    if not parcels:
        return
    left, _ = departures(state)
    is_complete = set(state.warehouses) <= left
    match state.payment.capture_at:
        case CaptureMoment.FIRST_DISPATCH:
            _charge(draft, parcels[0], _unasked_minor(state))
        case CaptureMoment.LAST_DISPATCH if is_complete and not state.payment.is_remainder_open:
            _charge(draft, parcels[-1], _uncharged_minor(state))
        case CaptureMoment.LAST_DISPATCH:
            pass
        case CaptureMoment.EACH_DISPATCH:
            values = remainders.value_of_parcels(state) if len(state.warehouses) > 1 else {}
            for parcel in parcels:
                uncharged = _uncharged_minor(draft.state)
                is_last = is_complete and parcel is parcels[-1]
                own = payable_part(values.get(parcel.warehouse or "", 0), state.facts.currency)
                value = uncharged if is_last else own
                _charge(draft, parcel, min(value, uncharged))


def _charge(draft: Draft, parcel: Shipment, amount_minor: int) -> None:
    if amount_minor > 0:
        for step in ask_for(draft, StepKind.CAPTURE, amount_minor, shipment_id=parcel.id):
            draft.book(Fact.EARNED, step)


def _uncharged_minor(state: OrderState) -> int:
    """Return what of the price of the order's own goods was neither asked for nor let go of."""
    return max(0, _unasked_minor(state) - state.payment.open_remainder_minor)


def _unasked_minor(state: OrderState) -> int:
    """Return what is held for the order's price and was neither asked for nor is let go of."""
    captures = sum(
        step.amount_minor
        for step in state.steps
        if step.kind is StepKind.CAPTURE and step.status not in {StepStatus.WITHDRAWN, StepStatus.WAIVED}
    )
    return state.payment.authorised_minor - captures - state.payment.voided_minor - state.open_minor(StepKind.VOID)


def confirm(draft: Draft) -> None:
    state = draft.state
    is_replanned = any(parcel.status is ShipmentStatus.REPLACED for parcel in state.shipments)
    draft.publish(
        OrderReconfirmed(plan=state.sequence, **_asked(draft)) if is_replanned else OrderConfirmed(**_asked(draft))
    )
    draft.enter(OrderStatus.CONFIRMED)
    remainders.divide(draft)


def _asked(draft: Draft) -> dict[str, Any]:
    """Return what logistics is asked to ship."""
    state, facts = draft.state, draft.state.facts
    return {
        "order_id": state.id,
        "customer_id": facts.customer_id,
        "placed_at": facts.placed_at,
        "confirmed_at": facts.business_time(draft.now),
        "currency": facts.currency,
        "total_minor": facts.total_minor,
        "allocations": list(state.allocations),
        "destination": facts.destination,
        "collect_at": facts.collect_at,
    }


def cancel(draft: Draft, reason: str, *, returned_minor: int = 0) -> None:
    edits.refuse(draft, reason=ORDER_ENDED)
    draft.publish(OrderCancelled(order_id=draft.state.id, reason=reason, stage=draft.state.status.value))
    draft.enter(OrderStatus.CANCELLED, reason=reason)
    _let_go(draft)
    remainders.tell_ended(draft, reason, returned_minor=returned_minor)


def _refuse(
    draft: Draft,
    reason: str,
    *,
    detail: str | None = None,
    review_score: int | None = None,
    shortages: tuple[Shortage, ...] = (),
) -> None:
    draft.publish(
        OrderRefused(
            order_id=draft.state.id, reason=reason, detail=detail, review_score=review_score, shortages=list(shortages)
        )
    )
    told = f"{reason}: {detail}" if detail else None
    draft.enter(OrderStatus.REFUSED, reason=reason, detail=told, shortages=shortages)
    _let_go(draft)
    remainders.tell_ended(draft, reason)


def _let_go(draft: Draft) -> None:
    """Give back every penny of an order that will not be fulfilled."""
    go_on_with_what_waits(draft)
    state = draft.state
    # What may yet be captured is let go of, or given back, once that is known.
    held = state.payment.held_minor - state.open_minor(StepKind.VOID) - state.open_minor(StepKind.CAPTURE)
    # A provider that lets go of anything lets go of all, so that what may yet leave as a remainder goes first.
    if held > 0 and not state.payment.is_remainder_open:
        is_charged = state.open_minor(StepKind.CAPTURE) > 0
        if is_charged:
            draft.pay(StepKind.VOID, held, status=StepStatus.WAITING)
        else:
            ask_for(draft, StepKind.VOID, held)
    # What a return waits for goes back with that return, or it would never be closed.
    owed = _refundable_minor(draft.state) - state.kept_for_remainder_minor - _waiting_refunds_minor(draft.state)
    if owed > 0:
        ask_for(draft, StepKind.REFUND, owed)


def let_go_of_part(draft: Draft, amount_minor: int) -> None:
    """Give back the price of goods that will not be sent, once what is sent was paid."""
    state = draft.state
    free = state.payment.held_minor - state.open_minor(StepKind.CAPTURE) - state.open_minor(StepKind.VOID)
    voided = max(0, min(amount_minor, free))
    if voided:
        # A provider that lets go of an authorisation lets go of all of it, so that comes last.
        draft.pay(StepKind.VOID, voided, status=StepStatus.WAITING)
    owed = amount_minor - voided
    if owed:
        _give_back(draft, owed)


def go_on_with_what_waits(draft: Draft) -> None:
    """Have steps carried out that had to wait for a capture."""
    for waiting in [step for step in draft.state.steps if step.status is StepStatus.WAITING]:
        state = draft.state
        is_all_charged = not state.open_minor(StepKind.CAPTURE) and not _is_to_be_charged(state)
        refundable = _refundable_minor(state)
        if waiting.kind is StepKind.VOID:
            if is_all_charged:
                _carry_out(draft, waiting, waiting.amount_minor)
        elif waiting.amount_minor <= refundable:
            _carry_out(draft, waiting, waiting.amount_minor)
        elif is_all_charged and state.status in ENDED:
            # Some of what it waited for was let go of instead.
            _carry_out(draft, waiting, max(0, refundable))


def _carry_out(draft: Draft, waiting: PaymentStep, amount_minor: int) -> None:
    """Ask for what had to wait, of whichever authorisations have it by now."""
    if amount_minor and parts_of(draft.state, waiting.kind, amount_minor) == [(None, waiting.amount_minor)]:
        draft.set_step(waiting.id, StepStatus.PENDING)
        return
    draft.set_step(waiting.id, StepStatus.WITHDRAWN)
    if amount_minor:
        ask_for(draft, waiting.kind, amount_minor, return_id=waiting.return_id, shipment_id=waiting.shipment_id)
    else:
        close_return_of(draft, waiting)


def _is_to_be_charged(state: OrderState) -> bool:
    """Tell whether anything will yet be asked for of what the provider holds."""
    is_owed = state.status not in ENDED and _uncharged_minor(state) > 0
    return state.payment.is_remainder_open or is_owed


def _ask_to_stop(draft: Draft, reason: str) -> None:
    """Have logistics stop the parcels; whether it can decides what becomes of the order."""
    draft.publish(OrderCancellationRequested(order_id=draft.state.id, reason=reason))
    draft.enter(OrderStatus.CANCELLING, reason=reason)


def _is_planned(state: OrderState) -> bool:
    """Tell whether logistics was asked to send the order, although it waits for goods again."""
    return state.status is OrderStatus.BACKORDERED and bool(state.warehouses)


def _refundable_minor(state: OrderState) -> int:
    """Return what was captured and is neither refunded nor about to be."""
    pending = sum(
        step.amount_minor for step in state.steps if step.kind is StepKind.REFUND and step.status is StepStatus.PENDING
    )
    return state.payment.captured_minor - state.payment.refunded_minor - pending


def _waiting_refunds_minor(state: OrderState) -> int:
    return sum(
        step.amount_minor for step in state.steps if step.kind is StepKind.REFUND and step.status is StepStatus.WAITING
    )


def settle_if_complete(draft: Draft) -> None:
    state = draft.state
    payment = state.payment
    is_paid = payment.authorised_minor >= due_minor(state, state.facts.total_minor) and payment.held_minor == 0
    owes_nothing = not any(step.status in OPEN_STEP for step in state.steps)
    is_divided = state.payment.is_remainder_open
    if state.status is OrderStatus.DELIVERED and is_paid and owes_nothing and not is_divided:
        draft.publish(
            OrderSettled(
                order_id=state.id,
                currency=state.facts.currency,
                captured_minor=state.payment.captured_minor,
                refunded_minor=state.payment.refunded_minor,
            )
        )
        draft.enter(OrderStatus.SETTLED)


def publish_failure(draft: Draft, step: PaymentStep, reason: str) -> None:
    draft.publish(
        PaymentFailed(
            order_id=draft.state.id,
            amount_minor=step.amount_minor,
            currency=draft.state.facts.currency,
            reason=reason,
        )
    )
