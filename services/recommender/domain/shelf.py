"""What can be sold now: a copy, in memory, of every SKU's stock and listing."""

from services.recommender.domain.ranking import Obstacle


class Shelf:
    """
    The latest state of each SKU by its version, whatever order and however often states arrive.

    A SKU that a copy has not heard of counts as out of stock, or not listed.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._available: dict[str, int] = {}
        self._listed: set[str] = set()
        self._stock_versions: dict[str, int] = {}
        self._listing_versions: dict[str, int] = {}

    @property
    def stocked_skus(self) -> int:
        """Return of how many SKUs the stock is known."""
        return len(self._available)

    @property
    def listed_skus(self) -> int:
        """Return how many SKUs are listed."""
        return len(self._listed)

    def set_available(self, sku: str, units: int, *, version: int) -> None:
        """Note how many units of `sku` can be promised in all warehouses together."""
        if version < self._stock_versions.get(sku, version):
            return
        self._stock_versions[sku] = version
        self._available[sku] = units

    def set_listed(self, sku: str, *, is_listed: bool, version: int) -> None:
        """Note whether `sku` can be bought at all."""
        if version < self._listing_versions.get(sku, version):
            return
        self._listing_versions[sku] = version
        if is_listed:
            self._listed.add(sku)
        else:
            self._listed.discard(sku)

    def obstacle(self, sku: str) -> Obstacle | None:
        """Return what keeps `sku` from being offered."""
        if sku not in self._listed:
            return Obstacle.NOT_LISTED
        if self._available.get(sku, 0) <= 0:
            return Obstacle.OUT_OF_STOCK
        return None
