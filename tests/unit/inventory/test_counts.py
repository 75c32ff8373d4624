from decimal import Decimal
from uuid import UUID

import pytest

from libs.common.money import MINOR_MAX
from services.inventory.domain.counts import CountFinding, CountLimits, UnitCost
from tests.unit.inventory.builders import ARMCHAIR, NOON

POUND = UnitCost(Decimal("99.6"), "GBP")


def a_finding(counted: int, expected: int = 10, unit_cost: UnitCost | None = POUND) -> CountFinding:
    return CountFinding(
        event_id=UUID(int=1),
        sku=ARMCHAIR,
        warehouse="LON",
        counted_at=NOON,
        counted=counted,
        expected=expected,
        unit_cost=unit_cost,
    )


class TestCountLimits:
    @pytest.mark.parametrize(
        ("limits", "finding", "is_exceeded"),
        [
            pytest.param(CountLimits(), a_finding(10_000), False, id="no limit"),
            pytest.param(CountLimits(units=3), a_finding(7), False, id="as many units as allowed"),
            pytest.param(CountLimits(units=3), a_finding(6), True, id="more units missing"),
            pytest.param(CountLimits(units=3), a_finding(14), True, id="more units in surplus"),
            pytest.param(CountLimits(share=0.2), a_finding(8), False, id="the share allowed"),
            pytest.param(CountLimits(share=0.2), a_finding(7), True, id="a larger share"),
            pytest.param(CountLimits(share=0.2), a_finding(1, expected=0), True, id="any share of nothing"),
            pytest.param(CountLimits(share=0.2), a_finding(0, expected=-1), True, id="less than nothing expected"),
            pytest.param(CountLimits(share=0.2), a_finding(0, expected=0), False, id="nothing of nothing"),
            pytest.param(CountLimits(value_minor=300), a_finding(7), False, id="a value below the limit"),
            pytest.param(CountLimits(value_minor=298), a_finding(7), True, id="a value over the limit"),
            pytest.param(CountLimits(value_minor=1), a_finding(0, unit_cost=None), False, id="no known value"),
        ],
    )
    def test_say_what_waits(self, limits: CountLimits, finding: CountFinding, is_exceeded: bool) -> None:  # noqa: FBT001
        assert (limits.exceeded(finding) is not None) is is_exceeded


class TestCountFinding:
    def test_is_worth_its_discrepancy_at_average_cost(self) -> None:
        assert (a_finding(7).value_minor, a_finding(7).currency) == (-299, "GBP")

    def test_has_a_value_that_can_be_stored_however_large(self) -> None:
        assert a_finding(1_000_000_000, unit_cost=UnitCost(Decimal(MINOR_MAX), "GBP")).value_minor == MINOR_MAX
