"""Popularity that fades: each act counts for half as much a fortnight later."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

HALF_LIFE: Final = timedelta(days=14)
# What an act says about wanting a product, relative to a view.
VIEW_WEIGHT: Final = 1.0
CLICK_WEIGHT: Final = 1.0
CART_WEIGHT: Final = 3.0
PURCHASE_WEIGHT: Final = 5.0

NOTHING: Final = -math.inf
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def act(weight: float, at: datetime) -> float:
    """
    Return the popularity that one act of `weight` at event time `at` gives.

    Popularity is kept as log2 of Σ weight x 2^(time of the act / half-life): forward decay (Cormode et al.,
    "Forward Decay", ICDE 2009). Ageing all products by the same time moves all logarithms by the same
    amount, so the stored figures stay comparable for ever, can be indexed, and need no job that fades them.
    """
    return math.log2(weight) + (at - _EPOCH) / HALF_LIFE


def together(one: float, other: float) -> float:
    """Return the popularity that two sets of acts give together; the order does not matter."""
    if one == NOTHING:
        return other
    if other == NOTHING:
        return one
    return max(one, other) + math.log2(1 + 2 ** -abs(one - other))


def relative(popularity: float, to: float) -> float:
    """Return `popularity` as a share of the popularity `to`, the same at any time."""
    return 2 ** (popularity - to)
