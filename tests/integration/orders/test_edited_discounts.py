"""Edited orders keep their discounts by the rules that they were placed with, and promotions know what they cost."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.events.inventory import StockChangeRefused
from tests.integration.orders.shop import ORDER, TOTAL_MINOR, Shop
from tests.integration.orders.test_charges import promotion, put
from tests.integration.orders.test_edits import (
    A_LAMP,
    FEWER_HELD,
    MORE_HELD,
    ONE_LESS,
    change,
    confirmed,
    edit,
    edits_of,
    money_of,
    recalled,
    ship_anew,
    stock,
    stop,
)
from tests.integration.orders.test_promotion_limits import TEN_OFF, limit, usage
from tests.support.postgres import FreshDatabase

TAX = {"jurisdiction": "GB", "rate_ppm": 200_000, "is_inclusive": False, "amount_minor": 792, "base": "all"}


@pytest.fixture
async def holding(database: FreshDatabase) -> Any:
    async with Shop.open(database, review_amount_minor_max=0) as shop:
        yield shop


async def cancel(shop: Shop, order_id: UUID) -> None:
    response = await shop.post(f"/orders/{order_id}/cancellation", {"reason": "changed-mind"})
    assert response.status_code == 200, response.text


class TestPromotions:
    async def test_are_judged_again_as_they_were_when_the_order_was_placed(self, holding: Shop) -> None:
        await limit(holding)
        order_id = await holding.place(**TEN_OFF, taxes=[TAX])
        placed_so = await holding.place(
            discounts=[{"code": "TEN", "amount_minor": 340}],
            taxes=[{**TAX, "amount_minor": 612}],
            lines=[{**ORDER["lines"][0], "quantity": 1}, *ORDER["lines"][1:]],
        )
        holding.clock.advance(timedelta(hours=1))
        await put(holding, "TEN", promotion(rate_ppm=500_000))

        response = await edit(holding, order_id, ONE_LESS)

        assert response.status_code == 200, response.text
        edited, expected = response.json(), await holding.order(placed_so)
        for field in ("lines", "charges", "total_minor"):
            assert edited[field] == expected[field]
        # A tenth, as then, also of more than there was.
        more = await edit(holding, order_id, {"reason": "many", "lines": [{"line": 1, "quantity": 9}]})
        assert more.json()["charges"][0]["amount_minor"] == (9_000 + 1_500 + 900) // 10

    async def test_fall_away_with_the_minimum_and_are_free_for_others(self, holding: Shop) -> None:
        await limit(holding, uses_max=1, minimum_minor=4_000, currency="GBP")
        order_id = await holding.place(**TEN_OFF)
        assert await usage(holding) == (1, 440)

        response = await edit(holding, order_id, ONE_LESS)

        assert (response.json()["total_minor"], response.json().get("charges")) == (TOTAL_MINOR - 1_000, None)
        assert await usage(holding) == (0, 0)
        await holding.place(**TEN_OFF)

    async def test_of_a_budget_take_no_more_off_than_is_left(self, holding: Shop) -> None:
        await limit(holding, budget_minor=529, currency="GBP")
        order_id = await holding.place(**TEN_OFF)

        beyond = await edit(holding, order_id, A_LAMP)
        cheaper = {"reason": "a lamp", "add": [{"sku": "LAMP", "quantity": 1, "unit_price_minor": 890}]}
        within = await edit(holding, order_id, cheaper)

        assert (beyond.status_code, beyond.json()["code"]) == (422, "price-refused")
        assert "promotion-budget-spent" in beyond.json()["detail"]
        assert within.status_code == 200, within.text
        assert await usage(holding) == (1, 529)
        await cancel(holding, order_id)
        assert await usage(holding) == (0, 0)

    async def test_that_may_cost_more_in_a_channel_count_no_more_than_their_budget(
        self, database: FreshDatabase
    ) -> None:
        policy = {"on_mismatch": "accept", "on_unknown": "ignore", "on_limit": "accept"}
        async with Shop.open(database, review_amount_minor_max=0, price_policy=policy) as shop:
            await limit(shop, budget_minor=500, currency="GBP")
            order_id = await shop.place(**TEN_OFF)

            response = await edit(shop, order_id, A_LAMP)

            assert response.status_code == 200, response.text
            assert [one["code"] for one in response.json()["findings"]] == ["TEN"]
            assert await usage(shop) == (1, 440)

    async def test_are_counted_once_by_orders_that_are_edited_at_once(self, holding: Shop) -> None:
        await limit(holding, budget_minor=3 * 440 + 2 * 90, currency="GBP")
        order_ids = [await holding.place(**TEN_OFF) for _ in range(3)]

        answers = await asyncio.gather(*(edit(holding, order_id, A_LAMP) for order_id in order_ids))

        assert sorted(one.status_code for one in answers) == [200, 200, 422]
        assert await usage(holding) == (3, 3 * 440 + 2 * 90)


class TestConfirmed:
    async def test_order_is_charged_less_its_promotion(self, shop: Shop) -> None:
        await limit(shop, budget_minor=10_000, currency="GBP")
        order_id = await confirmed(shop, **TEN_OFF)

        edit_id = await recalled(shop, order_id, ONE_LESS)
        await stop(shop, order_id)
        assert await usage(shop) == (1, 440)
        await change(shop, order_id, edit_id, *FEWER_HELD)

        assert await usage(shop) == (1, 340)
        await ship_anew(shop, order_id)
        assert await shop.status(order_id) == "settled"
        assert await money_of(shop, order_id) == {"captured": 3_060, "refunded": 0, "held": 0}

    async def test_order_that_wants_more_takes_it_off_at_once_and_gives_it_back_if_refused(self, shop: Shop) -> None:
        await limit(shop, budget_minor=1_000, currency="GBP")
        order_id = await confirmed(shop, **TEN_OFF)

        edit_id = await recalled(shop, order_id, A_LAMP)
        assert await usage(shop) == (1, 530)
        await stop(shop, order_id)
        await shop.deliver([stock(StockChangeRefused(order_id=order_id, edit_id=edit_id, reason="held"), 2)])

        assert await edits_of(shop, order_id) == [("refused", "held")]
        assert await usage(shop) == (1, 440)

    async def test_order_that_nobody_pays_more_for_gives_back_what_it_would_have_taken_off(self, shop: Shop) -> None:
        await limit(shop, budget_minor=1_000, currency="GBP")
        order_id = await confirmed(shop, **TEN_OFF)

        await edit(shop, order_id, {**A_LAMP, "payment_token": "tok_declined"})
        assert await usage(shop) == (1, 530)
        await shop.pay()

        assert await edits_of(shop, order_id) == [("refused", "payment-declined")]
        assert await usage(shop) == (1, 440)

    async def test_order_that_wants_more_is_authorised_for_it_less_its_promotion(self, shop: Shop) -> None:
        await limit(shop, budget_minor=1_000, currency="GBP")
        order_id = await confirmed(shop, **TEN_OFF)

        edit_id = await recalled(shop, order_id, A_LAMP)
        await stop(shop, order_id)
        await change(shop, order_id, edit_id, *MORE_HELD)
        await ship_anew(shop, order_id)

        assert await usage(shop) == (1, 530)
        assert await money_of(shop, order_id) == {"captured": 5_300 - 530, "refunded": 0, "held": 0}


class TestOthers:
    async def test_follow_the_units_of_their_line(self, holding: Shop) -> None:
        order_id = await holding.place(discounts=[{"code": "GOODWILL", "amount_minor": 301, "lines": [2]}])

        fewer = await edit(holding, order_id, {"reason": "two", "lines": [{"line": 2, "quantity": 2}]})
        none = await edit(holding, order_id, {"reason": "none", "lines": [{"line": 2, "quantity": 0}]})

        [left] = fewer.json()["charges"]
        assert (left["amount_minor"], left["lines"], fewer.json()["total_minor"]) == (201, [2], 3_900 - 201)
        assert (none.json().get("charges"), none.json()["total_minor"]) == (None, 2_900)

    async def test_of_the_whole_order_are_never_made_more_of(self, holding: Shop) -> None:
        order_id = await holding.place(discounts=[{"code": "SORRY", "amount_minor": 500}])

        response = await edit(holding, order_id, {"reason": "more", "lines": [{"line": 2, "quantity": 30}]})

        assert [one["amount_minor"] for one in response.json()["charges"]] == [500]
