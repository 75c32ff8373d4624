"""Why on hand is what it is."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from libs.common.events.inventory import GoodsReceived, TransferDispatched, TransferReceived
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import (
    ARMCHAIR,
    NOON,
    adjusted,
    approved,
    counted,
    dispatched,
    minutes,
    picked,
    received,
    returned,
)

PATH = f"/v1/stock/{ARMCHAIR}/timeline"


async def timeline(client: httpx.AsyncClient, **params: Any) -> Any:
    answer = await client.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestTimeline:
    async def test_explains_every_unit(self, client: httpx.AsyncClient, shop: Shop) -> None:
        order = approved((ARMCHAIR, 5))
        waiting = approved((ARMCHAIR, 2))
        transfer: dict[str, Any] = {"sku": ARMCHAIR, "transfer_id": uuid4()}
        bought = GoodsReceived(
            sku=ARMCHAIR,
            warehouse="LON",
            occurred_at=NOON,
            quantity=60,
            unit_cost_minor=499,
            currency="GBP",
            reference="PO-7",
        )
        await shop.reports(bought)
        await shop.orders(order)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 5), when=minutes(10)))
        await shop.orders(returned(order.order_id, (ARMCHAIR, 1), when=minutes(20)), waiting)
        await shop.reports(
            picked(2, when=minutes(30)),
            adjusted(-1, when=minutes(40)),
            TransferDispatched(
                warehouse="LON", destination="GLA", occurred_at=minutes(50), quantity=4, reference="T-1", **transfer
            ),
            TransferReceived(warehouse="GLA", occurred_at=minutes(60), quantity=3, **transfer),
        )
        await shop.reports(counted(47, when=minutes(70)))

        found = await timeline(client)

        causes = [(item["cause"], item["units"], item["on_hand"], item["on_hand_total"]) for item in found["items"]]
        assert [(units, here, total) for _, units, here, total in causes] == [
            (60, 60, 60),
            (-5, 55, 55),
            (1, 56, 56),
            (-2, 54, 54),
            (-1, 53, 53),
            (-4, 49, 49),
            (3, 3, 52),
            (-2, 47, 50),
        ]
        assert [cause["type"] for cause, *_ in causes] == [
            "receipt",
            "shipment",
            "return",
            "pick",
            "adjustment",
            "transfer",
            "transfer",
            "count",
        ]
        assert causes[0][0] == {
            "type": "receipt",
            "reference": "PO-7",
            "unit_cost_minor": 499,
            "currency": "GBP",
            "lot": None,
            "expires_on": None,
        }
        assert causes[1][0]["order_id"] == str(order.order_id)
        assert causes[5][0]["other_warehouse"] == "GLA"
        assert causes[7][0] == {
            "type": "count",
            "counted": 47,
            "expected": 49,
            "count_id": None,
            "reason": None,
            "reference": None,
        }
        assert found["on_hand"] == sum(one["units"] for one in found["summary"]) == 50
        assert found["levels"] == [{"warehouse": "GLA", "on_hand": 3}, {"warehouse": "LON", "on_hand": 47}]
        assert found["reserved"]["units"] == 2
        assert [(one["id"], one["units"]) for one in found["reserved"]["newest"]] == [(str(waiting.order_id), 2)]

    async def test_says_what_came_late_and_what_a_count_had_seen_of_it(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        await shop.reports(counted(7, when=minutes(10)))
        shop.clock.advance(timedelta(hours=3))
        await shop.reports(received(10, when=minutes(0)))

        items = (await timeline(client))["items"]

        assert [(one["cause"]["type"], one["units"], one["on_hand"], one["is_late"]) for one in items] == [
            ("receipt", 10, 10, True),
            ("count", 7, 17, False),
            ("already-counted", -10, 7, False),
        ]
        assert items[0]["delay_seconds"] == 10_800

    @pytest.mark.parametrize("order", ["asc", "desc"])
    async def test_is_the_same_by_pages(self, client: httpx.AsyncClient, shop: Shop, order: str) -> None:
        for number in range(7):
            # Two of each time: their places are told apart by the sequence of recording.
            await shop.reports(received(number + 1, when=minutes(number // 2)), received(1, at="MAN", when=minutes(3)))
        whole = await timeline(client, order=order, limit=100)

        pages, cursor = [], None
        while True:
            page = await timeline(client, order=order, limit=3, **({"cursor": cursor} if cursor else {}))
            assert (page["summary"], page["on_hand"]) == (whole["summary"], whole["on_hand"])
            pages.extend(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                break

        assert pages == whole["items"]
        assert len(pages) == 14

    async def test_of_one_warehouse_and_of_a_time_in_the_past(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(5), received(7, at="MAN"), picked(2, when=minutes(10)))

        assert (await timeline(client, warehouse="LON"))["on_hand"] == 3
        past = await timeline(client, at=minutes(5).isoformat())
        assert (past["on_hand"], past["reserved"], len(past["items"])) == (12, None, 2)
        assert (await timeline(client, at=minutes(-5).isoformat()))["summary"] == []

    @pytest.mark.parametrize("sku", ["AC/DC-1", "a/timeline", "ЩЮЖ №1 🧸/%2F?#&", "=1+1"])
    async def test_is_there_for_any_sku_that_a_warehouse_may_report(
        self, client: httpx.AsyncClient, shop: Shop, sku: str
    ) -> None:
        await shop.reports(received(5, sku))

        answer = await client.get(f"/v1/stock/{quote(sku, safe='')}/timeline")

        assert (answer.json()["sku"], answer.json()["on_hand"]) == (sku, 5)

    async def test_refuses_what_makes_no_sense(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(5))

        assert (await client.get("/v1/stock/NO-SUCH/timeline")).status_code == 404
        for params in (
            {"at": "yesterday"},
            {"at": "2024-06-01T12:00:00"},
            {"at": "0001-01-01T00:00:00+14:00"},
            {"order": "sideways"},
            {"cursor": "nonsense"},
            {"limit": "0"},
            {"warehouse": "a b"},
        ):
            answer = await client.get(PATH, params=params)
            assert answer.status_code == 422, (params, answer.text)

    async def test_is_answered_fast_for_a_long_history(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(1))
        await shop.rows(
            """
            INSERT INTO stock_movements (event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at, recorded_at)
            SELECT gen_random_uuid(), 0, 'receipt', $1, 'LON', 1, $2::timestamptz + number * interval '1 minute', $2
            FROM generate_series(1, 100000) AS number
            """,
            ARMCHAIR,
            NOON,
        )

        found = await timeline(client, order="desc")

        assert found["on_hand"] == 100_001
        assert [item["on_hand"] for item in found["items"][:3]] == [100_001, 100_000, 99_999]
