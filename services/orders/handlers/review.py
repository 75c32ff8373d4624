"""Reviews: by rule, of all orders that arrive together, and by a person, of those that the rules hold."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Protocol
from uuid import UUID

from libs.common.decisions import Alternative, Decision
from services.orders import metrics
from services.orders.domain import review as rules_of
from services.orders.domain.messages import Message, ReviewHeld, ReviewPassed, ReviewRefused
from services.orders.domain.order import NewOrder, OrderNotFound, OrderNotHeld, OrderStatus
from services.orders.domain.review import Finding, History, Review, Rules
from services.orders.handlers.fulfilment import Policy, Saga
from services.orders.handlers.ports import HeldReview, Unit

REVIEW_DECISION = "review-order"
_PERSON = "person/1"


class Verdict(StrEnum):
    """What a person can decide."""

    APPROVE = "approve"
    REFUSE = "refuse"


class RiskModel(Protocol):
    """
    A model that scores orders besides the rules, in memory: it runs inside the transaction that places them.

    None is wired; what one says is a finding like that of a rule, and counts towards the same limits.
    """

    @property
    def version(self) -> str:
        """Which model it is, as decisions name it."""
        ...

    def score(self, orders: Sequence[NewOrder], histories: Mapping[UUID, History]) -> Sequence[int]:
        """Return the score of each order, 0 for nothing against it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewing:
    """How this shop reviews; `ship_by` tells when an order that is placed at a time has to leave."""

    rules: Rules
    ship_by: Callable[[datetime], datetime] = field(default=lambda placed_at: placed_at)
    model: RiskModel | None = None


async def review_new_orders(
    orders: Sequence[NewOrder], *, unit: Unit, reviewing: Reviewing, now: datetime
) -> list[Message]:
    """Review orders that are placed together, keep why, and return what each is to be told."""
    if not orders:
        return []
    rules = reviewing.rules
    histories = await _histories(orders, unit=unit, rules=rules, now=now)
    reviews = rules_of.review_batch(orders, rules, histories, _scored(orders, histories, reviewing.model))
    held = []
    for order, review in zip(orders, reviews, strict=True):
        unit.decisions.add(decision(order.id, review, rules.version, now))
        if review.verdict is rules_of.Verdict.HOLD:
            held.append(
                HeldReview(
                    order_id=order.id,
                    held_at=now,
                    ship_by=reviewing.ship_by(order.facts.placed_at),
                    score=review.score,
                    reasons=review.reasons,
                    rules=rules.version,
                )
            )
    if held:
        await unit.reviews.add(held)
    unit.after_commit(lambda: _count(reviews))
    return [_message(review, rules) for review in reviews]


async def _histories(orders: Sequence[NewOrder], *, unit: Unit, rules: Rules, now: datetime) -> Mapping[UUID, History]:
    needs = rules.needs
    if needs.are_none:
        return {}
    if needs.counts:
        # Two orders of one customer at the same time would not see each other, and both be within a limit.
        await unit.reviews.lock_subjects(orders, by_address=needs.counts_by(rules_of.Subject.ADDRESS))
    histories = await unit.reviews.histories(orders, needs, now=now)
    if needs.counts_by(rules_of.Subject.ADDRESS):
        await unit.reviews.note_addresses(orders)
    return histories


def decision(order_id: UUID, review: Review, version: str, now: datetime) -> Decision:
    """Return the record of what the rules decided: what each measured, and what it added."""
    return Decision(
        decision=REVIEW_DECISION,
        subject=f"order:{order_id}",
        chosen=review.verdict,
        reason=", ".join(review.reasons) or "within every limit",
        rule=version,
        decided_at=now,
        alternatives=_alternatives(review.verdict, review.score),
        inputs={finding.rule: _shown(finding) for finding in review.findings},
    )


@lru_cache(maxsize=256)
def _alternatives(chosen: rules_of.Verdict, score: int) -> tuple[Alternative, ...]:
    others = (Alternative(option=verdict) for verdict in rules_of.Verdict if verdict is not chosen)
    return Alternative(option=chosen, score=score), *others


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
            rule=_PERSON,
            decided_at=now,
            alternatives=[Alternative(option=one) for one in Verdict],
            inputs={"held_for": state.status_reason, "reviewer": reviewer},
        )
    )
    saga.apply(order_id, ReviewPassed() if verdict is Verdict.APPROVE else ReviewRefused(reason))
    await saga.write()
    await unit.reviews.decide(order_id, verdict=verdict, reason=reason, reviewer=reviewer, now=now)
    unit.after_commit(metrics.orders_reviews_total.labels(verdict, "person").inc)


def _message(review: Review, rules: Rules) -> Message:
    match review.verdict:
        case rules_of.Verdict.APPROVE:
            return ReviewPassed(review.reasons, review.score)
        case rules_of.Verdict.HOLD:
            return ReviewHeld(review.reasons, review.score, rules.version)
        case rules_of.Verdict.REFUSE:
            return ReviewRefused(", ".join(review.reasons), review.score)


def _shown(finding: Finding) -> dict[str, int]:
    shown = {"measured": finding.measured, "limit": finding.limit}
    if finding.counts:
        shown["score"] = finding.score
    return shown


def _scored(
    orders: Sequence[NewOrder], histories: Mapping[UUID, History], model: RiskModel | None
) -> dict[UUID, list[Finding]] | None:
    if model is None:
        return None
    return {
        order.id: [Finding(f"model:{model.version}", score, 0, score)]
        for order, score in zip(orders, model.score(orders, histories), strict=True)
    }


def _count(reviews: Collection[Review]) -> None:
    for verdict, orders in Counter(review.verdict for review in reviews).items():
        metrics.orders_reviews_total.labels(verdict, "rules").inc(orders)
    for reason, orders in Counter(reason for review in reviews for reason in review.reasons).items():
        metrics.orders_review_reasons_total.labels(reason).inc(orders)
