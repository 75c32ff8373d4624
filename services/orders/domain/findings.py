"""What the checks of a new order found: facts for rules, people and reports to go by, not yet a decision."""

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What can be found; rules name these."""

    PRICE_MISMATCH = "price-mismatch"
    PRICE_UNKNOWN = "price-unknown"
    TAX_MISMATCH = "tax-mismatch"
    DISCOUNT_MISMATCH = "discount-mismatch"
    PROMOTION_UNKNOWN = "promotion-unknown"
    PROMOTION_NOT_VALID = "promotion-not-valid"
    PROMOTION_MINIMUM_NOT_MET = "promotion-minimum-not-met"
    PROMOTION_USED_UP = "promotion-used-up"
    PROMOTION_USED_BY_CUSTOMER = "promotion-used-by-customer"
    PROMOTION_BUDGET_SPENT = "promotion-budget-spent"


class Consequence(StrEnum):
    """What a finding of some kind does to the order: nothing is even looked up, it is noted, held, or refused."""

    IGNORE = "ignore"
    ACCEPT = "accept"
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFinding:
    """
    One thing about an order that is not as the shop has it, in minor units of the order's currency.

    `line` is the line's number, None for what concerns the whole order; `expected_minor` is None where the shop knows
    no amount. `code` is the promotion or the category of the tax that it is about.
    """

    kind: FindingKind
    line: int | None
    sku: str | None
    expected_minor: int | None
    offered_minor: int
    consequence: Consequence
    code: str | None = None
