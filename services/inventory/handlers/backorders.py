"""Serving the rest of queues that were too long for one transaction."""

from services.inventory.handlers.desk import WAITING_ORDERS_MAX, Desk, work_on_stock
from services.inventory.handlers.ports import Tools


async def continue_queue(tools: Tools) -> Desk | None:
    """Serve the next orders of one queue that was left unfinished; None if there is none."""
    found = await tools.reservations.next_revisit()
    if found is None:
        return None
    places = await tools.reservations.waiting([found.sku], limit=WAITING_ORDERS_MAX, after=found.after)
    skus = await tools.reservations.skus_of([place.order_id for place in places])

    async def work(desk: Desk) -> None:
        # Asked again under the lock: another process may have been here, or the queue begun from the front anew.
        revisit = await tools.reservations.take_revisit(found.sku)
        if revisit is not None:
            await desk.settle(revisit)

    return await work_on_stock(tools, {found.sku} | skus, work)
