"""A person decides about an order that the rules held."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from libs.common.decisions import Alternative, Decision
from services.orders.domain.messages import ReviewPassed, ReviewRefused
from services.orders.domain.order import OrderNotFound, OrderNotHeld, OrderStatus
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.placement import REVIEW_DECISION
from services.orders.handlers.ports import Unit


class Verdict(StrEnum):
    """What a person can decide."""

    APPROVE = "approve"
    REFUSE = "refuse"


async def review_order(
    order_id: UUID, *, verdict: Verdict, reason: str, reviewer: str, unit: Unit, policy: Policy, now: datetime
) -> None:
    """
    Approve or refuse a held order.

    :raises OrderNotFound: if there is no such order.
    :raises OrderNotHeld: if it does not wait for a review.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    state = saga.state(order_id)
    if state is None:
        raise OrderNotFound(order_id)
    if state.status is not OrderStatus.HELD:
        raise OrderNotHeld(order_id, state.status)
    unit.decisions.add(
        Decision(
            decision=REVIEW_DECISION,
            subject=f"order:{order_id}",
            chosen=verdict,
            reason=reason,
            rule="person/1",
            decided_at=now,
            alternatives=[Alternative(option=one) for one in Verdict],
            inputs={"held_for": state.status_reason, "reviewer": reviewer},
        )
    )
    saga.apply(order_id, ReviewPassed() if verdict is Verdict.APPROVE else ReviewRefused(reason))
    await saga.write()
