from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.money import CurrencyMismatch, Money, minor_digits

amounts = st.integers(min_value=-(10**12), max_value=10**12).map(lambda minor: Money(minor, "GBP"))


class TestMoney:
    @pytest.mark.parametrize(
        ("amount", "currency", "minor"),
        [
            ("2.55", "GBP", 255),
            ("2.545", "GBP", 254),  # half-even: down to the even penny
            ("2.555", "GBP", 256),  # half-even: up to the even penny
            ("-0.005", "GBP", 0),
            ("1234", "JPY", 1234),  # no minor unit
            ("1.2345", "KWD", 1234),  # three digits
        ],
    )
    def test_rounds_half_even_to_the_minor_unit(self, amount: str, currency: str, minor: int) -> None:
        assert Money.of(amount, currency) == Money(minor, currency)

    @given(st.lists(amounts))
    def test_totals_whatever_the_order(self, parts: list[Money]) -> None:
        assert Money.total(parts, "GBP") == Money.total(parts[::-1], "GBP")

    @given(amounts, amounts)
    def test_subtracts_what_was_added(self, one: Money, other: Money) -> None:
        assert one + other - other == one

    @given(amounts)
    def test_reads_back_what_it_writes(self, amount: Money) -> None:
        number, currency = str(amount).split()

        assert Money.of(Decimal(number), currency) == amount

    def test_does_not_combine_currencies(self) -> None:
        with pytest.raises(CurrencyMismatch):
            Money(1, "GBP") + Money(1, "EUR")

    def test_compares_amounts_of_one_currency(self) -> None:
        assert Money(1, "GBP") < Money(2, "GBP")
        with pytest.raises(CurrencyMismatch):
            _ = Money(1, "GBP") < Money(2, "EUR")


def test_minor_digits_of_common_currencies() -> None:
    assert [minor_digits(currency) for currency in ("GBP", "JPY", "BHD", "CLF", "UYW")] == [2, 0, 3, 4, 4]
