"""Deciding how much of a SKU is kept back and how much may be waited for."""

from services.inventory.domain.stock_policy import StockPolicy, UnknownWarehouse
from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import Tools


async def put_stock_policy(sku: str, policy: StockPolicy, *, tools: Tools) -> Desk:
    """
    Set the policy of a SKU, also of one that nobody has stocked yet.

    What is promised already stays promised, and who waits stays in line; orders that wait for what is no longer
    kept back are served in the same transaction.

    :raises UnknownWarehouse: if it names a warehouse that is not registered.
    """

    async def work(desk: Desk) -> None:
        known = {warehouse.code for warehouse in desk.warehouses}
        for code in policy.safety_stock_by_warehouse:
            if code not in known:
                raise UnknownWarehouse(
                    "No warehouse is registered under this code.", field=f"/safety_stock_by_warehouse/{code}"
                )
        desk.stock.set_policy(sku, policy)
        await tools.stock.save_policy(sku, policy)
        await desk.settle()

    return await work_on_stock(tools, {sku}, work)
