"""What a person looked at and bought lately, bounded."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nlargest
from typing import Final

VIEWED_MAX: Final = 50
# Long enough to hold what a wholesaler orders at once, so that it is not offered again at once.
BOUGHT_MAX: Final = 200

Moments = Mapping[str, datetime]


@dataclass(frozen=True, slots=True)
class Occasion:
    """A product and when, in event time, somebody had to do with it."""

    sku: str
    at: datetime


@dataclass(frozen=True, slots=True)
class History:
    """The latest time of each product, viewed and bought; newest first."""

    viewed: Moments = field(default_factory=dict)
    bought: Moments = field(default_factory=dict)

    def with_views(self, occasions: Iterable[Occasion]) -> "History":
        """Add views."""
        return History(viewed=_latest(self.viewed, occasions, VIEWED_MAX), bought=self.bought)

    def with_purchases(self, occasions: Iterable[Occasion]) -> "History":
        """Add purchases."""
        return History(viewed=self.viewed, bought=_latest(self.bought, occasions, BOUGHT_MAX))

    def latest(self, limit: int) -> tuple[str, ...]:
        """Return the SKUs of the latest occasions of either kind, newest first."""
        merged = dict(self.viewed)
        for sku, at in self.bought.items():
            merged[sku] = max(at, merged.get(sku, at))
        return tuple(nlargest(limit, merged, key=lambda sku: (merged[sku], sku)))


def _latest(known: Moments, occasions: Iterable[Occasion], limit: int) -> Moments:
    """Keep the `limit` products with the latest times: any order of the same occasions ends the same."""
    merged = dict(known)
    for occasion in occasions:
        merged[occasion.sku] = max(occasion.at, merged.get(occasion.sku, occasion.at))
    return {sku: merged[sku] for sku in nlargest(limit, merged, key=lambda sku: (merged[sku], sku))}
