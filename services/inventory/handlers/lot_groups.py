"""Folding the lots of SKUs whose ledger or policy a transaction changes."""

from collections.abc import Collection
from datetime import date

from services.inventory.domain.lots import LotLine, blocked_units, expiries_of, fold_lots, line_of
from services.inventory.domain.stock import Stock
from services.inventory.handlers.ports import LotBalance, LotStore


async def regroup_lots(skus: Collection[str], *, stock: Stock, lots: LotStore, today: date) -> None:
    """
    Fold the lots of locked SKUs anew from the ledger, with what this transaction adds to it.

    Their units that may not be promised `today` are blocked. A SKU that tracks no lots has none.
    """
    ledgers: dict[str, dict[str, list[LotLine]]] = {sku: {} for sku in skus}
    for sku, by_warehouse in (await lots.lines(skus)).items():
        ledgers[sku] = {warehouse: list(lines) for warehouse, lines in by_warehouse.items()}
    for movement in stock.movements:
        if movement.sku in ledgers:
            ledgers[movement.sku].setdefault(movement.warehouse, []).append(line_of(movement))
    balances: list[LotBalance] = []
    for sku, by_warehouse in ledgers.items():
        policy = stock.items[sku].policy
        days = policy.shelf_life_days_min
        expiries = expiries_of(line for lines in by_warehouse.values() for line in lines)
        for warehouse, lines in by_warehouse.items():
            there = fold_lots(lines, expiries, shelf_life_days_min=days) if policy.tracks_lots else []
            stock.block(blocked_units(there, today, shelf_life_days_min=days), sku=sku, warehouse=warehouse)
            balances += [
                LotBalance(
                    sku=sku,
                    warehouse=warehouse,
                    lot=lot,
                    usable_until=lot.usable_until(days),
                    is_blocked=not lot.is_usable(today, days),
                )
                for lot in there
            ]
    await lots.replace(skus, balances)
