"""Calling an order off."""

from datetime import datetime
from uuid import UUID

from services.orders.domain.messages import CancellationRequested
from services.orders.domain.order import OrderAlreadyRefused, OrderAlreadyShipped, OrderNotFound, OrderStatus
from services.orders.domain.state import Answer
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import Unit


async def cancel_order(order_id: UUID, *, reason: str, unit: Unit, policy: Policy, now: datetime) -> OrderStatus:
    """
    Call an order off, and return where it is then: cancelled, or cancelling while logistics stops its parcels.

    :raises OrderNotFound: if there is no such order.
    :raises OrderAlreadyRefused: if the shop has ended it itself.
    :raises OrderAlreadyShipped: if a parcel has left.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    answer = saga.apply(order_id, CancellationRequested(reason))
    state = saga.state(order_id)
    if state is None:
        raise OrderNotFound(order_id)
    if answer is Answer.REJECT:
        if state.status is OrderStatus.REFUSED:
            raise OrderAlreadyRefused(order_id)
        raise OrderAlreadyShipped(order_id)
    await saga.write()
    return state.status
