"""
What an operator wants to know of stock in a period: its value, how fast it turns, how long it lasts, what it costs.

Turnover is the cost of goods sold over the average value of stock; days of stock are the days of the period over it
(Horngren, Datar and Rajan, "Cost Accounting", on inventory management). Averages are taken over the ends of all days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

DAYS_PER_YEAR: Final = 365
# Wide enough for any sum of amounts: the default of 28 digits would round.
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN)
_RATIO_DIGITS: Final = Decimal("0.0001")
_COST_DIGITS: Final = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Amounts in minor units of one currency; `value_days` sums up the value at the end of each day of the period."""

    currency: str
    value: Decimal
    cost_of_goods: Decimal
    value_days: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    What is known of some stock at the end of a period of `days`, and in it.

    A SKU in a warehouse, or the sum of several: `sku` or `warehouse` is None where it stands for all of them. What is
    on its way between warehouses is `in_transit` and in none of them. `sold_units` are gross of `returned_units`.
    `demand_per_day` and `lost_units` are estimates, summed up over SKUs and warehouses: units sold a day since the SKU
    is known there, and what the days that ended without any would have sold at the rate of the others. Units of unknown
    cost leave in proportion to the others, so that `uncosted_units` may have a fraction.
    """

    sku: str | None
    warehouse: str | None
    in_transit: bool
    days: int
    units: int
    uncosted_units: Decimal
    received_units: int
    sold_units: int
    returned_units: int
    unit_days: Decimal
    empty_days: int
    demand_per_day: Decimal
    lost_units: Decimal
    last_sold_on: date | None
    last_received_on: date | None
    amounts: Sequence[Amounts]

    @property
    def average_units(self) -> Decimal:
        """Units at the end of a day of the period, on average."""
        return rounded(_EXACT.divide(self.unit_days, Decimal(self.days)))

    @property
    def days_of_cover(self) -> Decimal | None:
        """How many days the units last at the rate of demand; None where there is none."""
        return ratio(Decimal(self.units), self.demand_per_day)


def average_value(amounts: Amounts, days: int) -> Decimal:
    """Return the value at the end of a day of the period, on average, in minor units."""
    return _EXACT.divide(amounts.value_days, Decimal(days))


def unit_cost(amounts: Amounts, figures: Figures) -> Decimal | None:
    """Return what one unit costs, in minor units; None if no unit has a cost."""
    costed = figures.units - figures.uncosted_units
    return _EXACT.divide(amounts.value, Decimal(costed)).quantize(_COST_DIGITS, context=_EXACT) if costed > 0 else None


def turnover(amounts: Amounts, days: int) -> Decimal | None:
    """Return how often the stock was sold in the period; None where there was none."""
    return ratio(amounts.cost_of_goods, average_value(amounts, days))


def days_of_stock(amounts: Amounts) -> Decimal | None:
    """Return how many days of sales, at the rate of the period, the average stock is; None without sales."""
    return ratio(amounts.value_days, amounts.cost_of_goods)


def holding_cost(amounts: Amounts, days: int, *, yearly_rate: Decimal) -> Decimal:
    """Return what it cost to keep the stock for the period: capital, space, insurance, decay at a yearly rate."""
    for_a_year = _EXACT.multiply(average_value(amounts, days), yearly_rate)
    return _EXACT.divide(_EXACT.multiply(for_a_year, Decimal(days)), Decimal(DAYS_PER_YEAR))


def whole_minor(amount: Decimal) -> int:
    """Round an amount to whole minor units, half to even."""
    return int(amount.to_integral_value(context=_EXACT))


def ratio(part: Decimal, whole: Decimal) -> Decimal | None:
    """Return part over whole to four digits, None where there is no whole."""
    if whole <= 0:
        return None
    return rounded(_EXACT.divide(part, whole))


def rounded(number: Decimal) -> Decimal:
    """Return a number to four digits."""
    return number.quantize(_RATIO_DIGITS, context=_EXACT)
