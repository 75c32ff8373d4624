from collections.abc import AsyncIterator
from datetime import date, timedelta

import httpx
import pytest

from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.shop import Shop, client_of
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR, NOON, counted, picked, received


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shop, scopes=["stock:read"]) as client:
        yield client


@pytest.fixture
async def stocked(shop: Shop) -> Shop:
    """Stock of different ages: armchairs in two layers, lamps that were only found, and mirrors in lots."""
    async with shop.database.transaction() as transaction:
        await put_stock_policy(MIRROR, StockPolicy(tracks_lots=True), tools=shop.adapters.tools_of(transaction))
    await shop.reports(
        received(10, ARMCHAIR, when=NOON - timedelta(days=100), unit_cost_minor=100),
        received(5, ARMCHAIR, when=NOON - timedelta(days=10), unit_cost_minor=300),
        picked(7, ARMCHAIR, when=NOON - timedelta(days=5)),
        counted(2, LAMP, when=NOON - timedelta(days=5)),
        received(4, MIRROR, lot="M1", expires_on=date(2024, 6, 5), when=NOON - timedelta(days=40), unit_cost_minor=50),
        received(6, MIRROR, lot="M2", expires_on=date(2024, 5, 5), when=NOON - timedelta(days=50)),
    )
    return shop


@pytest.mark.usefixtures("stocked")
class TestAgeing:
    async def test_by_receipt_takes_what_is_there_for_what_came_last(self, client: httpx.AsyncClient) -> None:
        report = (await client.get("/v1/stock-ageing")).json()

        assert report["as_of"] == "2024-06-01"
        assert [
            (row["days"], row["units"], row["uncosted_units"], [one["value_minor"] for one in row["amounts"]])
            for row in report["items"]
        ] == [("0-30", 5, 0, [1_500]), ("31-60", 10, 0, [500]), ("91-180", 3, 0, [300]), ("unknown", 2, 2, [])]

    async def test_reaches_as_far_back_as_the_stock(self, client: httpx.AsyncClient, stocked: Shop) -> None:
        await stocked.reports(
            received(10, LAMP, when=NOON - timedelta(days=500), unit_cost_minor=20),
            received(1, LAMP, when=NOON - timedelta(days=300)),
            counted(9, LAMP, when=NOON),
            picked(2, MIRROR, lot="M1", when=NOON - timedelta(days=1)),
        )

        layers = (await client.get("/v1/stock-ageing/layers")).json()["items"]

        assert [
            (one["sku"], one["units"], one["days_since_receipt"], float(one["unit_cost_minor"])) for one in layers
        ] == [
            (ARMCHAIR, 3, 100, 100),
            (ARMCHAIR, 5, 10, 300),
            (MIRROR, 6, 50, 50),
            (MIRROR, 2, 40, 50),
            (LAMP, 8, 500, 20),
            (LAMP, 1, 300, 20),
        ]

    async def test_by_expiry_says_what_is_lost_and_what_will_be(self, client: httpx.AsyncClient) -> None:
        report = (await client.get("/v1/stock-ageing", params={"by": "expiry"})).json()

        assert [(row["days"], row["units"]) for row in report["items"] if row["days"] != "never"] == [
            ("expired", 6),
            ("0-7", 4),
        ]

    async def test_can_be_of_one_warehouse_and_a_table(self, client: httpx.AsyncClient) -> None:
        elsewhere = await client.get("/v1/stock-ageing", params={"warehouse": "MAN"})
        table = await client.get("/v1/stock-ageing", params={"format": "csv"})

        assert elsewhere.json()["items"] == []
        assert table.text.splitlines()[:2] == [
            "warehouse,days,units,uncosted_units,currency,value_minor",
            "LON,0-30,5,0,GBP,1500",
        ]
        assert table.text.splitlines()[-1] == "LON,unknown,2,2,,"

    async def test_is_made_of_layers(self, client: httpx.AsyncClient) -> None:
        first = (await client.get("/v1/stock-ageing/layers", params={"limit": 1})).json()
        table = (await client.get("/v1/stock-ageing/layers", headers={"Accept": "text/csv"})).text.splitlines()

        assert [(one["sku"], one["units"], one["days_since_receipt"]) for one in first["items"]] == [
            (ARMCHAIR, 3, 100),
            (ARMCHAIR, 5, 10),
        ]
        assert first["next_cursor"]
        assert len(table) == 6

    async def test_refuses_what_it_does_not_know(self, client: httpx.AsyncClient) -> None:
        for query in ({"by": "colour"}, {"warehouse": "\x00"}, {"format": "xml"}):
            assert (await client.get("/v1/stock-ageing", params=query)).status_code == 422
        assert (await client.get("/v1/stock-ageing/layers", params={"cursor": "!"})).status_code == 422
