"""What is read at once is read as the model reads it, and written as the model writes it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.orders.api.quick_order import QuickOrder, content_of, read_order
from services.orders.api.schemas import PlaceOrderRequest

USUAL: dict[str, Any] = {
    "customer_id": "c-1",
    "channel": "bazaar",
    "reference": "b-1",
    "currency": "GBP",
    "lines": [{"sku": "A", "quantity": 2, "unit_price_minor": 250}, {"sku": "B", "quantity": 1, "unit_price_minor": 0}],
    "ship_to": {"country": "GB", "name": "Zoë", "address_lines": ["1 Quay"], "latitude": 51.5, "longitude": -0.1},
    "payment": {"token": "tok_ok"},
    "placed_at": "2011-06-01T10:00:00.5+01:00",
}
TEXTS = [
    "",
    "web",
    "card",
    "x" * 64,
    "x" * 65,
    "é" * 64,
    "a\n",
    "a\x7f",
    "\x00",
    'a"b',
    "a\\b",
    "😀",
    " ",
    "GB",
    "EUR",
    "replacement",
]
NUMBERS = [
    -1,
    0,
    1,
    10_000,
    10_001,
    10**6,
    10**6 + 1,
    10**12,
    2**53,
    10**30,
    1.0,
    1.5,
    -90.0,
    90,
    180.0,
    1e-7,
    True,
    "1",
]
TIMES = [
    "2011-06-01",
    "2011-06-01T10:00:00",
    "2011-06-01T10:00:00Z",
    "2011-06-01t10:00:00.123456-03:30",
    "2011-06-01 10:00:00.9999999Z",
    "2011-06-01T10:00:00.1234567Z",
    "2011-06-01T10:00Z",
    "2011-06-01T23:59:60Z",
    "2011-06-01T10:00:00+23:59",
    1_300_000_000,
]
PLACES = [
    *((name,) for name in (*PlaceOrderRequest.model_fields, "shape")),
    *(("lines", 0, name) for name in ("sku", "quantity", "unit_price_minor", "colour")),
    *(
        ("ship_to", name)
        for name in ("country", "name", "address_lines", "city", "postal_code", "latitude", "longitude", "door")
    ),
    *(("payment", name) for name in ("token", "method", "billing_country")),
]
values = st.sampled_from([*TEXTS, *NUMBERS, *TIMES, None, [], {}, ["x"] * 6, ["x" * 201], "cancel", False])


@given(st.lists(st.tuples(st.sampled_from(PLACES), values), max_size=3))
@example([(("channel",), "web"), (("payment", "method"), "card")])
@example([(("is_split_allowed",), True), (("ship_to", "address_lines"), []), (("total_minor",), 500)])
@example([(("placed_at",), "2011-06-01T10:00:00.9999999Z")])
@example([(("currency",), "ZZZ")])
@example([(("currency",), "JPY")])
@example([(("ship_to", "latitude"), None)])
def test_reads_and_writes_what_the_model_does(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    body = json.loads(json.dumps(USUAL))
    for (*way, name), value in changes:
        part = body
        for step in way:
            part = part[step] if isinstance(part, list) or step in part else {}
            if not isinstance(part, dict | list) or not part:
                break
        if isinstance(part, dict):
            part[name] = value
    line = json.dumps(body, ensure_ascii=False).encode()

    quick = read_order(line)

    if quick is not None:
        model = PlaceOrderRequest.model_validate_json(line)
        assert content_of(quick).decode() == model.model_dump_json(exclude_defaults=True)
        for field in PlaceOrderRequest.model_fields:
            assert hasattr(quick, field), field


def test_reads_the_usual() -> None:
    assert isinstance(read_order(json.dumps(USUAL, ensure_ascii=False).encode()), QuickOrder)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"customer_id": "\xff"}',
        json.dumps(USUAL).encode() + b"}",
        json.dumps({**USUAL, "customer_id": "a\u0001"}).encode(),
        json.dumps({**USUAL, "customer_id": "a\u007f"}, ensure_ascii=False).encode(),
        json.dumps({**USUAL, "lines": [{"sku": "A", "quantity": 1.5, "unit_price_minor": 1}]}).encode(),
        json.dumps({**USUAL, "ship_to": {"country": "GB", "latitude": 1.0}}).encode(),
        json.dumps({**USUAL, "channel": "replacement"}).encode(),
    ],
)
def test_leaves_what_is_wrong_to_the_model(line: bytes) -> None:
    assert read_order(line) is None
    with pytest.raises(ValidationError):
        PlaceOrderRequest.model_validate_json(line)
