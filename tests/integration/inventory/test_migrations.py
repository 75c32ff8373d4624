"""What single migrations do to the rows that are there."""

from datetime import timedelta

import msgspec

from libs.common.db.migrations import downgrade, upgrade
from libs.common.decisions import Alternative, Decision
from libs.common.decisions.storage import PostgresDecisionLog, decisions_about
from services.inventory.bootstrap import SERVICE
from tests.integration.inventory.accounts import Accounts
from tests.integration.inventory.shop import Shop
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import empty_database
from tests.unit.inventory.builders import ARMCHAIR, NOON, picked, received

MIGRATIONS = SERVICE.migrations


async def test_have_costs_folded_again_by_the_rule_of_today(infrastructure: Infrastructure) -> None:
    assert MIGRATIONS is not None
    async with empty_database(infrastructure, SERVICE.name) as database:
        await upgrade(database, directory=MIGRATIONS, revision="head")
        shop = await Shop.open(database)
        await shop.reports(received(3, when=NOON - timedelta(days=2)))
        await shop.reports(received(1, unit_cost_minor=100, when=NOON - timedelta(days=1)), picked(1))
        await Accounts(shop).catch_up()
        kept = await Accounts(shop).kept()
        await downgrade(database, directory=MIGRATIONS, revision="0022")
        # As it was kept before: units of unknown cost left whole.
        await shop.rows("UPDATE stock_cost_days SET uncosted_units = 2 WHERE day = $1", NOON.date())
        await shop.rows("UPDATE stock_cost_values SET value_minor = 100, sold_minor = 0 WHERE day = $1", NOON.date())
        await shop.rows("DELETE FROM stock_cost_queue")
        await shop.rows("INSERT INTO stock_cost_states VALUES ($1, $2, '{}', true)", ARMCHAIR, NOON.date())

        await upgrade(database, directory=MIGRATIONS, revision="head")
        await Accounts(shop).catch_up()

        assert await Accounts(shop).kept() == kept
        [value] = await shop.rows("SELECT value_minor FROM stock_cost_values WHERE day = $1", NOON.date())
        assert value["value_minor"] == 75


async def test_keep_why_something_was_decided(infrastructure: Infrastructure) -> None:
    assert MIGRATIONS is not None
    made = Decision(
        decision="allocate-stock",
        subject="order:1",
        chosen="LON",
        reason="It is the nearest.",
        rule="single-source-first/1",
        decided_at=NOON,
        alternatives=[Alternative(option="GLA", score=556.3, details={"units": 2})],
        inputs={"country": "GB"},
    )
    async with empty_database(infrastructure, SERVICE.name) as database:
        await upgrade(database, directory=MIGRATIONS, revision="0022")
        async with database.transaction() as transaction:
            PostgresDecisionLog(transaction).add(made)
        await downgrade(database, directory=MIGRATIONS, revision="0021")
        async with database.transaction() as transaction:
            driver = await transaction.driver()
            [as_it_was] = await driver.fetch("SELECT record::text FROM decisions")
        await upgrade(database, directory=MIGRATIONS, revision="0022")
        async with database.transaction() as transaction:
            known = await decisions_about(transaction, subject=made.subject, limit=2)

    assert msgspec.json.decode(as_it_was["record"], type=Decision) == made
    assert known == [made]
