"""
Which SKUs matter most, and which are hard to foresee: ABC by value of consumption, XYZ by steadiness of demand.

ABC follows Pareto's observation as stock control has used it since Dickie, "ABC Inventory Analysis Shoots for Dollars"
(1951); XYZ compares weeks by their coefficient of variation, the standard deviation over the mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import fmean, pstdev
from typing import Final

# Shares of the whole value of consumption that A, and A with B, make up.
A_SHARE: Final = 0.80
B_SHARE: Final = 0.95
# Coefficients of variation up to which weekly demand is steady (X), or at least follows some pattern (Y).
X_VARIATION: Final = 0.5
Y_VARIATION: Final = 1.0


class AbcClass(StrEnum):
    """How much of the value of consumption a SKU stands for: A most, C least."""

    A = "A"
    B = "B"
    C = "C"


class XyzClass(StrEnum):
    """How steady the demand for a SKU is: X steady, Z sporadic."""

    X = "X"
    Y = "Y"
    Z = "Z"


def abc_classes(
    consumption: Mapping[str, float], *, a_share: float = A_SHARE, b_share: float = B_SHARE
) -> dict[str, AbcClass]:
    """
    Class SKUs by `consumption`, their value (or units) over some period.

    From the largest down, a SKU is A if those before it have not yet made up `a_share` of the total, B if they have not
    made up `b_share`, else C. What was not consumed at all is C. Of equal ones, the SKU that sorts first comes first.
    """
    total = sum(value for value in consumption.values() if value > 0)
    classes: dict[str, AbcClass] = {}
    before = 0.0
    for sku, value in sorted(consumption.items(), key=lambda item: (-item[1], item[0])):
        if value <= 0 or before >= b_share * total:
            classes[sku] = AbcClass.C
        elif before < a_share * total:
            classes[sku] = AbcClass.A
        else:
            classes[sku] = AbcClass.B
        before += max(0.0, value)
    return classes


def xyz_class(
    weekly_demand: Sequence[float], *, x_variation: float = X_VARIATION, y_variation: float = Y_VARIATION
) -> XyzClass:
    """Class a SKU by its demand in units week by week, weeks without any included; without demand it is Z."""
    variation = variation_of(weekly_demand)
    if variation is None or variation > y_variation:
        return XyzClass.Z
    return XyzClass.X if variation <= x_variation else XyzClass.Y


def variation_of(weekly_demand: Iterable[float]) -> float | None:
    """Return the coefficient of variation of demand, None where there was none."""
    weeks = [float(units) for units in weekly_demand]
    mean = fmean(weeks) if weeks else 0.0
    return pstdev(weeks, mean) / mean if mean > 0 else None
