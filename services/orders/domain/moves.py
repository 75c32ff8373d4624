"""What each message does to an order once the table has let it through."""

from dataclasses import replace
from typing import Final
from uuid import UUID

from libs.common.events.orders import (
    OrderApproved,
    OrderBackordered,
    OrderCancellationRequested,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderHeldForReview,
    OrderRefused,
    OrderSettled,
    OrderShipped,
    PaymentAuthorised,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
    RefundIssued,
)
from services.orders.domain import messages as on
from services.orders.domain.draft import Draft
from services.orders.domain.order import OrderStatus
from services.orders.domain.state import (
    OPEN_STEP,
    SHIPMENT_RANK,
    OrderState,
    PaymentStep,
    Shipment,
    ShipmentStatus,
    StepKind,
    StepStatus,
    step_id,
)

PARCEL_HAS_LEFT: Final = "a parcel had already left"
_REVIEW_EXPIRED: Final = "review-expired"
_BACKORDER_EXPIRED: Final = "backorder-expired"
_PAYMENT_TIMED_OUT: Final = "payment-timed-out"
_PAYMENT_DECLINED: Final = "payment-declined"
_SHIPMENTS_CANCELLED: Final = "shipments-cancelled"


def pass_review(draft: Draft, _message: on.ReviewPassed) -> None:
    """Ask inventory for the stock."""
    state, facts = draft.state, draft.state.facts
    draft.publish(
        OrderApproved(
            order_id=state.id,
            customer_id=facts.customer_id,
            channel=facts.channel,
            placed_at=facts.placed_at,
            lines=list(state.lines),
            destination=facts.destination,
            on_shortage=facts.on_shortage,
            is_split_allowed=facts.is_split_allowed,
            collect_at=facts.collect_at,
            hold_id=facts.hold_id,
        )
    )
    draft.enter(OrderStatus.APPROVED)


def hold(draft: Draft, message: on.ReviewHeld) -> None:
    """Wait for a person."""
    draft.publish(OrderHeldForReview(order_id=draft.state.id, reasons=list(message.reasons)))
    draft.enter(OrderStatus.HELD, reason=", ".join(message.reasons))


def refuse_review(draft: Draft, message: on.ReviewRefused) -> None:
    """End an order that a person does not want to fulfil."""
    _refuse(draft, "review-refused", detail=message.reason)


def reserve(draft: Draft, message: on.StockReserved) -> None:
    """Ask for the money, now that the goods are there."""
    warehouses = tuple(sorted({allocation.warehouse for allocation in message.allocations}))
    draft.change(allocations=message.allocations, warehouses=warehouses)
    draft.enter(OrderStatus.RESERVED)
    if draft.state.facts.total_minor == 0:
        _confirm(draft)
    else:
        draft.pay(StepKind.AUTHORISE, draft.state.facts.total_minor)


def backorder(draft: Draft, message: on.StockBackordered) -> None:
    """Wait for goods."""
    draft.enter(OrderStatus.BACKORDERED)
    draft.publish(
        OrderBackordered(
            order_id=draft.state.id,
            shortages=list(message.shortages),
            deadline_at=draft.now + draft.deadlines.backorder,
        )
    )


def reject_stock(draft: Draft, message: on.StockRejected) -> None:
    """End an order that cannot be filled."""
    _refuse(draft, message.reason)


def authorise(draft: Draft, message: on.AuthorisationSucceeded) -> None:
    """Book the hold; confirm the order, or let go of money that comes too late."""
    step = draft.set_step(message.step_id, StepStatus.SUCCEEDED)
    payment = draft.state.payment
    draft.change(
        payment=replace(
            payment,
            authorised_minor=payment.authorised_minor + step.amount_minor,
            reference=message.provider_reference,
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
    if draft.state.status is OrderStatus.RESERVED:
        _confirm(draft)
    else:
        _let_go(draft)


def decline_authorisation(draft: Draft, message: on.AuthorisationDeclined) -> None:
    """Refuse an order that nobody pays for."""
    step = draft.set_step(message.step_id, StepStatus.DECLINED)
    _publish_failure(draft, step, message.reason)
    if draft.state.status is OrderStatus.RESERVED:
        _refuse(draft, _PAYMENT_DECLINED, detail=message.reason)


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
        )
    )
    for waiting in draft.state.steps:
        if waiting.status is StepStatus.WAITING and waiting.amount_minor <= _refundable_minor(draft.state):
            draft.set_step(waiting.id, StepStatus.PENDING)
    if draft.state.status in {OrderStatus.REFUSED, OrderStatus.CANCELLED}:
        _let_go(draft)
    _settle_if_complete(draft)


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
    if step.return_id is not None:
        draft.close_return(step.return_id, step.amount_minor)
    _settle_if_complete(draft)


def note_declined_step(draft: Draft, message: on.CaptureDeclined | on.VoidDeclined | on.RefundDeclined) -> None:
    """Ask for a person: behind the capture there is no way back, and the provider does not go forward."""
    step = draft.set_step(message.step_id, StepStatus.DECLINED)
    _publish_failure(draft, step, message.reason)
    draft.mark_stuck()


def move_parcel(draft: Draft, message: on.ShipmentMessage) -> None:
    """Note how far a parcel is, and follow with the order."""
    draft.change(shipments=_with_news(draft.state.shipments, message))
    if draft.state.status is OrderStatus.CANCELLING and any(parcel.has_left for parcel in draft.state.shipments):
        draft.enter(OrderStatus.CONFIRMED, detail=PARCEL_HAS_LEFT)
    _follow_parcels(draft)
    if isinstance(message, on.ShipmentFailed) and draft.state.status is OrderStatus.SHIPPED:
        draft.mark_stuck()


def request_cancellation(draft: Draft, message: on.CancellationRequested) -> None:
    """Call the order off at once, or ask logistics to stop its parcels first."""
    if draft.state.status is OrderStatus.CONFIRMED:
        draft.publish(OrderCancellationRequested(order_id=draft.state.id, reason=message.reason))
        draft.enter(OrderStatus.CANCELLING, reason=message.reason)
    else:
        _cancel(draft, message.reason)


def request_refund(draft: Draft, message: on.RefundRequested) -> None:
    """Send money back, as soon as there is any to send back."""
    if message.amount_minor == 0:
        draft.close_return(message.return_id, 0)
        return
    is_covered = message.amount_minor <= _refundable_minor(draft.state)
    draft.add_step(
        PaymentStep(
            id=refund_step_id(draft.state.id, message.return_id),
            kind=StepKind.REFUND,
            amount_minor=message.amount_minor,
            status=StepStatus.PENDING if is_covered else StepStatus.WAITING,
            return_id=message.return_id,
        )
    )


def pass_deadline(draft: Draft, _message: on.DeadlinePassed) -> None:
    """End what nobody waits for any longer; what must go on is marked for a person."""
    match draft.state.status:
        case OrderStatus.RECEIVED | OrderStatus.HELD:
            _refuse(draft, _REVIEW_EXPIRED)
        case OrderStatus.BACKORDERED:
            _cancel(draft, _BACKORDER_EXPIRED)
        case OrderStatus.RESERVED:
            # The provider's answer is unknown, not "no": should it still say yes, the amount is voided.
            _refuse(draft, _PAYMENT_TIMED_OUT)
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


def _with_news(parcels: tuple[Shipment, ...], message: on.ShipmentMessage) -> tuple[Shipment, ...]:
    for index, parcel in enumerate(parcels):
        if parcel.id == message.shipment_id:
            return (*parcels[:index], parcel_after(parcel, message), *parcels[index + 1 :])
    return (*parcels, parcel_after(None, message))


def _follow_parcels(draft: Draft) -> None:
    """Move the order on once every warehouse that owes a parcel has sent it, or none will."""
    state = draft.state
    expected = set(state.warehouses)
    left = {parcel.warehouse for parcel in state.shipments if parcel.has_left}
    stopped = {parcel.warehouse for parcel in state.shipments if parcel.status is ShipmentStatus.CANCELLED} - left
    if state.status in {OrderStatus.CONFIRMED, OrderStatus.CANCELLING} and expected <= stopped:
        _cancel(draft, state.status_reason or _SHIPMENTS_CANCELLED)
    elif state.status is OrderStatus.CONFIRMED and expected <= left:
        _ship(draft)
    elif state.status is OrderStatus.CONFIRMED and expected <= left | stopped:
        # One parcel left and another never will: what to charge is for a person to decide.
        draft.mark_stuck()
    arrived = {parcel.warehouse for parcel in state.shipments if parcel.status is ShipmentStatus.DELIVERED}
    if draft.state.status is OrderStatus.SHIPPED and expected <= arrived:
        times = [parcel.delivered_at for parcel in state.shipments if parcel.delivered_at is not None]
        draft.publish(OrderDelivered(order_id=state.id, delivered_at=max(times)))
        draft.enter(OrderStatus.DELIVERED)
        _settle_if_complete(draft)


def _ship(draft: Draft) -> None:
    state = draft.state
    times = [parcel.dispatched_at for parcel in state.shipments if parcel.dispatched_at is not None]
    # A parcel whose delivery was heard of before its dispatch has no time of its own.
    shipped_at = max(times, default=state.facts.business_time(draft.now))
    draft.publish(OrderShipped(order_id=state.id, shipped_at=shipped_at))
    draft.enter(OrderStatus.SHIPPED)
    if state.facts.total_minor:
        draft.pay(StepKind.CAPTURE, state.facts.total_minor)


def _confirm(draft: Draft) -> None:
    state, facts = draft.state, draft.state.facts
    draft.publish(
        OrderConfirmed(
            order_id=state.id,
            customer_id=facts.customer_id,
            placed_at=facts.placed_at,
            confirmed_at=facts.business_time(draft.now),
            currency=facts.currency,
            total_minor=facts.total_minor,
            allocations=list(state.allocations),
            destination=facts.destination,
            collect_at=facts.collect_at,
        )
    )
    draft.enter(OrderStatus.CONFIRMED)


def _cancel(draft: Draft, reason: str) -> None:
    draft.publish(OrderCancelled(order_id=draft.state.id, reason=reason, stage=draft.state.status.value))
    draft.enter(OrderStatus.CANCELLED, reason=reason)
    _let_go(draft)


def _refuse(draft: Draft, reason: str, *, detail: str | None = None) -> None:
    draft.publish(OrderRefused(order_id=draft.state.id, reason=reason, detail=detail))
    draft.enter(OrderStatus.REFUSED, reason=reason, detail=f"{reason}: {detail}" if detail else None)
    _let_go(draft)


def _let_go(draft: Draft) -> None:
    """Give back every penny of an order that will not be fulfilled."""
    state = draft.state
    held = state.payment.held_minor - state.open_minor(StepKind.VOID)
    if held > 0:
        draft.pay(StepKind.VOID, held)
    owed = _refundable_minor(draft.state)
    if owed > 0:
        draft.pay(StepKind.REFUND, owed)


def _refundable_minor(state: OrderState) -> int:
    """Return what was captured and is neither refunded nor about to be."""
    pending = sum(
        step.amount_minor for step in state.steps if step.kind is StepKind.REFUND and step.status is StepStatus.PENDING
    )
    return state.payment.captured_minor - state.payment.refunded_minor - pending


def _settle_if_complete(draft: Draft) -> None:
    state = draft.state
    is_paid = state.payment.captured_minor == state.facts.total_minor
    owes_nothing = not any(step.status in OPEN_STEP for step in state.steps)
    if state.status is OrderStatus.DELIVERED and is_paid and owes_nothing:
        draft.publish(
            OrderSettled(
                order_id=state.id,
                currency=state.facts.currency,
                captured_minor=state.payment.captured_minor,
                refunded_minor=state.payment.refunded_minor,
            )
        )
        draft.enter(OrderStatus.SETTLED)


def _publish_failure(draft: Draft, step: PaymentStep, reason: str) -> None:
    draft.publish(
        PaymentFailed(
            order_id=draft.state.id,
            amount_minor=step.amount_minor,
            currency=draft.state.facts.currency,
            reason=reason,
        )
    )
