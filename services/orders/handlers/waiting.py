"""Waiting on for goods, as the customer wants."""

from datetime import datetime
from uuid import UUID

from services.orders.domain.messages import WaitProlonged
from services.orders.domain.moves import patience
from services.orders.domain.order import OrderNotFound, OrderNotWaiting
from services.orders.domain.state import Answer
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import Unit


async def wait_on(order_id: UUID, *, reason: str, unit: Unit, policy: Policy, now: datetime) -> None:
    """
    Let a backordered order wait as long again.

    :raises OrderNotFound: if there is no such order.
    :raises OrderNotWaiting: if it does not wait for goods.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    state = saga.state(order_id)
    if state is None:
        raise OrderNotFound(order_id)
    answer = saga.apply(order_id, WaitProlonged(reason, now + patience(state, policy.deadlines)))
    if answer is Answer.REJECT:
        raise OrderNotWaiting(order_id, state.status)
    await saga.write()
