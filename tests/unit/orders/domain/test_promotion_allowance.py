from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.orders.domain.findings import FindingKind
from services.orders.domain.promotions import Allowance, Promotion, PromotionKind, PromotionUse

_COUNTED_MAX = 2**63 - 1


def an_allowance(*, budget_minor: int | None, spent_minor: int) -> Allowance:
    promotion = Promotion(
        code="SPRING",
        kind=PromotionKind.PERCENT,
        rate_ppm=100_000,
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
        uses_max=10,
        budget_minor=budget_minor,
    )
    return Allowance(promotion=promotion, used=1, spent_minor=spent_minor)


def a_use(amount_minor: int) -> PromotionUse:
    return PromotionUse(order_id=UUID(int=1), code="SPRING", customer_id="c-1", amount_minor=amount_minor)


class TestAllowance:
    @pytest.mark.parametrize(
        ("budget_minor", "spent_minor", "amount_minor", "excess"),
        [
            pytest.param(1_000, 900, 100, None, id="to the last minor unit of the budget"),
            pytest.param(1_000, 900, 101, (FindingKind.PROMOTION_BUDGET_SPENT, 100), id="beyond the budget"),
            pytest.param(None, 10**15, 10**15, None, id="no budget"),
            pytest.param(
                None, _COUNTED_MAX - 5, 6, (FindingKind.PROMOTION_BUDGET_SPENT, 5), id="beyond what can be counted"
            ),
        ],
    )
    def test_tells_which_uses_fit(
        self, budget_minor: int | None, spent_minor: int, amount_minor: int, excess: tuple[FindingKind, int] | None
    ) -> None:
        allowance = an_allowance(budget_minor=budget_minor, spent_minor=spent_minor)

        assert allowance.excess_of(a_use(amount_minor)) == excess
