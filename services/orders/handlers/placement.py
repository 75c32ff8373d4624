"""Placing orders: however many arrive together, they are received and reviewed in one go."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from libs.common.decisions import Alternative, Decision
from services.orders.domain.findings import Consequence
from services.orders.domain.fulfilment import receive
from services.orders.domain.messages import ReviewHeld, ReviewPassed
from services.orders.domain.order import NewOrder
from services.orders.domain.review import REVIEW_RULES_VERSION, Finding, ReviewRule, review
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import Unit
from services.orders.handlers.queries import OrderView, view_of_new

REVIEW_DECISION = "review-order"
APPROVE = "approve"
HOLD = "hold"


async def place_orders(
    orders: Sequence[NewOrder], *, unit: Unit, rules: Sequence[ReviewRule], policy: Policy, now: datetime
) -> list[OrderView]:
    """Receive orders and review them by rule; return each as it is afterwards: approved, or held for a person."""
    saga = Saga(unit, policy=policy, now=now)
    for order in orders:
        saga.begin(order, receive(order, now, policy.deadlines))
        findings = review(order, rules)
        holding = (*_held_for(order), *(finding.reason for finding in findings if finding.holds))
        unit.decisions.add(_decision(order, findings, holding, now))
        saga.apply(order.id, ReviewHeld(holding) if holding else ReviewPassed())
    await saga.write()
    states = [saga.state(order.id) for order in orders]
    return [view_of_new(order, state) for order, state in zip(orders, states, strict=True) if state is not None]


def _held_for(order: NewOrder) -> Iterable[str]:
    """Return why the checks before the review want a person to look, each reason once."""
    return dict.fromkeys(one.kind for one in order.findings if one.consequence is Consequence.HOLD)


def _decision(order: NewOrder, findings: Sequence[Finding], holding: Sequence[str], now: datetime) -> Decision:
    chosen, other = (HOLD, APPROVE) if holding else (APPROVE, HOLD)
    reason = ", ".join(holding) if holding else "within every limit"
    return Decision(
        decision=REVIEW_DECISION,
        subject=f"order:{order.id}",
        chosen=chosen,
        reason=reason,
        rule=REVIEW_RULES_VERSION,
        decided_at=now,
        alternatives=[Alternative(option=chosen), Alternative(option=other)],
        inputs={finding.reason: {"measured": finding.measured, "limit": finding.limit} for finding in findings},
    )
