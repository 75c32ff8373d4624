"""
An order's way as one pure, total function.

`TABLE` has an answer for every stage and every message; `transition` follows it and does nothing else: no
clock, no IO, no exception. What it returns is the next state and everything that is to be done about it.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from libs.common.events.orders import OrderPlaced
from libs.common.events.shapes import OrderCharge, OrderFinding, OrderLine
from services.orders.domain import edits, held_edits, interventions, moves
from services.orders.domain import messages as on
from services.orders.domain.charges import Charge
from services.orders.domain.draft import Draft
from services.orders.domain.order import NewOrder, OrderStatus, units_by_sku
from services.orders.domain.state import (
    REVISABLE,
    STAGE_TIMER,
    UNDER_WAY,
    Answer,
    Deadlines,
    OrderState,
    Payment,
    RemainderStatus,
    StepKind,
    StepStatus,
    TimerKind,
    Transition,
)

_LETTERS: Final[Mapping[str, Answer]] = {
    "A": Answer.ADVANCE,
    "c": Answer.COMPENSATE,
    ".": Answer.IGNORE,
    "x": Answer.REJECT,
}

# Columns as in OrderStatus. "." is a message that this stage has passed or that repeats itself; "x" one that
# cannot happen there, which is counted, logged and refused to whoever sent it; "c" undoes something.
_ROWS: Final[Mapping[type[on.Message], str]] = {
    #                          received
    #                          | held
    #                          | | approved
    #                          | | | backordered
    #                          | | | | reserved
    #                          | | | | | confirmed
    #                          | | | | | | editing
    #                          | | | | | | | cancelling
    #                          | | | | | | | | shipped
    #                          | | | | | | | | | delivered
    #                          | | | | | | | | | | settled
    #                          | | | | | | | | | | | refused
    #                          | | | | | | | | | | | | cancelled
    on.ReviewPassed:           "A A . . . . . . . . . x x",
    on.ReviewHeld:             "A . x x x x x x x x x x x",
    on.ReviewRefused:          "A A x x x x x x x x x . x",
    on.StockReserved:          "x x A A A . A . . . . . .",
    on.StockBackordered:       "x x A . A A A . . . . . .",
    on.StockPartlyReserved:    "x x A A A A A . . . . . .",
    on.StockRejected:          "x x A A x x x x x x x . .",
    on.WaitProlonged:          "x x x A x x x x x x x x x",
    on.RemainderShipped:       "x x x A x A A A A A x x A",
    on.RemainderEnded:         "x x x A x A A A A A A x A",
    on.RemainderLost:          "x x x A x A A A A A A x A",
    on.ExchangeEnded:          "x x x x x x x x A A A x A",
    on.AuthorisationSucceeded: "x x x A A c A c c c c c c",
    on.AuthorisationDeclined:  "x x x A A A A A A A A A A",
    on.AuthorisationWithdrawn: "x x x A A A A A A A A A A",
    on.CaptureSucceeded:       "x x x A x A A A A A A c c",
    on.CaptureDeclined:        "x x x A x A A A A A x A A",
    on.VoidSucceeded:          "x x x A A A A A A A A A A",
    on.VoidDeclined:           "x x x A A A A A A A A A A",
    on.RefundSucceeded:        "x x x A x A A A A A A A A",
    on.RefundDeclined:         "x x x A x A A A A A A A A",
    on.ShipmentPlanned:        "x x x A x A A A . . . x .",
    on.ShipmentDispatched:     "x x x c x A c c . . . x A",
    on.ShipmentDelivered:      "x x x c x A c c A . . x A",
    on.ShipmentFailed:         "x x x c x A c c A . . x A",
    on.ShipmentCancelled:      "x x x A x A A A . . . . .",
    on.ParcelGivenUp:          "x x x x x x x x A . . x x",
    on.OperatorRetried:        "x x A A A A A A A A A A A",
    on.OperatorSkipped:        "x x x x x A x x A A A A A",
    on.OperatorCompensated:    "c c c c c c c c c c x x x",
    on.CancellationRequested:  "A A A A A A A . x x x x .",
    on.OrderEdited:            "x A A A A A x x x x x x x",
    on.StockChanged:           "x x x A x x A x x x x . .",
    on.StockChangeRefused:     "x x x A A A A . . . . . .",
    on.RefundRequested:        "x x x x x x x x A A A x A",
    on.DeadlinePassed:         "A A A c c A A A A A . . .",
}  # fmt: skip

TABLE: Final[Mapping[tuple[OrderStatus, type[on.Message]], Answer]] = {
    (status, message): _LETTERS[letter]
    for message, row in _ROWS.items()
    for status, letter in zip(OrderStatus, row.split(), strict=True)
}

_MOVES: Final[Mapping[type[on.Message], Callable[[Draft, Any], None]]] = {
    on.ReviewPassed: moves.pass_review,
    on.ReviewHeld: moves.hold,
    on.ReviewRefused: moves.refuse_review,
    on.StockReserved: moves.reserve,
    on.StockBackordered: moves.backorder,
    on.StockPartlyReserved: moves.reserve_part,
    on.StockRejected: moves.reject_stock,
    on.WaitProlonged: moves.wait_on,
    on.RemainderShipped: moves.charge_remainder,
    on.RemainderEnded: moves.give_up_remainder,
    on.RemainderLost: moves.refund_remainder,
    on.ExchangeEnded: moves.refund_exchange,
    on.AuthorisationSucceeded: moves.authorise,
    on.AuthorisationDeclined: moves.decline_authorisation,
    on.AuthorisationWithdrawn: moves.withdraw_authorisation,
    on.CaptureSucceeded: moves.capture,
    on.CaptureDeclined: moves.note_declined_step,
    on.VoidSucceeded: moves.void,
    on.VoidDeclined: moves.note_declined_step,
    on.RefundSucceeded: moves.refund,
    on.RefundDeclined: moves.note_declined_step,
    on.ShipmentPlanned: moves.move_parcel,
    on.ShipmentDispatched: moves.move_parcel,
    on.ShipmentDelivered: moves.move_parcel,
    on.ShipmentFailed: moves.move_parcel,
    on.ShipmentCancelled: moves.move_parcel,
    on.ParcelGivenUp: moves.give_up_parcel,
    on.OperatorRetried: interventions.retry,
    on.OperatorSkipped: interventions.skip,
    on.OperatorCompensated: interventions.compensate,
    on.CancellationRequested: moves.request_cancellation,
    on.OrderEdited: held_edits.edit,
    on.StockChanged: held_edits.follow_change,
    on.StockChangeRefused: held_edits.follow_refusal,
    on.RefundRequested: moves.request_refund,
    on.DeadlinePassed: moves.pass_deadline,
}

# What happens to an order while it is edited is followed otherwise than by the stage that it comes from.
_MOVES_WHILE_EDITING: Final[Mapping[type[on.Message], Callable[[Draft, Any], None]]] = {
    on.StockReserved: held_edits.follow_stock,
    on.StockBackordered: held_edits.follow_stock,
    on.StockPartlyReserved: held_edits.follow_stock,
    on.AuthorisationSucceeded: held_edits.take_money,
    on.AuthorisationDeclined: held_edits.miss_money,
    on.ShipmentPlanned: held_edits.move_parcel,
    on.ShipmentDispatched: held_edits.move_parcel,
    on.ShipmentDelivered: held_edits.move_parcel,
    on.ShipmentFailed: held_edits.move_parcel,
    on.ShipmentCancelled: held_edits.move_parcel,
    on.CancellationRequested: held_edits.request_cancellation,
}

_STANDARD_DEADLINES: Final = Deadlines()


def transition(
    state: OrderState, message: on.Message, now: datetime, deadlines: Deadlines = _STANDARD_DEADLINES
) -> Transition:
    """Return what `message` makes of an order; an ignored or rejected one changes nothing."""
    answer = _answer(state, message, now)
    if answer is Answer.IGNORE or answer is Answer.REJECT:
        return Transition(state, answer)
    draft = Draft(state, cause=message.name, now=now, deadlines=deadlines)
    own_moves = _MOVES_WHILE_EDITING if state.status is OrderStatus.EDITING else _MOVES
    own_moves.get(type(message), _MOVES[type(message)])(draft, message)
    return draft.finish(answer)


def receive(order: NewOrder, now: datetime, deadlines: Deadlines = _STANDARD_DEADLINES) -> Transition:
    """Return the first state of an order, before its review."""
    facts = order.facts
    state = OrderState(
        id=order.id,
        facts=facts,
        status=OrderStatus.RECEIVED,
        payment=Payment(capture_at=order.payment_terms.capture_at),
        lines=units_by_sku(order.lines),
        priced_lines=order.lines,
    )
    draft = Draft(state, cause=OrderPlaced.type, now=now, deadlines=deadlines)
    draft.enter(OrderStatus.RECEIVED)
    draft.publish(
        OrderPlaced(
            order_id=order.id,
            customer_id=facts.customer_id,
            channel=facts.channel,
            placed_at=facts.placed_at,
            currency=facts.currency,
            total_minor=facts.total_minor,
            lines=[
                OrderLine(
                    line=line.line,
                    sku=line.sku,
                    quantity=line.quantity,
                    unit_price_minor=line.unit_price_minor,
                    charged_minor=line.charged_minor,
                )
                for line in order.lines
            ],
            destination=facts.destination,
            findings=[
                OrderFinding(
                    kind=one.kind,
                    consequence=one.consequence,
                    offered_minor=one.offered_minor,
                    expected_minor=one.expected_minor,
                    line=one.line,
                    sku=one.sku,
                    code=one.code,
                )
                for one in order.findings
            ],
            charges=[_told(one) for one in order.charges],
        )
    )
    return draft.finish(Answer.ADVANCE)


def _told(charge: Charge) -> OrderCharge:
    tax = charge.tax
    return OrderCharge(
        kind=charge.kind,
        code=charge.code,
        amount_minor=charge.amount_minor,
        lines=list(charge.lines),
        jurisdiction=None if tax is None else tax.jurisdiction,
        rate_ppm=None if tax is None else tax.rate_ppm,
        is_inclusive=None if tax is None else tax.is_inclusive,
        base=None if tax is None else tax.base,
    )


def is_payment_wanted(kind: StepKind, status: OrderStatus) -> bool:
    """Tell whether a step that was never tried is still worth trying: an authorisation may have lost its order."""
    # While an order waits for goods again, its authorisation is kept: there is never a second one.
    wanting = {OrderStatus.RESERVED, OrderStatus.BACKORDERED, OrderStatus.EDITING}
    return kind is not StepKind.AUTHORISE or status in wanting


def _answer(state: OrderState, message: on.Message, now: datetime) -> Answer:
    by_table = TABLE[state.status, type(message)]
    if isinstance(message, on.StepResult):
        step = state.step(message.step_id)
        if step is None:
            return Answer.REJECT
        if step.status is StepStatus.PENDING:
            return by_table
        # That money moved counts even if it was believed not to.
        is_revised = step.status in REVISABLE and isinstance(message, on.SUCCESSES)
        return (by_table if state.has_room_for(step) else Answer.REJECT) if is_revised else Answer.IGNORE
    if by_table is Answer.IGNORE or by_table is Answer.REJECT:
        return by_table
    if isinstance(message, on.OrderEdited | on.StockChanged | on.StockChangeRefused):
        return edits.answer_to(state, message) or by_table
    return _exception_to_table(state, message, now) or by_table


def _exception_to_table(state: OrderState, message: on.Message, now: datetime) -> Answer | None:
    """Return what is to be answered because of what the table cannot see: clocks, amounts, parcels."""
    answer: Answer | None = None
    match message:
        case on.StockReserved() | on.StockBackordered() | on.StockPartlyReserved():
            answer = _answer_to_stock(state, message)
        case on.WaitProlonged(until=until):
            answer = Answer.IGNORE if state.deadline_at is not None and until <= state.deadline_at else None
        case on.RemainderShipped() | on.RemainderEnded() | on.RemainderLost():
            answer = _answer_about_remainder(state, message)
        case on.DeadlinePassed(timer=timer):
            answer = _answer_to_deadline(state, timer, now)
        case on.RefundRequested() | on.ExchangeEnded():
            answer = _answer_to_refund(state, message)
        case on.CancellationRequested() if any(parcel.has_left for parcel in state.shipments):
            answer = Answer.REJECT
        case _ if isinstance(message, on.ShipmentMessage) and not state.warehouses:
            # Waiting for goods since before anything was planned.
            answer = Answer.REJECT
        case _ if isinstance(message, on.ShipmentMessage):
            known = next((parcel for parcel in state.shipments if parcel.id == message.shipment_id), None)
            answer = Answer.IGNORE if moves.parcel_after(known, message) == known else None
        case on.OperatorRetried() | on.OperatorSkipped() | on.ParcelGivenUp():
            answer = None if _is_possible(state, message) else Answer.REJECT
        case _:
            pass
    return answer


def _answer_to_deadline(state: OrderState, timer: TimerKind, now: datetime) -> Answer | None:
    if timer is TimerKind.REVIEW_ESCALATION:
        return None if state.status is OrderStatus.HELD else Answer.IGNORE
    is_due = state.deadline_at is not None and state.deadline_at <= now
    # A timer of an earlier stage, or of an earlier visit to this one, is old news.
    return None if is_due and timer is STAGE_TIMER[state.status] else Answer.IGNORE


def _answer_to_stock(
    state: OrderState, message: on.StockReserved | on.StockBackordered | on.StockPartlyReserved
) -> Answer | None:
    if not isinstance(message, on.StockBackordered) and not message.allocations:
        return Answer.REJECT
    if 0 < message.version <= state.stock_version:
        return Answer.IGNORE
    if isinstance(message, on.StockPartlyReserved) and state.status is not OrderStatus.EDITING:
        return _answer_to_part(state, message)
    if isinstance(message, on.StockReserved) and state.status is OrderStatus.RESERVED:
        # The rest came before the order went ahead without it.
        return None if state.missing else Answer.IGNORE
    if state.status is not OrderStatus.EDITING and (
        isinstance(message, on.StockReserved) or state.status is OrderStatus.APPROVED
    ):
        return None
    # Only what surely is newer than the reservation takes it back, and only while all goods are still here.
    has_left = any(parcel.has_left for parcel in state.shipments)
    return Answer.IGNORE if message.version == 0 or has_left else None


def _answer_to_part(state: OrderState, message: on.StockPartlyReserved) -> Answer | None:
    if state.status is OrderStatus.RESERVED:
        return Answer.IGNORE if message.version == 0 else None
    if not state.warehouses:
        # Nothing is divided twice: what is left of a divided order waits until it is there whole.
        return None if state.payment.remainder is None else Answer.IGNORE
    # Parcels are planned: more than they need is the remainder's, less takes the order back to where it waits.
    has_left = any(parcel.has_left for parcel in state.shipments)
    held = {(one.warehouse, one.sku): one.quantity for one in message.allocations}
    is_enough = all(held.get((one.warehouse, one.sku), 0) >= one.quantity for one in state.allocations)
    is_waiting = state.status is OrderStatus.BACKORDERED
    return Answer.IGNORE if message.version == 0 or has_left or is_enough is not is_waiting else None


def _answer_about_remainder(
    state: OrderState, message: on.RemainderShipped | on.RemainderEnded | on.RemainderLost
) -> Answer | None:
    remainder = state.payment.remainder
    if remainder is None:
        return Answer.REJECT
    if isinstance(message, on.RemainderLost):
        is_owed = remainder.status is RemainderStatus.SHIPPED and 0 <= message.refund_minor <= state.unpromised_minor
        return None if is_owed else Answer.REJECT
    is_news = remainder.status is RemainderStatus.OPEN or (
        remainder.status is RemainderStatus.SHIPPED and isinstance(message, on.RemainderEnded)
    )
    return None if is_news else Answer.IGNORE


def _is_possible(state: OrderState, message: on.OperatorRetried | on.OperatorSkipped | on.ParcelGivenUp) -> bool:
    match message:
        case on.OperatorRetried():
            return state.stuck_since is not None or bool(interventions.declined_steps(state))
        case on.OperatorSkipped():
            return interventions.can_skip(state)
        case on.ParcelGivenUp(shipment_id=shipment_id, refund_minor=refund_minor):
            parcel = next((one for one in state.shipments if one.id == shipment_id), None)
            is_under_way = parcel is not None and parcel.status in UNDER_WAY
            # What was missing of another order was paid for by that.
            is_covered = state.facts.is_remainder or refund_minor <= state.unpromised_minor
            return is_under_way and is_covered and refund_minor >= 0


def _answer_to_refund(state: OrderState, message: on.RefundRequested | on.ExchangeEnded) -> Answer:
    what = message.exchange_order_id if isinstance(message, on.ExchangeEnded) else message.return_id
    if state.step(moves.refund_step_id(state.id, what)) is not None:
        return Answer.IGNORE
    paid_minor = state.paid_back_of_exchange_minor(what)
    if paid_minor and message.amount_minor <= paid_minor:
        return Answer.IGNORE
    is_covered = 0 <= message.amount_minor - paid_minor <= state.unpromised_minor
    return Answer.ADVANCE if is_covered else Answer.REJECT
