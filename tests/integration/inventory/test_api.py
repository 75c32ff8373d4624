import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from services.inventory.api import dependencies, stock_events
from services.inventory.handlers.stock_events import apply_stock_events
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, NOON, approved

LONDON = {"name": "London", "country": "GB", "latitude": 51.51, "longitude": -0.13}


def an_event(**changes: Any) -> dict[str, Any]:
    event = {
        "id": str(uuid4()),
        "type": "goods.received",
        "sku": ARMCHAIR,
        "warehouse": "LON",
        "occurred_at": NOON.isoformat(),
        "quantity": 10,
    }
    return {name: value for name, value in (event | changes).items() if value is not None}


async def upload(client: httpx.AsyncClient, *rows: Any) -> httpx.Response:
    body = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    return await client.post("/v1/stock-events", content=body, headers={"Content-Type": "application/x-ndjson"})


class TestStockEvents:
    async def test_posted_one_by_one_change_the_stock(self, client: httpx.AsyncClient, shop: Shop) -> None:
        event = an_event()

        first = await client.post("/v1/stock-events", json=event)
        second = await client.post("/v1/stock-events", json=event)

        assert (first.status_code, first.json()) == (201, {"id": event["id"], "status": "applied"})
        assert (second.status_code, second.json()) == (201, {"id": event["id"], "status": "duplicate"})
        assert await shop.level(ARMCHAIR) == (10, 0)

    async def test_of_every_type_are_understood(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = {"transfer_id": str(uuid4())}
        rows = [
            an_event(unit_cost_minor=499, currency="GBP", lot="L-1", expires_on="2024-12-31"),
            an_event(type="goods.written-off", quantity=1, reason="damaged", lot="L-1"),
            an_event(type="goods.expected", quantity=48, reference="PO-1", expected_at="2024-06-10T08:00:00Z"),
            an_event(type="goods.picked", quantity=1),
            an_event(type="goods.adjusted", quantity=None, delta=-1, reason="breakage"),
            an_event(type="transfer.dispatched", quantity=3, destination="GLA", **transfer),
            an_event(type="transfer.received", quantity=2, warehouse="GLA", **transfer),
            an_event(type="goods.counted", quantity=None, counted=4, warehouse="MAN"),
        ]

        answer = await upload(client, *rows)

        assert answer.json() == {"accepted": 8, "duplicates": 0, "rejected": 0, "errors": []}
        assert {pair[1]: level for pair, level in (await shop.levels()).items()} == {
            "LON": (4, 0, 0, 0),
            "GLA": (2, 0, 1, 0),
            "MAN": (4, 0, 0, 0),
        }

    async def test_of_an_upload_are_answered_row_by_row(self, client: httpx.AsyncClient, shop: Shop) -> None:
        good = an_event()
        rows = [
            good,
            good,
            an_event(quantity=-1),
            an_event(warehouse="NOWHERE"),
            an_event(occurred_at="2004-06-01T12:00:00Z"),
            an_event(occurred_at="2024-06-01T12:00:00"),
            an_event(quantity="ten"),
            an_event(colour="red"),
            an_event(type="goods.stolen"),
            an_event(sku="NUL\x00"),
            "{not json",
            "[]",
            an_event(sku=MIRROR),
        ]

        answer = await upload(client, *rows)

        assert answer.status_code == 200
        body = answer.json()
        assert (body["accepted"], body["duplicates"], body["rejected"]) == (2, 1, 10)
        assert [(error["row"], error["code"], error["field"]) for error in body["errors"]] == [
            (3, "invalid-stock-event", "quantity"),
            (4, "unknown-warehouse", "warehouse"),
            (5, "invalid-stock-event", "occurred_at"),
            (6, "invalid-stock-event", "occurred_at"),
            (7, "invalid-stock-event", "quantity"),
            (8, "invalid-stock-event", "colour"),
            (9, "invalid-stock-event", "type"),
            (10, "unstorable-text", "sku"),
            (11, "malformed-json", None),
            (12, "invalid-stock-event", None),
        ]
        assert await shop.level(ARMCHAIR) == (10, 0)
        assert await shop.level(MIRROR) == (10, 0)

    @pytest.mark.parametrize(
        ("event", "field"),
        [
            pytest.param(an_event(quantity=0), "quantity", id="refused by the rules"),
            pytest.param(an_event(quantity=None), "quantity", id="missing"),
            pytest.param(an_event(id="one"), "id", id="no UUID"),
            pytest.param(an_event(type=None), "type", id="no type"),
            pytest.param(an_event(quantity=10**30), "quantity", id="larger than any number here"),
        ],
    )
    async def test_that_cannot_be_are_refused_by_name(
        self, client: httpx.AsyncClient, event: dict[str, Any], field: str
    ) -> None:
        answer = await client.post("/v1/stock-events", json=event)

        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]

    @pytest.mark.parametrize(("body", "status"), [(b"{not json", 400), (b"", 400), (b"[]", 422), (b"null", 422)])
    async def test_that_are_none_are_refused(self, client: httpx.AsyncClient, body: bytes, status: int) -> None:
        answer = await client.post("/v1/stock-events", content=body, headers={"Content-Type": "application/json"})

        assert answer.status_code == status

    async def test_posted_at_once_share_transactions(self, client: httpx.AsyncClient, shop: Shop) -> None:
        events = [an_event(quantity=1) for _ in range(100)]

        answers = await asyncio.gather(*(client.post("/v1/stock-events", json=event) for event in events))

        assert {answer.status_code for answer in answers} == {201}
        assert await shop.level(ARMCHAIR) == (100, 0)
        [row] = await shop.rows("SELECT count(DISTINCT xmin::text) AS commits FROM stock_movements")
        assert row["commits"] <= 20

    async def test_of_many_skus_are_answered_by_the_rows_they_came_in(
        self, client: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stock_events, "_ROWS_PER_BLOCK", 10)
        rows = [an_event(sku=f"SKU-{number}", **({"warehouse": "MARS"} if number % 3 else {})) for number in range(60)]

        first, second = await asyncio.gather(upload(client, *rows), upload(client, *rows))

        expected = [number for number in range(1, 61) if (number - 1) % 3]
        assert [[error["row"] for error in answer.json()["errors"]] for answer in (first, second)] == [expected] * 2
        assert first.json()["accepted"] + second.json()["accepted"] == 20
        assert first.json()["duplicates"] + second.json()["duplicates"] == 20
        assert set((await shop.levels()).values()) == {(10, 0, 0, 0)}

    async def test_of_one_id_count_once_whatever_their_skus(self, client: httpx.AsyncClient, shop: Shop) -> None:
        # Some of these pairs of SKUs are worked on at the same time.
        rows = [an_event(sku=f"SKU-{number}") for number in range(16)]
        rows += [row | {"sku": f"SKU-{number}"} for number, row in enumerate(reversed(rows))]

        body = (await upload(client, *rows)).json()

        assert (body["accepted"], body["duplicates"], body["rejected"]) == (16, 0, 16)
        assert {error["code"] for error in body["errors"]} == {"event-id-reused"}
        assert sum(level[0] for level in (await shop.levels()).values()) == 160

    async def test_of_an_upload_outlive_a_lost_connection(
        self, client: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        losses = [ConnectionResetError(), asyncpg.InternalClientError("cut")]

        async def lose(*arguments: Any, **more: Any) -> Any:
            if losses:
                raise losses.pop()
            return await apply_stock_events(*arguments, **more)

        monkeypatch.setattr(dependencies, "apply_stock_events", lose)

        answer = await upload(client, an_event(), an_event(sku=MIRROR), an_event(quantity=-1))

        assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 1)
        assert await shop.level(ARMCHAIR) == await shop.level(MIRROR) == (10, 0)

    async def test_of_an_upload_are_told_how_far_it_came_before_the_database_stayed_away(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lose(*_: Any, **__: Any) -> Any:
            raise ConnectionResetError

        monkeypatch.setattr(dependencies, "apply_stock_events", lose)
        monkeypatch.setattr(dependencies, "_ATTEMPTS_MAX", 1)

        answer = await upload(client, an_event())

        assert (answer.status_code, answer.json()["code"]) == (503, "upload-interrupted")
        assert "0 rows had been applied" in answer.json()["detail"]

    async def test_of_an_upload_that_breaks_off_can_be_sent_again(
        self, client: httpx.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stock_events, "_ROWS_PER_BLOCK", 10)
        events = [an_event(quantity=1) for _ in range(50)]

        async def breaking_off() -> AsyncIterator[bytes]:
            for number, event in enumerate(events):
                if number == 45:
                    raise ConnectionResetError
                yield json.dumps(event).encode() + b"\n"

        ndjson = {"Content-Type": "application/x-ndjson"}
        broken = await client.post("/v1/stock-events", content=breaking_off(), headers=ndjson)
        again = (await upload(client, *events)).json()

        assert broken.status_code == 503
        assert again["accepted"] + again["duplicates"] == 50
        assert await shop.level(ARMCHAIR) == (50, 0)

    async def test_need_the_right_to_write(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/stock-events", json=an_event(), headers={"Authorization": "Bearer storefront"})

        assert answer.status_code == 403


class TestWarehouses:
    async def test_are_registered_and_changed_by_the_same_request(self, client: httpx.AsyncClient) -> None:
        new = await client.put("/v1/warehouses/LEEDS-2", json=LONDON)
        same = await client.put("/v1/warehouses/LEEDS-2", json=LONDON)
        changed = await client.put("/v1/warehouses/LEEDS-2", json=LONDON | {"is_active": False})

        assert [(one.status_code, one.json()["version"]) for one in (new, same, changed)] == [
            (201, 1),
            (200, 1),
            (200, 2),
        ]
        assert (await client.get("/v1/warehouses/LEEDS-2")).json() == changed.json()

    async def test_can_be_stores(self, client: httpx.AsyncClient) -> None:
        store = {"kind": "store", "ships_orders": False, "is_collection_point": True}

        answer = await client.put("/v1/warehouses/SOHO", json=LONDON | store)

        assert store.items() <= answer.json().items()
        assert (await client.get("/v1/warehouses/SOHO")).json() == answer.json()

    async def test_are_listed_by_pages(self, client: httpx.AsyncClient) -> None:
        first = (await client.get("/v1/warehouses", params={"limit": 3})).json()
        rest = (await client.get("/v1/warehouses", params={"limit": 3, "cursor": first["next_cursor"]})).json()

        codes = [one["warehouse"] for one in first["items"] + rest["items"]]
        assert codes == ["GLA", "LON", "MAN", "RTM"]
        assert rest["next_cursor"] is None

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"latitude": 91}, "latitude"),
            ({"country": "gb"}, "country"),
            ({"name": ""}, "name"),
            ({"x": 1}, "x"),
            ({"kind": "kiosk"}, "kind"),
        ],
    )
    async def test_that_cannot_be_are_refused_by_name(
        self, client: httpx.AsyncClient, changes: dict[str, Any], field: str
    ) -> None:
        answer = await client.put("/v1/warehouses/LEEDS", json=LONDON | changes)

        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field

    async def test_that_nobody_registered_are_not_found(self, client: httpx.AsyncClient) -> None:
        answer = await client.get("/v1/warehouses/NOWHERE")

        assert (answer.status_code, answer.json()["code"]) == (404, "warehouse-not-found")


class TestReads:
    async def test_show_the_levels_of_a_sku(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await client.post("/v1/stock-events", json=an_event())
        await shop.orders(approved((ARMCHAIR, 3)))

        shown = (await client.get(f"/v1/stock/{ARMCHAIR}")).json()

        assert (shown["on_hand"], shown["reserved"], shown["available"], shown["version"]) == (10, 3, 7, 2)
        assert [level["warehouse"] for level in shown["levels"]] == ["LON"]

    async def test_show_the_ledger_by_pages_latest_first(self, client: httpx.AsyncClient) -> None:
        times = ["2024-06-01T10:00:00Z", "2024-06-01T12:00:00Z", "2024-06-01T11:00:00Z"]
        await upload(client, *(an_event(occurred_at=time, reference=time) for time in times))

        first = (await client.get(f"/v1/stock/{ARMCHAIR}/movements", params={"limit": 2})).json()
        rest = await client.get(f"/v1/stock/{ARMCHAIR}/movements", params={"cursor": first["next_cursor"]})

        assert [one["reference"] for one in first["items"] + rest.json()["items"]] == sorted(times, reverse=True)

    async def test_show_a_reservation_and_its_decision(self, client: httpx.AsyncClient, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await client.post("/v1/stock-events", json=an_event())
        await shop.orders(order)

        reservation = (await client.get(f"/v1/reservations/{order.order_id}")).json()
        decisions = (await client.get("/v1/decisions", params={"subject": f"order:{order.order_id}"})).json()

        assert reservation["status"] == "held"
        assert reservation["lines"] == [{"sku": ARMCHAIR, "warehouse": "LON", "quantity": 3, "committed": 0}]
        assert [(one["decision"], one["chosen"]) for one in decisions["items"]] == [("allocate-stock", "LON")]

    async def test_show_what_an_order_waits_for(self, client: httpx.AsyncClient, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3))
        await shop.orders(order)

        reservation = (await client.get(f"/v1/reservations/{order.order_id}")).json()

        assert reservation["status"] == "waiting"
        assert reservation["waiting_for"] == [{"sku": ARMCHAIR, "quantity": 3}]

    @pytest.mark.parametrize(
        ("path", "code"),
        [("/v1/stock/NO-SUCH-THING", "stock-not-found"), (f"/v1/reservations/{UUID(int=1)}", "reservation-not-found")],
    )
    async def test_find_nothing_where_nothing_is(self, client: httpx.AsyncClient, path: str, code: str) -> None:
        answer = await client.get(path)

        assert (answer.status_code, answer.json()["code"]) == (404, code)


class TestAvailability:
    @pytest.mark.parametrize(
        "query", ["", "?sku=", "?sku=" + "x" * 200, "?" + "&".join(f"sku={number}" for number in range(201))]
    )
    async def test_asked_wrongly_says_so(self, client: httpx.AsyncClient, query: str) -> None:
        answer = await client.get(f"/v1/availability{query}", headers={"Authorization": "Bearer storefront"})

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "sku")
