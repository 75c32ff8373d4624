"""Keeping what may be promised of each lot in step with the calendar."""

from typing import Final

from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import Tools

# SKUs whose lots expire are locked together; a day on which thousands do takes several transactions.
_SKUS_MAX: Final = 100


async def block_expired_lots(tools: Tools) -> Desk | None:
    """Block units that may not be promised any more, and re-allocate what held them; None if there are none."""
    skus = await tools.lots.to_block(tools.clock.now().date(), limit=_SKUS_MAX)
    if not skus:
        return None

    async def work(desk: Desk) -> None:
        for sku in skus:
            desk.stock.regroup_lots(sku)
        await desk.settle()

    return await work_on_stock(tools, skus, work)
