from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.currencies import MINOR_DIGITS, check_currency
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
        assert not Money(2, "GBP") < Money(2, "GBP")
        assert Money(2, "GBP") <= Money(2, "GBP")
        with pytest.raises(CurrencyMismatch):
            _ = Money(1, "GBP") < Money(2, "EUR")


class TestMinorDigits:
    def test_are_those_of_iso_4217(self) -> None:
        digits = {"GBP": 2, "JPY": 0, "ISK": 0, "BHD": 3, "KWD": 3, "CLF": 4, "UYW": 4, "ITL": 0, "DEM": 2}

        assert {currency: minor_digits(currency) for currency in digits} == digits

    def test_of_what_is_no_currency_are_two(self) -> None:
        assert minor_digits("ZZZ") == 2

    @pytest.mark.parametrize("currency", sorted(MINOR_DIGITS))
    def test_write_every_amount_so_that_it_is_read_back(self, currency: str) -> None:
        assert Money.of(str(Money(1_234_567, currency)).split()[0], currency) == Money(1_234_567, currency)


class TestCheckCurrency:
    @pytest.mark.parametrize("currency", ["GBP", "EUR", "XCG", "ZWG", "HRK"])
    def test_passes_on_what_is_or_was_money(self, currency: str) -> None:
        assert check_currency(currency) == currency

    @pytest.mark.parametrize("currency", ["ZZZ", "gbp", "", "XXX", "XTS", "XAU", "XDR", "GB", "GBPP"])
    def test_refuses_what_never_was(self, currency: str) -> None:
        with pytest.raises(ValueError, match="no currency of ISO 4217"):
            check_currency(currency)
