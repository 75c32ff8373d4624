"""Goods that come back, and the money that goes back for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from libs.common.events.orders import ReturnReceived, ReturnRequested
from libs.common.events.shapes import SkuQuantity
from libs.common.ids import new_id
from libs.common.telemetry.tracing import correlated
from services.orders.domain.messages import RefundRequested
from services.orders.domain.order import SHIPPED_OR_LATER, OrderNotFound
from services.orders.domain.returns import (
    OrderNotShipped,
    ReceivedUnits,
    Return,
    ReturnNotFound,
    ReturnStatus,
    lines_to_return,
    receive_return,
    with_shares,
)
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a warehouse found in a returned parcel."""

    warehouse: str
    received_at: datetime
    units: Sequence[ReceivedUnits]


async def request_return(
    order_id: UUID, *, reason: str, wanted: Sequence[SkuQuantity], unit: Unit, policy: Policy, now: datetime
) -> Return:
    """
    Announce that units of an order come back; they count as returned from now on.

    :raises OrderNotFound: if there is no such order.
    :raises OrderNotShipped: if it has not left yet.
    :raises SkuNotInOrder: if it has no line of one of the SKUs.
    :raises ReturnExceedsOrder: if fewer units are left to return.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    state = saga.state(order_id)
    if state is None:
        raise OrderNotFound(order_id)
    if state.status not in SHIPPED_OR_LATER:
        raise OrderNotShipped(order_id, state.status)
    lines = lines_to_return(await unit.orders.lines_of(order_id), wanted)
    announced = Return(
        id=new_id(),
        order_id=order_id,
        status=ReturnStatus.REQUESTED,
        version=1,
        reason=reason,
        currency=state.facts.currency,
        lines=lines,
        requested_at=now,
    )
    await unit.orders.add_returned(order_id, {line.line: line.quantity for line in lines})
    await unit.returns.add(announced)
    with correlated(state.facts.correlation_id):
        unit.outbox.add(
            ReturnRequested(return_id=announced.id, order_id=order_id, reason=reason, lines=announced.units()),
            aggregate_version=announced.version,
        )
    return announced


async def receive_goods(return_id: UUID, *, receipt: Receipt, unit: Unit, policy: Policy, now: datetime) -> Return:
    """
    Take what a warehouse received, give back what did not come, and refund the rest.

    :raises ReturnNotFound: if there is no such return.
    :raises ReturnAlreadyReceived: if that happened before.
    :raises ReceiptExceedsReturn: if more came than was announced.
    """
    order_id = await unit.returns.order_of(return_id)
    if order_id is None:
        raise ReturnNotFound(return_id)
    saga = Saga(unit, policy=policy, now=now)
    # The order's lock is the return's: only what is read behind it may be decided by.
    await saga.load([order_id])
    state = saga.state(order_id)
    [announced] = await unit.returns.get([return_id])
    received = receive_return(announced, receipt.units, warehouse=receipt.warehouse, received_at=receipt.received_at)
    if received.is_charged:
        before = await unit.returns.received_units(order_id, other_than=return_id)
        received = with_shares(received, await unit.orders.lines_of(order_id), before)
    await unit.returns.save([received], now=now)
    not_come = {line.line: line.received_quantity - line.quantity for line in received.lines}
    await unit.orders.add_returned(order_id, {line: units for line, units in not_come.items() if units})
    with correlated(None if state is None else state.facts.correlation_id):
        unit.outbox.add(
            ReturnReceived(
                return_id=return_id,
                order_id=order_id,
                warehouse=receipt.warehouse,
                received_at=receipt.received_at,
                lines=received.received_units(),
                restocked=received.restocked_units(),
            ),
            aggregate_version=received.version,
        )
    saga.apply(order_id, RefundRequested(return_id, received.refund_minor))
    await saga.write()
    [stored] = await unit.returns.get([return_id])
    return stored


async def find_return(return_id: UUID, *, unit: Unit) -> Return:
    """
    Return a return.

    :raises ReturnNotFound: if there is none with this id.
    """
    found = await unit.returns.get([return_id])
    if not found:
        raise ReturnNotFound(return_id)
    return found[0]
