import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from libs.common.clock import SystemClock
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.bootstrap.auditor import build_auditor
from services.inventory.handlers.audit import Auditor, Drift, Look, Progress
from services.inventory.settings import InventorySettings
from services.inventory.storage.books import PostgresBooks
from services.inventory.storage.ledger_feed import SettledLedger
from tests.integration.inventory.accounts import QuietLedger
from tests.integration.inventory.shop import Shop, client_of
from tests.support.eventually import eventually
from tests.support.postgres import FreshDatabase
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR, approved, counted, minutes, picked, received


@dataclass
class Office:
    """An auditor at work in transactions of its own, as its process runs it."""

    shop: Shop
    auditor: Auditor = field(init=False)
    ledger: SettledLedger = field(default_factory=SettledLedger)

    def __post_init__(self) -> None:
        self.auditor = Auditor(self.shop.clock, page_skus=1, rescan_skus=1)

    async def check_changes(self) -> Drift:
        goes_on, drift = True, Drift(0, 0)
        while goes_on:
            async with self.shop.database.transaction() as transaction:
                books = PostgresBooks(transaction, self.ledger)
                goes_on = await self.auditor.check_changes(books)
                drift = await books.drift()
        return drift

    async def go_round(self, look: Look) -> Drift:
        progress, drift = Progress.GOES_ON, Drift(0, 0)
        while progress is not Progress.FINISHED:
            async with self.shop.database.transaction() as transaction:
                books = PostgresBooks(transaction, self.ledger)
                progress = await self.auditor.step(look, books)
                drift = await books.drift()
        return drift

    async def settle(self) -> None:
        """Let the checkpoints take in everything that is committed."""
        patient, self.ledger = self.ledger, QuietLedger()
        await self.check_changes()
        self.ledger = patient


@pytest.fixture
def office(shop: Shop) -> Office:
    return Office(shop)


@pytest.fixture(params=[Look.LEVELS, Look.RESCAN])
def look(request: pytest.FixtureRequest) -> Look:
    return Look(request.param)


@pytest.fixture(params=[True, False], ids=["settled", "unsettled"])
def is_settled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class TestRounds:
    async def test_find_nothing_where_all_is_well(
        self, shop: Shop, office: Office, look: Look, *, is_settled: bool
    ) -> None:
        await shop.reports(received(9), received(2, MIRROR, at="GLA"), picked(20, LAMP), counted(4, when=minutes(1)))
        if is_settled:
            await office.settle()
        await shop.orders(approved((ARMCHAIR, 2), (MIRROR, 1)))
        await shop.reports(picked(1), received(30, LAMP))

        assert await office.check_changes() == Drift(0, 0)
        assert await office.go_round(look) == Drift(0, 0)

    async def test_find_a_level_that_its_ledger_does_not_explain(
        self, shop: Shop, office: Office, look: Look, *, is_settled: bool
    ) -> None:
        await shop.reports(received(9), received(9, MIRROR))
        if is_settled:
            await office.settle()

        await shop.rows("UPDATE stock_levels SET on_hand = on_hand + 2 WHERE sku = $1", ARMCHAIR)
        await shop.rows("UPDATE stock_levels SET on_hand = on_hand - 3 WHERE sku = $1", MIRROR)

        assert await office.go_round(look) == Drift(5, 0)

    async def test_find_units_that_are_reserved_for_nobody(self, shop: Shop, office: Office, look: Look) -> None:
        await shop.reports(received(9))
        await shop.orders(approved((ARMCHAIR, 2)))

        await shop.rows("UPDATE stock_levels SET reserved = 3")

        assert await office.go_round(look) == Drift(0, 1)

    async def test_name_what_is_off_and_since_when(self, shop: Shop, office: Office) -> None:
        await shop.reports(received(9))
        await office.settle()
        await shop.rows("UPDATE stock_levels SET on_hand = 12")
        with capture_logs() as logs:
            await office.go_round(Look.LEVELS)
        await office.go_round(Look.LEVELS)

        [row] = await shop.rows("SELECT sku, warehouse, book, units, resolved_at FROM audit_drifts")
        assert tuple(row) == (ARMCHAIR, "LON", "ledger", 3, None)
        [entry] = [one for one in logs if one["event"] == "audit.drifted"]
        assert entry["drifts"] == [{"sku": ARMCHAIR, "warehouse": "LON", "book": "ledger", "units": 3}]

    async def test_of_the_whole_ledger_trust_no_checkpoint(self, shop: Shop, office: Office) -> None:
        await shop.reports(received(9), received(9, MIRROR))
        await office.settle()
        await shop.rows("UPDATE ledger_checkpoints SET units = 8 WHERE sku = $1", ARMCHAIR)
        assert await office.go_round(Look.LEVELS) == Drift(1, 0)

        assert await office.go_round(Look.RESCAN) == Drift(0, 0)
        assert await office.go_round(Look.LEVELS) == Drift(0, 0)


class TestChanges:
    async def test_are_checked_at_once(self, shop: Shop, office: Office) -> None:
        await shop.reports(received(9), received(9, MIRROR))
        await office.settle()
        await shop.rows("UPDATE stock_levels SET on_hand = 12 WHERE sku = $1", ARMCHAIR)

        await shop.reports(picked(1))

        assert await office.check_changes() == Drift(3, 0)

    async def test_that_repair_a_level_end_the_drift(self, shop: Shop, office: Office) -> None:
        await shop.reports(received(9))
        await office.settle()
        await shop.rows("UPDATE stock_levels SET on_hand = 12")
        assert await office.go_round(Look.LEVELS) == Drift(3, 0)

        await shop.rows("UPDATE stock_levels SET on_hand = 9")

        assert await office.check_changes() == Drift(0, 0)
        [row] = await shop.rows("SELECT resolved_at FROM audit_drifts")
        assert row["resolved_at"] is not None

    async def test_that_become_visible_out_of_the_order_of_their_ids_are_all_counted(
        self, shop: Shop, office: Office
    ) -> None:
        await shop.reports(received(1), received(1, MIRROR))
        await office.settle()
        async with shop.database.transaction() as slow:
            driver = await slow.driver()
            await driver.execute("UPDATE stock_levels SET on_hand = on_hand + 5 WHERE sku = $1", ARMCHAIR)
            await driver.execute(
                "INSERT INTO stock_movements (event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at,"
                " recorded_at) VALUES (gen_random_uuid(), 0, 'receipt', $1, 'LON', 5, now(), now())",
                ARMCHAIR,
            )
            await shop.reports(received(7, MIRROR))
            for _ in range(5):
                assert await office.check_changes() == Drift(0, 0)

        async def checkpoints() -> dict[str, int]:
            assert await office.check_changes() == Drift(0, 0)
            rows = await shop.rows("SELECT sku, units FROM ledger_checkpoints")
            return {row["sku"]: row["units"] for row in rows}

        # Transactions in other tests' databases hold it up as well: they share the server.
        expected = {ARMCHAIR: 6, MIRROR: 8}
        await eventually(checkpoints, lambda units: units == expected)
        assert await office.go_round(Look.LEVELS) == Drift(0, 0)


class TestAuditors:
    async def test_take_turns(self, shop: Shop) -> None:
        async with shop.database.transaction() as first, shop.database.transaction() as second:
            assert await PostgresBooks(first, SettledLedger()).take_turn()
            assert not await PostgresBooks(second, SettledLedger()).take_turn()


class TestAuditOverHttp:
    async def test_names_what_is_off_and_what_was(self, shop: Shop, office: Office) -> None:
        await shop.reports(received(9), received(9, MIRROR))
        await office.settle()
        await shop.rows("UPDATE stock_levels SET on_hand = 12 WHERE sku = $1", ARMCHAIR)
        await shop.rows("UPDATE stock_levels SET on_hand = 7 WHERE sku = $1", MIRROR)
        await office.go_round(Look.LEVELS)
        await shop.rows("UPDATE stock_levels SET on_hand = 9 WHERE sku = $1", MIRROR)
        await office.check_changes()

        async with client_of(shop, scopes={"ops:read"}) as client:
            answer = (await client.get("/v1/audit")).json()

        assert (answer["ledger_units"], answer["reservation_units"], answer["levels_off"]) == (3, 0, 1)
        [drift] = answer["drifts"]
        assert (drift["sku"], drift["warehouse"], drift["book"], drift["units"]) == (ARMCHAIR, "LON", "ledger", 3)
        [resolved] = answer["resolved"]
        assert (resolved["sku"], resolved["units"]) == (MIRROR, -2)
        assert [(one["look"], one["skus"], one["ledger_units"]) for one in answer["rounds"]] == [("levels", 2, 5)]
        assert answer["backlog_movements"] == 0

    async def test_is_for_operators(self, shop: Shop) -> None:
        async with client_of(shop, scopes={"stock:read"}) as client:
            assert (await client.get("/v1/audit")).status_code == 403


@pytest.mark.usefixtures("restless_auditor")
class TestAuditorProcess:
    async def test_shows_a_level_that_is_broken_behind_its_back_until_it_is_repaired(
        self, shop: Shop, database: FreshDatabase
    ) -> None:
        await shop.reports(received(9), received(9, MIRROR))
        settings = InventorySettings(
            database_url=SecretStr(database.url), audit_interval_seconds=0.1, audit_rescan_rest_seconds=0.1
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for component in build_auditor(settings, Adapters(database=database, clock=SystemClock())):
                group.create_task(component.run(stop))
            await eventually(_drift_units, lambda units: units == 0)

            await shop.rows("UPDATE stock_levels SET on_hand = 14 WHERE sku = $1", MIRROR)
            await eventually(_drift_units, lambda units: units == 5)
            async with client_of(shop, scopes={"ops:read"}) as client:
                [drift] = (await client.get("/v1/audit")).json()["drifts"]
            await shop.rows("UPDATE stock_levels SET on_hand = 9 WHERE sku = $1", MIRROR)
            await eventually(_drift_units, lambda units: units == 0)
            stop.set()

        assert (drift["sku"], drift["units"]) == (MIRROR, 5)


async def _drift_units() -> float | None:
    return REGISTRY.get_sample_value("inventory_ledger_drift_units")
