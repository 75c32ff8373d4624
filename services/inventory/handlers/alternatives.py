"""Names what orders could have instead of what they are short of: worked out once for each SKU, however many ask."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from libs.common.events.shapes import AlternativeSku, Shortage
from services.inventory.domain.bundles import obtainable_bundles
from services.inventory.domain.queue import Verdict, terms_of
from services.inventory.domain.reservations import Reservation, Terms
from services.inventory.domain.stock import Stock, StockItem
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers.assortment import Assortment, usable_units
from services.inventory.handlers.ports import Tools


async def with_alternatives(
    verdicts: Sequence[Verdict],
    told: Collection[Verdict],
    *,
    stock: Stock,
    warehouses: Sequence[Warehouse],
    tools: Tools,
) -> Sequence[Verdict]:
    """Return the verdicts; the shortages of those in `told` name what is free and could be had instead."""
    finder = AlternativesFinder(tools.assortment, stock, warehouses)
    await finder.load({short.sku for one in told for short in one.shortages}, tools)
    if not finder.finds_any:
        return verdicts
    changed = {
        id(one): msgspec.structs.replace(one, shortages=finder.name(one.shortages, one.reservation)) for one in told
    }
    return [changed.get(id(one), one) for one in verdicts]


class AlternativesFinder:
    """
    What is free in one transaction, of what is like the SKUs that are short.

    What the transaction has locked counts as it is by then, anything else as it was last committed. Rankings are kept
    by what was asked, so that thousands of orders for the same cost one.
    """

    def __init__(self, assortment: Assortment, stock: Stock, warehouses: Sequence[Warehouse]) -> None:
        """Begin with nothing known."""
        self._assortment = assortment
        self._stock = stock
        self._sending = {one.code for one in warehouses if one.is_active and one.ships_orders}
        self._asked: set[str] = set()
        self._free: dict[str, dict[str, int]] = {}
        self._components: dict[str, Mapping[str, int]] = {}
        self._ranked: dict[tuple[str, int, str | None, bool], Sequence[AlternativeSku]] = {}

    @property
    def finds_any(self) -> bool:
        """Whether anything is free of what could be offered."""
        return bool(self._free)

    async def load(self, skus: Iterable[str], tools: Tools) -> None:
        """Look up what is free of what is like `skus`, in one go; what was looked up before is not again."""
        if not self._assortment.policy.alternatives_max:
            return
        candidates = {one.product.sku for sku in skus for one in self._assortment.like(sku)} - self._asked
        if not candidates:
            return
        self._asked |= candidates
        for item in await tools.stock.unreserved(candidates):
            self._take(self._stock.items.get(item.sku, item))

    def name(self, shortages: Iterable[Shortage], reservation: Reservation) -> tuple[Shortage, ...]:
        """Return the shortages with alternatives; a component of a bundle has none that would complete it."""
        own = {*reservation.skus, *reservation.bundles}
        parts = {part for components in reservation.bundles.values() for part in components}
        return tuple(
            [
                one
                if one.sku in parts or not (found := self._alternatives(one, terms_of(reservation), own))
                else msgspec.structs.replace(one, alternatives=found)
                for one in shortages
            ]
        )

    def _alternatives(self, short: Shortage, terms: Terms, own: Collection[str]) -> list[AlternativeSku]:
        key = (short.sku, short.requested, terms.collect_at, terms.is_split_allowed)
        ranked = self._ranked.get(key)
        if ranked is None:
            ranked = self._ranked[key] = self._assortment.alternatives(
                short.sku, lambda sku: self._units(sku, terms), quantity=short.requested
            )
        allowed = (one for one in ranked if one.sku not in own)
        return list(islice(allowed, self._assortment.policy.alternatives_max))

    def _take(self, item: StockItem) -> None:
        self._free[item.sku] = {code: level.available for code, level in item.levels.items() if level.available}
        if item.components:
            self._components[item.sku] = item.components

    def _units(self, sku: str, terms: Terms) -> int:
        components = self._components.get(sku)
        if components is None:
            return self._usable(sku, terms)
        return obtainable_bundles(components, {part: self._usable(part, terms) for part in components})

    def _usable(self, sku: str, terms: Terms) -> int:
        return usable_units(
            self._free.get(sku, {}),
            sending=self._sending,
            collect_at=terms.collect_at,
            is_split_allowed=terms.is_split_allowed,
        )
