from libs.common.db import Database
from services.inventory.handlers.audit import Audit, Drift
from services.inventory.storage.books import PostgresBooks
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR, approved, counted, minutes, picked, received


class TestAudit:
    async def test_finds_nothing_where_all_is_well(self, shop: Shop) -> None:
        await shop.reports(received(9), received(2, MIRROR, at="GLA"), picked(20, LAMP), counted(4, when=minutes(1)))
        await shop.orders(approved((ARMCHAIR, 2), (MIRROR, 1)))

        assert await _audited(shop.database) == Drift(0, 0)

    async def test_finds_a_level_that_its_ledger_does_not_explain(self, shop: Shop) -> None:
        await shop.reports(received(9), received(9, MIRROR))

        await shop.rows("UPDATE stock_levels SET on_hand = on_hand + 2 WHERE sku = $1", ARMCHAIR)
        await shop.rows("UPDATE stock_levels SET on_hand = on_hand - 3 WHERE sku = $1", MIRROR)

        assert await _audited(shop.database) == Drift(5, 0)

    async def test_finds_units_that_are_reserved_for_nobody(self, shop: Shop) -> None:
        await shop.reports(received(9))
        await shop.orders(approved((ARMCHAIR, 2)))

        await shop.rows("UPDATE stock_levels SET reserved = 3")

        assert await _audited(shop.database) == Drift(0, 1)

    async def test_forgets_a_drift_once_a_whole_round_finds_none(self, shop: Shop) -> None:
        audit = Audit(page_skus=1)
        await shop.reports(received(9), received(9, MIRROR))
        await shop.rows("UPDATE stock_levels SET on_hand = 10 WHERE sku = $1", MIRROR)
        assert await _audited(shop.database, audit) == Drift(1, 0)

        await shop.rows("UPDATE stock_levels SET on_hand = 9 WHERE sku = $1", MIRROR)

        assert await _audited(shop.database, audit) == Drift(0, 0)


async def _audited(database: Database, audit: Audit | None = None) -> Drift:
    audit = audit or Audit(page_skus=1)
    async with database.transaction() as transaction:
        while await audit.next_page(PostgresBooks(transaction)):
            pass
    return audit.drift
