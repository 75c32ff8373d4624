"""Keeping track of where the warehouses are."""

from collections.abc import Sequence

from libs.common.events.base import Envelope
from libs.common.events.inventory import WarehouseChanged, WarehouseRegistered
from services.logistics.domain.geography import Coordinates, Facility, Site
from services.logistics.handlers.ports import Warehouses


async def note_warehouses(batch: Sequence[Envelope], *, warehouses: Warehouses) -> None:
    """Remember the last that each warehouse told of itself; a closed one still has a place."""
    latest: dict[str, Facility] = {}
    for envelope in batch:
        event = envelope.event
        if not isinstance(event, WarehouseRegistered | WarehouseChanged):
            continue
        version = envelope.aggregate_version or 0
        known = latest.get(event.warehouse)
        if known is None or known.version < version:
            site = Site(event.country, Coordinates(event.latitude, event.longitude))
            latest[event.warehouse] = Facility(warehouse=event.warehouse, site=site, version=version)
    if latest:
        await warehouses.put(list(latest.values()))
