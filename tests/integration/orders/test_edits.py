"""Customers change their orders: all of an edit or nothing, and never what is on its way."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import StockBackordered, StockChanged, StockChangeRefused, StockReserved
from libs.common.events.logistics import ShipmentCancelled, ShipmentDelivered, ShipmentDispatched
from libs.common.events.orders import (
    OrderEdited,
    OrderEditRefused,
    OrderEditRequested,
    OrderRecallRequested,
    OrderReconfirmed,
)
from libs.common.events.shapes import Allocation, AlternativeSku, Shortage, SkuQuantity
from services.orders.storage.edits import measure_requested_edits
from tests.integration.orders.shop import EACH_LINE, NOW, ORDER, TOTAL_MINOR, Shop, key, shipment_id
from tests.support.kafka import envelope_of
from tests.support.postgres import FreshDatabase

ELSEWHERE = {
    "country": "GB",
    "name": "Ann Shopper",
    "address_lines": ["12 Mill Lane"],
    "latitude": 53.8,
    "longitude": -1.5,
}
MOVED = {"reason": "moved", "ship_to": ELSEWHERE}
ONE_MORE = {"reason": "one more", "lines": [{"line": 2, "quantity": 4}]}


async def etag(shop: Shop, order_id: UUID) -> str:
    return (await shop.get(f"/orders/{order_id}")).headers["ETag"]


async def edit(shop: Shop, order_id: UUID, body: dict[str, Any], **headers: str) -> httpx.Response:
    if "If-Match" not in headers:
        headers["If-Match"] = await etag(shop, order_id)
    return await shop.post(f"/orders/{order_id}/edits", body, **headers)


def stock(event: Event, version: int) -> Envelope:
    return envelope_of(event, aggregate_version=version)


async def unanswered(shop: Shop) -> tuple[int, float]:
    async with shop.database.transaction() as transaction:
        return await measure_requested_edits(transaction, now=shop.clock.now())


async def requested(shop: Shop, order_id: UUID, body: dict[str, Any]) -> UUID:
    response = await edit(shop, order_id, body)
    assert response.status_code == 202, response.text
    [asked] = [one.event for one in await shop.published() if isinstance(one.event, OrderEditRequested)]
    return asked.edit_id


@pytest.fixture
async def holding(database: FreshDatabase) -> Any:
    async with Shop.open(database, review_amount_minor_max=0) as shop:
        yield shop


class TestHeld:
    async def test_order_has_other_lines_and_their_total_from_then_on(self, holding: Shop) -> None:
        order_id = await holding.place()
        body = {
            "reason": "other colour",
            "lines": [{"line": 1, "quantity": 0}, {"line": 2, "quantity": 5}],
            "add": [{"sku": "LAMP", "quantity": 2, "unit_price_minor": 700}],
        }

        response = await edit(holding, order_id, body)

        assert response.status_code == 200, response.text
        edited = response.json()
        assert (edited["status"], edited["total_minor"]) == ("held", 5 * 500 + 900 + 2 * 700)
        assert [(one["line"], one["sku"], one["quantity"]) for one in edited["lines"]] == [
            (2, "OMINOUS-MIRROR", 5),
            (3, "CRUNCHY-ARMCHAIR", 1),
            (4, "LAMP", 2),
        ]
        assert edited == await holding.order(order_id)
        [event] = [one.event for one in await holding.published() if isinstance(one.event, OrderEdited)]
        assert (event.total_minor, len(event.lines or [])) == (edited["total_minor"], 3)
        await holding.post(f"/reviews/{order_id}/approve", {"reason": "fine"})
        await holding.reserve(order_id)
        await holding.pay()
        assert (await holding.order(order_id))["payment"]["authorised_minor"] == edited["total_minor"]

    async def test_is_kept_with_who_and_why(self, holding: Shop) -> None:
        order_id = await holding.place()
        await edit(holding, order_id, ONE_MORE)
        await edit(holding, order_id, MOVED)

        items = (await holding.get(f"/orders/{order_id}/edits")).json()["items"]

        assert [(one["edited_by"], one["reason"], one["is_address_changed"]) for one in items] == [
            ("operator", "one more", False),
            ("operator", "moved", True),
        ]
        assert (items[0]["total_before_minor"], items[0]["total_after_minor"]) == (TOTAL_MINOR, TOTAL_MINOR + 500)
        timeline = (await holding.get(f"/orders/{order_id}/timeline")).json()["items"]
        assert [(one["stage"], one["cause"], one.get("detail")) for one in timeline[2:]] == [
            ("held", "order.edited", "edited: one more"),
            ("held", "order.edited", "edited: moved"),
        ]

    async def test_is_edited_once_for_each_key(self, holding: Shop) -> None:
        order_id = await holding.place()
        tag = await etag(holding, order_id)

        answers = [
            await holding.post(f"/orders/{order_id}/edits", ONE_MORE, idempotency_key="once", **{"If-Match": tag})
            for _ in range(2)
        ]

        assert [one.status_code for one in answers] == [200, 200]
        assert answers[0].text == answers[1].text
        assert await holding.count("SELECT count(*) FROM order_edits") == 1

    async def test_lets_one_of_two_win_who_saw_the_same(self, holding: Shop) -> None:
        order_id = await holding.place()
        tag = await etag(holding, order_id)
        bodies = [{"reason": "more", "lines": [{"line": 2, "quantity": 10 + number}]} for number in range(4)]

        answers = await asyncio.gather(*(edit(holding, order_id, body, **{"If-Match": tag}) for body in bodies))

        assert sorted(one.status_code for one in answers) == [200, 412, 412, 412]
        assert await holding.count("SELECT count(*) FROM order_edits") == 1
        order = await holding.order(order_id)
        assert order["total_minor"] == sum(one["quantity"] * one["unit_price_minor"] for one in order["lines"])

    async def test_is_approved_or_edited_but_never_half(self, holding: Shop) -> None:
        order_id = await holding.place()
        tag = await etag(holding, order_id)

        edited, approved = await asyncio.gather(
            edit(holding, order_id, ONE_MORE, **{"If-Match": tag}),
            holding.post(f"/reviews/{order_id}/approve", {"reason": "fine"}),
        )

        assert approved.status_code == 200
        order = await holding.order(order_id)
        expected = TOTAL_MINOR + 500 if edited.status_code == 200 else TOTAL_MINOR
        assert edited.status_code in {200, 409, 412}
        assert order["total_minor"] == expected
        [event] = [one.event for one in await holding.published() if one.event.type == "order.approved"]
        units = {one.sku: one.quantity for one in event.lines}  # type: ignore[attr-defined]
        assert units["OMINOUS-MIRROR"] == (4 if edited.status_code == 200 else 3)


FEWER = {"reason": "only the mirrors", "lines": [{"line": 1, "quantity": 0}, {"line": 3, "quantity": 0}]}


class TestBackordered:
    async def waiting(self, shop: Shop) -> UUID:
        order_id = await shop.place()
        shortage = Shortage(sku="CRUNCHY-ARMCHAIR", requested=3, available=0)
        await shop.deliver([stock(StockBackordered(order_id=order_id, shortages=[shortage]), 1)])
        assert await shop.status(order_id) == "backordered"
        return order_id

    async def test_order_is_changed_once_inventory_has_changed_what_it_waits_for(self, shop: Shop) -> None:
        order_id = await self.waiting(shop)

        response = await edit(shop, order_id, FEWER)

        assert (response.status_code, response.json()["total_minor"]) == (202, TOTAL_MINOR)
        [asked] = [one.event for one in await shop.published() if isinstance(one.event, OrderEditRequested)]
        assert asked.lines == [SkuQuantity(sku="OMINOUS-MIRROR", quantity=3)]
        shop.clock.advance(timedelta(seconds=30))
        assert await unanswered(shop) == (1, 30.0)
        await shop.deliver([stock(StockChanged(order_id=order_id, edit_id=asked.edit_id), 2)])
        assert await unanswered(shop) == (0, 0.0)
        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"], len(order["lines"])) == ("backordered", 1_500, 1)
        assert [one["status"] for one in (await shop.get(f"/orders/{order_id}/edits")).json()["items"]] == ["applied"]
        mirrors = [Allocation(warehouse="lyon", sku="OMINOUS-MIRROR", quantity=3)]
        reserved = StockReserved(order_id=order_id, allocations=mirrors, decision_id=uuid4())
        await shop.deliver([stock(reserved, 3)])
        await shop.pay()
        confirmed = await shop.order(order_id)
        assert (confirmed["status"], confirmed["payment"]["authorised_minor"]) == ("confirmed", 1_500)

    async def test_order_may_cost_more_then(self, shop: Shop) -> None:
        order_id = await self.waiting(shop)
        body = {"reason": "a lamp too", "add": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": 900}]}
        edit_id = await requested(shop, order_id, body)

        both = Allocation(warehouse="leeds", sku="LAMP", quantity=1)
        reserved = StockReserved(order_id=order_id, allocations=[both], decision_id=uuid4())
        await shop.deliver([stock(StockChanged(order_id=order_id, edit_id=edit_id), 2), stock(reserved, 3)])
        await shop.pay()

        order = await shop.order(order_id)
        assert (order["total_minor"], order["payment"]["authorised_minor"]) == (TOTAL_MINOR + 900, TOTAL_MINOR + 900)

    async def test_order_stays_as_it_was_if_goods_were_held_first(self, shop: Shop) -> None:
        order_id = await self.waiting(shop)
        edit_id = await requested(shop, order_id, FEWER)
        allocations = [Allocation(warehouse=place, sku=sku, quantity=units) for place, sku, units in EACH_LINE]
        reserved = StockReserved(order_id=order_id, allocations=allocations, decision_id=uuid4())
        refused = StockChangeRefused(order_id=order_id, edit_id=edit_id, reason="held")

        await shop.deliver([stock(reserved, 2), stock(refused, 3)])
        await shop.pay()

        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"], len(order["lines"])) == ("confirmed", TOTAL_MINOR, 3)
        [item] = (await shop.get(f"/orders/{order_id}/edits")).json()["items"]
        assert (item["status"], item["refusal"]) == ("refused", "held")
        assert "order.edit-refused" in await shop.published_types()

    async def test_order_is_edited_by_one_answer_however_often_it_comes(self, shop: Shop) -> None:
        order_id = await self.waiting(shop)
        edit_id = await requested(shop, order_id, FEWER)
        changed = stock(StockChanged(order_id=order_id, edit_id=edit_id), 2)

        await shop.deliver([changed, changed])
        await shop.deliver([changed])

        assert (await shop.published_types()).count("order.edited") == 1

    async def test_order_that_was_called_off_meanwhile_is_not_edited(self, shop: Shop) -> None:
        order_id = await self.waiting(shop)
        edit_id = await requested(shop, order_id, FEWER)
        await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})

        await shop.deliver([stock(StockChanged(order_id=order_id, edit_id=edit_id), 2)])

        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"]) == ("cancelled", TOTAL_MINOR)
        [item] = (await shop.get(f"/orders/{order_id}/edits")).json()["items"]
        assert (item["status"], item["refusal"]) == ("refused", "order-ended")

    async def test_order_has_one_edit_at_a_time(self, shop: Shop) -> None:
        order_id = await self.waiting(shop)
        await requested(shop, order_id, FEWER)

        again = await edit(shop, order_id, MOVED)

        assert (again.status_code, again.json()["code"]) == (409, "edit-pending")

    async def test_order_that_waits_again_after_it_was_paid_is_not_edited(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        shortage = Shortage(sku="CRUNCHY-ARMCHAIR", requested=3, available=0)
        await shop.deliver([stock(StockBackordered(order_id=order_id, shortages=[shortage]), 5)])
        assert await shop.status(order_id) == "backordered"

        assert (await edit(shop, order_id, FEWER)).json()["code"] == "order-not-editable"


class TestAddress:
    async def test_is_changed_until_a_parcel_has_left(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await shop.plan(order_id)
        assert (await edit(shop, order_id, MOVED)).status_code == 200
        [row] = await shop.fetch("SELECT address::text, latitude FROM order_addresses JOIN orders ON id = order_id")
        assert ("12 Mill Lane" in row["address"], row["latitude"]) == (True, 53.8)

        await shop.dispatch(order_id, "leeds")
        again = await edit(shop, order_id, {"reason": "back", "ship_to": ORDER["ship_to"]})

        assert (again.status_code, again.json()["code"]) == (409, "order-not-editable")
        assert await shop.count("SELECT count(*) FROM order_edits") == 1

    async def test_or_dispatch_comes_first(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.confirm(order_id)
        await shop.plan(order_id)
        tag = await etag(shop, order_id)

        answer, _ = await asyncio.gather(
            edit(shop, order_id, MOVED, **{"If-Match": tag}), shop.dispatch(order_id, "leeds", "lyon")
        )

        stages = [
            (one["stage"], one["cause"]) for one in (await shop.get(f"/orders/{order_id}/timeline")).json()["items"]
        ]
        is_edited = ("confirmed", "order.edited") in stages
        assert (answer.status_code == 200) == is_edited
        assert answer.status_code in {200, 409, 412}
        assert stages[-1][0] == "shipped"

    async def test_stays_in_its_country(self, shop: Shop) -> None:
        order_id = await shop.place()

        response = await edit(shop, order_id, {"reason": "moved", "ship_to": {**ELSEWHERE, "country": "FR"}})

        assert (response.status_code, response.json()["code"]) == (422, "country-not-editable")

    async def test_that_is_blocked_is_refused(self, shop: Shop) -> None:
        other = str(await shop.place(ship_to=ELSEWHERE, customer_id="customer-8"))
        await shop.post("/review-blocks", {"subject": "address", "order_id": other, "reason": "fraud"})
        order_id = await shop.place()
        before = await shop.order(order_id)

        response = await edit(shop, order_id, MOVED)

        assert (response.status_code, response.json()["code"]) == (409, "edit-needs-review")
        assert await shop.order(order_id) == before
        assert "order.edited" not in await shop.published_types()

    async def test_does_not_get_round_the_rules(self, database: FreshDatabase, tmp_path: Path) -> None:
        file = tmp_path / "rules.toml"
        rule = (
            '[[rules]]\nname = "there"\ntest = "velocity"\nby = "address"\nwindow_hours = 1\nabove = 1\nthen = "hold"\n'
        )
        file.write_text('version = "1"\n' + rule, encoding="utf-8")
        async with Shop.open(database, review_rules_file=file) as shop:
            await shop.place(ship_to=ELSEWHERE)
            order_id = await shop.place(ship_to={"country": "GB"})

            assert (await edit(shop, order_id, MOVED)).json()["code"] == "edit-needs-review"


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"reason": "x"}, "invalid-request"),
            ({"reason": "x", "lines": [{"line": 9, "quantity": 1}]}, "line-not-in-order"),
            ({"reason": "x", "lines": [{"line": 1, "quantity": 2}]}, "nothing-to-edit"),
            ({"reason": "x", "lines": [{"line": one, "quantity": 0} for one in (1, 2, 3)]}, "nothing-to-edit"),
            ({"reason": "x", "lines": [{"line": 1, "quantity": 1}] * 2}, "invalid-request"),
            ({"reason": "x", "lines": [{"line": 1, "quantity": -1}]}, "invalid-request"),
            ({"reason": "x", "lines": [{"line": 10**30, "quantity": 1}]}, "invalid-request"),
            ({"reason": "x", "ship_to": ORDER["ship_to"]}, "nothing-to-edit"),
            (
                {"reason": "x", "add": [{"sku": "A", "quantity": 10**6, "unit_price_minor": 10**12}]},
                "total-out-of-range",
            ),
        ],
    )
    async def test_say_what_is_wrong_and_change_nothing(self, holding: Shop, body: dict[str, Any], code: str) -> None:
        order_id = await holding.place()
        before = await holding.order(order_id)

        response = await edit(holding, order_id, body)

        assert (response.status_code, response.json()["code"]) == (422, code)
        assert await holding.order(order_id) == before

    async def test_name_the_stage_in_which_lines_are_fixed(self, shop: Shop) -> None:
        order_id = await shop.place()

        response = await edit(shop, order_id, ONE_MORE)

        assert (response.status_code, response.json()["code"]) == (409, "order-not-editable")
        assert "approved" in response.json()["detail"]

    async def test_need_an_order_its_version_and_the_scope(self, shop: Shop) -> None:
        order_id = await shop.place()

        unknown = await edit(shop, uuid4(), MOVED, **{"If-Match": '"1"'})
        unseen = await shop.post(f"/orders/{order_id}/edits", MOVED)
        wrong = [
            await edit(shop, order_id, MOVED, **{"If-Match": tag})
            for tag in ("1", '"x"', 'W/"1"', '"' + "9" * 19 + '"')
        ]
        listed = await shop.get(f"/orders/{uuid4()}/edits")

        assert (unknown.status_code, unseen.status_code, listed.status_code) == (404, 422, 404)
        assert {one.status_code for one in wrong} == {422}
        assert (await edit(shop, order_id, MOVED, **{"If-Match": '"99"'})).status_code == 412
        assert (await edit(shop, order_id, MOVED, **key("nobody"))).status_code == 401

    async def test_of_a_price_are_those_of_an_order(self, database: FreshDatabase) -> None:
        policy = {"on_mismatch": "refuse", "on_unknown": "refuse"}
        async with Shop.open(database, review_amount_minor_max=0, price_policies={"web": policy}) as shop:
            order_id = await shop.place(channel="till")
            await shop.fetch("UPDATE orders SET channel = 'web' RETURNING id")
            body = {"reason": "x", "add": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": 1}]}

            assert (await edit(shop, order_id, body)).json()["code"] == "price-refused"
            assert (await edit(shop, order_id, ONE_MORE)).status_code == 200


ONE_LESS = {"reason": "one less", "lines": [{"line": 1, "quantity": 1}]}
A_LAMP = {"reason": "a lamp", "add": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": 900}]}
HELD = [Allocation(warehouse=place, sku=sku, quantity=units) for place, sku, units in EACH_LINE]
FEWER_HELD = [Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=2), HELD[1]]
MORE_HELD = [*HELD, Allocation(warehouse="leeds", sku="LAMP", quantity=1)]


async def confirmed(shop: Shop, **changes: Any) -> UUID:
    order_id = await shop.place(**changes)
    await shop.confirm(order_id)
    await shop.plan(order_id)
    return order_id


async def stop(shop: Shop, order_id: UUID) -> None:
    await shop.tell(
        *(
            ShipmentCancelled(shipment_id=shipment_id(order_id, place), order_id=order_id, reason="edited")
            for place in ("leeds", "lyon")
        )
    )


async def change(shop: Shop, order_id: UUID, edit_id: UUID, *held: Allocation) -> None:
    changed = StockChanged(order_id=order_id, edit_id=edit_id, allocations=list(held))
    await shop.deliver([stock(changed, 2)])


async def ship_anew(shop: Shop, order_id: UUID) -> None:
    """Let the parcels leave that were planned for an edited order, and arrive."""
    for place in ("leeds", "lyon"):
        ids = {"shipment_id": uuid4(), "order_id": order_id}
        left = ShipmentDispatched(**ids, warehouse=place, lines=[], dispatched_at=NOW, tracking_number="GULL-2")
        await shop.tell(left)
        await shop.pay()
        await shop.tell(ShipmentDelivered(**ids, delivered_at=NOW))
    await shop.pay()


async def edits_of(shop: Shop, order_id: UUID) -> list[tuple[str, str | None]]:
    items = (await shop.get(f"/orders/{order_id}/edits")).json()["items"]
    return [(one["status"], one.get("refusal")) for one in items]


async def money_of(shop: Shop, order_id: UUID) -> dict[str, int]:
    found = await shop.fetch(
        "SELECT sum(captured_minor)::bigint AS captured, sum(refunded_minor)::bigint AS refunded,"
        " sum(authorised_minor - captured_minor - voided_minor)::bigint AS held FROM sandbox.sandbox_charges"
        " WHERE reference IN (SELECT 'sandbox-' || id FROM payment_commands WHERE order_id = $1)",
        order_id,
    )
    return dict(found[0])


async def drift_of(shop: Shop) -> list[tuple[str, int]]:
    period = {"since": (NOW - timedelta(days=1)).isoformat(), "until": (NOW + timedelta(days=1)).isoformat()}
    report = (await shop.get("/reports/settlement", **period)).json()
    assert sum(report["statuses"].values()) == report["statuses"].get("matched", 0), report
    return [(line["status"], line["drift_minor"]) for line in report["lines"]]


class TestConfirmed:
    async def test_order_that_wants_less_is_charged_less(self, shop: Shop) -> None:
        order_id = await confirmed(shop)

        edit_id = await recalled(shop, order_id, ONE_LESS)
        await stop(shop, order_id)
        [asked] = [one.event for one in await shop.published() if isinstance(one.event, OrderEditRequested)]
        await change(shop, order_id, edit_id, *FEWER_HELD)

        assert asked.is_held
        assert {one.sku: one.quantity for one in asked.lines} == {"CRUNCHY-ARMCHAIR": 2, "OMINOUS-MIRROR": 3}
        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"]) == ("confirmed", TOTAL_MINOR - 1_000)
        [again] = [one.event for one in await shop.published() if isinstance(one.event, OrderReconfirmed)]
        assert again.allocations == FEWER_HELD
        await ship_anew(shop, order_id)
        assert await shop.status(order_id) == "settled"
        assert await money_of(shop, order_id) == {"captured": TOTAL_MINOR - 1_000, "refunded": 0, "held": 0}
        assert await edits_of(shop, order_id) == [("applied", None)]
        assert await drift_of(shop) == []

    async def test_order_that_wants_more_is_authorised_for_the_difference_and_charged_whole(self, shop: Shop) -> None:
        order_id = await confirmed(shop)

        edit_id = await recalled(shop, order_id, {**A_LAMP, "payment_token": "tok_timeout"})
        await stop(shop, order_id)
        await change(shop, order_id, edit_id, *MORE_HELD)

        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"]) == ("confirmed", TOTAL_MINOR + 900)
        assert order["payment"]["authorised_minor"] == TOTAL_MINOR + 900
        await ship_anew(shop, order_id)
        assert await money_of(shop, order_id) == {"captured": TOTAL_MINOR + 900, "refunded": 0, "held": 0}
        assert await shop.count("SELECT count(*) FROM sandbox.sandbox_charges") == 2
        units = [("CRUNCHY-ARMCHAIR", 3), ("LAMP", 1), ("OMINOUS-MIRROR", 3)]
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in units]
        announced = (await shop.post(f"/orders/{order_id}/returns", {"reason": "all of it", "lines": lines})).json()
        found = [{**line, "restock_quantity": 0} for line in lines]
        await shop.post(f"/returns/{announced['id']}/receipt", {"warehouse": "leeds", "lines": found})
        await shop.pay()
        assert (await shop.get(f"/returns/{announced['id']}")).json()["status"] == "closed"
        assert (await money_of(shop, order_id))["refunded"] == TOTAL_MINOR + 900
        assert await drift_of(shop) == []

    async def test_order_stays_as_it_was_if_nobody_pays_for_more(self, shop: Shop) -> None:
        order_id = await confirmed(shop)
        before = await shop.order(order_id)

        response = await edit(shop, order_id, {**A_LAMP, "payment_token": "tok_declined"})
        await shop.pay()

        assert response.status_code == 202
        order = await shop.order(order_id)
        assert {**order, "version": 0} == {**before, "version": 0}
        assert await edits_of(shop, order_id) == [("refused", "payment-declined")]
        assert not {"order.recall-requested", "order.edit-requested"} & set(await shop.published_types())

    async def test_order_stays_as_it_was_if_what_it_wants_more_is_not_there(self, shop: Shop) -> None:
        order_id = await confirmed(shop)

        edit_id = await recalled(shop, order_id, A_LAMP)
        await stop(shop, order_id)
        bench = AlternativeSku(
            sku="BENCH", price_minor=950, currency="GBP", available=3, score=0.9, reason="same category"
        )
        short = Shortage(sku="LAMP", requested=1, available=0, alternatives=[bench])
        refused = StockChangeRefused(order_id=order_id, edit_id=edit_id, reason="insufficient-stock", shortages=[short])
        await shop.deliver([stock(refused, 2)])
        await shop.pay()

        order = await shop.order(order_id)
        assert (order["status"], order["total_minor"], len(order["lines"])) == ("confirmed", TOTAL_MINOR, 3)
        assert await edits_of(shop, order_id) == [("refused", "insufficient-stock")]
        [item] = (await shop.get(f"/orders/{order_id}/edits")).json()["items"]
        assert [one["alternatives"][0]["sku"] for one in item["shortages"]] == ["BENCH"]
        [told] = [one.event for one in await shop.published() if isinstance(one.event, OrderEditRefused)]
        assert told.shortages == [short]
        assert (await money_of(shop, order_id))["held"] == TOTAL_MINOR
        await ship_anew(shop, order_id)
        assert await money_of(shop, order_id) == {"captured": TOTAL_MINOR, "refunded": 0, "held": 0}
        assert await shop.status(order_id) == "settled"

    async def test_order_of_which_a_parcel_left_first_stays_as_it_was(self, shop: Shop) -> None:
        order_id = await confirmed(shop)

        await recalled(shop, order_id, A_LAMP)
        await shop.dispatch(order_id)
        await shop.pay()
        await shop.arrive(order_id)
        await shop.pay()

        assert await edits_of(shop, order_id) == [("refused", "parcel-has-left")]
        assert await shop.status(order_id) == "settled"
        assert await money_of(shop, order_id) == {"captured": TOTAL_MINOR, "refunded": 0, "held": 0}

    async def test_late_money_for_an_edit_that_was_given_up_is_let_go_of(self, shop: Shop) -> None:
        order_id = await confirmed(shop)

        await edit(shop, order_id, {**A_LAMP, "payment_token": "tok_late"})
        await shop.pay()
        shop.clock.advance(timedelta(minutes=16))
        await shop.deadlines.work()
        assert await edits_of(shop, order_id) == [("refused", "payment-timed-out")]
        await shop.pay()

        assert (await money_of(shop, order_id))["held"] == TOTAL_MINOR
        assert await shop.status(order_id) == "confirmed"

    async def test_order_that_is_called_off_meanwhile_is_cancelled_and_paid_back(self, shop: Shop) -> None:
        order_id = await confirmed(shop)

        edit_id = await recalled(shop, order_id, A_LAMP)
        await stop(shop, order_id)
        called_off = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
        await change(shop, order_id, edit_id, *MORE_HELD)
        await shop.pay()

        assert called_off.status_code == 200
        assert await shop.status(order_id) == "cancelled"
        assert await edits_of(shop, order_id) == [("refused", "order-ended")]
        assert await money_of(shop, order_id) == {"captured": 0, "refunded": 0, "held": 0}

    async def test_order_has_one_edit_at_a_time(self, shop: Shop) -> None:
        order_id = await confirmed(shop)
        await recalled(shop, order_id, ONE_LESS)

        second = await edit(shop, order_id, A_LAMP)

        assert (second.status_code, second.json()["code"]) == (409, "edit-pending")

    async def test_order_that_is_being_paid_for_is_edited_in_a_moment(self, shop: Shop) -> None:
        order_id = await shop.place()
        await shop.reserve(order_id)

        response = await edit(shop, order_id, A_LAMP)

        assert (response.status_code, response.json()["code"]) == (409, "payment-pending")

    async def test_edit_or_dispatch_comes_first(self, shop: Shop) -> None:
        order_id = await confirmed(shop)
        tag = await etag(shop, order_id)

        answer, _ = await asyncio.gather(
            edit(shop, order_id, ONE_LESS, **{"If-Match": tag}), shop.dispatch(order_id, "leeds", "lyon")
        )

        assert answer.status_code in {202, 409, 412}
        assert await shop.status(order_id) == "shipped"
        expected = [("refused", "parcel-has-left")] if answer.status_code == 202 else []
        assert await edits_of(shop, order_id) == expected


async def recalled(shop: Shop, order_id: UUID, body: dict[str, Any]) -> UUID:
    """Edit a confirmed order, and let it be paid for; return the edit."""
    response = await edit(shop, order_id, body)
    assert response.status_code == 202, response.text
    await shop.pay()
    shop.clock.advance(timedelta(minutes=1))
    await shop.pay()
    assert await shop.status(order_id) == "editing"
    [recall] = [one.event for one in await shop.published() if isinstance(one.event, OrderRecallRequested)]
    return recall.edit_id


TAX = {"jurisdiction": "GB", "rate_ppm": 200_000, "is_inclusive": False, "amount_minor": 980, "base": "all"}
CHARGES = {"shipping": [{"method": "standard", "amount_minor": 499}], "taxes": [TAX]}


class TestCharged:
    async def test_confirmed_order_is_taxed_and_charged_as_if_it_had_been_placed_so(self, shop: Shop) -> None:
        order_id = await confirmed(shop, **CHARGES)
        placed_so = await shop.place(
            shipping=CHARGES["shipping"],
            taxes=[{**TAX, "amount_minor": 780}],
            lines=[{**ORDER["lines"][0], "quantity": 1}, *ORDER["lines"][1:]],
        )

        edit_id = await recalled(shop, order_id, ONE_LESS)
        assert (await shop.order(order_id))["total_minor"] == TOTAL_MINOR + 499 + 980
        await stop(shop, order_id)
        await change(shop, order_id, edit_id, *FEWER_HELD)

        edited, expected = await shop.order(order_id), await shop.order(placed_so)
        for field in ("lines", "charges", "total_minor"):
            assert edited[field] == expected[field]
        await ship_anew(shop, order_id)
        assert await money_of(shop, order_id) == {"captured": expected["total_minor"], "refunded": 0, "held": 0}

    async def test_order_under_review_bears_shipping_and_tax_on_what_is_added(self, holding: Shop) -> None:
        order_id = await holding.place(**CHARGES)

        response = await edit(holding, order_id, A_LAMP)

        assert response.status_code == 200, response.text
        edited = response.json()
        # A fifth of 4,400 + 900 + 499 is 1,159.8.
        assert ([one["amount_minor"] for one in edited["charges"]], edited["total_minor"]) == ([499, 1_160], 6_959)
        assert sum(line["charged_minor"] for line in edited["lines"]) == edited["total_minor"]

    @pytest.mark.parametrize(
        ("charges", "body"),
        [
            ({"taxes": [{**TAX, "amount_minor": 979}], "shipping": CHARGES["shipping"]}, ONE_LESS),
            ({"taxes": [{**TAX, "base": "goods", "lines": [1], "amount_minor": 400}]}, A_LAMP),
        ],
    )
    async def test_what_others_have_promised_or_decided_is_not_made_up(
        self, holding: Shop, charges: dict[str, Any], body: dict[str, Any]
    ) -> None:
        order_id = await holding.place(**charges)
        before = await holding.order(order_id)

        response = await edit(holding, order_id, body)

        assert (response.status_code, response.json()["code"]) == (409, "charges-not-editable")
        assert await holding.order(order_id) == before

    async def test_order_bears_the_taxes_that_are_stated_with_the_edit(self, holding: Shop) -> None:
        tax = {**TAX, "base": "goods", "lines": [1]}
        order_id = await holding.place(taxes=[{**tax, "amount_minor": 400}])
        # A fifth of two armchairs, and half of that on the lamp.
        stated = [{**tax, "amount_minor": 400}, {**tax, "lines": [4], "rate_ppm": 100_000, "amount_minor": 90}]

        unknown = await edit(holding, order_id, {**A_LAMP, "taxes": [{**tax, "lines": [5], "amount_minor": 1}]})
        response = await edit(holding, order_id, {**A_LAMP, "taxes": stated})
        untaxed = await edit(holding, order_id, {**ONE_LESS, "taxes": []})

        assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/taxes/0/lines")
        assert response.status_code == 200, response.text
        edited = response.json()
        assert [(one["lines"], one["amount_minor"]) for one in edited["charges"]] == [([1], 400), ([4], 90)]
        assert edited["total_minor"] == TOTAL_MINOR + 900 + 490
        assert [line["charged_minor"] for line in edited["lines"]] == [2_400, 1_500, 900, 990]
        assert (untaxed.json().get("charges"), untaxed.json()["total_minor"]) == (None, TOTAL_MINOR + 900 - 1_000)

    async def test_order_is_held_against_the_taxes_that_are_stated(self, database: FreshDatabase) -> None:
        async with Shop.open(database, review_amount_minor_max=1, price_policy={"on_mismatch": "refuse"}) as shop:
            order_id = await shop.place()
            wrong = {**TAX, "base": "goods", "amount_minor": 679}

            refused = await edit(shop, order_id, {**ONE_LESS, "taxes": [wrong]})
            taxed = await edit(shop, order_id, {**ONE_LESS, "taxes": [{**wrong, "amount_minor": 680}]})
            alone = await edit(shop, order_id, {"reason": "tax", "taxes": []})

            assert (refused.status_code, refused.json()["code"]) == (422, "price-refused")
            assert (taxed.status_code, taxed.json()["total_minor"]) == (200, 3_400 + 680)
            assert alone.status_code == 422
