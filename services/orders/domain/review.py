"""Automatic review: a short list of rules, each a measure of the order and a limit that holds it for a person."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.orders.domain.order import NewOrder, units_by_sku

REVIEW_RULES_VERSION: Final = "limits/1"


@dataclass(frozen=True, slots=True)
class ReviewRule:
    """Holds an order whose measure is above the limit."""

    reason: str
    measure: Callable[[NewOrder], int]
    limit: int


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule measured."""

    reason: str
    measured: int
    limit: int

    @property
    def holds(self) -> bool:
        """Whether this alone holds the order."""
        return self.measured > self.limit


def review_rules(*, amount_minor_max: int, units_of_sku_max: int) -> tuple[ReviewRule, ...]:
    """Return the rules with the shop's limits."""
    return (
        ReviewRule("amount-above-limit", lambda order: order.facts.total_minor, amount_minor_max),
        ReviewRule("quantity-above-limit", _units_of_one_sku, units_of_sku_max),
    )


def review(order: NewOrder, rules: Sequence[ReviewRule]) -> tuple[Finding, ...]:
    """Return what every rule finds; the order is approved if none of the findings holds it."""
    return tuple(Finding(rule.reason, rule.measure(order), rule.limit) for rule in rules)


def _units_of_one_sku(order: NewOrder) -> int:
    return max(units.quantity for units in units_by_sku(order.lines))
