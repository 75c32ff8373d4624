"""What a person decides about an order that does not move by itself."""

from typing import Final

from msgspec.structs import replace

from libs.common.events.orders import OrderCancellationRequested, OrderDelivered
from services.orders.domain import held_edits, moves, remainders
from services.orders.domain import messages as on
from services.orders.domain.draft import Draft
from services.orders.domain.ledger import Fact
from services.orders.domain.order import OrderStatus
from services.orders.domain.state import OrderState, PaymentStep, StepKind, StepStatus

_PARCELS_PLANNED: Final = frozenset(
    {OrderStatus.BACKORDERED, OrderStatus.CONFIRMED, OrderStatus.EDITING, OrderStatus.SHIPPED}
)


def declined_steps(state: OrderState) -> list[PaymentStep]:
    """Return what the provider has refused and nobody has decided about; a refused authorisation decides itself."""
    return [step for step in state.steps if step.status is StepStatus.DECLINED and step.kind is not StepKind.AUTHORISE]


def can_skip(state: OrderState) -> bool:
    """Tell whether there is anything that the order can do without."""
    if declined_steps(state):
        return True
    if state.stuck_since is None:
        return False
    return state.status is OrderStatus.SHIPPED or (state.status is OrderStatus.CONFIRMED and _is_partly_stopped(state))


def retry(draft: Draft, message: on.OperatorRetried) -> None:
    """Ask again for what was refused or not answered, and give the stage its whole time again."""
    state = draft.state
    declined = declined_steps(state)
    draft.enter(state.status, reason=state.status_reason, detail=message.reason)
    if state.status is OrderStatus.APPROVED and message.lines:
        moves.ask_for_stock(draft, message.lines)
    if state.status is OrderStatus.CANCELLING:
        draft.publish(OrderCancellationRequested(order_id=state.id, reason=state.status_reason or message.reason))
    if state.status is OrderStatus.EDITING:
        held_edits.go_on(draft)
    for step in declined:
        draft.set_step(step.id, StepStatus.WITHDRAWN)
        draft.pay(
            step.kind,
            step.amount_minor,
            return_id=step.return_id,
            shipment_id=step.shipment_id,
            authorisation_id=step.authorisation_id,
        )


def skip(draft: Draft, message: on.OperatorSkipped) -> None:
    """Do without what was refused, or without what will not come."""
    state = draft.state
    declined = declined_steps(state)
    draft.enter(state.status, reason=state.status_reason, detail=message.reason)
    for step in declined:
        _waive(draft, step)
    if not declined and state.status is OrderStatus.CONFIRMED:
        _ship_what_left(draft)
    if not declined and state.status is OrderStatus.SHIPPED:
        # Nobody says so, but a person knows that it arrived.
        draft.publish(OrderDelivered(order_id=state.id, delivered_at=state.facts.business_time(draft.now)))
        draft.enter(OrderStatus.DELIVERED, detail=message.reason)
    moves.settle_if_complete(draft)


def compensate(draft: Draft, message: on.OperatorCompensated) -> None:
    """End the order and give every penny back; parcels are stopped as far as they can be."""
    state = draft.state
    if state.warehouses and state.status in _PARCELS_PLANNED:
        draft.publish(OrderCancellationRequested(order_id=state.id, reason=message.reason))
    remainders.pay_back_exchanges(draft, message.exchanges)
    moves.cancel(draft, message.reason, returned_minor=message.returned_minor)
    remainders.call_off(draft, message)


def _waive(draft: Draft, declined: PaymentStep) -> None:
    step = draft.set_step(declined.id, StepStatus.WAIVED)
    payment = draft.state.payment
    match step.kind:
        case StepKind.CAPTURE | StepKind.VOID:
            # The provider holds it no longer, or soon will not.
            draft.change(payment=replace(payment, voided_minor=payment.voided_minor + step.amount_minor))
            draft.book(Fact.RELEASED, step)
            if step.kind is StepKind.CAPTURE:
                draft.book(Fact.WRITTEN_OFF, step)
        case StepKind.REFUND:
            draft.book(Fact.REPAID_ELSEWHERE, step)
            moves.close_return_of(draft, step)
        case StepKind.AUTHORISE:
            pass


def _is_partly_stopped(state: OrderState) -> bool:
    left, stopped = moves.departures(state)
    return bool(left) and set(state.warehouses) <= left | stopped


def _ship_what_left(draft: Draft) -> None:
    """Call what left the whole order; the price of the rest is let go of, or goes back."""
    state = draft.state
    left, _ = moves.departures(state)
    values = remainders.value_of_parcels(state)
    unshipped = sum(value for warehouse, value in values.items() if warehouse not in left)
    draft.change(warehouses=tuple(sorted(left)))
    if unshipped:
        moves.let_go_of_part(draft, unshipped)
    moves.follow_parcels(draft)
    moves.go_on_with_what_waits(draft)
