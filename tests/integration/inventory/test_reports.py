import csv
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from libs.common.events.inventory import GoodsReceived, TransferDispatched
from libs.common.ids import new_id
from services.inventory.bootstrap.costs import show_stock_figures
from services.inventory.handlers.reports import Period, class_skus
from services.inventory.settings import InventorySettings
from services.inventory.storage.reports import PostgresClassBooks
from tests.integration.inventory.accounts import Accounts
from tests.integration.inventory.shop import Shop, client_of
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR, NOON, picked

# The shop's clock shows noon of 1 June; everything happens in the ten days before.
START = NOON - timedelta(days=10)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


def bought(
    units: int, cost: int | None, sku: str = ARMCHAIR, *, on: float = 0, at: str = "LON", in_: str = "GBP"
) -> GoodsReceived:
    return GoodsReceived(
        sku=sku,
        warehouse=at,
        occurred_at=day(on),
        quantity=units,
        unit_cost_minor=cost,
        currency=None if cost is None else in_,
    )


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """Let a shop trade for ten days, and open its API to whoever may see figures."""
    await shop.reports(
        bought(10, 100),
        bought(10, 300, LAMP, at="GLA"),
        bought(4, 50, LAMP, in_="EUR"),
        bought(6, None, MIRROR, on=1),
        picked(5, when=day(5)),
        TransferDispatched(
            sku=LAMP, warehouse="GLA", occurred_at=day(3), quantity=2, transfer_id=new_id(), destination="LON"
        ),
    )
    await Accounts(shop).catch_up()
    async with client_of(shop, scopes={"finance:read"}) as client:
        yield client


async def items(client: httpx.AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/reports/{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


class TestStockValue:
    async def test_is_shown_for_every_level(self, client: httpx.AsyncClient) -> None:
        rows = await items(client, "stock-value")

        assert [(row["sku"], row["warehouse"], row["units"]) for row in rows] == [
            (ARMCHAIR, "LON", 5),
            (MIRROR, "LON", 6),
            (LAMP, None, 2),
            (LAMP, "GLA", 8),
            (LAMP, "LON", 4),
        ]
        assert rows[0]["amounts"] == [{"currency": "GBP", "value_minor": 500, "unit_cost_minor": "100.000000"}]
        assert (rows[1]["uncosted_units"], rows[1]["amounts"]) == (6, [])
        assert (rows[2]["is_in_transit"], rows[2]["amounts"][0]["value_minor"]) == (True, 600)

    async def test_leaves_units_of_unknown_cost_out_of_the_average(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(bought(2, 300, MIRROR, on=2), picked(1, MIRROR, when=day(3)))
        await Accounts(shop).catch_up()

        [row] = await items(client, "stock-value", sku=MIRROR)

        # One in eight of everything is gone, of six units of unknown cost three quarters of one.
        assert (row["units"], row["uncosted_units"]) == (7, 5)
        assert row["amounts"] == [{"currency": "GBP", "value_minor": 525, "unit_cost_minor": "300.000000"}]

    async def test_is_added_up_by_warehouse_and_over_all_by_currency(self, client: httpx.AsyncClient) -> None:
        by_warehouse = await items(client, "stock-value", by="warehouse")
        [total] = await items(client, "stock-value", by="total")

        assert {row["warehouse"]: [one["value_minor"] for one in row["amounts"]] for row in by_warehouse} == {
            None: [600],
            "GLA": [2400],
            "LON": [200, 500],
        }
        assert total["units"] == 25
        assert {one["currency"]: one["value_minor"] for one in total["amounts"]} == {"EUR": 200, "GBP": 3500}

    async def test_is_shown_as_of_any_day(self, client: httpx.AsyncClient) -> None:
        [row] = await items(client, "stock-value", as_of=day(3).date().isoformat(), sku=ARMCHAIR)

        assert row["amounts"][0]["value_minor"] == 1000
        assert await items(client, "stock-value", as_of=day(-1).date().isoformat()) == []

    async def test_comes_in_pages(self, client: httpx.AsyncClient) -> None:
        found, cursor = [], None
        while True:
            parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await client.get("/v1/reports/stock-value", params=parameters)).json()
            found.extend(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                break

        assert found == await items(client, "stock-value")


class TestTurnover:
    async def test_compares_what_was_sold_with_what_was_there(self, client: httpx.AsyncClient) -> None:
        [row] = await items(client, "turnover", by="level", sku=ARMCHAIR, since=day(1).date(), until=day(10).date())

        # 1,000 at the end of the first four of ten days, 500 at the end of six.
        assert row["sold_units"] == 5
        assert row["amounts"] == [
            {
                "currency": "GBP",
                "cost_of_goods_minor": 500,
                "average_value_minor": 700,
                "turnover": "0.7143",
                "turnover_yearly": "26.0714",
                "days_of_stock": "14.0000",
                "holding_cost_minor": 5,
            }
        ]

    async def test_sees_only_its_period(self, client: httpx.AsyncClient) -> None:
        [row] = await items(client, "turnover", by="total", sku=ARMCHAIR, since=day(6).date(), until=day(8).date())

        assert (row["sold_units"], row["amounts"][0]["average_value_minor"]) == (0, 500)


class TestCover:
    async def test_is_how_long_stock_lasts(self, client: httpx.AsyncClient) -> None:
        [row] = await items(client, "cover", sku=ARMCHAIR, warehouse="LON")

        assert (row["units"], row["demand_per_day"], row["days_of_cover"]) == (5, "0.4545", "11.0000")
        assert (row["empty_days"], row["lost_units"]) == (0, "0.0000")

    async def test_estimates_what_empty_shelves_lost(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(picked(5, when=day(8)))
        await Accounts(shop).catch_up()

        [row] = await items(client, "cover", sku=ARMCHAIR, warehouse="LON")

        # Of eleven days the last three ended with nothing; ten were sold on the other eight.
        assert (row["empty_days"], row["lost_units"], row["days_of_cover"]) == (3, "3.7500", "0.0000")


class TestDeadStock:
    async def test_has_neither_sold_nor_come_in(self, client: httpx.AsyncClient) -> None:
        rows = await items(client, "dead-stock", idle_days=7)

        assert [(row["sku"], row["warehouse"], row["idle_days"]) for row in rows] == [
            (MIRROR, "LON", 9),
            (LAMP, "GLA", 10),
            (LAMP, "LON", 10),
        ]


class TestClasses:
    async def test_are_those_of_what_was_consumed(self, client: httpx.AsyncClient, shop: Shop) -> None:
        period = Period(since=NOON.date() - timedelta(days=363), until=NOON.date())
        async with shop.database.transaction() as transaction:
            await class_skus(PostgresClassBooks(transaction), period, now=NOON)

        rows = await items(client, "classes")

        assert [(row["sku"], row["abc_class"], row["xyz_class"], row["consumption_minor"]) for row in rows] == [
            (ARMCHAIR, "A", "Y", 500),
            (MIRROR, "C", "Z", 0),
            (LAMP, "C", "Z", 0),
        ]
        assert [row["sku"] for row in await items(client, "classes", abc_class="A")] == [ARMCHAIR]


class TestExport:
    @pytest.mark.parametrize("report", ["stock-value", "turnover", "cover", "dead-stock", "classes"])
    async def test_of_every_report_is_a_table(self, client: httpx.AsyncClient, report: str) -> None:
        answer = await client.get(f"/v1/reports/{report}", headers={"Accept": "text/csv"})

        assert answer.headers["content-type"].startswith("text/csv")
        header, *_ = csv.reader(io.StringIO(answer.text, newline=""))
        assert "sku" in header

    async def test_has_a_line_for_each_level_and_currency(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/v1/reports/stock-value", params={"format": "csv"})

        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert len(rows) == 5
        assert sum(int(row["value_minor"] or 0) for row in rows) == 3700

    async def test_runs_no_formula(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(bought(1, 1, "=cmd|' /C calc'!A0"))
        await Accounts(shop).catch_up()

        answer = await client.get("/v1/reports/stock-value", params={"format": "csv"})

        assert "\r\n'=cmd" in answer.text


class TestRequests:
    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("stock-value?as_of=2999-01-01", "as_of"),
            ("stock-value?as_of=0001-01-01", "as_of"),
            ("stock-value?as_of=yesterday", "as_of"),
            ("turnover?since=2024-06-01&until=2024-05-01", "since"),
            ("turnover?since=1000-01-01", "since"),
            ("turnover?until=0001-01-05", "until"),
            ("stock-value?format=xlsx", "format"),
            ("stock-value?by=moon", "by"),
            ("stock-value?cursor=nonsense", "cursor"),
            ("stock-value?sku=%00", "url"),
            ("dead-stock?idle_days=0", "idle_days"),
            ("dead-stock?idle_days=9999999999999999999999", "idle_days"),
            ("dead-stock?as_of=0001-01-02", "as_of"),
            ("classes?abc_class=D", "abc_class"),
        ],
    )
    async def test_that_make_no_sense_are_refused_by_name(
        self, client: httpx.AsyncClient, query: str, field: str
    ) -> None:
        answer = await client.get(f"/v1/reports/{query}")

        assert answer.status_code in {400, 422}, answer.text
        assert field in answer.text

    async def test_need_the_right_to_see_figures(self, shop: Shop) -> None:
        async with client_of(shop, scopes={"stock:read"}) as client:
            assert (await client.get("/v1/reports/stock-value")).status_code == 403


class TestMetrics:
    @pytest.mark.usefixtures("client")
    async def test_show_the_figures_by_warehouse(self, shop: Shop) -> None:
        settings = InventorySettings(database_url=SecretStr("postgresql://unused/unused"), dead_stock_days=7)

        await show_stock_figures(settings, shop.adapters)

        london = {"warehouse": "LON", "currency": "GBP"}
        assert REGISTRY.get_sample_value("inventory_stock_value_minor", london) == 500
        assert REGISTRY.get_sample_value("inventory_stock_uncosted_units", {"warehouse": "LON"}) == 6
        transit = {"warehouse": "in_transit", "currency": "GBP"}
        assert REGISTRY.get_sample_value("inventory_stock_value_minor", transit) == 600
        turnover = REGISTRY.get_sample_value("inventory_stock_turnover_ratio", london)
        assert turnover == pytest.approx(float(Decimal(500) / (Decimal(5 * 1000 + 6 * 500) / 365)), rel=1e-4)
        glasgow = {"warehouse": "GLA", "currency": "GBP"}
        assert REGISTRY.get_sample_value("inventory_dead_stock_value_minor", glasgow) == 2400
        assert REGISTRY.get_sample_value("inventory_cost_backlog_skus") == 0
