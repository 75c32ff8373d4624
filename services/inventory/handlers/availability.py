"""What can be promised of every SKU now, kept in memory from the service's own compacted topics."""

import asyncio
import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from libs.common.events.base import Envelope
from libs.common.events.inventory import (
    ExpectedArrival,
    StockLevelChanged,
    WarehouseChanged,
    WarehouseLevel,
    WarehouseRegistered,
)
from libs.common.events.shapes import SkuQuantity
from services.inventory.domain.bundles import obtainable_bundles

_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WarehouseAvailability(msgspec.Struct, frozen=True):
    """Units of a SKU that can be promised from one warehouse."""

    warehouse: str
    available: int


class Restock(msgspec.Struct, frozen=True):
    """The next arrival that is expected; `kind` is `purchase` or `transfer`."""

    at: datetime
    units: int
    kind: str


class SkuAvailability(msgspec.Struct, frozen=True):
    """
    Units of a SKU that can be promised, in total and by warehouse.

    The total is what can be sent: it leaves out stores that ship no orders.
    """

    sku: str
    available: int
    warehouses: tuple[WarehouseAvailability, ...] = ()
    restock: Restock | None = None


class _Known(NamedTuple):
    version: int
    levels: Sequence[WarehouseLevel]
    expected: Sequence[ExpectedArrival]


@dataclass(slots=True, eq=False)
class Watch:
    """
    What has changed among some SKUs since it was asked for the last time: all of them at first.

    However slowly it is asked, it never holds more than its SKUs.
    """

    skus: frozenset[str]
    _changed: dict[str, None] = field(default_factory=dict)
    _is_any: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Begin with everything."""
        self.note(sorted(self.skus))

    def note(self, skus: Iterable[str]) -> None:
        """Note that SKUs have changed."""
        self._changed.update(dict.fromkeys(skus))
        self._is_any.set()

    async def changed(self) -> list[str]:
        """Wait until any SKU has changed; return those that have, once however often that was."""
        await self._is_any.wait()
        skus = list(self._changed)
        self._changed.clear()
        self._is_any.clear()
        return skus


class Availability:
    """
    The copy. It is changed by one task and read by the same event loop, so that it needs no lock.

    Each SKU's answer is encoded when it is first asked for and kept until the SKU changes: of a burst of changes, only
    what somebody reads is computed.
    """

    def __init__(self) -> None:
        """Start empty; a follower fills it."""
        self._known: dict[str, _Known] = {}
        self._components: dict[str, Mapping[str, int]] = {}
        self._bundles_of: dict[str, set[str]] = {}
        self._inactive: set[str] = set()
        self._not_sending: set[str] = set()
        self._facility_versions: dict[str, int] = {}
        self._encoded: dict[str, bytes] = {}
        self._encode = msgspec.json.Encoder().encode
        self._watches: dict[str, list[Watch]] = {}
        # When the restock date of a SKU passes, which no event tells.
        self._restocks: list[tuple[datetime, str]] = []
        self._restock_at: dict[str, datetime] = {}
        self._now = _NEVER
        self.as_of = _NEVER

    def apply(self, envelope: Envelope) -> None:
        """Take in one event; one that is older than what is known changes nothing."""
        version = envelope.aggregate_version or 0
        match envelope.event:
            case StockLevelChanged(sku=sku, levels=levels, expected=expected, components=components):
                known = self._known.get(sku)
                if known is not None and version <= known.version:
                    return
                self._known[sku] = _Known(version, levels, expected)
                if expected or sku in self._restock_at:
                    self._await(sku)
                self._compose(sku, components)
                self._change(sku)
                for bundle in self._bundles_of.get(sku, ()):
                    self._change(bundle)
            case WarehouseRegistered() | WarehouseChanged() as event:
                if version <= self._facility_versions.get(event.warehouse, -1):
                    return
                self._facility_versions[event.warehouse] = version
                self._set_facility(event)
            case _:
                return
        self.as_of = max(self.as_of, envelope.time)

    def encoded(self, sku: str) -> bytes:
        """Return the answer for a SKU as JSON; one that was never heard of has nothing to promise."""
        encoded = self._encoded.get(sku)
        if encoded is not None:
            return encoded
        if sku not in self._known:
            return self._encode(SkuAvailability(sku, 0))
        encoded = self._encoded[sku] = self._encode(self._availability(sku))
        return encoded

    def units(self, sku: str, *, collect_at: str | None = None) -> int:
        """Return how many units of a SKU can be sent, or collected in a store."""
        if sku not in self._known:
            return 0
        found = self._availability(sku)
        if collect_at is None:
            return found.available
        return next((one.available for one in found.warehouses if one.warehouse == collect_at), 0)

    def restock(self, sku: str) -> Restock | None:
        """Return the next arrival of a SKU that is expected, None if there is none."""
        return self._availability(sku).restock if sku in self._known else None

    def pass_time(self, now: datetime) -> int:
        """Drop restock dates that have passed; return of how many SKUs."""
        self._now = now
        passed = set()
        while self._restocks and self._restocks[0][0] <= now:
            passed.add(heapq.heappop(self._restocks)[1])
        for sku in passed:
            self._await(sku)
            self._change(sku)
        return len(passed)

    @property
    def watches(self) -> int:
        """How many readers follow anything."""
        return len({watch for watches in self._watches.values() for watch in watches})

    @contextmanager
    def watch(self, skus: Collection[str]) -> Iterator[Watch]:
        """Follow some SKUs for as long as the context is open."""
        watch = Watch(frozenset(skus))
        for sku in watch.skus:
            self._watches.setdefault(sku, []).append(watch)
        try:
            yield watch
        finally:
            for sku in watch.skus:
                self._watches[sku].remove(watch)
                if not self._watches[sku]:
                    del self._watches[sku]

    def _set_facility(self, event: WarehouseRegistered | WarehouseChanged) -> None:
        before = (event.warehouse in self._inactive, event.warehouse in self._not_sending)
        after = (not event.is_active, not event.ships_orders)
        if before == after:
            return
        for codes, belongs in zip((self._inactive, self._not_sending), after, strict=True):
            if belongs:
                codes.add(event.warehouse)
            else:
                codes.discard(event.warehouse)
        encoded, self._encoded = self._encoded, {}
        for sku in self._watches:
            self._tell(sku, encoded.get(sku))

    def _change(self, sku: str) -> None:
        # Encoded when it is read: far more changes than reads concern most SKUs.
        before = self._encoded.pop(sku, None)
        if sku in self._watches:
            self._tell(sku, before)

    def _tell(self, sku: str, before: bytes | None) -> None:
        if self.encoded(sku) != before:
            for watch in self._watches[sku]:
                watch.note((sku,))

    def _await(self, sku: str) -> None:
        """Remember when the soonest arrival of a SKU will have passed."""
        soonest = next((one.at for one in self._known[sku].expected if one.at > self._now), None)
        if soonest is None:
            self._restock_at.pop(sku, None)
        elif soonest != self._restock_at.get(sku):
            self._restock_at[sku] = soonest
            heapq.heappush(self._restocks, (soonest, sku))

    def _compose(self, sku: str, components: Iterable[SkuQuantity]) -> None:
        for part in self._components.pop(sku, ()):
            self._bundles_of[part].discard(sku)
        made_of = {one.sku: one.quantity for one in components}
        for part in made_of:
            self._bundles_of.setdefault(part, set()).add(sku)
        if made_of:
            self._components[sku] = made_of

    def _availability(self, sku: str) -> SkuAvailability:
        if sku in self._components:
            return self._bundle_availability(sku, self._components[sku])
        expected = self._known[sku].expected
        free = self._free(sku)
        warehouses = tuple(WarehouseAvailability(code, units) for code, units in free.items())
        return SkuAvailability(sku, self._sendable(free), warehouses, self._restock(expected) if expected else None)

    def _bundle_availability(self, sku: str, components: Mapping[str, int]) -> SkuAvailability:
        # A bundle's parts may come from several warehouses, so there can be more of it than each has complete.
        parts = {part: self._free(part) for part in components}
        total = obtainable_bundles(components, {part: self._sendable(free) for part, free in parts.items()})
        complete = {
            code: obtainable_bundles(components, {part: free.get(code, 0) for part, free in parts.items()})
            for code in sorted({code for free in parts.values() for code in free})
        }
        return SkuAvailability(
            sku, total, tuple(WarehouseAvailability(code, units) for code, units in complete.items() if units)
        )

    def _free(self, sku: str) -> dict[str, int]:
        """Return the units that can be promised, by active warehouse."""
        known = self._known.get(sku)
        return {
            level.warehouse: max(0, level.on_hand - level.reserved - level.withheld)
            for level in (known.levels if known is not None else ())
            if level.warehouse not in self._inactive
        }

    def _sendable(self, free: Mapping[str, int]) -> int:
        """Add up what is in warehouses that send orders."""
        return sum(units for code, units in free.items() if code not in self._not_sending)

    def _restock(self, expected: Sequence[ExpectedArrival]) -> Restock | None:
        """Return the soonest arrival, which they come in the order of, where orders are sent from."""
        for one in expected:
            if one.at > self._now and one.warehouse not in self._inactive and one.warehouse not in self._not_sending:
                return Restock(one.at, one.units, one.kind)
        return None
