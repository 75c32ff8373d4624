import json
from collections.abc import AsyncIterator
from datetime import date, timedelta
from uuid import uuid4

import httpx
import pytest

from libs.common.clock import FixedClock
from libs.common.events.inventory import StockLevelChanged
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.lots import block_expired_lots
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.shop import Shop, client_of
from tests.unit.inventory.builders import (
    ARMCHAIR,
    MIRROR,
    NOON,
    approved,
    counted,
    dispatched,
    envelope,
    minutes,
    picked,
    received,
    written_off,
)


def day(number: int) -> date:
    return NOON.date() + timedelta(days=number)


async def track(shop: Shop, sku: str = ARMCHAIR, *, shelf_life_days_min: int = 0) -> None:
    policy = StockPolicy(tracks_lots=True, shelf_life_days_min=shelf_life_days_min)
    async with shop.database.transaction() as transaction:
        await put_stock_policy(sku, policy, tools=shop.adapters.tools_of(transaction))


async def pass_days(shop: Shop, days: int) -> int:
    """Let days go by, and block what expires; return in how many transactions."""
    shop.clock = FixedClock(NOON + timedelta(days=days))
    for steps in range(100):
        async with shop.database.transaction() as transaction:
            if await block_expired_lots(shop.adapters.tools_of(transaction)) is None:
                return steps
    raise AssertionError("there is no end to it")


async def lots(shop: Shop, sku: str = ARMCHAIR) -> dict[str, tuple[int, bool]]:
    rows = await shop.rows("SELECT lot, units, is_blocked FROM stock_lots WHERE sku = $1 ORDER BY lot", sku)
    return {row["lot"]: (row["units"], row["is_blocked"]) for row in rows}


async def blocked(shop: Shop, sku: str = ARMCHAIR) -> int:
    [row] = await shop.rows("SELECT sum(blocked) AS units FROM stock_levels WHERE sku = $1", sku)
    return int(row["units"])


class TestLots:
    async def test_follow_the_ledger(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(5, lot="B", expires_on=day(30)))

        await shop.reports(picked(6, when=minutes(1)), counted(3, when=minutes(2)))

        assert await lots(shop) == {"B": (3, False)}

    async def test_are_the_same_in_whatever_order_reports_come(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(picked(2, when=minutes(10)))
        await shop.reports(counted(8, when=minutes(20)))
        await shop.reports(received(5, lot="B", expires_on=day(30), when=minutes(1)))

        await shop.reports(received(5, lot="A", expires_on=day(3), when=minutes(2)))

        assert await lots(shop) == {"A": (3, False), "B": (5, False)}

    async def test_are_required_of_what_arrives(self, shop: Shop) -> None:
        await track(shop)
        bad, good = envelope(received(5)), envelope(received(5, lot="A", expires_on=day(3)))

        await shop.reports(bad, good)

        assert shop.refusals == {bad.id: "lot: Units of this SKU arrive with their lot and the day it expires."}
        assert await shop.level(ARMCHAIR) == (5, 0)

    async def test_are_not_kept_of_skus_that_do_not_track_them(self, shop: Shop) -> None:
        await shop.reports(received(5, lot="A", expires_on=day(-3)))

        assert await lots(shop) == {}
        assert await blocked(shop) == 0

    async def test_of_before_are_known_once_a_sku_tracks_them(self, shop: Shop) -> None:
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(2))

        await track(shop)

        assert await lots(shop) == {"": (2, False), "A": (5, False)}

    async def test_leave_with_the_parcel_they_were_packed_into(self, shop: Shop) -> None:
        order_id = uuid4()
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(5, lot="B", expires_on=day(30)))
        await shop.orders(approved((ARMCHAIR, 2), order_id=order_id))
        await shop.reports(picked(2, when=minutes(1), order_id=order_id, lot="B"))

        await shop.orders(dispatched(order_id, (ARMCHAIR, 2), when=minutes(2)))

        assert await lots(shop) == {"A": (5, False), "B": (3, False)}


class TestExpiry:
    async def test_blocks_units_that_are_not_promised_any_more(self, shop: Shop) -> None:
        await track(shop, shelf_life_days_min=2)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(4, lot="B", expires_on=day(30)))

        assert await pass_days(shop, 1) == 0
        assert await pass_days(shop, 2) == 1

        assert await lots(shop) == {"A": (5, True), "B": (4, False)}
        [level] = (await shop.announced(StockLevelChanged))[-1].levels
        assert (level.on_hand, level.withheld) == (9, 5)
        order = approved((ARMCHAIR, 5))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

    async def test_moves_what_holds_expired_units_to_good_ones(self, shop: Shop) -> None:
        held_here, elsewhere = uuid4(), uuid4()
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)))
        await shop.orders(envelope(approved((ARMCHAIR, 5), order_id=held_here), at=minutes(1)))
        await shop.reports(received(5, at="MAN", lot="B", expires_on=day(30)))

        await pass_days(shop, 4)

        reservation = await shop.reservation(held_here)
        assert reservation is not None
        assert [(line.warehouse, line.quantity) for line in reservation.lines if line.quantity] == [("MAN", 5)]
        await shop.orders(envelope(approved((ARMCHAIR, 1), order_id=elsewhere), at=minutes(2)))
        assert await shop.status(elsewhere) == "waiting"

    async def test_is_over_with_a_write_off(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(received(5, lot="A", expires_on=day(3)), received(4, lot="B", expires_on=day(30)))
        await pass_days(shop, 4)

        await shop.reports(written_off(5, when=shop.clock.now()))

        assert await lots(shop) == {"B": (4, False)}
        assert ("write-off", -5) in await shop.ledger(ARMCHAIR)
        assert (await shop.level(ARMCHAIR), await blocked(shop)) == ((4, 0), 0)

    async def test_of_what_arrives_expired_blocks_it_at_once(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await track(shop)
        await shop.orders(order)

        await shop.reports(received(5, lot="A", expires_on=day(-1)))

        assert await shop.status(order.order_id) == "waiting"

    async def test_follows_the_policy(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await track(shop, shelf_life_days_min=10)
        await shop.reports(received(5, lot="A", expires_on=day(9)))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        await track(shop, shelf_life_days_min=9)

        assert await shop.status(order.order_id) == "held"

    async def test_leaves_other_skus_alone(self, shop: Shop) -> None:
        await track(shop)
        await shop.reports(received(5, MIRROR), received(5, lot="A", expires_on=day(3)))

        await pass_days(shop, 10)

        assert await blocked(shop, MIRROR) == 0


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(shop, scopes=["stock:read", "stock:write", "stock:manage"]) as client:
        yield client


class TestApi:
    async def test_lists_the_lots_of_a_sku(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await client.put(f"/v1/stock/{ARMCHAIR}/policy", json={"tracks_lots": True, "shelf_life_days_min": 10})
        await shop.reports(received(5, lot="B", expires_on=day(30)), received(4, lot="A", expires_on=day(9)))

        answer = await client.get(f"/v1/stock/{ARMCHAIR}/lots")

        assert answer.json()["tracks_lots"]
        assert [
            (one["lot"], one["units"], one["usable_until"], one["is_blocked"]) for one in answer.json()["lots"]
        ] == [
            ("A", 4, day(-1).isoformat(), True),
            ("B", 5, day(20).isoformat(), False),
        ]
        stock = (await client.get(f"/v1/stock/{ARMCHAIR}")).json()
        assert (stock["on_hand"], stock["available"], stock["levels"][0]["blocked"]) == (9, 5, 4)

    async def test_refuses_a_row_without_its_lot_and_takes_the_others(
        self, shop: Shop, client: httpx.AsyncClient
    ) -> None:
        await track(shop)
        rows = [
            {
                "id": str(uuid4()),
                "type": "goods.received",
                "sku": ARMCHAIR,
                "warehouse": "LON",
                "occurred_at": NOON.isoformat(),
                "quantity": 5,
                **lot,
            }
            for lot in ({}, {"lot": "A"}, {"lot": "A", "expires_on": "2024-07-01"})
        ]

        answer = await client.post(
            "/v1/stock-events",
            content="\n".join(json.dumps(row) for row in rows),
            headers={"Content-Type": "application/x-ndjson"},
        )

        assert (answer.json()["accepted"], answer.json()["rejected"]) == (1, 2)
        assert [(one["row"], one["code"], one["field"]) for one in answer.json()["errors"]] == [
            (1, "lot-missing", "lot"),
            (2, "lot-missing", "expires_on"),
        ]

    async def test_says_which_lots_to_take_for_an_order(self, shop: Shop, client: httpx.AsyncClient) -> None:
        first, second = uuid4(), uuid4()
        await track(shop)
        await shop.reports(
            received(3, lot="A", expires_on=day(3)), received(9, lot="B", expires_on=day(30)), received(5, MIRROR)
        )
        await shop.orders(
            envelope(approved((ARMCHAIR, 2), order_id=first), at=minutes(1)),
            envelope(approved((ARMCHAIR, 2), (MIRROR, 1), order_id=second), at=minutes(2)),
        )

        picks = (await client.get(f"/v1/reservations/{second}/picks")).json()["picks"]

        assert [(one["sku"], one["lot"], one["quantity"]) for one in picks] == [
            (ARMCHAIR, "A", 1),
            (ARMCHAIR, "B", 1),
            (MIRROR, None, 1),
        ]

    async def test_knows_no_lots_of_what_it_never_heard_of(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/stock/NOTHING/lots")).status_code == 404
        assert (await client.get(f"/v1/reservations/{uuid4()}/picks")).status_code == 404
