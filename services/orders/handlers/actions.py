"""What people decide about orders that do not move by themselves; every decision is kept, with who made it and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, assert_never
from uuid import UUID

from libs.common.errors import Conflict, Invalid
from libs.common.ids import new_id
from services.orders.domain import messages as on
from services.orders.domain.erasure import check_not_erased
from services.orders.domain.fulfilment import receive
from services.orders.domain.given_up import came_back
from services.orders.domain.order import (
    REPLACEMENT_CHANNEL,
    OrderLine,
    OrderNotFound,
    OrderStatus,
    Origin,
    units_by_sku,
)
from services.orders.domain.state import Answer, OrderState, Shipment
from services.orders.handlers.exchanges import kept_for_exchanges, returned_of_exchange
from services.orders.handlers.fulfilment import Policy, Saga, derived_order
from services.orders.handlers.given_up import bill_of, contents_of
from services.orders.handlers.ports import OrderAction, Unit


class Action(StrEnum):
    """What an operator can do."""

    RETRY = "retry"
    SKIP = "skip"
    FORCE_COMPENSATE = "force-compensate"
    REFUND_PARCEL = "refund-parcel"
    RESHIP = "reship"


class ActionNotPossible(Conflict):
    """There is nothing about the order that this would change, or too little is left to give back."""

    code: ClassVar[str] = "action-not-possible"

    def __init__(self, order_id: UUID, action: Action, status: OrderStatus) -> None:
        """Name the order, what was tried, and where it is."""
        super().__init__(f"Order {order_id} is {status}; there is nothing to {action} now.")


class ParcelNotNamed(Invalid):
    """The action is about a parcel, and the order has none of this id."""

    code: ClassVar[str] = "parcel-not-named"

    def __init__(self) -> None:
        """Name the field."""
        super().__init__("Name a parcel of the order.", field="/shipment_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What an operator wants; a parcel's refund is the price of its goods unless said otherwise."""

    action: Action
    reason: str
    principal: str
    shipment_id: UUID | None = None
    refund_minor: int | None = None


async def act_on_order(order_id: UUID, request: Request, *, unit: Unit, policy: Policy, now: datetime) -> OrderAction:
    """
    Carry out what an operator decided, and keep it.

    :raises OrderNotFound: if there is no such order.
    :raises OrderIsErased: if its customer was erased.
    :raises ParcelNotNamed: if it has no such parcel.
    :raises ActionNotPossible: if it would change nothing.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    before = saga.state(order_id)
    if before is None:
        raise OrderNotFound(order_id)
    check_not_erased(order_id, before.facts.customer_id)
    replacement = None
    refund_minor = None
    match request.action:
        case Action.RETRY:
            lines = units_by_sku(await unit.orders.lines_of(order_id)) if before.status is OrderStatus.APPROVED else ()
            message: on.Message = on.OperatorRetried(request.reason, lines)
        case Action.SKIP:
            message = on.OperatorSkipped(request.reason)
        case Action.FORCE_COMPENSATE:
            message = on.OperatorCompensated(
                request.reason, await _exchanges_of(before, unit), await returned_of_exchange(before, unit)
            )
        case Action.REFUND_PARCEL | Action.RESHIP:
            parcel = _parcel(before, request.shipment_id)
            goods, refund_minor = await _goods_owed(parcel, before, _payer_of(before, saga), request, unit)
            if request.action is Action.RESHIP:
                replacement = derived_order(
                    before,
                    new_id(),
                    channel=REPLACEMENT_CHANNEL,
                    lines=[(line.sku, line.quantity) for line in goods],
                    address=await unit.orders.address_of(order_id),
                    origin=Origin(order_id=order_id),
                    now=now,
                )
            message = on.ParcelGivenUp(parcel.id, refund_minor, request.reason)
        case _:
            assert_never(request.action)
    answer = saga.apply(order_id, message)
    after = saga.state(order_id)
    if answer not in {Answer.ADVANCE, Answer.COMPENSATE} or after is None:
        raise ActionNotPossible(order_id, request.action, before.status)
    if replacement is not None:
        saga.begin(replacement, receive(replacement, now, policy.deadlines))
        saga.apply(replacement.id, on.ReviewPassed())
    await saga.write()
    action = OrderAction(
        id=new_id(),
        order_id=order_id,
        action=request.action,
        reason=request.reason,
        principal=request.principal,
        shipment_id=request.shipment_id,
        refund_minor=refund_minor,
        replacement_order_id=None if replacement is None else replacement.id,
        status_before=before.status,
        status_after=after.status,
        acted_at=now,
    )
    await unit.actions.add(action)
    return action


def _parcel(state: OrderState, shipment_id: UUID | None) -> Shipment:
    found = next((one for one in state.shipments if one.id == shipment_id), None)
    if found is None or not found.has_left:
        raise ParcelNotNamed
    return found


async def _exchanges_of(state: OrderState, unit: Unit) -> tuple[tuple[UUID, int], ...]:
    """Return what is kept of a divided order's price for each exchange of its goods, the oldest first."""
    if state.payment.remainder is None:
        return ()
    return tuple(sorted((await kept_for_exchanges(state, unit)).items()))


def _payer_of(state: OrderState, saga: Saga) -> OrderState:
    """Return the order that pays for the parcels of an order: itself, unless it is what was missing of another one."""
    origin = state.facts.origin
    payer = saga.state(origin.order_id) if origin is not None and state.facts.is_remainder else None
    return state if payer is None else payer


async def _goods_owed(
    parcel: Shipment, state: OrderState, payer: OrderState, request: Request, unit: Unit
) -> tuple[Sequence[OrderLine], int]:
    """
    Return the units in a parcel that have not come back, and what is to be given back for them: nothing if sent again.

    :raises ActionNotPossible: if all of them came back, or less than that is left of what was paid.
    """
    bill = await bill_of(payer, unit)
    packed = await contents_of(parcel, order=state, payer=payer, bill=bill, unit=unit)
    back = came_back(bill.sold_by(payer), packed, bill.absent_of(payer))
    goods = [
        OrderLine(line=number, sku=sku, quantity=units, unit_price_minor=0)
        for number, (sku, units) in enumerate((packed.units - back.units).items(), start=1)
    ]
    refund_minor = 0
    if request.action is Action.REFUND_PARCEL:
        value_minor = max(0, packed.value_minor - back.value_minor)
        refund_minor = value_minor if request.refund_minor is None else request.refund_minor
    left_minor = payer.unpromised_minor - sum((await kept_for_exchanges(payer, unit)).values())
    if not goods or refund_minor > max(0, left_minor):
        raise ActionNotPossible(state.id, request.action, state.status)
    return goods, refund_minor
