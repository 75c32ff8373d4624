"""Saying what a SKU is made of."""

from collections.abc import Mapping

from services.inventory.domain.bundles import BundleIsNested, BundleNotFound, SkuHasStock, SkuIsWaitedFor
from services.inventory.domain.queue import FRONT
from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import Tools


async def put_bundle(sku: str, components: Mapping[str, int], *, tools: Tools) -> Desk:
    """
    Make `sku` a bundle of units by SKU, or change what it is made of; what is reserved already stays as it was.

    :raises BundleIsNested: if it would contain a bundle, or be in one.
    :raises SkuHasStock: if there are units of it.
    :raises SkuIsWaitedFor: if orders wait for it.
    """

    async def work(desk: Desk) -> None:
        items = desk.stock.items
        for index, part in enumerate(components):
            if part == sku or items[part].components:
                raise BundleIsNested("A bundle cannot be made of bundles.", field=f"/components/{index}/sku")
        item = items[sku]
        if item.components == components:
            return
        if not item.components:
            if await tools.stock.bundles_of(sku):
                raise BundleIsNested("A component of a bundle cannot be one.", field="sku")
            if any(level.on_hand or level.reserved or level.in_transit or level.shortfall
                   for level in item.levels.values()):  # fmt: skip
                raise SkuHasStock("There are units of this SKU, or it is owed some.")
            if await tools.reservations.waiting_units({sku: FRONT}, besides=()):
                raise SkuIsWaitedFor("Orders wait for units of this SKU.")
        await _define(desk, sku, components, tools)

    return await work_on_stock(tools, {sku, *components}, work)


async def remove_bundle(sku: str, *, tools: Tools) -> Desk:
    """
    Make a bundle a SKU like any other; what is reserved already stays as it was.

    :raises BundleNotFound: if it is none.
    """

    async def work(desk: Desk) -> None:
        if not desk.stock.items[sku].components:
            raise BundleNotFound("This SKU is no bundle.")
        await _define(desk, sku, {}, tools)

    return await work_on_stock(tools, {sku}, work)


async def _define(desk: Desk, sku: str, components: Mapping[str, int], tools: Tools) -> None:
    desk.stock.compose(sku, components)
    await tools.stock.save_components(sku, components)
