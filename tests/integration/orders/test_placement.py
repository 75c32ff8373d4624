"""Orders are placed once, whoever asks how often, and are durable with everything that belongs to them."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from libs.common.events.orders import OrderApproved, OrderConfirmed, OrderPlaced
from libs.common.events.shapes import Destination, SkuQuantity
from tests.integration.orders.shop import TOTAL_MINOR, Shop, an_order, key
from tests.support.eventually import eventually
from tests.support.postgres import FreshDatabase


class TestPlacing:
    async def test_answers_with_the_approved_order(self, shop: Shop) -> None:
        response = await shop.post("/orders", an_order(reference="536365"))

        assert response.status_code == 201
        placed = response.json()
        assert response.headers["Location"] == f"/v1/orders/{placed['id']}"
        assert (placed["status"], placed["version"], placed["total_minor"]) == ("approved", 2, TOTAL_MINOR)
        assert placed == await shop.order(placed["id"])

    async def test_publishes_what_the_others_need_and_no_address(self, shop: Shop) -> None:
        order_id = await shop.place()

        placed, approved = await shop.published()

        assert isinstance(placed.event, OrderPlaced)
        assert placed.event.destination == Destination(country="GB", latitude=51.5, longitude=-0.1)
        assert isinstance(approved.event, OrderApproved)
        assert approved.event.order_id == order_id
        assert approved.event.lines == [
            SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=3),
            SkuQuantity(sku="OMINOUS-MIRROR", quantity=3),
        ]
        assert [placed.aggregate_version, approved.aggregate_version] == [1, 2]
        assert await shop.count("SELECT count(*) FROM outbox_events WHERE value LIKE '%Shopper%'::bytea") == 0
        assert await shop.count("SELECT count(*) FROM order_addresses WHERE address->>'name' = 'Ann Shopper'") == 1

    async def test_passes_on_where_the_customer_collects(self, shop: Shop) -> None:
        order_id = await shop.place(collect_at="SOHO")
        await shop.confirm(order_id)

        collected = [
            (one.event.type, one.event.collect_at)
            for one in await shop.published()
            if isinstance(one.event, OrderApproved | OrderConfirmed)
        ]
        assert collected == [("order.approved", "SOHO"), ("order.confirmed", "SOHO")]

    async def test_passes_on_what_is_held_for_it(self, shop: Shop) -> None:
        hold_id = uuid4()

        await shop.place(hold_id=str(hold_id))

        [approved] = [one.event for one in await shop.published() if isinstance(one.event, OrderApproved)]
        assert approved.hold_id == hold_id

    async def test_continues_the_trace_of_the_request(self, shop: Shop) -> None:
        headers = {
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "X-Correlation-Id": "basket-9",
        }

        await shop.post("/orders", an_order(), **headers)

        for envelope in await shop.published():
            assert envelope.correlation_id == "basket-9"
            assert envelope.traceparent is not None
            assert envelope.traceparent.split("-")[1] == "0af7651916cd43dd8448eb211c80319c"

    async def test_writes_orders_that_arrive_together_in_few_transactions(self, shop: Shop) -> None:
        responses = await asyncio.gather(*(shop.post("/orders", an_order()) for _ in range(100)))

        assert {response.status_code for response in responses} == {201}
        assert len({response.json()["id"] for response in responses}) == 100
        assert await shop.count("SELECT count(*) FROM orders") == 100
        # A row names the transaction that wrote it; the server's own counter counts other databases too.
        rows = " UNION ALL ".join(
            f"SELECT xmin::text FROM {table}"  # noqa: S608 - see below
            for table in ("orders", "order_timeline", "payment_commands", "idempotency_keys", "outbox_events")
        )
        assert 0 < await shop.count(f"SELECT count(DISTINCT xmin) FROM ({rows})") < 50  # noqa: S608

    async def test_accepts_an_imported_order_with_its_own_time(self, shop: Shop) -> None:
        order_id = await shop.place(placed_at="2011-06-01T10:00:00+01:00")

        assert (await shop.order(order_id))["placed_at"] == "2011-06-01T09:00:00Z"

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            pytest.param({"lines": []}, "lines", id="no lines"),
            pytest.param(
                {"lines": [{"sku": "A", "quantity": 0, "unit_price_minor": 1}]}, "lines.0.quantity", id="none"
            ),
            pytest.param(
                {"lines": [{"sku": "A\n", "quantity": 1, "unit_price_minor": 1}]}, "lines.0.sku", id="line feed"
            ),
            pytest.param({"currency": "pounds"}, "currency", id="currency"),
            pytest.param({"currency": "GPB"}, "currency", id="currency that there is not"),
            pytest.param({"currency": "XXX"}, "currency", id="no currency"),
            pytest.param({"placed_at": "2026-03-04T09:00:00Z"}, "placed_at", id="two days ahead"),
            pytest.param({"placed_at": "1970-01-01T00:00:00Z"}, "placed_at", id="long ago"),
            pytest.param({"placed_at": "2026-03-02T09:00:00"}, "placed_at", id="no time zone"),
            pytest.param({"collect_at": "SO\x00HO"}, "collect_at", id="no store"),
            pytest.param({"hold_id": "mine"}, "hold_id", id="no hold"),
            pytest.param({"gift_wrap": True}, "gift_wrap", id="unknown field"),
            pytest.param(
                {"lines": [{"sku": "A", "quantity": 1_000_000, "unit_price_minor": 10**12}]}, "lines", id="too much"
            ),
        ],
    )
    async def test_names_the_field_that_is_wrong(self, shop: Shop, changes: dict[str, Any], field: str) -> None:
        response = await shop.post("/orders", an_order(**changes))

        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == field
        assert await shop.count("SELECT count(*) FROM orders") == 0

    async def test_needs_the_scope(self, shop: Shop) -> None:
        response = await shop.post("/orders", an_order(), Authorization="Bearer nobody")

        assert response.status_code == 401


class TestIdempotency:
    async def test_makes_fifty_simultaneous_attempts_one_order(self, shop: Shop) -> None:
        responses = await asyncio.gather(
            *(shop.post("/orders", an_order(), idempotency_key="checkout-1") for _ in range(50))
        )

        assert await shop.count("SELECT count(*) FROM orders") == 1
        assert {response.status_code for response in responses} == {201}
        assert len({response.text for response in responses}) == 1
        assert sum("Idempotent-Replayed" not in response.headers for response in responses) == 1
        assert await shop.published_types() == ["order.placed", "order.approved"]

    async def test_gives_the_same_answer_later(self, shop: Shop) -> None:
        first = await shop.post("/orders", an_order(), idempotency_key="checkout-1")
        await shop.confirm(UUID(first.json()["id"]))

        again = await shop.post("/orders", an_order(), idempotency_key="checkout-1")

        assert (again.status_code, again.text) == (201, first.text)
        assert again.headers["Location"] == first.headers["Location"]

    async def test_refuses_another_order_under_the_same_key(self, shop: Shop) -> None:
        await shop.post("/orders", an_order(), idempotency_key="checkout-1")

        response = await shop.post("/orders", an_order(customer_id="customer-8"), idempotency_key="checkout-1")

        assert response.status_code == 422
        assert response.json()["code"] == "idempotency-key-reused"

    async def test_keeps_callers_apart(self, shop: Shop) -> None:
        await shop.post("/orders", an_order(), idempotency_key="checkout-1")

        response = await shop.post("/orders", an_order(), idempotency_key="checkout-1", **key("storefront"))

        assert response.status_code == 201
        assert await shop.count("SELECT count(*) FROM orders") == 2


class TestReview:
    async def test_says_why_it_approved(self, shop: Shop) -> None:
        order_id = await shop.place()

        [decision] = (await shop.get("/decisions", subject=f"order:{order_id}")).json()["items"]

        assert (decision["decision"], decision["chosen"]) == ("review-order", "approve")
        assert decision["rule"].startswith("standard/")
        assert decision["inputs"]["amount-above-limit"] == {"measured": TOTAL_MINOR, "limit": 10_000_000}

    async def test_holds_an_order_above_a_limit_until_somebody_approves_it(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=TOTAL_MINOR - 1) as shop:
            order_id = await shop.place()
            held = await shop.order(order_id)
            assert (held["status"], held["status_reason"]) == ("held", "amount-above-limit")
            assert held["deadline_at"] == "2026-03-09T09:00:00Z"

            response = await shop.post(f"/reviews/{order_id}/approve", {"reason": "known customer"})

            assert (response.status_code, response.json()["status"]) == (200, "approved")
            assert await shop.published_types() == ["order.placed", "order.held-for-review", "order.approved"]
            approved = (await shop.published())[-1].event
            assert isinstance(approved, OrderApproved)
            assert approved.lines[0] == SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=3)
            decisions = (await shop.get("/decisions", subject=f"order:{order_id}")).json()["items"]
            assert [(one["chosen"], one["inputs"].get("reviewer")) for one in decisions] == [
                ("approve", "operator"),
                ("hold", None),
            ]

    async def test_refuses_a_held_order_when_somebody_says_so(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_units_of_sku_max=2) as shop:
            order_id = await shop.place()

            await shop.post(f"/reviews/{order_id}/refuse", {"reason": "a reseller"})

            refused = await shop.order(order_id)
            assert (refused["status"], refused["status_reason"]) == ("refused", "review-refused")

    async def test_is_only_for_held_orders(self, shop: Shop) -> None:
        order_id = await shop.place()

        response = await shop.post(f"/reviews/{order_id}/approve", {"reason": "again"})

        assert (response.status_code, response.json()["code"]) == (409, "order-not-held")


class TestReading:
    async def test_pages_through_orders_newest_first(self, shop: Shop) -> None:
        placed = [str(await shop.place()) for _ in range(5)]

        first = (await shop.get("/orders", limit=3)).json()
        rest = (await shop.get("/orders", limit=3, cursor=first["next_cursor"])).json()

        assert [one["id"] for one in first["items"] + rest["items"]] == placed[::-1]
        assert "next_cursor" not in rest

    async def test_finds_orders_by_status_and_customer(self, shop: Shop) -> None:
        await shop.place(customer_id="customer-1")
        wanted = await shop.place(customer_id="customer-2")
        await shop.place(customer_id="customer-2")
        await shop.reserve(wanted)

        found = (await shop.get("/orders", status="reserved", customer_id="customer-2")).json()["items"]

        assert [one["id"] for one in found] == [str(wanted)]

    async def test_knows_when_nothing_has_changed(self, shop: Shop) -> None:
        order_id = await shop.place()
        etag = (await shop.get(f"/orders/{order_id}")).headers["ETag"]

        unchanged = await shop.client.get(f"/v1/orders/{order_id}", headers={"If-None-Match": etag})
        await shop.reserve(order_id)
        changed = await shop.client.get(f"/v1/orders/{order_id}", headers={"If-None-Match": etag})

        assert [unchanged.status_code, changed.status_code] == [304, 200]

    async def test_says_that_an_order_does_not_exist(self, shop: Shop) -> None:
        for path in ("", "/timeline", "/events"):
            response = await shop.get(f"/orders/01890000-0000-7000-8000-000000000000{path}")
            assert (response.status_code, response.json()["code"]) == (404, "order-not-found")


class TestWaiting:
    async def test_answers_when_the_order_is_confirmed(self, shop: Shop) -> None:
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(shop.post("/orders", an_order(), Prefer="respond-async, wait=5"))
            order_id = (await eventually(lambda: shop.fetch("SELECT id FROM orders")))[0]["id"]
            await shop.reserve(order_id)
            await shop.pay()

        response = asking.result()
        assert response.status_code == 201
        assert response.headers["Preference-Applied"] == "wait=5"
        assert (response.json()["status"], response.json()["payment"]["authorised_minor"]) == ("confirmed", TOTAL_MINOR)

    async def test_answers_with_what_there_is_when_the_time_is_over(self, shop: Shop) -> None:
        response = await shop.post("/orders", an_order(), Prefer="wait=1")

        assert (response.status_code, response.json()["status"]) == (201, "approved")


class TestTimeline:
    async def test_tells_each_stage_with_its_cause(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)

        items = (await shop.get(f"/orders/{order_id}/timeline")).json()["items"]

        assert [(item["sequence"], item["stage"], item["cause"]) for item in items] == [
            (1, "received", "order.placed"),
            (2, "approved", "review.passed"),
            (3, "reserved", "stock.reserved"),
            (4, "confirmed", "payment.authorised"),
        ]
        assert "cause_id" in items[2]

    async def test_is_streamed_to_its_end_and_no_further(self, shop: Shop) -> None:
        order_id = await shop.place()
        async with asyncio.TaskGroup() as group:
            streaming = group.create_task(shop.get(f"/orders/{order_id}/events"))
            shop.clock.advance(timedelta(seconds=1))
            await shop.reserve(order_id)
            await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        lines = [line for line in streaming.result().text.splitlines() if line.startswith(("id", "event"))]
        assert lines == [
            "id: 1",
            "event: order.received",
            "id: 2",
            "event: order.approved",
            "id: 3",
            "event: order.reserved",
            "id: 4",
            "event: order.cancelled",
        ]

    async def test_is_resumed_after_the_last_event_seen(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        resumed = await shop.client.get(f"/v1/orders/{order_id}/events", headers={"Last-Event-ID": "2"})
        finished = await shop.client.get(f"/v1/orders/{order_id}/events", headers={"Last-Event-ID": "3"})

        assert [line for line in resumed.text.splitlines() if line.startswith("id")] == ["id: 3"]
        assert finished.status_code == 204

    async def test_refuses_an_id_that_is_none(self, shop: Shop) -> None:
        order_id = await shop.place()

        response = await shop.client.get(f"/v1/orders/{order_id}/events", headers={"Last-Event-ID": "yesterday"})

        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "Last-Event-ID")
