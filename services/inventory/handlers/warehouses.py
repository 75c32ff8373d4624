"""Registering warehouses and changing them."""

from dataclasses import replace

from libs.common.events.inventory import WarehouseChanged, WarehouseRegistered
from services.inventory.domain.queue import FRONT
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers.ports import Revisit, Tools


async def put_warehouse(wanted: Warehouse, *, tools: Tools) -> tuple[Warehouse, bool]:
    """
    Register a warehouse or change it; return it as it is now, and whether it is new.

    Saying again what is known changes nothing and publishes nothing. Orders that wait for what a warehouse can
    now give are served by the follow-up that serves long queues.
    """
    known = await tools.warehouses.lock(wanted.code)
    if known is not None and replace(wanted, version=known.version) == known:
        return known, False
    saved = replace(wanted, version=known.version + 1 if known else 1)
    await tools.warehouses.save(saved, changed_at=tools.clock.now())
    event_class = WarehouseChanged if known else WarehouseRegistered
    event = event_class(
        warehouse=saved.code,
        name=saved.name,
        country=saved.country,
        latitude=saved.latitude,
        longitude=saved.longitude,
        is_active=saved.is_active,
        kind=saved.kind,
        ships_orders=saved.ships_orders,
        is_collection_point=saved.is_collection_point,
    )
    tools.outbox.add(event, aggregate_version=saved.version)
    if _serves_more(saved, known):
        skus = await tools.warehouses.skus_waited_for(saved.code)
        await tools.reservations.add_revisits([Revisit(sku=sku, after=FRONT) for sku in skus])
    return saved, known is None


def _serves_more(saved: Warehouse, known: Warehouse | None) -> bool:
    if not saved.is_active:
        return False
    if known is None or not known.is_active:
        return True
    return (saved.ships_orders and not known.ships_orders) or (
        saved.is_collection_point and not known.is_collection_point
    )
