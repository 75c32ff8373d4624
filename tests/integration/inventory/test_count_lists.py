import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.common.clock import FixedClock
from services.inventory.domain.count_lists import Schedule
from services.inventory.domain.counts import CountLimits
from services.inventory.handlers.count_lists import make_daily_lists
from services.inventory.handlers.counts import decide_count
from services.inventory.storage.count_lists import PostgresCountLists
from tests.integration.inventory.shop import Shop, client_of
from tests.support.postgres import FreshDatabase
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    NOON,
    approved,
    counted,
    envelope,
    minutes,
    picked,
    received,
)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shop, scopes=["stock:read", "stock:write"]) as client:
        yield client


async def make(client: httpx.AsyncClient, key: str | None = None, **body: Any) -> httpx.Response:
    return await client.post(
        "/v1/count-lists",
        json={"warehouse": "LON", "size": 10, **body},
        headers={"Idempotency-Key": key or str(uuid4())},
    )


async def make_daily(shop: Shop, lines_per_day: int = 10) -> int:
    async with shop.database.transaction() as transaction:
        return await make_daily_lists(
            lines_per_day=lines_per_day, schedule=Schedule(), tools=shop.adapters.tools_of(transaction)
        )


async def show(client: httpx.AsyncClient, made: httpx.Response, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"/v1/count-lists/{made.json()['id']}", params=query)
    return dict(answer.json())


class TestMaking:
    async def test_lists_what_is_there_the_most_valuable_first(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(
            received(10, MIRROR, unit_cost_minor=100),
            received(10, ARMCHAIR, unit_cost_minor=9_000),
            received(10, LAMP, at="MAN"),
            picked(1, MIRROR),
            picked(1, ARMCHAIR),
        )

        made = await make(client)

        assert made.status_code == 201
        assert [(one["sku"], one["abc_class"]) for one in made.json()["lines"]] == [(ARMCHAIR, "A"), (MIRROR, "C")]

    async def test_does_not_tell_the_counter_what_is_expected(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        made = await make(client)

        assert [one["expected"] for one in (await show(client, made))["lines"]] == [None]
        assert [one["expected"] for one in (await show(client, made, expected=True))["lines"]] == [10]

    async def test_lists_nothing_twice(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10), received(10, MIRROR))
        first = await make(client, "monday", size=1)

        again, second = await make(client, "monday", size=1), await make(client)
        third = await make(client)

        assert again.json() == first.json()
        skus = [one["sku"] for made in (first, second) for one in made.json()["lines"]]
        assert sorted(skus) == [ARMCHAIR, MIRROR]
        assert (third.status_code, third.json()["code"]) == (409, "nothing-to-count")

    @pytest.mark.parametrize(
        "body",
        [{"size": 0}, {"size": 1_001}, {"size": "5"}, {"warehouse": "\x00"}, {"abc_class": "D"}, {"sizes": 5}],
    )
    async def test_refuses_what_makes_no_sense(self, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        assert (await make(client, **body)).status_code == 422

    async def test_refuses_an_unknown_warehouse(self, client: httpx.AsyncClient) -> None:
        refused = await make(client, warehouse="NOWHERE")

        assert (refused.status_code, refused.json()["code"]) == (422, "unknown-warehouse")


class TestDailyLists:
    async def test_are_one_for_each_warehouse_and_day(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10), received(10, MIRROR, at="MAN"))

        made = [await make_daily(shop), await make_daily(shop)]

        assert made == [2, 0]
        lists = (await client.get("/v1/count-lists")).json()["items"]
        assert {(one["warehouse"], one["day"], one["lines_total"]) for one in lists} == {
            ("LON", "2024-06-01", 1),
            ("MAN", "2024-06-01", 1),
        }

    async def test_are_made_once_by_two_who_make_them_at_once(self, shop: Shop) -> None:
        await shop.reports(received(10))

        made = await asyncio.gather(make_daily(shop), make_daily(shop), make_daily(shop))

        assert sum(made) == 1
        assert len(await shop.rows("SELECT FROM count_list_lines")) == 1

    async def test_have_what_is_due_again(self, shop: Shop) -> None:
        await shop.reports(received(10), counted(10, when=minutes(1)))
        assert await make_daily(shop) == 0

        shop.clock = FixedClock(NOON + timedelta(days=181))

        assert await make_daily(shop) == 1


class TestCounting:
    async def test_ticks_off_lines_and_closes_the_list(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10), received(10, MIRROR))
        made = await make(client)

        await shop.reports(counted(9, when=minutes(1)))
        halfway = await show(client, made)
        await shop.reports(counted(10, MIRROR, when=minutes(2)))
        done = await show(client, made, expected=True)

        assert (halfway["status"], halfway["lines_counted"]) == ("counting", 1)
        assert (done["status"], done["lines_counted"]) == ("done", 2)
        assert [(one["sku"], one["counted"], one["discrepancy"]) for one in done["lines"]] == [
            (ARMCHAIR, 9, -1),
            (MIRROR, 10, 0),
        ]

    async def test_does_not_take_a_count_of_before_the_list(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10, when=minutes(-30)))
        made = await make(client)

        await shop.reports(counted(9, when=minutes(-5)))
        assert (await show(client, made))["status"] == "open"

        count = counted(9, when=minutes(-4))
        named = type(count)(
            sku=count.sku,
            warehouse=count.warehouse,
            occurred_at=count.occurred_at,
            counted=9,
            reference=made.json()["id"],
        )
        await shop.reports(named)
        assert (await show(client, made))["status"] == "done"

    async def test_goes_on_while_orders_flow(self, shop: Shop, client: httpx.AsyncClient) -> None:
        before, after = uuid4(), uuid4()
        await shop.reports(received(10))
        await shop.orders(approved((ARMCHAIR, 4), order_id=before))
        made = await make(client)

        # The counter saw ten; two were picked after that, before the count came in.
        await shop.reports(picked(2, when=minutes(9)))
        await shop.reports(counted(10, when=minutes(5)))
        await shop.orders(approved((ARMCHAIR, 4), order_id=after))

        assert (await show(client, made))["status"] == "done"
        assert [await shop.status(one) for one in (before, after)] == ["held", "held"]
        assert await shop.level(ARMCHAIR) == (8, 8)

    async def test_is_to_do_again_if_the_count_is_rejected(self, shop: Shop, database: FreshDatabase) -> None:
        careful = replace(shop, count_limits=CountLimits(units=2))
        await careful.reports(received(10))
        count = envelope(counted(1, when=minutes(5)))
        async with client_of(careful, scopes=["stock:*"]) as client:
            made = await make(client)
            await careful.reports(count)
            assert (await show(client, made))["status"] == "done"

            async with database.transaction() as transaction:
                await decide_count(
                    count.id,
                    verdict="reject",
                    decided_by="manager",
                    reason="wrong shelf",
                    tools=careful.adapters.tools_of(transaction),
                )

            assert (await show(client, made))["status"] == "counting"
            assert [one["is_counted"] for one in (await show(client, made))["lines"]] == [False]

    async def test_is_measured(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10), received(10, MIRROR))
        await make(client)
        await shop.reports(counted(9, when=minutes(1)), counted(10, MIRROR, when=minutes(1)))

        async with shop.database.transaction() as transaction:
            accuracy = await PostgresCountLists(transaction).accuracy(since=NOON)

        assert accuracy == [("LON", 2, 1)]


class TestCancelling:
    async def test_lets_other_lists_have_the_lines(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        made = await make(client)
        path, headers = f"/v1/count-lists/{made.json()['id']}/cancel", {"Idempotency-Key": "k"}

        answers = [await client.post(path, headers=headers) for _ in range(2)]
        refused = await client.post(path, headers={"Idempotency-Key": "other"})

        assert [one.json()["status"] for one in answers] == ["cancelled", "cancelled"]
        assert (refused.status_code, refused.json()["code"]) == (409, "count-list-closed")
        assert (await make(client)).status_code == 201

    async def test_needs_a_list(self, client: httpx.AsyncClient) -> None:
        refused = await client.post(f"/v1/count-lists/{uuid4()}/cancel", headers={"Idempotency-Key": "k"})

        assert (refused.status_code, refused.json()["code"]) == (404, "count-list-not-found")


class TestExport:
    async def test_is_a_table_that_spreadsheets_do_not_run(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10, "=1+1"))
        made = await make(client)

        answer = await client.get(f"/v1/count-lists/{made.json()['id']}", params={"format": "csv"})

        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.text.splitlines() == [
            "number,warehouse,sku,abc_class,reason,counted_at,counted",
            "1,LON,'=1+1,C,due,,",
        ]

    async def test_can_be_filtered_by_warehouse_and_status(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        await make(client)

        found = [
            len((await client.get("/v1/count-lists", params=query)).json()["items"])
            for query in ({"warehouse": "LON", "status": "open"}, {"warehouse": "MAN"}, {"status": "done"})
        ]

        assert found == [1, 0, 0]
        assert (await client.get("/v1/count-lists", params={"status": "lost"})).status_code == 422


class TestClasses:
    async def test_are_those_of_the_report_once_there_is_one(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10), received(10, MIRROR), picked(1, MIRROR))
        await shop.rows(
            "INSERT INTO stock_classes (sku, abc, xyz, currency, consumption_minor, consumption_units, classed_at)"
            " VALUES ($1, 'A', 'X', 'GBP', 1, 1, $2)",
            ARMCHAIR,
            NOON,
        )

        made = await make(client, abc_class="A")

        assert [one["sku"] for one in made.json()["lines"]] == [ARMCHAIR]
