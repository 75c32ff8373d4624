"""Orders are reviewed by declared rules as they are placed, and by people after that."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from libs.common.events.orders import OrderApproved, OrderHeldForReview, OrderRefused, OrderReviewEscalated
from libs.common.ids import new_id
from services.orders.handlers.placement import place_orders
from services.orders.handlers.ports import Unit
from services.orders.handlers.review import review_new_orders
from services.orders.storage.reviews import measure_reviews
from tests.integration.orders.shop import NOW, TOTAL_MINOR, Shop, an_order, key
from tests.support.postgres import FreshDatabase
from tests.unit.orders.domain.worlds import an_order as a_new_order

HEAD = 'version = "test"\nhold_score = 50\nrefuse_score = 100\n'
STREET = {"country": "GB", "address_lines": ["12 Mill Lane"], "postal_code": "LS1 4AP"}
OFTEN = """
[[rules]]
name = "often"
test = "velocity"
by = "customer"
window_hours = 1
above = 3
then = "hold"
"""
BY_ADDRESS = OFTEN.replace("customer", "address")
FIRST = '[[rules]]\nname = "first"\ntest = "first-order"\nscore = 20\n'
HOARDED = """
[[rules]]
name = "hoarded"
test = "hoarding"
window_hours = 24
above_units = 5
skus = ["OMINOUS-MIRROR"]
then = "refuse"
"""
BIG_SPENDER = """
[[rules]]
name = "big-spender"
test = "velocity"
by = "customer"
count = "amount"
window_hours = 24
above = 9000
score = 60
"""


def rules_file(path: Path, *rules: str) -> Path:
    file = path / "rules.toml"
    file.write_text(HEAD + "\n".join(rules), encoding="utf-8")
    return file


async def why(shop: Shop, order_id: UUID | str) -> list[dict[str, Any]]:
    response = await shop.get(f"/orders/{order_id}/review")
    assert response.status_code == 200, response.text
    items: list[dict[str, Any]] = response.json()["items"]
    return items


async def statuses(shop: Shop, orders: Sequence[dict[str, Any]]) -> list[str]:
    return [(await shop.post("/orders", order)).json()["status"] for order in orders]


class TestRules:
    async def test_explain_what_they_decided(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, FIRST, BIG_SPENDER)) as shop:
            order_id = await shop.place()

            [decision] = await why(shop, order_id)

            assert decision["rules"].startswith("test/")
            assert (decision["verdict"], decision["score"], decision["reason"]) == ("approve", 20, "first")
            assert decision["findings"] == [
                {"rule": "first", "measured": TOTAL_MINOR, "limit": -1, "counts": True, "score": 20},
                {"rule": "big-spender", "measured": TOTAL_MINOR, "limit": 9_000, "counts": False, "score": 0},
            ]
            [approved] = [one.event for one in await shop.published() if isinstance(one.event, OrderApproved)]
            assert approved.review_score == 20
            assert (await shop.get(f"/orders/{order_id}/timeline")).json()["items"][1]["detail"] == "first"

    async def test_add_up_what_was_ordered_before(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, FIRST, BIG_SPENDER, OFTEN)) as shop:
            first, second, third = [await shop.place() for _ in range(3)]
            await shop.place(currency="EUR")
            others = await shop.place(customer_id="customer-8")

            assert [(await shop.order(one))["status"] for one in (first, second, third, others)] == [
                "approved",
                "approved",
                "held",
                "approved",
            ]
            [held] = [one.event for one in await shop.published() if isinstance(one.event, OrderHeldForReview)][:1]
            assert (held.reasons, held.score) == (["big-spender"], 60)
            [decision] = await why(shop, third)
            measured = {one["rule"]: one["measured"] for one in decision["findings"]}
            assert measured == {"first": -1, "big-spender": 3 * TOTAL_MINOR, "often": 3}

    async def test_forget_what_is_longer_ago(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, OFTEN)) as shop:
            for _ in range(3):
                await shop.place()
            assert await shop.status(await shop.place()) == "held"
            shop.clock.advance(timedelta(hours=1))

            assert await shop.status(await shop.place()) == "approved"

    async def test_measure_imported_orders_by_their_own_past(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, OFTEN)) as shop:
            days = [f"2011-06-{day:02}T10:00:00Z" for day in range(1, 7)]

            assert await statuses(shop, [an_order(placed_at=day) for day in days]) == ["approved"] * 6

    async def test_add_up_by_address_however_it_is_written(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, BY_ADDRESS)) as shop:
            written = [["12 Mill Lane"], ["12, MILL LANE"], ["12", "mill", "lane"], ["12 Mill  Lane"]]
            orders = [
                an_order(customer_id=f"customer-{number}", ship_to={**STREET, "address_lines": lines})
                for number, lines in enumerate(written)
            ]

            assert await statuses(shop, orders) == ["approved"] * 3 + ["held"]
            assert await shop.status(await shop.place(ship_to={"country": "GB"})) == "approved"

    async def test_count_units_only_of_orders_that_stand(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, HOARDED)) as shop:
            first = await shop.place()
            assert await shop.status(await shop.place()) == "refused"
            await shop.post(f"/orders/{first}/cancellation", {"reason": "changed-mind"})

            again = await shop.place()

            assert await shop.status(again) == "approved"
            refused = [one.event for one in await shop.published() if isinstance(one.event, OrderRefused)]
            assert [(one.reason, one.detail, one.review_score) for one in refused] == [("review-refused", "hoarded", 0)]

    async def test_let_no_more_than_the_limit_pass_however_many_come_at_once(
        self, database: FreshDatabase, tmp_path: Path
    ) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, OFTEN)) as shop:
            async with asyncio.TaskGroup() as group:
                # Each in a transaction of its own, as from as many processes.
                tasks = [group.create_task(_place_alone(shop)) for _ in range(8)]

            assert sorted(task.result() for task in tasks) == ["approved"] * 3 + ["held"] * 5

    async def test_let_no_more_than_the_limit_pass_in_whatever_order_of_their_times(
        self, database: FreshDatabase, tmp_path: Path
    ) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, OFTEN)) as shop:
            times = [f"2011-06-01T10:00:{second:02}Z" for second in range(5, 0, -1)]

            assert await statuses(shop, [an_order(placed_at=at) for at in times]) == ["approved"] * 3 + ["held"] * 2

    async def test_count_the_orders_of_one_batch_for_each_other(self, database: FreshDatabase, tmp_path: Path) -> None:
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, OFTEN)) as shop:
            answers = await asyncio.gather(*(shop.post("/orders", an_order()) for _ in range(20)))

            assert sorted(one.json()["status"] for one in answers) == ["approved"] * 3 + ["held"] * 17

    async def test_look_up_everything_in_one_statement(self, database: FreshDatabase) -> None:
        # The standard rules know the block list; they add one statement, however many orders there are.
        async with Shop.open(database) as shop:
            # The driver asks for the types of a statement when it first meets it.
            await _statements(shop, 1)

            assert [await _statements(shop, orders) for orders in (1, 50)] == [1, 1]

    async def test_compare_billing_and_shipping(self, database: FreshDatabase, tmp_path: Path) -> None:
        rule = '[[rules]]\nname = "elsewhere"\ntest = "billing-country"\nthen = "hold"\n'
        async with Shop.open(database, review_rules_file=rules_file(tmp_path, rule)) as shop:
            payments = [{"token": "tok_ok", "billing_country": country} for country in ("GB", "FR")]

            assert await statuses(shop, [an_order(payment=one) for one in payments]) == ["approved", "held"]


class TestBlocks:
    async def test_refuse_the_next_order_of_a_customer(self, shop: Shop) -> None:
        body = {"subject": "customer", "value": "customer-7", "reason": "chargebacks"}
        made = await shop.post("/review-blocks", body)
        assert made.status_code == 201

        order_id = await shop.place()

        refused = await shop.order(order_id)
        assert (refused["status"], refused["status_reason"]) == ("refused", "review-refused")
        assert (await why(shop, order_id))[0]["reason"] == "customer-blocked"
        assert await shop.published_types() == ["order.placed", "order.refused"]

        lifted = await shop.post(f"/review-blocks/{made.json()['id']}/lift", {"reason": "paid"})

        assert (lifted.json()["lifted_by"], lifted.json()["lifted_reason"]) == ("operator", "paid")
        assert await shop.status(await shop.place()) == "approved"

    async def test_know_addresses_and_emails_of_an_order(self, shop: Shop) -> None:
        await shop.client.put("/v1/customers/customer-7/contact", json={"email": "Ann@Example.com"})
        order_id = str(await shop.place(ship_to=STREET))
        for subject in ("address", "email"):
            body = {"subject": subject, "order_id": order_id, "reason": "fraud"}
            assert (await shop.post("/review-blocks", body)).status_code == 201

        there = await shop.place(customer_id="customer-8", ship_to={**STREET, "address_lines": ["12 mill lane"]})
        by_contact = await shop.place()
        by_hash = await shop.place(customer_id="customer-9", email_hash=hashlib.sha256(b"ann@example.com").hexdigest())
        others = await shop.place(customer_id="customer-10")

        assert [(await why(shop, one))[0]["reason"] for one in (there, by_contact, by_hash, others)] == [
            "address-blocked",
            "email-blocked",
            "email-blocked",
            "within every limit",
        ]

    async def test_keep_no_email_address(self, shop: Shop) -> None:
        body = {"subject": "email", "value": " Ann@Example.com", "reason": "fraud"}

        made = (await shop.post("/review-blocks", body)).json()

        assert made["value"] == hashlib.sha256(b"ann@example.com").hexdigest()

    async def test_end_by_themselves(self, shop: Shop) -> None:
        until = NOW + timedelta(hours=1)
        body = {"subject": "customer", "value": "customer-7", "reason": "wait", "expires_at": until.isoformat()}
        await shop.post("/review-blocks", body)
        assert await shop.status(await shop.place()) == "refused"
        shop.clock.advance(timedelta(hours=1))

        assert await shop.status(await shop.place()) == "approved"
        again = await shop.post("/review-blocks", {"subject": "customer", "value": "customer-7", "reason": "again"})
        assert again.status_code == 201
        active = (await shop.get("/review-blocks", is_active=True)).json()["items"]
        assert [one["reason"] for one in active] == ["again"]
        assert len((await shop.get("/review-blocks", subject="customer")).json()["items"]) == 2

    async def test_are_made_once(self, shop: Shop) -> None:
        body = {"subject": "customer", "value": "customer-7", "reason": "fraud"}

        answers = await asyncio.gather(*(shop.post("/review-blocks", body) for _ in range(4)))

        assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"subject": "card", "value": "1"}, "subject"),
            ({"subject": "customer"}, "value"),
            ({"subject": "customer", "value": "x" * 65}, "value"),
            ({"subject": "address", "value": "12 Mill Lane"}, "value"),
            ({"subject": "email", "value": "nobody"}, "value"),
            ({"subject": "customer", "value": "a", "expires_at": "2026-03-02T08:59:59Z"}, "expires_at"),
            ({"subject": "customer", "value": "a", "expires_at": "tomorrow"}, "expires_at"),
            ({"subject": "customer", "value": "a\u0000b"}, "value"),
        ],
    )
    async def test_name_the_field_that_is_wrong(self, shop: Shop, body: dict[str, Any], field: str) -> None:
        response = await shop.post("/review-blocks", {"reason": "fraud", **body})

        assert response.status_code == 422, response.text
        assert field in response.text

    async def test_of_an_order_need_one_that_says_enough(self, shop: Shop) -> None:
        order_id = str(await shop.place())
        body = {"subject": "address", "reason": "fraud"}

        unknown = await shop.post("/review-blocks", {**body, "order_id": str(uuid4())})
        without = await shop.post("/review-blocks", {**body, "order_id": order_id})
        gone = await shop.post(f"/review-blocks/{uuid4()}/lift", {"reason": "paid"})

        assert [one.status_code for one in (unknown, without, gone)] == [404, 422, 404]

    async def test_need_their_scope(self, shop: Shop) -> None:
        body = {"subject": "customer", "value": "customer-7", "reason": "fraud"}

        assert (await shop.post("/review-blocks", body, **key("storefront"))).status_code == 403


class TestQueue:
    async def test_shows_what_should_leave_first(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=0) as shop:
            friday = await shop.place(placed_at="2026-02-27T12:00:00Z")
            monday = await shop.place()
            saturday = await shop.place(placed_at="2026-02-28T12:00:00Z", customer_id="customer-8", channel="till")
            gone = await shop.place()
            await shop.post(f"/orders/{gone}/cancellation", {"reason": "changed-mind"})
            shop.clock.advance(timedelta(minutes=5))

            items = (await shop.get("/reviews")).json()["items"]
            assert [one["order_id"] for one in items] == [str(one) for one in (friday, monday, saturday)]
            assert [one["ship_by"] for one in items] == ["2026-02-28T00:00:00Z"] + 2 * ["2026-03-03T00:00:00Z"]
            assert (items[0]["waiting_seconds"], items[0]["reasons"]) == (300.0, ["amount-above-limit"])

            first = (await shop.get("/reviews", limit=2)).json()
            rest = (await shop.get("/reviews", limit=2, cursor=first["next_cursor"])).json()
            assert first["items"] + rest["items"] == items
            for wanted in ({"customer_id": "customer-8"}, {"channel": "till"}):
                found = (await shop.get("/reviews", **wanted)).json()["items"]
                assert [one["order_id"] for one in found] == [str(saturday)]
            assert (await shop.get("/reviews", reason="often")).json()["items"] == []
            async with database.transaction() as transaction:
                assert await measure_reviews(transaction, now=shop.clock.now()) == (3, 300.0, 1)

    async def test_is_decided_once_and_audited(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=0) as shop:
            order_id = await shop.place()
            body = {"reason": "known customer"}

            answers = await asyncio.gather(
                *(shop.post(f"/reviews/{order_id}/{verdict}", body) for verdict in ("approve", "refuse") * 2)
            )

            assert sorted(one.status_code for one in answers) == [200, 409, 409, 409]
            held, decided = await why(shop, order_id)
            assert (held["verdict"], held["reason"]) == ("hold", "amount-above-limit")
            assert (decided["decided_by"], decided["reason"]) == ("operator", "known customer")
            rows = await shop.fetch("SELECT verdict, reviewer, reason, decided_at FROM order_reviews")
            assert [tuple(row) for row in rows] == [(decided["verdict"], "operator", "known customer", NOW)]
            assert (await shop.get("/reviews")).json()["items"] == []

    async def test_repeats_its_answer_to_the_same_key(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=0) as shop:
            order_id = await shop.place()

            answers = [
                await shop.post(f"/reviews/{order_id}/refuse", {"reason": "fraud"}, idempotency_key="once")
                for _ in range(2)
            ]

            assert [one.status_code for one in answers] == [200, 200]
            assert answers[0].text == answers[1].text
            assert answers[0].json()["status"] == "refused"

    async def test_needs_the_scope(self, shop: Shop) -> None:
        order_id = await shop.place()
        body = {"reason": "fine"}

        responses = [
            await shop.client.get("/v1/reviews", headers=key("storefront")),
            await shop.client.get("/v1/review-blocks", headers=key("storefront")),
            await shop.post(f"/reviews/{order_id}/approve", body, **key("storefront")),
            await shop.post(f"/reviews/{order_id}/refuse", body, **key("storefront")),
        ]

        assert {one.status_code for one in responses} == {403}

    async def test_refuses_a_cursor_that_is_none(self, shop: Shop) -> None:
        for cursor in ("x", "WzFd", "bnVsbA"):
            assert (await shop.get("/reviews", cursor=cursor)).status_code == 422


class TestNobodyDecides:
    async def test_is_escalated_once_and_then_refused(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=0, review_escalation_hours=4) as shop:
            order_id = await shop.place()
            assert (await shop.get("/reviews", is_escalated=True)).json()["items"] == []
            shop.clock.advance(timedelta(hours=4))

            assert [await shop.deadlines.work() for _ in range(2)] == [1, 0]

            escalated = [one.event for one in await shop.published() if isinstance(one.event, OrderReviewEscalated)]
            assert [(one.order_id, one.deadline_at) for one in escalated] == [(order_id, NOW + timedelta(days=7))]
            [item] = (await shop.get("/reviews", is_escalated=True)).json()["items"]
            assert item["escalated_at"] == "2026-03-02T13:00:00Z"
            assert await shop.status(order_id) == "held"

            shop.clock.advance(timedelta(days=7))
            await shop.deadlines.work()

            refused = await shop.order(order_id)
            assert (refused["status"], refused["status_reason"]) == ("refused", "review-expired")
            assert await shop.count("SELECT count(*) FROM order_timers") == 0

    async def test_is_kept_where_the_shop_wants_that(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=0, review_overdue="keep") as shop:
            order_id = await shop.place()
            shop.clock.advance(timedelta(days=8))

            await shop.deadlines.work()

            assert await shop.status(order_id) == "held"
            assert await shop.count("SELECT count(*) FROM orders WHERE stuck_since IS NOT NULL") == 1
            assert (await shop.post(f"/reviews/{order_id}/approve", {"reason": "late"})).status_code == 200

    async def test_is_not_escalated_once_somebody_did(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=0) as shop:
            order_id = await shop.place()
            await shop.post(f"/reviews/{order_id}/refuse", {"reason": "fraud"})

            assert await shop.count("SELECT count(*) FROM order_timers") == 0


async def _place_alone(shop: Shop) -> str:
    async def place(unit: Unit) -> str:
        [view] = await place_orders(
            [replace(a_new_order(), id=new_id())],
            unit=unit,
            reviewing=shop.backend.reviewing,
            policy=shop.policy,
            now=NOW,
        )
        return str(view.status)

    return await shop.backend.run(place)


async def _statements(shop: Shop, orders: int) -> int:
    """Return how many statements the review of orders that arrive together takes."""
    seen: list[object] = []
    async with shop.database.transaction() as transaction:
        driver = await transaction.driver()
        unit = shop.units.bind(transaction)
        listed = [replace(a_new_order(), id=new_id()) for _ in range(orders)]
        with driver.query_logger(seen.append):
            await review_new_orders(listed, unit=unit, reviewing=shop.backend.reviewing, now=NOW)
    return len(seen)
