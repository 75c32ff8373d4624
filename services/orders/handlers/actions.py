"""What people decide about orders that do not move by themselves; every decision is kept, with who made it and why."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, assert_never
from uuid import UUID

from libs.common.errors import Conflict, Invalid
from libs.common.ids import new_id
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import receive
from services.orders.domain.order import Address, NewOrder, OrderLine, OrderNotFound, OrderStatus, units_by_sku
from services.orders.domain.parcels import value_by_warehouse
from services.orders.domain.state import Answer, OrderState, Shipment
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import OrderAction, Unit

_REPLACEMENT_CHANNEL = "replacement"
# A replacement costs nothing, so that no provider is ever asked with it.
_NO_TOKEN = "none"  # noqa: S105 - the absence of one


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
    :raises ParcelNotNamed: if it has no such parcel.
    :raises ActionNotPossible: if it would change nothing.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    before = saga.state(order_id)
    if before is None:
        raise OrderNotFound(order_id)
    replacement = None
    refund_minor = None
    match request.action:
        case Action.RETRY:
            lines = units_by_sku(await unit.orders.lines_of(order_id)) if before.status is OrderStatus.APPROVED else ()
            message: on.Message = on.OperatorRetried(request.reason, lines)
        case Action.SKIP:
            message = on.OperatorSkipped(request.reason)
        case Action.FORCE_COMPENSATE:
            message = on.OperatorCompensated(request.reason)
        case Action.REFUND_PARCEL | Action.RESHIP:
            parcel = _parcel(before, request.shipment_id)
            goods, value_minor = await _goods_of(before, parcel, unit)
            if request.action is Action.RESHIP:
                replacement = _replacement(before, goods, await unit.orders.address_of(order_id), now)
                refund_minor = 0
            else:
                refund_minor = value_minor if request.refund_minor is None else request.refund_minor
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


async def _goods_of(state: OrderState, parcel: Shipment, unit: Unit) -> tuple[Sequence[OrderLine], int]:
    """Return the units in a parcel, and what they cost."""
    lines = await unit.orders.lines_of(state.id)
    if len(state.warehouses) <= 1:
        return lines, state.facts.total_minor
    allocations = await unit.orders.allocations_of(state.id)
    goods = [
        OrderLine(line=number, sku=one.sku, quantity=one.quantity, unit_price_minor=0)
        for number, one in enumerate(allocations, start=1)
        if one.warehouse == parcel.warehouse
    ]
    return goods, value_by_warehouse(lines, allocations).get(parcel.warehouse or "", 0)


def _replacement(state: OrderState, goods: Sequence[OrderLine], address: Address, now: datetime) -> NewOrder:
    """Return an order for the same goods that costs nothing: stock is reserved and parcels are planned as always."""
    order_id = new_id()
    facts = replace(
        state.facts,
        channel=_REPLACEMENT_CHANNEL,
        reference=str(state.id),
        total_minor=0,
        # What was held before the first order was placed went with it.
        hold_id=None,
        placed_at=state.facts.business_time(now),
        received_at=now,
    )
    lines = tuple(replace(line, unit_price_minor=0, returned_quantity=0) for line in goods)
    return NewOrder(id=order_id, facts=facts, lines=lines, address=address, payment_token=_NO_TOKEN)
