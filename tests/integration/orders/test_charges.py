"""Discounts, shipping and taxes are part of an order's money from placing to refund, to the last minor unit."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from libs.common.events.orders import OrderPlaced
from tests.integration.orders.shop import NOW, Shop, an_order, key
from tests.support.postgres import FreshDatabase

CHARGES: dict[str, Any] = {
    "discounts": [{"code": "TEN", "amount_minor": 440}],
    "shipping": [{"method": "standard", "amount_minor": 499}],
    "taxes": [
        {"jurisdiction": "GB", "rate_ppm": 200_000, "is_inclusive": False, "amount_minor": 892, "base": "all"},
        {"jurisdiction": "GB", "category": "reduced", "rate_ppm": 50_000, "is_inclusive": True, "amount_minor": 189},
    ],
}
TOTAL_MINOR = 4_400 - 440 + 499 + 892
TEN_PERCENT = {"kind": "percent", "rate_ppm": 100_000, "valid_from": "2026-03-01T00:00:00Z"}


def promotion(**changes: Any) -> dict[str, Any]:
    return {**TEN_PERCENT, **changes}


async def put(shop: Shop, code: str, body: dict[str, Any], **headers: str) -> Any:
    return await shop.client.put(f"/v1/promotions/{code}", json=body, headers=headers)


async def balances(shop: Shop) -> dict[str, int]:
    rows = await shop.fetch("""
        SELECT account, sum(minor)::bigint AS minor FROM (
            SELECT debit AS account, amount_minor AS minor FROM ledger_transfers
            UNION ALL SELECT credit, -amount_minor FROM ledger_transfers
        ) AS entries GROUP BY account
    """)
    return {row["account"]: row["minor"] for row in rows if row["minor"]}


class TestPlacing:
    async def test_shows_and_publishes_what_the_total_is_made_of(self, shop: Shop) -> None:
        order_id = await shop.place(**CHARGES, total_minor=TOTAL_MINOR)

        order = await shop.order(order_id)
        assert order["total_minor"] == TOTAL_MINOR
        assert sum(line["charged_minor"] for line in order["lines"]) == TOTAL_MINOR
        assert [(one["kind"], one["code"], one["amount_minor"]) for one in order["charges"]] == [
            ("discount", "TEN", 440),
            ("shipping", "standard", 499),
            ("tax", "standard", 892),
            ("tax", "reduced", 189),
        ]
        [placed] = [one.event for one in await shop.published() if isinstance(one.event, OrderPlaced)]
        assert placed.total_minor == sum(line.charged_minor or 0 for line in placed.lines) == TOTAL_MINOR
        assert [one.rate_ppm for one in placed.charges] == [None, None, 200_000, 50_000]

    async def test_refuses_a_total_that_is_another_and_names_the_difference(self, shop: Shop) -> None:
        response = await shop.post("/orders", an_order(**CHARGES, total_minor=TOTAL_MINOR + 3))

        assert response.status_code == 422
        assert response.json()["code"] == "total-mismatch"
        assert "0.03 GBP too much" in response.json()["detail"]
        assert response.json()["errors"][0]["pointer"] == "/total_minor"
        assert (await shop.post("/orders", an_order(total_minor=4_400))).status_code == 201

    @pytest.mark.parametrize(
        ("changes", "place"),
        [
            ({"discounts": [{"code": "A", "amount_minor": -1}]}, "discounts.0.amount_minor"),
            ({"discounts": [{"code": "A", "amount_minor": 4_401}]}, "discounts.0.amount_minor"),
            ({"discounts": [{"code": "A\x00", "amount_minor": 1}]}, None),
            ({"discounts": [{"code": "A", "amount_minor": 1, "lines": [4]}]}, "discounts.0.lines"),
            ({"discounts": [{"code": "A", "amount_minor": 1, "lines": [0]}]}, "discounts.0.lines.0"),
            ({"discounts": [{"code": "A", "amount_minor": 0}] * 51}, "discounts"),
            ({"shipping": [{"method": "a", "amount_minor": 10**30}]}, "shipping.0.amount_minor"),
            ({"shipping": [{"method": "a", "amount_minor": 2**53 - 1}]}, "lines"),
            ({"shipping": [{"method": "a", "amount_minor": "5"}]}, "shipping.0.amount_minor"),
            ({"taxes": [{**CHARGES["taxes"][0], "jurisdiction": "Britain"}]}, "taxes.0.jurisdiction"),
            ({"taxes": [{**CHARGES["taxes"][0], "rate_ppm": 10**12}]}, "taxes.0.rate_ppm"),
            ({"taxes": [{**CHARGES["taxes"][0], "base": "everything"}]}, "taxes.0.base"),
            ({"total_minor": 1.5}, "total_minor"),
        ],
    )
    async def test_names_the_field_that_is_wrong(self, shop: Shop, changes: dict[str, Any], place: str | None) -> None:
        response = await shop.post("/orders", an_order(**changes))

        assert response.status_code in {400, 422}
        if place is not None:
            assert response.json()["errors"][0]["field"].strip("/").replace("/", ".") == place


class TestMoney:
    async def test_is_captured_by_parcel_and_refunded_to_the_last_minor_unit(self, shop: Shop) -> None:
        order_id = await shop.place(**CHARGES)
        await shop.settle(order_id)

        captures = await shop.fetch("SELECT amount_minor FROM payment_commands WHERE kind = 'capture'")
        assert len(captures) == 2
        assert sum(row["amount_minor"] for row in captures) == TOTAL_MINOR
        # Leeds sends the chairs, with their share of everything.
        by_line = {line["line"]: line["charged_minor"] for line in (await shop.order(order_id))["lines"]}
        assert sorted(row["amount_minor"] for row in captures) == sorted([by_line[1] + by_line[3], by_line[2]])

        refunds = [
            await self.send_back(shop, order_id, "OMINOUS-MIRROR", announced=2, received=1),
            await self.send_back(shop, order_id, "CRUNCHY-ARMCHAIR", announced=2, received=2),
            await self.send_back(shop, order_id, "OMINOUS-MIRROR", announced=2, received=2),
            await self.send_back(shop, order_id, "CRUNCHY-ARMCHAIR", announced=1, received=1),
        ]

        assert sum(refunds) == TOTAL_MINOR
        assert (await shop.order(order_id))["payment"]["refunded_minor"] == TOTAL_MINOR
        assert await balances(shop) == {"revenue": -TOTAL_MINOR, "refunds": TOTAL_MINOR}

    @staticmethod
    async def send_back(shop: Shop, order_id: UUID, sku: str, *, announced: int, received: int) -> int:
        response = await shop.post(
            f"/orders/{order_id}/returns", {"reason": "too big", "lines": [{"sku": sku, "quantity": announced}]}
        )
        assert response.status_code == 201, response.text
        receipt = {"warehouse": "leeds", "lines": [{"sku": sku, "quantity": received, "restock_quantity": 0}]}
        received_response = await shop.post(f"/returns/{response.json()['id']}/receipt", receipt)
        assert received_response.status_code == 200, received_response.text
        await shop.pay()
        refund_minor: int = received_response.json()["refund_minor"]
        return refund_minor

    @pytest.mark.parametrize(("currency", "shipping_minor"), [("JPY", 7), ("KWD", 1_234)])
    async def test_knows_nothing_of_hundredths(self, shop: Shop, currency: str, shipping_minor: int) -> None:
        order_id = await shop.place(currency=currency, shipping=[{"method": "air", "amount_minor": shipping_minor}])
        await shop.settle(order_id)

        assert (await shop.order(order_id))["payment"]["captured_minor"] == 4_400 + shipping_minor
        currencies = await shop.fetch("SELECT DISTINCT currency FROM ledger_transfers")
        assert [row["currency"] for row in currencies] == [currency]
        assert sum((await balances(shop)).values()) == 0


class TestPromotions:
    async def test_are_kept_with_every_version_and_who_made_it(self, shop: Shop) -> None:
        created = await put(shop, "TEN", promotion())
        same = await put(shop, "TEN", promotion(skus=[]))
        changed = await put(shop, "TEN", promotion(valid_to="2026-03-05T00:00:00Z"))

        assert [one.status_code for one in (created, same, changed)] == [201, 200, 200]
        assert [(one["version"], one["changed_by"]) for one in changed.json()["changes"]] == [
            (2, "operator"),
            (1, "operator"),
        ]
        assert changed.json()["changes"][1]["promotion"].get("valid_to") is None
        assert (await shop.get("/promotions/TEN")).json() == changed.json()
        assert [one["code"] for one in (await shop.get("/promotions")).json()["items"]] == ["TEN"]
        assert (await shop.get("/promotions/ELEVEN")).status_code == 404
        assert (await put(shop, "TEN", promotion(), **key("storefront"))).status_code == 403

    @pytest.mark.parametrize(
        "body",
        [
            promotion(rate_ppm=None),
            promotion(amount_minor=5),
            promotion(kind="amount", rate_ppm=None, amount_minor=5),
            promotion(minimum_minor=100),
            promotion(rate_ppm=1_000_001),
            promotion(valid_to="2026-03-01T00:00:00Z"),
            promotion(valid_from="2026-03-01T00:00:00"),
            promotion(skus=["A\x00"]),
        ],
    )
    async def test_must_be_whole(self, shop: Shop, body: dict[str, Any]) -> None:
        assert (await put(shop, "TEN", body)).status_code == 422

    @pytest.mark.parametrize(
        ("body", "amount_minor", "found"),
        [
            pytest.param(promotion(), 440, None, id="right"),
            pytest.param(promotion(), 441, ("discount-mismatch", 440), id="another amount"),
            pytest.param(promotion(skus=["OMINOUS-MIRROR"]), 150, None, id="of its SKUs"),
            pytest.param(promotion(skus=["OTHER"]), 150, ("discount-mismatch", 0), id="none of its SKUs"),
            pytest.param(
                promotion(kind="amount", rate_ppm=None, amount_minor=500, currency="GBP"), 500, None, id="amount"
            ),
            pytest.param(
                promotion(minimum_minor=4_401, currency="GBP"), 440, ("promotion-minimum-not-met", 0), id="too little"
            ),
            pytest.param(promotion(currency="EUR"), 440, ("promotion-not-valid", 0), id="another currency"),
            pytest.param(promotion(valid_to=str(NOW - timedelta(minutes=5))), 440, None, id="over for minutes"),
            pytest.param(promotion(valid_to=str(NOW - timedelta(hours=1))), 440, ("promotion-not-valid", 0), id="over"),
            pytest.param(
                promotion(valid_from=str(NOW + timedelta(hours=1))), 440, ("promotion-not-valid", 0), id="to come"
            ),
            pytest.param(None, 440, ("promotion-unknown", None), id="unknown"),
        ],
    )
    async def test_are_what_discounts_are_held_against(
        self, shop: Shop, body: dict[str, Any] | None, amount_minor: int, found: tuple[str, int | None] | None
    ) -> None:
        if body is not None:
            assert (await put(shop, "TEN", body)).status_code == 201

        order_id = await shop.place(discounts=[{"code": "TEN", "amount_minor": amount_minor}])

        findings = (await shop.order(order_id)).get("findings", [])
        assert [(one["kind"], one.get("expected_minor")) for one in findings] == ([] if found is None else [found])
        assert all(one["code"] == "TEN" and one["offered_minor"] == amount_minor for one in findings)

    async def test_are_demanded_by_a_channel_that_refuses(self, database: FreshDatabase) -> None:
        async with Shop.open(database, price_policy={"on_mismatch": "refuse"}) as shop:
            response = await shop.post("/orders", an_order(**CHARGES))

            assert response.status_code == 422
            assert "TEN: promotion-unknown, 440 minor units of GBP offered" in response.json()["detail"]
            await put(shop, "TEN", promotion())
            assert (await shop.post("/orders", an_order(**CHARGES))).status_code == 201
            wrong_tax = {**CHARGES, "taxes": [{**CHARGES["taxes"][0], "amount_minor": 891}]}
            response = await shop.post("/orders", an_order(**wrong_tax))
            assert "standard: tax-mismatch, 892 expected, 891 minor units of GBP offered" in response.json()["detail"]
