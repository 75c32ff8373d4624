"""Promotions are used no more often, and take off no more, than they may, whatever comes at once or again."""

import asyncio
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.events.inventory import StockRejected
from libs.common.ids import new_id
from tests.integration.orders.shop import Shop, an_order
from tests.integration.orders.test_charges import promotion, put
from tests.integration.orders.test_imports import imported, row
from tests.support.postgres import FreshDatabase

# What ten percent of an order come to.
OFF_MINOR = 440
TEN_OFF: dict[str, Any] = {"discounts": [{"code": "TEN", "amount_minor": OFF_MINOR}]}


async def limit(shop: Shop, code: str = "TEN", **limits: Any) -> None:
    response = await put(shop, code, promotion(**limits))
    assert response.status_code in {200, 201}, response.text


async def usage(shop: Shop, code: str = "TEN") -> tuple[int, int]:
    """Return how often a promotion is used and what it has taken off, which is what its uses say."""
    shown = (await shop.get(f"/promotions/{code}")).json()
    [uses] = await shop.fetch(
        "SELECT count(*) AS used, coalesce(sum(amount_minor), 0)::bigint AS spent FROM promotion_uses"
        " WHERE code = $1 AND given_back_at IS NULL",
        code,
    )
    assert (shown["used"], shown["spent_minor"]) == (uses["used"], uses["spent"])
    return shown["used"], shown["spent_minor"]


async def statuses(*responses: Any) -> list[int]:
    return sorted(one.status_code for one in await asyncio.gather(*responses))


class TestLimits:
    async def test_are_shown_with_what_is_left_of_them(self, shop: Shop) -> None:
        await limit(shop, uses_max=3, uses_per_customer_max=2, budget_minor=1_000, currency="GBP")
        await shop.place(**TEN_OFF)

        shown = (await shop.get("/promotions/TEN")).json()

        assert {name: shown[name] for name in ("uses_max", "uses_per_customer_max", "budget_minor")} == {
            "uses_max": 3,
            "uses_per_customer_max": 2,
            "budget_minor": 1_000,
        }
        assert (shown["used"], shown["remaining"]) == (1, 2)
        assert (shown["spent_minor"], shown["budget_remaining_minor"]) == (OFF_MINOR, 1_000 - OFF_MINOR)

    async def test_of_a_promotion_without_any_cost_no_row(self, shop: Shop) -> None:
        await limit(shop)
        await shop.place(**TEN_OFF)

        assert "used" not in (await shop.get("/promotions/TEN")).json()
        assert await shop.count("SELECT count(*) FROM promotion_uses") == 0

    async def test_are_a_version_of_their_own(self, shop: Shop) -> None:
        await limit(shop, uses_max=3)
        await limit(shop, uses_max=3)
        await limit(shop, uses_max=4)

        changes = (await shop.get("/promotions/TEN")).json()["changes"]
        assert [(one["version"], one["promotion"]["uses_max"]) for one in changes] == [(2, 4), (1, 3)]

    @pytest.mark.parametrize(
        ("limits", "orders", "taken"),
        [
            ({"uses_max": 5}, 12, 5),
            ({"uses_per_customer_max": 2}, 9, 6),
            ({"budget_minor": 5 * OFF_MINOR + OFF_MINOR - 1, "currency": "GBP"}, 12, 5),
        ],
        ids=["uses", "uses of each of three customers", "budget"],
    )
    async def test_hold_for_orders_placed_at_once_by_any_way_through_any_process(
        self, database: FreshDatabase, limits: dict[str, Any], orders: int, taken: int
    ) -> None:
        async with Shop.open(database) as shop, Shop.open(database) as other:
            await limit(shop, **limits)
            bodies = [an_order(customer_id=f"customer-{number % 3}", **TEN_OFF) for number in range(orders)]
            third = orders // 3

            placed, rows = await asyncio.gather(
                asyncio.gather(
                    *(
                        (shop, other)[number % 2].post("/orders", body, idempotency_key=f"checkout-{number}")
                        for number, body in enumerate(bodies[third:])
                    )
                ),
                imported(other, *(row(f"b-{number}", **body) for number, body in enumerate(bodies[:third]))),
            )

            refused = [one for one in placed if one.status_code == 422]
            assert {one.json()["code"] for one in refused} <= {"price-refused"}
            rejected = [one for one in rows if one["result"] == "rejected"]
            assert {one["code"] for one in rejected} <= {"price-refused"}
            assert orders - len(refused) - len(rejected) == taken
            assert await usage(shop) == (taken, taken * OFF_MINOR)
            assert await shop.count("SELECT count(*) FROM orders") == taken

    async def test_name_the_code_and_the_reason(self, shop: Shop) -> None:
        await limit(shop, uses_max=1)
        await limit(shop, "SMALL", budget_minor=100, currency="GBP")
        await shop.place(**TEN_OFF)

        used_up = await shop.post("/orders", an_order(**TEN_OFF))
        spent = await shop.post("/orders", an_order(discounts=[{"code": "SMALL", "amount_minor": OFF_MINOR}]))

        assert "TEN: promotion-used-up, 0 expected" in used_up.json()["detail"]
        assert "SMALL: promotion-budget-spent, 100 expected" in spent.json()["detail"]

    async def test_count_an_order_once_however_often_it_is_sent(self, shop: Shop) -> None:
        await limit(shop, uses_max=2)

        first = [shop.post("/orders", an_order(**TEN_OFF), idempotency_key="checkout-1") for _ in range(5)]
        assert await statuses(*first) == [201] * 5
        assert await usage(shop) == (1, OFF_MINOR)
        for _ in range(2):
            [again] = await imported(shop, row("b-1", **TEN_OFF))
            assert again["result"] in {"placed", "duplicate"}
        assert await usage(shop) == (2, 2 * OFF_MINOR)

    async def test_take_nothing_of_one_promotion_if_another_refuses(self, shop: Shop) -> None:
        await limit(shop, uses_max=1)
        await limit(shop, "SMALL", budget_minor=1, currency="GBP")

        both = {"discounts": [*TEN_OFF["discounts"], {"code": "SMALL", "amount_minor": 2}]}
        assert (await shop.post("/orders", an_order(**both))).status_code == 422

        assert await usage(shop) == (0, 0)
        await shop.place(**TEN_OFF)

    async def test_of_one_currency_do_not_concern_orders_in_another(self, shop: Shop) -> None:
        await limit(shop, uses_max=1, currency="EUR")

        for _ in range(2):
            await shop.place(**TEN_OFF)

        assert await usage(shop) == (0, 0)

    async def test_may_be_lowered_below_what_was_used(self, shop: Shop) -> None:
        await limit(shop, uses_max=5)
        for _ in range(3):
            await shop.place(**TEN_OFF)

        await limit(shop, uses_max=2)

        assert (await shop.get("/promotions/TEN")).json()["remaining"] == 0
        assert (await shop.post("/orders", an_order(**TEN_OFF))).status_code == 422

    @pytest.mark.parametrize(
        "limits",
        [
            {"uses_max": 0},
            {"uses_max": -1},
            {"uses_max": 10**30},
            {"uses_max": 1.5},
            {"uses_max": "3"},
            {"uses_per_customer_max": 0},
            {"budget_minor": 5},
            {"budget_minor": 2**53, "currency": "GBP"},
        ],
    )
    async def test_that_make_no_sense_are_refused(self, shop: Shop, limits: dict[str, Any]) -> None:
        assert (await put(shop, "TEN", promotion(**limits))).status_code == 422


class TestPolicy:
    @pytest.mark.parametrize(("consequence", "status"), [("accept", "approved"), ("hold", "held")])
    async def test_may_let_an_order_beyond_the_limit_go_on_which_is_noted_and_not_counted(
        self, database: FreshDatabase, consequence: str, status: str
    ) -> None:
        async with Shop.open(database, price_policy={"on_limit": consequence}) as shop:
            await limit(shop, uses_max=1)
            await shop.place(**TEN_OFF)

            beyond = await shop.order(await shop.place(**TEN_OFF))

            assert beyond["status"] == status
            assert [(one["kind"], one["code"], one["consequence"]) for one in beyond["findings"]] == [
                ("promotion-used-up", "TEN", consequence)
            ]
            assert await usage(shop) == (1, OFF_MINOR)

    async def test_may_leave_a_channel_out_of_it(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policies={"bazaar": {"on_limit": "ignore"}}) as shop:
            await limit(shop, uses_max=1)

            for _ in range(2):
                await shop.place(channel="bazaar", **TEN_OFF)

            assert await usage(shop) == (0, 0)


async def cancel(shop: Shop, order_id: UUID) -> None:
    response = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
    assert response.status_code in {200, 202}, response.text


async def reject(shop: Shop, order_id: UUID) -> None:
    await shop.tell(StockRejected(order_id=order_id, reason="insufficient-stock", shortages=[]))


async def decline(shop: Shop, order_id: UUID) -> None:
    await shop.reserve(order_id)
    await shop.pay()
    if await shop.status(order_id) == "reserved":
        shop.clock.advance(timedelta(hours=1))
        await shop.deadlines.work()


class TestUse:
    @pytest.mark.parametrize(
        ("end", "changes"),
        [(cancel, {}), (reject, {}), (decline, {"token": "tok_declined"})],
        ids=["called off", "out of stock", "declined"],
    )
    async def test_is_given_back_by_an_order_that_ends_before_it_is_paid_for(
        self, shop: Shop, end: Any, changes: dict[str, Any]
    ) -> None:
        await limit(shop, uses_max=1, uses_per_customer_max=1)
        order_id = await shop.place(**TEN_OFF, **changes)
        assert await usage(shop) == (1, OFF_MINOR)

        await end(shop, order_id)

        assert await shop.status(order_id) in {"cancelled", "refused"}
        assert await usage(shop) == (0, 0)
        # Whatever is told of it again, it gives back one use.
        await shop.place(**TEN_OFF)
        await reject(shop, order_id)
        assert await usage(shop) == (1, OFF_MINOR)

    async def test_stays_used_by_an_order_that_was_paid_for(self, shop: Shop) -> None:
        await limit(shop, uses_max=1)

        await shop.settle(await shop.place(**TEN_OFF))

        assert await usage(shop) == (1, OFF_MINOR)

    async def test_is_given_back_by_an_order_that_the_review_refuses(self, shop: Shop) -> None:
        await limit(shop, uses_max=1)
        block = {"subject": "customer", "value": "thief", "reason": "fraud"}
        assert (await shop.post("/review-blocks", block)).status_code == 201

        order_id = await shop.place(customer_id="thief", **TEN_OFF)

        assert await shop.status(order_id) == "refused"
        assert await usage(shop) == (0, 0)
        assert await shop.count("SELECT count(*) FROM promotion_uses WHERE given_back_at IS NOT NULL") == 1

    async def test_adds_up_whatever_orders_do_at_once(self, database: FreshDatabase) -> None:
        chance = random.Random(7)  # noqa: S311 - the same in every run
        async with Shop.open(database) as shop, Shop.open(database) as other:
            await limit(shop, uses_max=4)
            await limit(shop, "MORE", uses_max=6, uses_per_customer_max=3)
            most = [0, 0]
            placed: list[UUID] = []

            async def act(number: int) -> None:
                if placed and chance.random() < 0.4:
                    await reject(shop, placed.pop(chance.randrange(len(placed))))
                    return
                codes = chance.choice((["TEN"], ["MORE"], ["TEN", "MORE"], ["MORE", "TEN"]))
                body = an_order(
                    customer_id=f"customer-{number % 3}",
                    discounts=[{"code": code, "amount_minor": OFF_MINOR} for code in codes],
                )
                where = (shop, other)[number % 2]
                response = await where.post("/orders", body, idempotency_key=str(new_id()))
                assert response.status_code in {201, 422}, response.text
                if response.status_code == 201:
                    placed.append(UUID(response.json()["id"]))

            for _ in range(6):
                await asyncio.gather(*(act(number) for number in range(12)))
                most = [max(one, (await usage(shop, code))[0]) for one, code in zip(most, ("TEN", "MORE"), strict=True)]

            assert most[0] == 4
            assert 3 < most[1] <= 6
