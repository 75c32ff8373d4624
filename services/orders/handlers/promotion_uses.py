"""Counts orders against the limits of the promotions that they use, under the lock of these."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from services.orders import metrics
from services.orders.domain.charges import ChargeKind
from services.orders.domain.findings import Consequence, FindingKind, OrderFinding
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


async def take_more_off(
    order: NewOrder, *, promotions: Promotions, policy: PricePolicy
) -> NewOrder | OrderPriceRefused:
    """
    Count what an edited order takes off beyond what was counted; return it with what was found of that.

    What is beyond a budget is not counted, as when orders are placed. What it takes off less than before is counted
    once the edit is applied.
    """
    if policy.on_limit is Consequence.IGNORE or not order.charges:
        return order
    wanted = discounts_of(order)
    counted = await promotions.counted_of(order.id)
    for code in sorted(code for code, minor in counted.items() if wanted.get(code, 0) > minor):
        more_minor = wanted[code] - counted[code]
        allowance = await promotions.lock_allowance(code)
        if allowance is None:
            continue
        if more_minor <= allowance.unspent_minor:
            await promotions.take_more_off(order.id, code, more_minor)
            continue
        allowed_minor = counted[code] + max(0, allowance.unspent_minor)
        use = PromotionUse(order_id=order.id, code=code, customer_id=order.facts.customer_id, amount_minor=wanted[code])
        finding = _finding(use, FindingKind.PROMOTION_BUDGET_SPENT, allowed_minor, policy)
        if finding.consequence is Consequence.REFUSE:
            return OrderPriceRefused([finding], order.facts.currency)
        order = replace(order, findings=(*order.findings, finding))
    return order


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
        findings.append(_finding(use, *excess, policy))
    outcome = with_findings(order, findings)
    if not isinstance(outcome, NewOrder):
        return outcome, ()
    for use in fitting:
        allowances[use.code].use(use)
    return outcome, fitting


def _finding(use: PromotionUse, kind: FindingKind, expected_minor: int, policy: PricePolicy) -> OrderFinding:
    metrics.orders_findings_total.labels(kind, policy.on_limit).inc()
    return OrderFinding(
        kind=kind,
        line=None,
        sku=None,
        expected_minor=expected_minor,
        offered_minor=use.amount_minor,
        consequence=policy.on_limit,
        code=use.code,
    )


def discounts_of(order: NewOrder) -> dict[str, int]:
    """Return what each discount takes off an order, by its code, in minor units."""
    amounts: dict[str, int] = {}
    for one in order.charges:
        if one.kind is ChargeKind.DISCOUNT:
            amounts[one.code] = amounts.get(one.code, 0) + one.amount_minor
    return amounts


def _uses_of(
    order: Checked, limited: Collection[str], policy_of: Callable[[NewOrder], PricePolicy]
) -> list[PromotionUse]:
    if not isinstance(order, NewOrder) or not order.charges or policy_of(order).on_limit is Consequence.IGNORE:
        return []
    return [
        PromotionUse(order_id=order.id, code=code, customer_id=order.facts.customer_id, amount_minor=amount_minor)
        for code, amount_minor in discounts_of(order).items()
        if code in limited
    ]
