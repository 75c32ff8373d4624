"""What the replay sends, and that it sends the same again."""

import json
from collections import Counter

from bench.replay.matching import GoodsBack
from bench.replay.payloads import (
    behaviour_event,
    idempotency_key,
    ndjson,
    order_body,
    payment_token,
    product_row,
    receipt_body,
    stock_event,
)
from bench.replay.timeline import Script

KEY_CHARACTERS_MAX = 255


class TestIdempotencyKey:
    def test_is_as_promised(self) -> None:
        assert idempotency_key("online-retail-1", "536365") == "replay-online-retail-1-536365"

    def test_is_different_for_every_order(self, script: Script) -> None:
        keys = {idempotency_key(script.dataset, sale.invoice) for sale in script.sales}

        assert len(keys) == len(script.sales)
        assert max(map(len, keys)) <= KEY_CHARACTERS_MAX


class TestStockEvent:
    def test_has_an_id_of_its_own_that_stays(self, script: Script) -> None:
        deliveries = (*script.supply.opening, *script.supply.later)

        ids = [stock_event("sample", delivery)["id"] for delivery in deliveries]

        assert len(set(ids)) == len(ids)
        assert stock_event("sample", deliveries[0])["id"] == ids[0]
        assert stock_event("other", deliveries[0])["id"] != ids[0]

    def test_says_that_it_is_derived(self, script: Script) -> None:
        assert stock_event("sample", script.supply.opening[0])["reference"].startswith("derived-")


class TestBehaviourEvent:
    def test_says_that_it_is_derived(self, script: Script) -> None:
        events = [behaviour_event("sample", view) for view in script.views]

        assert all(event["is_derived"] is True for event in events)
        assert len({event["id"] for event in events}) == len(events)


class TestOrderBody:
    def test_carries_the_lines_as_they_were_bought(self, script: Script) -> None:
        sale = script.sales[0]

        body = order_body("sample", sale)

        assert [(line["sku"], line["quantity"], line["unit_price_minor"]) for line in body["lines"]] == [
            (line.sku, line.quantity, line.unit_price_minor) for line in sale.lines
        ]
        assert body["placed_at"] == "2011-05-01T09:51:00+00:00"
        assert body["reference"] == f"sample/{sale.invoice}"

    def test_names_no_address(self, script: Script) -> None:
        assert set(order_body("sample", script.sales[0])["ship_to"]) == {"country", "latitude", "longitude"}


class TestPaymentToken:
    def test_lets_a_few_payments_go_wrong(self, script: Script) -> None:
        tokens = Counter(payment_token("sample", sale) for sale in script.sales)

        assert set(tokens) == {"tok_ok", "tok_declined", "tok_timeout", "tok_late", "tok_capture_timeout"}
        assert tokens["tok_ok"] > len(script.sales) * 0.95


class TestReceiptBody:
    def test_restocks_all_of_a_sku_or_nothing(self, script: Script) -> None:
        def restocked(back: GoodsBack) -> list[tuple[int, int]]:
            lines = receipt_body("sample", back, warehouse="LON")["lines"]
            return [(line["restock_quantity"], line["quantity"]) for line in lines]

        pairs = [pair for back in script.matching.goods_back for pair in restocked(back)]
        assert all(restock in {0, quantity} for restock, quantity in pairs)
        assert 0 < sum(restock == 0 for restock, _ in pairs) < len(pairs) / 4


class TestNdjson:
    def test_writes_one_object_a_line(self, script: Script) -> None:
        rows = list(map(product_row, script.products[:3]))

        lines = ndjson(rows).decode().splitlines()

        assert [json.loads(line) for line in lines] == rows
