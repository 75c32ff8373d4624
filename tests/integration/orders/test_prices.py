"""Orders are held against the catalog's prices of their time, and the channel's policy decides."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.events.base import Envelope, Event
from libs.common.events.catalog import ProductChanged, ProductDelisted, ProductListed, ProductPriceChanged
from libs.common.events.orders import OrderPlaced
from services.orders.consumers import PriceHandler
from services.orders.storage.prices import PostgresPrices
from tests.integration.orders.shop import NOW, Shop, an_order
from tests.support.kafka import envelope_of
from tests.support.postgres import FreshDatabase

STRICT = {"on_mismatch": "refuse", "on_unknown": "refuse"}


def product(kind: type[Event], price_minor: int, **changes: Any) -> Event:
    fields: dict[str, Any] = {
        "sku": "CHAIR",
        "title": "A chair",
        "category": None,
        "price_minor": price_minor,
        "currency": "GBP",
        "is_listed": kind is not ProductDelisted,
        **({"previous_price_minor": 1} if kind is ProductPriceChanged else {}),
        **changes,
    }
    return kind(**fields)


def told(event: Event, *, version: int, at: datetime) -> Envelope:
    return msgspec.structs.replace(envelope_of(event, aggregate_version=version), time=at)


async def follow(shop: Shop, *envelopes: Envelope) -> None:
    async with shop.database.transaction() as transaction:
        await PriceHandler(PostgresPrices)(envelopes, transaction)


async def list_chair(shop: Shop, price_minor: int = 1_000, *, days_ago: int = 1) -> None:
    await follow(shop, told(product(ProductListed, price_minor), version=1, at=NOW - timedelta(days=days_ago)))


def chairs(*prices_minor: int, **changes: Any) -> dict[str, Any]:
    lines = [{"sku": "CHAIR", "quantity": 1, "unit_price_minor": price_minor} for price_minor in prices_minor]
    return an_order(lines=lines, **changes)


async def findings_of(shop: Shop, body: dict[str, Any]) -> Sequence[dict[str, Any]]:
    response = await shop.post("/orders", body)
    assert response.status_code == 201, response.text
    placed = response.json()
    assert placed == await shop.order(placed["id"])
    found: Sequence[dict[str, Any]] = placed.get("findings", [])
    return found


class TestHistory:
    async def test_is_the_same_however_often_it_is_told(self, shop: Shop) -> None:
        events = [
            told(product(ProductListed, 1_000), version=1, at=NOW - timedelta(days=3)),
            told(product(ProductChanged, 1_000, title="A better chair"), version=2, at=NOW - timedelta(days=2)),
            told(product(ProductPriceChanged, 1_200), version=3, at=NOW - timedelta(days=1)),
            told(product(ProductDelisted, 1_200), version=4, at=NOW),
        ]
        await follow(shop, *events[:2])
        await follow(shop, *events[1:])
        await follow(shop, *events)

        periods = (await shop.get("/prices/CHAIR")).json()["periods"]

        assert [(one["version"], one["price_minor"], one["is_listed"], one.get("valid_to")) for one in periods] == [
            (4, 1_200, False, None),
            (3, 1_200, True, "2026-03-02T09:00:00Z"),
            (1, 1_000, True, "2026-03-01T09:00:00Z"),
        ]

    async def test_knows_nothing_of_what_the_catalog_never_told(self, shop: Shop) -> None:
        assert (await shop.get("/prices/TABLE")).json() == {"sku": "TABLE", "periods": []}
        assert (await shop.get("/prices/TA%00BLE")).status_code in {400, 422}


class TestPriceCheck:
    async def test_notes_another_price_and_goes_on_by_default(self, shop: Shop) -> None:
        await list_chair(shop)

        [finding] = await findings_of(shop, chairs(1_000, 900))

        assert finding == {
            "kind": "price-mismatch",
            "consequence": "accept",
            "line": 2,
            "sku": "CHAIR",
            "expected_minor": 1_000,
            "offered_minor": 900,
        }
        [placed] = [one.event for one in await shop.published() if isinstance(one.event, OrderPlaced)]
        assert [(one.kind, one.line, one.expected_minor) for one in placed.findings] == [("price-mismatch", 2, 1_000)]

    async def test_finds_nothing_where_prices_are_right_or_not_the_catalogs(self, shop: Shop) -> None:
        await list_chair(shop)

        assert await findings_of(shop, chairs(1_000)) == []
        assert await findings_of(shop, an_order()) == []
        # From long before the catalog told of it: imported history has the prices of its channel.
        assert await findings_of(shop, chairs(5, placed_at="2011-06-01T10:00:00Z")) == []
        assert await shop.count("SELECT count(*) FROM order_findings") == 0

    async def test_holds_where_the_channel_says_so(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policies={"web": {"on_mismatch": "hold"}}) as shop:
            await list_chair(shop)

            held = (await shop.post("/orders", chairs(900, 800))).json()

            assert (held["status"], held["status_reason"]) == ("held", "price-mismatch")
            approved = await shop.post(f"/reviews/{held['id']}/approve", {"reason": "agreed"})
            assert approved.json()["status"] == "approved"

    async def test_refuses_naming_line_and_reason_and_can_be_tried_again(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policies={"web": STRICT}) as shop:
            await list_chair(shop)
            body = chairs(1_000, 900)

            refused = await shop.post("/orders", body, idempotency_key="checkout-1")

            assert refused.status_code == 422
            problem = refused.json()
            assert problem["code"] == "price-refused"
            assert "line 2: price-mismatch, CHAIR costs 1000 minor units of GBP, not 900" in problem["detail"]
            assert problem["errors"][0]["pointer"] == "/lines/1/unit_price_minor"
            assert await shop.count("SELECT count(*) FROM orders") == 0

            await follow(shop, told(product(ProductPriceChanged, 900), version=2, at=NOW - timedelta(minutes=1)))
            again = await shop.post("/orders", body, idempotency_key="checkout-1")
            assert again.status_code == 201

    async def test_refuses_one_and_takes_those_that_arrive_with_it(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policy=STRICT) as shop:
            await list_chair(shop)

            responses = await asyncio.gather(*(shop.post("/orders", chairs(price)) for price in (1_000, 1, 1_000)))

            assert [one.status_code for one in responses] == [201, 422, 201]

    @pytest.mark.parametrize(
        ("minutes_ago", "offered_minor", "is_right"),
        [
            pytest.param(10, 1_000, True, id="the cart is younger than the grace"),
            pytest.param(20, 1_000, False, id="the cart is older"),
            pytest.param(20, 1_200, True, id="the present price"),
            pytest.param(10, 1_100, False, id="never a price"),
        ],
    )
    async def test_takes_a_cart_that_is_minutes_old(
        self, database: FreshDatabase, minutes_ago: int, offered_minor: int, *, is_right: bool
    ) -> None:
        async with Shop.open(database, price_policy=STRICT, price_grace_seconds=900) as shop:
            await list_chair(shop, 1_000)
            # What is remembered from before the change must not outlive the grace.
            assert (await shop.post("/orders", chairs(1_000))).status_code == 201
            await follow(shop, told(product(ProductPriceChanged, 1_200), version=2, at=NOW))
            shop.clock.advance(timedelta(minutes=minutes_ago))

            response = await shop.post("/orders", chairs(offered_minor))

            assert response.status_code == (201 if is_right else 422), response.text

    async def test_forgets_a_price_once_the_grace_is_over(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policy=STRICT) as shop:
            await list_chair(shop, 1_000)
            assert (await shop.post("/orders", chairs(1_000))).status_code == 201
            await follow(shop, told(product(ProductDelisted, 1_000), version=2, at=NOW))
            shop.clock.advance(timedelta(minutes=10))
            assert (await shop.post("/orders", chairs(1_000))).status_code == 201
            shop.clock.advance(timedelta(minutes=10))

            assert (await shop.post("/orders", chairs(1_000))).status_code == 422

    async def test_uses_the_prices_of_the_orders_own_time_and_currency(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policy=STRICT) as shop:
            await list_chair(shop, 1_000, days_ago=10)
            await follow(shop, told(product(ProductPriceChanged, 1_200), version=2, at=NOW - timedelta(days=5)))

            then = str(NOW - timedelta(days=7))
            assert (await shop.post("/orders", chairs(1_000, placed_at=then))).status_code == 201
            assert (await shop.post("/orders", chairs(1_200, placed_at=then))).status_code == 422
            in_euro = await shop.post("/orders", chairs(1_200, currency="EUR"))
            assert "CHAIR has no price in EUR" in in_euro.json()["detail"]

    async def test_asks_nothing_of_the_database_for_present_prices(self, shop: Shop) -> None:
        await list_chair(shop)
        await shop.post("/orders", chairs(1_000))
        order_id = UUID((await shop.post("/orders", chairs(1_000))).json()["id"])
        # Gone behind its back: who looked again would find nothing, and note another price as unknown.
        await shop.fetch("DELETE FROM product_prices RETURNING sku")

        assert await findings_of(shop, chairs(1_000)) == []
        assert await shop.status(order_id) == "approved"
