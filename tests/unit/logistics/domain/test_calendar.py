from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.logistics.domain.calendar import (
    add_business_days,
    is_business_day,
    ready_at,
    shipping_day,
)

FRIDAY = date(2026, 6, 5)
SATURDAY = date(2026, 6, 6)
MONDAY = date(2026, 6, 8)
DAYS = st.dates(min_value=date(2000, 1, 1), max_value=date(2050, 1, 1))


class TestAddBusinessDays:
    @pytest.mark.parametrize(
        ("day", "days", "expected"),
        [
            pytest.param(FRIDAY, 0, FRIDAY, id="none from a Friday"),
            pytest.param(FRIDAY, 1, MONDAY, id="over the weekend"),
            pytest.param(SATURDAY, 0, MONDAY, id="none from a Saturday"),
            pytest.param(SATURDAY, 1, MONDAY, id="Monday is the first from a Saturday"),
            pytest.param(FRIDAY, 5, date(2026, 6, 12), id="a week"),
            pytest.param(date(2026, 6, 4), 7, date(2026, 6, 15), id="over two weekends"),
        ],
    )
    def test_skips_weekends(self, day: date, days: int, expected: date) -> None:
        assert add_business_days(day, days) == expected

    @given(day=DAYS, days=st.integers(0, 60))
    def test_gives_the_day_with_so_many_business_days_before_it(self, day: date, days: int) -> None:
        result = add_business_days(day, days)

        passed = [day + timedelta(days=number) for number in range(1, (result - day).days + 1)]
        assert is_business_day(result)
        if is_business_day(day) or days > 0:
            assert sum(map(is_business_day, passed)) == days


class TestShippingDay:
    @pytest.mark.parametrize(
        ("ready", "expected"),
        [
            pytest.param(datetime(2026, 6, 5, 15, 0, tzinfo=UTC), FRIDAY, id="just in time"),
            pytest.param(datetime(2026, 6, 5, 15, 1, tzinfo=UTC), MONDAY, id="a minute late on a Friday"),
            pytest.param(datetime(2026, 6, 6, 9, 0, tzinfo=UTC), MONDAY, id="on a Saturday"),
        ],
    )
    def test_is_today_until_the_cut_off(self, ready: datetime, expected: date) -> None:
        assert shipping_day(ready, time(15, 0)) == expected


class TestReadyAt:
    def test_is_the_confirmation(self) -> None:
        placed_at = datetime(2026, 6, 1, tzinfo=UTC)
        confirmed_at = placed_at + timedelta(days=20)

        assert ready_at(placed_at=placed_at, confirmed_at=confirmed_at) == confirmed_at

    def test_of_an_order_from_another_time_is_when_it_was_placed(self) -> None:
        placed_at = datetime(2011, 6, 1, tzinfo=UTC)

        assert ready_at(placed_at=placed_at, confirmed_at=datetime(2026, 6, 1, tzinfo=UTC)) == placed_at
