"""The only arithmetic on prices: integer minor units and a currency."""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Self

import msgspec

from libs.common.currencies import MINOR_DIGITS

MINOR_MAX = 2**53 - 1  # JSON readers in every language represent integers up to here exactly


class CurrencyMismatch(ValueError):
    """Two amounts of different currencies were combined."""


class Money(msgspec.Struct, frozen=True, order=False):
    """An amount in the minor unit of its currency (pence, cents): `Money(1999, "GBP")` is £19.99."""

    minor: int
    currency: str

    @classmethod
    def of(cls, amount: Decimal | str, currency: str) -> Self:
        """Return `amount` of major units, rounded half-even to the currency's minor unit."""
        scaled = Decimal(amount).scaleb(minor_digits(currency))
        return cls(int(scaled.to_integral_value(rounding=ROUND_HALF_EVEN)), currency)

    @classmethod
    def total(cls, amounts: Iterable["Money"], currency: str) -> "Money":
        """Return the sum of `amounts`, all of which must be in `currency`."""
        result = Money(0, currency)
        for amount in amounts:
            result += amount
        return result

    def __add__(self, other: "Money") -> "Money":
        return Money(self.minor + self._same_currency(other).minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.minor - self._same_currency(other).minor, self.currency)

    def __mul__(self, quantity: int) -> "Money":
        return Money(self.minor * quantity, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.minor, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.minor < self._same_currency(other).minor

    def __le__(self, other: "Money") -> bool:
        return self.minor <= self._same_currency(other).minor

    def _same_currency(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            msg = f"{self.currency} and {other.currency} do not combine"
            raise CurrencyMismatch(msg)
        return other

    def __str__(self) -> str:
        return f"{Decimal(self.minor).scaleb(-minor_digits(self.currency))} {self.currency}"


def minor_digits(currency: str) -> int:
    """Return how many decimal digits the minor unit of an ISO 4217 `currency` has; of any other, two."""
    return MINOR_DIGITS.get(currency, 2)
