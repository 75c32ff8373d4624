"""What a broken or malicious warehouse may send: every row is answered by itself, and nothing else is harmed."""

import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from libs.common.events.inventory import GoodsReceived
from libs.common.http.ndjson import BULK_ERRORS_MAX
from tests.integration.inventory.shop import Shop, client_of
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, NOON, adjusted, counted, envelope, minutes, picked, received

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shop, scopes={"stock:write"}) as client:
        yield client


def an_event(**changes: Any) -> dict[str, Any]:
    event = {
        "id": str(uuid4()),
        "type": "goods.received",
        "sku": ARMCHAIR,
        "warehouse": "LON",
        "occurred_at": NOON.isoformat(),
        "quantity": 1,
    }
    return {name: value for name, value in (event | changes).items() if value is not None}


def raw(**changes: str) -> bytes:
    """Return an event as JSON in which some values are written as given."""
    parts = {name: json.dumps(value) for name, value in an_event().items()} | changes
    return ("{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}").encode()


HOSTILE = {
    "unknown warehouse": (raw(warehouse='"NOWHERE"'), "warehouse"),
    "negative quantity": (raw(quantity="-1"), "quantity"),
    "nothing": (raw(quantity="0"), "quantity"),
    "too many units": (raw(quantity="1000000001"), "quantity"),
    "2^63": (raw(quantity=str(2**63)), "quantity"),
    "more digits than anyone counts": (raw(quantity="9" * 5000), None),
    "1e400": (raw(quantity="1e400"), None),
    "a fraction": (raw(quantity="1.5"), "quantity"),
    "NaN": (raw(quantity="NaN"), None),
    "Infinity": (raw(quantity="-Infinity"), None),
    "a number as text": (raw(quantity='"1"'), "quantity"),
    "true": (raw(quantity="true"), "quantity"),
    "null": (raw(quantity="null"), "quantity"),
    "a list": (raw(sku='["a"]'), "sku"),
    "an object": (raw(sku="{}"), "sku"),
    "10,000 characters": (raw(sku=json.dumps("x" * 10_000)), "sku"),
    "no characters": (raw(sku='""'), "sku"),
    "NUL": (raw(sku=r'"a\u0000b"'), "sku"),
    "a raw NUL": (raw(sku='"a\0b"'), None),
    "half a surrogate pair": (raw(sku=r'"\ud800"'), "sku"),
    "the same as bytes": (raw(sku='"ab"').replace(b"ab", b"\xed\xa0\x80"), None),
    "not UTF-8": (raw(sku='"ab"').replace(b"ab", b"\xff\xfe"), None),
    "a text that turns round": (raw(sku=r'"a\u202eb"'), "sku"),
    "a year too late": (raw(occurred_at='"2034-06-01T12:00:00Z"'), "occurred_at"),
    "ten years too early": (raw(occurred_at='"2004-06-01T12:00:00Z"'), "occurred_at"),
    "the year 0": (raw(occurred_at='"0000-01-01T00:00:00Z"'), "occurred_at"),
    "the year 10000": (raw(occurred_at='"10000-01-01T00:00:00Z"'), "occurred_at"),
    "no offset": (raw(occurred_at='"2024-06-01T12:00:00"'), "occurred_at"),
    "a time as a number": (raw(occurred_at="1e300"), "occurred_at"),
    "no UUID": (raw(id='"1"'), "id"),
    "no such type": (raw(type='"goods.stolen"'), "type"),
    "a field nobody knows": (raw(colour='"red"'), "colour"),
    "a cost without currency": (raw(unit_cost_minor="5"), "currency"),
    "a cost beyond reason": (raw(unit_cost_minor=str(2**63), currency='"GBP"'), "unit_cost_minor"),
    "deep nesting": (b'{"sku":' * 5_000 + b"1" + b"}" * 5_000, None),
    "deep lists": (b"[" * 30_000, None),
    "no object": (b"[]", None),
    "a bare word": (b"stock", None),
    "half a row": (b'{"id":"', None),
    "a line of 2 MB": (raw(sku=json.dumps("x" * 2_000_000)), None),
}


class TestRows:
    @pytest.mark.parametrize("name", HOSTILE)
    async def test_that_cannot_be_are_named_and_the_others_applied(
        self, client: httpx.AsyncClient, shop: Shop, name: str
    ) -> None:
        row, field = HOSTILE[name]
        body = b"\n".join([json.dumps(an_event()).encode(), row, json.dumps(an_event()).encode()])

        answer = await client.post("/v1/stock-events", content=body, headers=NDJSON)

        assert answer.status_code == 200, answer.text
        result = answer.json()
        assert (result["accepted"], result["rejected"]) == (2, 1)
        [error] = result["errors"]
        assert error["row"] == 2
        assert error["reason"]
        assert len(error["reason"]) <= 500
        if field is not None:
            assert error["field"] == field
        assert await shop.level(ARMCHAIR) == (2, 0)

    @pytest.mark.parametrize("name", HOSTILE)
    async def test_posted_alone_get_a_problem(self, client: httpx.AsyncClient, shop: Shop, name: str) -> None:
        row, field = HOSTILE[name]

        answer = await client.post("/v1/stock-events", content=row, headers={"Content-Type": "application/json"})
        after = await client.post("/v1/stock-events", json=an_event())

        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.content) < 5_000
        if field is not None and answer.json().get("errors"):
            assert field in answer.json()["errors"][0]["field"]
        assert after.status_code == 201
        assert await shop.level(ARMCHAIR) == (1, 0)

    async def test_of_the_same_id_are_judged_each_by_itself(self, client: httpx.AsyncClient, shop: Shop) -> None:
        good = an_event()
        body = "\n".join(json.dumps(row) for row in (good | {"quantity": -1}, good, good | {"warehouse": "NOWHERE"}))

        result = (await client.post("/v1/stock-events", content=body, headers=NDJSON)).json()

        assert (result["accepted"], [error["row"] for error in result["errors"]]) == (1, [1, 3])
        assert await shop.level(ARMCHAIR) == (1, 0)

    @pytest.mark.parametrize(
        "changes",
        [
            {"quantity": 2},
            {"warehouse": "MAN"},
            {"type": "goods.written-off", "reason": "broken"},
            {"type": "goods.adjusted", "quantity": None, "delta": 1, "reason": "found"},
            {"type": "goods.expected", "reference": "PO-1", "expected_at": NOON.isoformat()},
        ],
        ids=str,
    )
    async def test_under_the_id_of_something_else_are_not_taken_for_it(
        self, client: httpx.AsyncClient, shop: Shop, changes: dict[str, Any]
    ) -> None:
        first = an_event()
        other = {name: value for name, value in (first | changes).items() if value is not None}

        together, after = [
            (await client.post("/v1/stock-events", content="\n".join(map(json.dumps, rows)), headers=NDJSON)).json()
            for rows in ([first, other, first], [other, first])
        ]

        assert (together["accepted"], together["duplicates"], after["duplicates"]) == (1, 1, 1)
        [error], [error_after] = together["errors"], after["errors"]
        assert (error["row"], error["code"], error["field"]) == (2, "event-id-reused", "id")
        assert error_after == error | {"row": 1}
        assert error["reason"] == "Under this id came a receipt of 1 units of CRUNCHY-ARMCHAIR in LON."
        assert await shop.level(ARMCHAIR) == (1, 0)

    async def test_under_the_id_of_another_skus_are_told_whichever_comes_first(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        first = an_event()
        rows = [first, first | {"sku": MIRROR}, first]

        # The rows of two SKUs are applied side by side: either may be the first under the id.
        results = [
            (await client.post("/v1/stock-events", content="\n".join(map(json.dumps, rows)), headers=NDJSON)).json()
            for _ in range(2)
        ]

        is_first_taken = await shop.level(ARMCHAIR) == (1, 0)
        taken, told = (2, 1) if is_first_taken else (1, 2)
        assert await shop.level(MIRROR) == (0 if is_first_taken else 1, 0)
        assert [one["accepted"] for one in results] == [1, 0]
        assert [one["duplicates"] for one in results] == [taken - 1, taken]
        assert [[error["code"] for error in one["errors"]] for one in results] == [["event-id-reused"] * told] * 2

    async def test_under_their_own_id_are_the_same_however_they_are_told(self, shop: Shop) -> None:
        reports = [
            envelope(one)
            for one in (received(9), picked(2), adjusted(-1), counted(5, when=minutes(5)), counted(5, when=minutes(3)))
        ]
        await shop.reports(*reports)

        # Late, and at another time, as a warehouse tells what somebody has entered by hand.
        told = [msgspec.structs.replace(one.event, occurred_at=NOON) for one in reports]
        await shop.reports(*(envelope(event, event_id=one.id) for event, one in zip(told, reports, strict=True)))

        assert not shop.refusals
        assert await shop.level(ARMCHAIR) == (5, 0)

    async def test_with_a_key_twice_mean_the_last_one(self, client: httpx.AsyncClient, shop: Shop) -> None:
        row = raw()[:-1] + b',"quantity":3}'

        answer = await client.post("/v1/stock-events", content=row, headers={"Content-Type": "application/json"})

        assert answer.status_code in {201, 400, 422}
        assert await shop.level(ARMCHAIR) == ((3, 0) if answer.status_code == 201 else (0, 0))

    async def test_may_be_blank_or_begin_with_a_byte_order_mark(self, client: httpx.AsyncClient, shop: Shop) -> None:
        body = b"\xef\xbb\xbf" + raw() + b"\r\n\r\n   \n" + raw() + b"\n\n"

        result = (await client.post("/v1/stock-events", content=body, headers=NDJSON)).json()

        assert (result["accepted"], result["rejected"]) == (2, 0)
        assert await shop.level(ARMCHAIR) == (2, 0)


class TestUploads:
    async def test_of_very_many_rows_take_no_more_memory_and_are_answered_in_brief(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        rows = 40_000
        bad = b'{"sku":1}\n' * 1_000

        async def body() -> AsyncIterator[bytes]:
            yield raw() + b"\n"
            for _ in range(rows // 1_000):
                yield bad
            yield raw() + b"\n"

        tracemalloc.start()
        try:
            answer = await client.post("/v1/stock-events", content=body(), headers=NDJSON)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        result = answer.json()
        assert (result["accepted"], result["rejected"], len(result["errors"])) == (2, rows, BULK_ERRORS_MAX)
        assert [error["row"] for error in result["errors"]] == list(range(2, BULK_ERRORS_MAX + 2))
        assert len(answer.content) < 150 * BULK_ERRORS_MAX
        assert peak_bytes < 20_000_000
        assert await shop.level(ARMCHAIR) == (2, 0)


class TestKafka:
    @pytest.mark.parametrize(
        "event",
        [
            received(1, at="NOWHERE"),
            received(-1),
            received(2**63),
            picked(0),
            adjusted(-(2**63)),
            counted(-1),
            received(1, "a\0b"),
            received(1, "\ud800"),
            received(1, "x" * 10_000),
            received(1, ""),
            received(1, when=NOON.replace(year=2004)),
            received(1, when=NOON.replace(year=2034)),
            received(1, when=NOON.replace(tzinfo=None)),
            GoodsReceived(
                sku=ARMCHAIR, warehouse="LON", occurred_at=NOON, quantity=1, unit_cost_minor=-1, currency="GBP"
            ),
        ],
        ids=repr,
    )
    async def test_refuses_what_cannot_be_and_applies_the_rest(self, shop: Shop, event: Any) -> None:
        batch = await shop.reports(received(1), event, received(1))

        assert await shop.level(ARMCHAIR) == (2, 0)
        [(event_id, reason)] = shop.refusals.items()
        assert event_id == batch[1].id
        assert reason
