"""Promotions that the shop has agreed to, and the check of an order's discounts against them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from libs.common.errors import NotFound
from services.orders.domain.charges import Charge
from services.orders.domain.findings import Consequence, FindingKind, OrderFinding
from services.orders.domain.order import OrderLine
from services.orders.domain.prices import PricePolicy

_PPM: Final = 1_000_000
# What the database can count.
_SPENT_MINOR_MAX: Final = 2**63 - 1


class PromotionKind(StrEnum):
    """What a promotion takes off: a share of what its goods cost, or an amount."""

    PERCENT = "percent"
    AMOUNT = "amount"


class PromotionNotFound(NotFound):
    """There is no promotion with this code."""

    code: ClassVar[str] = "promotion-not-found"

    def __init__(self, code: str) -> None:
        """Name the code."""
        super().__init__(f"There is no promotion {code}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """
    What takes something off, for which SKUs (all if there are none), and when.

    `rate_ppm` is of a percentage, in millionths, `amount_minor` of an amount. An amount and a minimum have a currency.
    It holds from `valid_from` until (excluding) `valid_to`, if the goods that it is for cost `minimum_minor` or more.

    Orders that were not called off before they were paid for use it at most `uses_max` times, of one customer
    `uses_per_customer_max` times, and together it takes at most `budget_minor` off; None is any number.
    """

    code: str
    kind: PromotionKind
    rate_ppm: int | None = None
    amount_minor: int | None = None
    currency: str | None = None
    skus: tuple[str, ...] = ()
    minimum_minor: int = 0
    valid_from: datetime
    valid_to: datetime | None = None
    uses_max: int | None = None
    uses_per_customer_max: int | None = None
    budget_minor: int | None = None

    @property
    def is_limited(self) -> bool:
        """Whether its uses are counted."""
        return (self.uses_max, self.uses_per_customer_max, self.budget_minor) != (None, None, None)

    def off_minor(self, goods_minor: int) -> int:
        """Return what it takes off goods of this price, rounded half up, and never more than they cost."""
        if self.kind is PromotionKind.PERCENT:
            return (2 * goods_minor * (self.rate_ppm or 0) + _PPM) // (2 * _PPM)
        return min(self.amount_minor or 0, goods_minor)

    def due_minor(self, lines: Sequence[OrderLine]) -> int:
        """Return what it takes off an order's lines: nothing if too little is bought of what it is for."""
        goods_minor = self.goods_minor(lines)
        return self.off_minor(goods_minor) if goods_minor >= self.minimum_minor else 0

    def goods_minor(self, lines: Iterable[OrderLine]) -> int:
        """Return what those of the lines cost that it is for."""
        return sum(line.quantity * line.unit_price_minor for line in lines if not self.skus or line.sku in self.skus)

    def is_valid(self, at: datetime, *, grace: timedelta, currency: str) -> bool:
        """Tell whether it held at some time between `at` less `grace` and `at`, in this currency."""
        has_begun = self.valid_from <= at
        is_over = self.valid_to is not None and self.valid_to <= at - grace
        return has_begun and not is_over and self.currency in {None, currency}


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionUse:
    """An order that takes something off by a promotion."""

    order_id: UUID
    code: str
    customer_id: str
    amount_minor: int


@dataclass(slots=True, kw_only=True)
class Allowance:
    """What a limited promotion still allows, for whoever has locked it; `used_by` counts the uses of customers."""

    promotion: Promotion
    used: int
    spent_minor: int
    used_by: dict[str, int] = field(default_factory=dict)

    def counts(self, currency: str) -> bool:
        """Tell whether an order in this currency uses the promotion: one of another is none of it."""
        return self.promotion.is_limited and self.promotion.currency in {None, currency}

    @property
    def unspent_minor(self) -> int:
        """What may still be taken off; negative if the budget was lowered since."""
        budget_minor = self.promotion.budget_minor
        return (_SPENT_MINOR_MAX if budget_minor is None else budget_minor) - self.spent_minor

    def excess_of(self, use: PromotionUse) -> tuple[FindingKind, int] | None:
        """Return which limit a use is beyond, and what may still be taken off; None if it fits."""
        promotion = self.promotion
        if promotion.uses_max is not None and self.used >= promotion.uses_max:
            return FindingKind.PROMOTION_USED_UP, 0
        per_customer = promotion.uses_per_customer_max
        if per_customer is not None and self.used_by.get(use.customer_id, 0) >= per_customer:
            return FindingKind.PROMOTION_USED_BY_CUSTOMER, 0
        if use.amount_minor > self.unspent_minor:
            return FindingKind.PROMOTION_BUDGET_SPENT, max(0, self.unspent_minor)
        return None

    def use(self, use: PromotionUse) -> None:
        """Count a use that fits."""
        self.used += 1
        self.spent_minor += use.amount_minor
        self.used_by[use.customer_id] = self.used_by.get(use.customer_id, 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionChange:
    """A version of a promotion, and who made it."""

    version: int
    principal: str
    changed_at: datetime
    promotion: Promotion


def check_discount(
    charge: Charge,
    lines: Sequence[OrderLine],
    promotion: Promotion | None,
    *,
    placed_at: datetime,
    currency: str,
    grace: timedelta,
    policy: PricePolicy,
) -> OrderFinding | None:
    """Hold a discount against its promotion; `lines` are those that it is for. None if it is right."""
    if policy.on_mismatch is Consequence.IGNORE:
        return None
    kind, expected = _compared(charge, lines, promotion, placed_at=placed_at, currency=currency, grace=grace)
    if kind is None:
        return None
    return OrderFinding(
        kind=kind,
        line=None,
        sku=None,
        expected_minor=expected,
        offered_minor=charge.amount_minor,
        consequence=policy.on_mismatch,
        code=charge.code,
    )


def _compared(
    charge: Charge,
    lines: Sequence[OrderLine],
    promotion: Promotion | None,
    *,
    placed_at: datetime,
    currency: str,
    grace: timedelta,
) -> tuple[FindingKind | None, int | None]:
    if promotion is None:
        return FindingKind.PROMOTION_UNKNOWN, None
    if not promotion.is_valid(placed_at, grace=grace, currency=currency):
        return FindingKind.PROMOTION_NOT_VALID, 0
    goods = promotion.goods_minor(lines)
    if goods < promotion.minimum_minor:
        return FindingKind.PROMOTION_MINIMUM_NOT_MET, 0
    expected = promotion.off_minor(goods)
    return (None if expected == charge.amount_minor else FindingKind.DISCOUNT_MISMATCH), expected
