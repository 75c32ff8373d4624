"""What can be promised of every SKU now, kept in memory from the service's own compacted topics."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from libs.common.events.base import Envelope
from libs.common.events.inventory import StockLevelChanged, WarehouseChanged, WarehouseLevel, WarehouseRegistered

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WarehouseAvailability(msgspec.Struct, frozen=True):
    """Units of a SKU that can be promised from one warehouse."""

    warehouse: str
    available: int


class SkuAvailability(msgspec.Struct, frozen=True):
    """Units of a SKU that can be promised, in total and by warehouse."""

    sku: str
    available: int
    warehouses: tuple[WarehouseAvailability, ...] = ()


class Availability:
    """
    The copy. It is changed by one task and read by the same event loop, so that it needs no lock.

    Each SKU's answer is encoded when it is first asked for and kept until the SKU changes: of a burst of changes, only
    what somebody reads is computed.
    """

    def __init__(self) -> None:
        """Start empty; a follower fills it."""
        self._levels: dict[str, tuple[int, Sequence[WarehouseLevel]]] = {}
        self._inactive: set[str] = set()
        self._facility_versions: dict[str, int] = {}
        self._encoded: dict[str, bytes] = {}
        self._encode = msgspec.json.Encoder().encode
        self.as_of = _NEVER

    def apply(self, envelope: Envelope) -> None:
        """Take in one event; one that is older than what is known changes nothing."""
        version = envelope.aggregate_version or 0
        match envelope.event:
            case StockLevelChanged(sku=sku, levels=levels):
                if version <= self._levels.get(sku, (-1, ()))[0]:
                    return
                self._levels[sku] = (version, levels)
                self._encoded.pop(sku, None)
            case WarehouseRegistered() | WarehouseChanged() as event:
                if version <= self._facility_versions.get(event.warehouse, -1):
                    return
                self._facility_versions[event.warehouse] = version
                self._set_active(event.warehouse, is_active=event.is_active)
            case _:
                return
        self.as_of = max(self.as_of, envelope.time)

    def encoded(self, sku: str) -> bytes:
        """Return the answer for a SKU as JSON; one that was never heard of has nothing to promise."""
        encoded = self._encoded.get(sku)
        if encoded is not None:
            return encoded
        if sku not in self._levels:
            return self._encode(SkuAvailability(sku, 0))
        encoded = self._encoded[sku] = self._encode(self._availability(sku))
        return encoded

    def _set_active(self, warehouse: str, *, is_active: bool) -> None:
        if is_active == (warehouse not in self._inactive):
            return
        if is_active:
            self._inactive.remove(warehouse)
        else:
            self._inactive.add(warehouse)
        self._encoded.clear()

    def _availability(self, sku: str) -> SkuAvailability:
        _, levels = self._levels[sku]
        warehouses = tuple(
            WarehouseAvailability(level.warehouse, max(0, level.on_hand - level.reserved - level.withheld))
            for level in levels
            if level.warehouse not in self._inactive
        )
        return SkuAvailability(sku, sum(one.available for one in warehouses), warehouses)
