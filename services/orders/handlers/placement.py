"""Placing orders: however many arrive together, they are received and reviewed in one go."""

from collections.abc import Sequence
from datetime import datetime

from services.orders.domain.fulfilment import receive
from services.orders.domain.order import NewOrder
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import Unit
from services.orders.handlers.queries import OrderView, view_of_new
from services.orders.handlers.review import Reviewing, review_new_orders


async def place_orders(
    orders: Sequence[NewOrder], *, unit: Unit, reviewing: Reviewing, policy: Policy, now: datetime
) -> list[OrderView]:
    """Receive orders and review them by rule; return each as it is then: approved, held for a person, or refused."""
    saga = Saga(unit, policy=policy, now=now)
    verdicts = await review_new_orders(orders, unit=unit, reviewing=reviewing, now=now)
    for order, verdict in zip(orders, verdicts, strict=True):
        saga.begin(order, receive(order, now, policy.deadlines))
        saga.apply(order.id, verdict)
    await saga.write()
    states = [saga.state(order.id) for order in orders]
    return [view_of_new(order, state) for order, state in zip(orders, states, strict=True) if state is not None]
