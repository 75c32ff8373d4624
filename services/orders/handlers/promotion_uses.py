"""Counts new orders against the limits of the promotions that they use, under the lock of these."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from services.orders import metrics
from services.orders.domain.charges import ChargeKind
from services.orders.domain.findings import Consequence, OrderFinding
from services.orders.domain.order import NewOrder
from services.orders.domain.prices import OrderPriceRefused, PricePolicy
from services.orders.domain.promotions import Allowance, PromotionUse
from services.orders.handlers.promotions import Promotions

Checked = NewOrder | OrderPriceRefused


async def use_promotions(
    orders: Sequence[Checked],
    limited: Collection[str],
    *,
    promotions: Promotions,
    policy_of: Callable[[NewOrder], PricePolicy],
    with_findings: Callable[[NewOrder, Sequence[OrderFinding]], Checked],
    now: datetime,
) -> list[Checked]:
    """
    Count the uses of `limited` promotions by orders that go on; return the orders with what was found of that.

    Those that use none pass as they are. What goes beyond a limit is not counted, whatever follows from it: no more
    than the limit is ever used.
    """
    asking = {number: uses for number, order in enumerate(orders) if (uses := _uses_of(order, limited, policy_of))}
    if not asking:
        return list(orders)
    allowances = await promotions.lock_allowances([use for uses in asking.values() for use in uses])
    outcomes = list(orders)
    taken: list[PromotionUse] = []
    for number, uses in asking.items():
        order = outcomes[number]
        if isinstance(order, NewOrder):
            outcome, counted = _decide(order, uses, allowances, policy_of(order), with_findings)
            outcomes[number] = outcome
            taken.extend(counted)
    if taken:
        promotions.use(taken, now=now)
    return outcomes


def _decide(
    order: NewOrder,
    uses: Sequence[PromotionUse],
    allowances: dict[str, Allowance],
    policy: PricePolicy,
    with_findings: Callable[[NewOrder, Sequence[OrderFinding]], Checked],
) -> tuple[Checked, Iterable[PromotionUse]]:
    fitting, findings = [], []
    for use in uses:
        allowance = allowances.get(use.code)
        if allowance is None or not allowance.counts(order.facts.currency):
            continue
        excess = allowance.excess_of(use)
        if excess is None:
            fitting.append(use)
            continue
        kind, expected_minor = excess
        metrics.orders_findings_total.labels(kind, policy.on_limit).inc()
        findings.append(
            OrderFinding(
                kind=kind,
                line=None,
                sku=None,
                expected_minor=expected_minor,
                offered_minor=use.amount_minor,
                consequence=policy.on_limit,
                code=use.code,
            )
        )
    outcome = with_findings(order, findings)
    if not isinstance(outcome, NewOrder):
        return outcome, ()
    for use in fitting:
        allowances[use.code].use(use)
    return outcome, fitting


def _uses_of(
    order: Checked, limited: Collection[str], policy_of: Callable[[NewOrder], PricePolicy]
) -> list[PromotionUse]:
    if not isinstance(order, NewOrder) or not order.charges or policy_of(order).on_limit is Consequence.IGNORE:
        return []
    amounts: dict[str, int] = {}
    for one in order.charges:
        if one.kind is ChargeKind.DISCOUNT and one.code in limited:
            amounts[one.code] = amounts.get(one.code, 0) + one.amount_minor
    return [
        PromotionUse(order_id=order.id, code=code, customer_id=order.facts.customer_id, amount_minor=amount_minor)
        for code, amount_minor in amounts.items()
    ]
