"""
Edits of orders that are confirmed: their goods are held, their price is authorised, their parcels are planned.

One thing after the other, each of which can be undone until the last: what the edit costs more is authorised, the
parcels are stopped, then inventory holds the difference. Logistics decides between an edit and a dispatch, because it
stops all parcels or none; inventory between an edit and another order's need. Whoever says no leaves the order as it
was. Money comes first because it can be let go of without a loss, and goods may be somebody else's a moment later.
"""

from typing import Final

from msgspec.structs import replace

from libs.common.events.orders import OrderBackordered, OrderEditRequested, OrderRecallRequested
from libs.common.events.shapes import Shortage
from services.orders.domain import edits, moves, remainders
from services.orders.domain import messages as on
from services.orders.domain.draft import Draft
from services.orders.domain.order import OrderStatus, total_borne
from services.orders.domain.state import (
    OrderState,
    PaymentStep,
    PendingEdit,
    ShipmentStatus,
    StepKind,
    StepStatus,
)

_PARCEL_HAS_LEFT: Final = "parcel-has-left"
_RECALLED: Final = "parcels-recalled"
# How far the edit is: whether the parcels are stopped, and whether the goods are there no more.
_STOPPED: Final = "parcels-stopped"
_GONE: Final = "goods-gone"
_STOPPED_AND_GONE: Final = "parcels-stopped, goods-gone"


def edit(draft: Draft, message: on.OrderEdited) -> None:
    """Change an order, or begin to: the lines of a confirmed one are others' to change as well."""
    if draft.state.status is not OrderStatus.CONFIRMED or message.lines is None:
        edits.apply_edit(draft, message)
        return
    pending = PendingEdit(
        id=message.edit_id, reason=message.reason, lines=message.lines, total_minor=total_borne(message.lines)
    )
    draft.change(edit=pending)
    lacking_minor = moves.due_minor(draft.state, pending.total_minor) - moves.covered_minor(draft.state)
    detail = f"{edits.REQUESTED}: {pending.reason}"
    if lacking_minor <= 0:
        draft.enter(OrderStatus.EDITING, detail=detail)
        go_on(draft)
        return
    draft.enter(OrderStatus.EDITING, detail=detail, lasts=draft.deadlines.payment)
    draft.add_step(
        PaymentStep(
            id=edits.further_step_id(draft.state.id, pending.id), kind=StepKind.AUTHORISE, amount_minor=lacking_minor
        )
    )


def go_on(draft: Draft) -> None:
    """Ask for what the edit needs next; asked again, it is the same request."""
    state = draft.state
    if state.edit is None or edits.is_unpaid(state):
        return
    if not _are_parcels_stopped(state):
        draft.publish(OrderRecallRequested(order_id=state.id, edit_id=state.edit.id, before_plan=state.sequence))
        draft.note(detail=_RECALLED)
    elif not _are_goods_gone(state):
        units = list(remainders.own_units(state.edit.lines, state.missing))
        draft.publish(OrderEditRequested(order_id=state.id, edit_id=state.edit.id, lines=units, is_held=True))
    else:
        # The goods were not there any more when the parcels were stopped.
        _give_up(draft, reason=moves.STOCK_MOVED)
        _wait(draft)


def take_money(draft: Draft, message: on.AuthorisationSucceeded) -> None:
    """Go on with an edit that is paid for; what was authorised for an earlier one is let go of."""
    step = moves.book_authorisation(draft, message)
    state = draft.state
    if state.edit is None or step.id != edits.further_step_id(state.id, state.edit.id):
        moves.let_go_of(draft, step)
        return
    draft.enter(OrderStatus.EDITING)
    go_on(draft)


def miss_money(draft: Draft, message: on.AuthorisationDeclined) -> None:
    """Go on without an edit that nobody pays for: its parcels were never stopped."""
    is_wanted = edits.is_unpaid(draft.state)
    step = draft.set_step(message.step_id, StepStatus.DECLINED)
    moves.publish_failure(draft, step, message.reason)
    if is_wanted and not edits.is_unpaid(draft.state):
        _give_up(draft, reason=moves.PAYMENT_DECLINED)
        draft.enter(OrderStatus.CONFIRMED)


def follow_stock(draft: Draft, message: on.StockReserved | on.StockBackordered | on.StockPartlyReserved) -> None:
    """Know what is held for the order; without its goods, it is edited no further."""
    if edits.is_unpaid(draft.state) and not isinstance(message, on.StockReserved):
        # Its parcels are as they were before the edit.
        _give_up(draft, reason=moves.STOCK_MOVED)
        draft.enter(OrderStatus.CONFIRMED)
        take_back = moves.backorder if isinstance(message, on.StockBackordered) else moves.reserve_part
        take_back(draft, message)  # type: ignore[arg-type]
        return
    draft.change(stock_version=max(message.version, draft.state.stock_version))
    is_gone = not isinstance(message, on.StockReserved)
    if isinstance(message, on.StockReserved):
        draft.change(allocations=message.allocations)
    _mark(draft, is_stopped=_are_parcels_stopped(draft.state), is_gone=is_gone)


def move_parcel(draft: Draft, message: on.ShipmentMessage) -> None:
    """Note how far a parcel is: one that has left ends the edit, and once all are stopped it goes on."""
    draft.change(shipments=moves.with_news(draft.state.shipments, message))
    if any(parcel.has_left for parcel in draft.state.shipments):
        _give_up(draft, reason=_PARCEL_HAS_LEFT)
        draft.enter(OrderStatus.CONFIRMED, detail=moves.PARCEL_HAS_LEFT)
        moves.follow_parcels(draft)
        return
    _, stopped = moves.departures(draft.state)
    if set(draft.state.warehouses) <= stopped:
        draft.change(
            shipments=tuple(
                replace(parcel, status=ShipmentStatus.REPLACED) if parcel.status is ShipmentStatus.CANCELLED else parcel
                for parcel in draft.state.shipments
            )
        )
        draft.enter(OrderStatus.EDITING, reason=_STOPPED_AND_GONE if _are_goods_gone(draft.state) else _STOPPED)
        go_on(draft)


def follow_change(draft: Draft, message: on.StockChanged) -> None:
    """Go on with the lines that the customer wants now: their goods are held, or waited for."""
    pending = draft.state.edit
    if pending is None:
        edits.follow_change(draft, message)
        return
    facts = replace(draft.state.facts, total_minor=pending.total_minor)
    draft.change(
        stock_version=max(message.version, draft.state.stock_version),
        facts=facts,
        priced_lines=pending.lines,
        allocations=message.allocations,
    )
    _mark(draft, is_stopped=True, is_gone=False)
    draft.conclude_edit(pending)
    edits.tell(draft, pending.id, pending.reason, pending.lines)
    moves.keep_what_it_costs(draft)
    _leave_again(draft)


def follow_refusal(draft: Draft, message: on.StockChangeRefused) -> None:
    """Go on as it was."""
    if draft.state.edit is None:
        edits.follow_refusal(draft, message)
        return
    draft.change(stock_version=max(message.version, draft.state.stock_version))
    _give_up(draft, reason=message.reason, shortages=message.shortages)
    _leave_again(draft)


def request_cancellation(draft: Draft, message: on.CancellationRequested) -> None:
    """Call the order off: at once if its parcels are stopped, else logistics is asked to."""
    if _are_parcels_stopped(draft.state):
        moves.cancel(draft, message.reason)
        remainders.call_off(draft, message)
        return
    _give_up(draft, reason=moves.ORDER_ENDED)
    draft.enter(OrderStatus.CONFIRMED)
    moves.request_cancellation(draft, message)


def _give_up(draft: Draft, *, reason: str, shortages: tuple[Shortage, ...] = ()) -> None:
    """Go on without the edit; what was charged for it, because what was missing has left meanwhile, goes back."""
    state = draft.state
    further = None if state.edit is None else state.step(edits.further_step_id(state.id, state.edit.id))
    edits.refuse(draft, reason=reason, shortages=shortages)
    if further is not None and edits.is_charged(state, further):
        moves.keep_what_it_costs(draft)


def _are_parcels_stopped(state: OrderState) -> bool:
    return state.status_reason in {_STOPPED, _STOPPED_AND_GONE}


def _are_goods_gone(state: OrderState) -> bool:
    return state.status_reason in {_GONE, _STOPPED_AND_GONE}


def _mark(draft: Draft, *, is_stopped: bool, is_gone: bool) -> None:
    stopped = _STOPPED_AND_GONE if is_gone else _STOPPED
    draft.change(status_reason=stopped if is_stopped else _GONE if is_gone else None)


def _leave_again(draft: Draft) -> None:
    """Have parcels planned for what is held, if anything is."""
    allocations = draft.state.allocations
    if _are_goods_gone(draft.state) or not allocations:
        _wait(draft)
        return
    draft.change(warehouses=tuple(sorted({one.warehouse for one in allocations})))
    moves.confirm(draft)


def _wait(draft: Draft) -> None:
    """Wait for goods like an order that never had any: there is no parcel that could leave."""
    draft.change(warehouses=(), allocations=(), expected_at=None)
    lasts = moves.patience(draft.state, draft.deadlines)
    draft.enter(OrderStatus.BACKORDERED, lasts=lasts)
    draft.publish(OrderBackordered(order_id=draft.state.id, shortages=[], deadline_at=draft.now + lasts))
