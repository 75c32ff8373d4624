"""What people decide about orders that do not move by themselves; every decision is kept, with who made it and why."""

from collections import Counter
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
from services.orders.domain.order import (
    REPLACEMENT_CHANNEL,
    OrderLine,
    OrderNotFound,
    OrderStatus,
    Origin,
    units_by_sku,
)
from services.orders.domain.remainders import parcel_values
from services.orders.domain.state import Answer, OrderState, Shipment
from services.orders.handlers.fulfilment import Policy, Saga, derived_order
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
            message = on.OperatorCompensated(request.reason)
        case Action.REFUND_PARCEL | Action.RESHIP:
            parcel = _parcel(before, request.shipment_id)
            goods, value_minor = await _goods_of(before, parcel, unit)
            if not goods:
                # All of it came back: it is not lost, and was paid back by its return.
                raise ActionNotPossible(order_id, request.action, before.status)
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
    """Return the units in a parcel that have not come back, and what they cost."""
    lines = await unit.orders.lines_of(state.id)
    if len(state.warehouses) <= 1 and state.payment.remainder is None:
        packed, value_minor = Counter[str](), state.facts.total_minor
        for line in lines:
            packed[line.sku] += line.quantity
    else:
        allocations, missing = await unit.orders.allocations_of(state.id)
        packed = Counter({one.sku: one.quantity for one in allocations if one.warehouse == parcel.warehouse})
        values, _ = parcel_values(lines, allocations, missing)
        value_minor = values.get(parcel.warehouse or "", 0)
    back, back_minor = _came_back(lines, packed)
    goods = [
        OrderLine(line=number, sku=sku, quantity=units, unit_price_minor=0)
        for number, (sku, units) in enumerate((packed - back).items(), start=1)
    ]
    return goods, max(0, value_minor - back_minor)


def _came_back(lines: Sequence[OrderLine], packed: Counter[str]) -> tuple[Counter[str], int]:
    """Return the units by SKU that came back and can only have been in this parcel, and what they cost."""
    elsewhere = Counter[str]()
    for line in lines:
        elsewhere[line.sku] += line.quantity
    elsewhere -= packed
    back, back_minor = Counter[str](), 0
    for line in lines:
        others = min(elsewhere[line.sku], line.returned_quantity)
        elsewhere[line.sku] -= others
        units = line.returned_quantity - others
        back[line.sku] += units
        back_minor += line.share_minor(others, units)
    return back, back_minor
