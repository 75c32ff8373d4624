"""The job that keeps costs, driven by a test."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import asyncpg

from services.inventory.handlers.costs import keep_costs
from services.inventory.storage.costs import PostgresCosts
from services.inventory.storage.ledger_feed import SettledLedger
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR


class QuietLedger(SettledLedger):
    """
    The ledger of a database in which nobody else is at work, so that what is seen is settled.

    A real one waits for the transactions of all databases of the server, which other tests share.
    """

    async def advance(self, driver: asyncpg.Connection) -> int:
        self.last_id = int(await driver.fetchval("SELECT coalesce(max(id), 0) FROM stock_movements"))
        return self.last_id


@dataclass
class Accounts:
    """The job that keeps costs, in transactions of its own."""

    shop: Shop
    ledger: SettledLedger = field(default_factory=QuietLedger)
    movements_max: int = 20_000

    async def catch_up(self) -> None:
        """Fold everything that is committed."""
        goes_on = True
        while goes_on:
            async with self.shop.database.transaction() as transaction:
                books = PostgresCosts(transaction, self.ledger)
                goes_on = await keep_costs(books, movements_max=self.movements_max)

    async def value(self, sku: str = ARMCHAIR, warehouse: str = "LON", *, day: date) -> Decimal:
        [row] = await self.shop.rows(
            "SELECT value_minor FROM stock_cost_values WHERE sku = $1 AND warehouse = $2 AND day = $3",
            sku,
            warehouse,
            day,
        )
        return Decimal(row["value_minor"])

    async def kept(self) -> list[asyncpg.Record]:
        days = "SELECT * FROM stock_cost_days ORDER BY sku, warehouse, day"
        values = "SELECT * FROM stock_cost_values ORDER BY sku, warehouse, day, currency"
        return [*await self.shop.rows(days), *await self.shop.rows(values)]
