from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from libs.common.events.base import Envelope
from services.inventory.domain.counts import CountLimits
from services.inventory.handlers.audit import Drift
from tests.integration.inventory.shop import Shop, client_of
from tests.support.postgres import FreshDatabase
from tests.unit.inventory.builders import ARMCHAIR, approved, counted, envelope, minutes, picked, received


@pytest.fixture
async def shop(database: FreshDatabase) -> Shop:
    return replace(await Shop.open(database), count_limits=CountLimits(units=2, value_minor=1_000))


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shop, scopes=["stock:read", "stock:write", "counts:approve"]) as client:
        yield client


async def hold(shop: Shop, units: int = 3, *, minute: float = 10) -> Envelope:
    """Report a count that is held back, of what is ten units by the ledger unless it was changed."""
    count = envelope(counted(units, when=minutes(minute)))
    await shop.reports(count)
    return count


async def decide(
    client: httpx.AsyncClient, count: Envelope, verdict: str = "approve", **headers: str
) -> httpx.Response:
    return await client.post(
        f"/v1/counts/{count.id}/{verdict}",
        json={"reason": "recounted by two"},
        headers={"Idempotency-Key": str(uuid4()), **headers},
    )


class TestHolding:
    async def test_leaves_the_level_as_it_is(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))

        count = await hold(shop)

        assert await shop.level(ARMCHAIR) == (10, 0)
        [waiting] = (await client.get("/v1/counts", params={"status": "pending"})).json()["items"]
        assert waiting["id"] == str(count.id)
        assert (waiting["expected"], waiting["counted"], waiting["discrepancy"]) == (10, 3, -7)
        assert waiting["held_because"] == "7 units are more than the limit of 2"

    async def test_is_not_for_small_discrepancies(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10), counted(9, when=minutes(10)))

        assert await shop.level(ARMCHAIR) == (9, 0)
        assert (await client.get("/v1/counts")).json()["items"] == []

    async def test_goes_by_value_where_the_cost_is_known(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10, unit_cost_minor=400), received(10, unit_cost_minor=800))

        await shop.reports(counted(18, when=minutes(10)))

        [waiting] = (await client.get("/v1/counts")).json()["items"]
        assert (waiting["value_minor"], waiting["currency"]) == (-1_200, "GBP")
        assert await shop.level(ARMCHAIR) == (20, 0)

    async def test_happens_once_however_often_it_is_reported(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)

        row = {
            "id": str(count.id),
            "type": "goods.counted",
            "sku": ARMCHAIR,
            "warehouse": "LON",
            "occurred_at": minutes(10).isoformat(),
            "counted": 3,
        }
        again = await client.post("/v1/stock-events", json=row)

        assert again.json()["status"] == "duplicate"
        assert len((await client.get("/v1/counts")).json()["items"]) == 1

    async def test_leaves_its_reason_as_a_decision(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)

        [decision] = (await client.get("/v1/decisions", params={"subject": f"count:{count.id}"})).json()["items"]

        assert (decision["decision"], decision["inputs"]["expected"]) == ("hold-count", 10)


class TestApproval:
    async def test_books_the_count_at_its_own_time(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)
        # One from before the count, which has seen it, and one from after it.
        await shop.reports(picked(1, when=minutes(5)), picked(2, when=minutes(20)))

        answer = await decide(client, count)

        assert answer.status_code == 200
        assert answer.json()["booked_units"] == -6
        assert (answer.json()["status"], answer.json()["decided_by"]) == ("approved", "caller")
        assert await shop.level(ARMCHAIR) == (1, 0)
        assert await shop.drift() == Drift(0, 0)
        [booked] = await shop.rows("SELECT * FROM stock_movements WHERE event_id = $1 AND leg = 1", count.id)
        assert (booked["kind"], booked["delta_on_hand"], booked["reason"]) == ("count", -6, "recounted by two")
        assert booked["occurred_at"] == minutes(10)

    async def test_explains_itself_in_the_timeline(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)
        await shop.reports(picked(1, when=minutes(5)))
        path = f"/v1/stock/{ARMCHAIR}/timeline"
        held = (await client.get(path)).json()["items"][-1]

        await decide(client, count)

        assert held["cause"] == {
            "type": "held-count",
            "count_id": str(count.id),
            "reason": None,
            "reference": None,
        }
        items = (await client.get(path)).json()["items"]
        assert [(one["cause"]["type"], one["units"], one["on_hand"]) for one in items] == [
            ("receipt", 10, 10),
            ("pick", -1, 9),
            ("held-count", 0, 9),
            ("count", -6, 3),
        ]
        assert items[-1]["cause"] == {
            "type": "count",
            "counted": 3,
            "expected": 9,
            "count_id": str(count.id),
            "reason": "recounted by two",
            "reference": None,
        }

    async def test_takes_back_what_is_held_and_not_there(self, shop: Shop, client: httpx.AsyncClient) -> None:
        order_id = uuid4()
        await shop.reports(received(10))
        await shop.orders(approved((ARMCHAIR, 5), order_id=order_id))
        count = await hold(shop)
        assert await shop.status(order_id) == "held"

        await decide(client, count)

        assert await shop.status(order_id) == "waiting"
        assert await shop.level(ARMCHAIR) == (3, 0)

    async def test_serves_who_waits_for_what_was_found(self, shop: Shop, client: httpx.AsyncClient) -> None:
        order_id = uuid4()
        await shop.orders(approved((ARMCHAIR, 5), order_id=order_id))
        count = await hold(shop, 7)

        await decide(client, count)

        assert await shop.status(order_id) == "held"

    async def test_is_given_once(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)
        key = {"Idempotency-Key": "monday"}

        first, again, other = [await decide(client, count, **headers) for headers in (key, key, {})]

        assert first.json() == again.json()
        assert (again.headers["Idempotent-Replayed"], other.status_code) == ("true", 409)
        assert other.json()["code"] == "count-decided"
        assert await shop.level(ARMCHAIR) == (3, 0)

    async def test_needs_its_own_scope(self, shop: Shop) -> None:
        await shop.reports(received(10))
        count = await hold(shop)

        async with client_of(shop, scopes=["stock:*"]) as warehouse:
            refused = await decide(warehouse, count)

        assert refused.status_code == 403
        assert await shop.level(ARMCHAIR) == (10, 0)

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 201}, {"reason": 1}, {"why": "x"}])
    async def test_needs_a_reason(self, client: httpx.AsyncClient, body: dict[str, Any]) -> None:
        refused = await client.post(f"/v1/counts/{UUID(int=1)}/approve", json=body, headers={"Idempotency-Key": "k"})

        assert refused.status_code == 422

    async def test_of_what_is_not_there_is_refused(self, client: httpx.AsyncClient) -> None:
        refused = await decide(client, envelope(counted(1)))

        assert (refused.status_code, refused.json()["code"]) == (404, "count-not-found")


class TestRejection:
    async def test_leaves_the_ledger_as_it_is(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)

        answer = await decide(client, count, "reject")

        assert (answer.json()["status"], answer.json()["booked_units"]) == ("rejected", None)
        assert await shop.level(ARMCHAIR) == (10, 0)


class TestLapsing:
    async def test_is_what_a_later_count_does(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)

        await shop.reports(counted(9, when=minutes(30)))

        assert (await client.get(f"/v1/counts/{count.id}")).json()["status"] == "lapsed"
        assert (await decide(client, count)).status_code == 409
        assert await shop.level(ARMCHAIR) == (9, 0)

    async def test_is_what_an_approval_of_a_later_count_does(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        earlier, later = await hold(shop, 3, minute=10), await hold(shop, 4, minute=20)

        await decide(client, later)

        assert (await client.get(f"/v1/counts/{earlier.id}")).json()["status"] == "lapsed"
        assert await shop.level(ARMCHAIR) == (4, 0)

    async def test_spares_a_count_that_was_taken_later(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(10))
        count = await hold(shop)

        await shop.reports(counted(9, when=minutes(5)))
        await decide(client, count)

        assert await shop.level(ARMCHAIR) == (3, 0)
