"""What an order costs besides its goods: discounts, shipping and taxes."""

from dataclasses import dataclass
from enum import StrEnum


class ChargeKind(StrEnum):
    """What a charge is for."""

    DISCOUNT = "discount"
    SHIPPING = "shipping"
    TAX = "tax"


class TaxBase(StrEnum):
    """What a tax is on."""

    GOODS = "goods"
    SHIPPING = "shipping"
    ALL = "all"


class TaxRounding(StrEnum):
    """Where a tax is rounded, half up: for each line and for shipping, or once for the order."""

    LINE = "line"
    ORDER = "order"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """How a tax is computed: on what, at how many millionths, and whether prices include it."""

    jurisdiction: str
    rate_ppm: int
    is_inclusive: bool
    base: TaxBase = TaxBase.GOODS
    rounding: TaxRounding = TaxRounding.ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """
    One discount, shipping charge or tax.

    `code` is the promotion's code, the method of shipping or the category of the tax; `lines` are those that a
    discount or a tax on goods is for, all if there are none. `amount_minor` is never negative: a discount is taken off.
    """

    kind: ChargeKind
    code: str
    amount_minor: int
    lines: tuple[int, ...] = ()
    tax: Tax | None = None
