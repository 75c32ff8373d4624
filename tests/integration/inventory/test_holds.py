import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from libs.common.events.inventory import (
    StockBackordered,
    StockCommitted,
    StockHeld,
    StockHoldExtended,
    StockPartlyReserved,
    StockReleased,
    StockReserved,
)
from libs.common.events.orders import OrderApproved
from libs.common.events.shapes import Allocation, SkuQuantity
from services.inventory.domain.holds import ANYWHERE, HoldPolicies, HoldPolicy
from services.inventory.handlers.holds import (
    CommitHold,
    CommitLine,
    ExtendHold,
    HoldCommand,
    PlaceHold,
    ReleaseHold,
    apply_hold_commands,
    expire_holds,
)
from tests.integration.inventory.conftest import KEYS
from tests.integration.inventory.shop import Shop, open_api
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    MIRROR,
    NOON,
    adjusted,
    approved,
    cancelled,
    dispatched,
    envelope,
    expected,
    minutes,
    received,
)

TOMORROW = NOON + timedelta(days=1)
LATER = NOON + timedelta(days=2)
POLICIES = HoldPolicies({"till": HoldPolicy(ttl_seconds_default=60, ttl_seconds_max=120, lifetime_seconds_max=200,
                                            units_per_sku_max=5, modes=frozenset({"all-or-nothing"}))})  # fmt: skip


class TestPlacing:
    async def test_holds_units_where_they_are(self, shop: Shop) -> None:
        await shop.reports(received(2), received(1, at="MAN"))

        hold = await _hold(shop, (ARMCHAIR, 3))

        assert await shop.level(ARMCHAIR) == (2, 2)
        assert await shop.level(ARMCHAIR, "MAN") == (1, 1)
        [event] = await shop.announced(StockHeld)
        assert (event.order_id, event.channel, event.expires_at) == (hold, "web", minutes(15))

    async def test_holds_all_or_nothing_and_leaves_no_trace_of_nothing(self, shop: Shop) -> None:
        await shop.reports(received(2))

        refusal = await _do(shop, _place(uuid4(), (ARMCHAIR, 3)))

        assert refusal.code == "insufficient-stock"
        assert [(one.sku, one.requested, one.available) for one in refusal.shortages] == [(ARMCHAIR, 3, 2)]
        assert await shop.level(ARMCHAIR) == (2, 0)
        assert await shop.rows("SELECT 1 FROM reservations") == []

    async def test_holds_what_there_is_with_best_effort_and_does_not_wait(self, shop: Shop) -> None:
        await shop.reports(received(2), received(1, MIRROR))

        state = await _do(shop, _place(uuid4(), (ARMCHAIR, 3), (MIRROR, 1), (LAMP, 1), mode="best-effort"))
        await shop.reports(received(9))

        assert state.status == "held"
        assert Counter({one.sku: one.quantity for one in state.held}) == {ARMCHAIR: 2, MIRROR: 1}
        assert [(one.sku, one.requested, one.available) for one in state.shortages] == [(ARMCHAIR, 3, 2), (LAMP, 1, 0)]
        assert await shop.level(ARMCHAIR) == (11, 2)

    async def test_takes_one_warehouse_only_if_it_must_not_be_split(self, shop: Shop) -> None:
        await shop.reports(received(1), received(2, at="MAN"))

        state = await _do(shop, _place(uuid4(), (ARMCHAIR, 3), mode="best-effort", is_split_allowed=False))

        assert [(one.warehouse, one.quantity) for one in state.held] == [("MAN", 2)]

    async def test_serves_who_waits_first(self, shop: Shop) -> None:
        held, waiting = await _held(shop, (ARMCHAIR, 1), stock=1), approved()
        await shop.orders(envelope(waiting, at=minutes(-1)))

        *_, late = await _do_all(shop, ReleaseHold(reservation_id=held), _place(uuid4(), (ARMCHAIR, 1)))

        assert late.code == "insufficient-stock"
        assert await shop.status(waiting.order_id) == "held"

    async def test_of_a_known_id_is_refused(self, shop: Shop) -> None:
        held = await _held(shop, (ARMCHAIR, 1), stock=5)
        order, called_off = approved(), uuid4()
        await shop.orders(order, cancelled(called_off))

        for known in (held, order.order_id, called_off):
            assert (await _do(shop, _place(known, (ARMCHAIR, 1)))).code == "reservation-exists"
        assert await shop.level(ARMCHAIR) == (5, 2)


class TestPolicy:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"wanted": {ARMCHAIR: 6}}, "/lines"),
            ({"mode": "best-effort"}, "/mode"),
            ({"ttl_seconds": 121}, "/ttl_seconds"),
        ],
    )
    async def test_of_a_channel_limits_what_it_holds(self, shop: Shop, changes: dict[str, Any], field: str) -> None:
        await shop.reports(received(9))
        allowed = _place(uuid4(), (ARMCHAIR, 1), channel="till")

        refusal = await _do(shop, replace(allowed, **changes))

        assert (refusal.code, refusal.field) == ("hold-against-policy", field)

    async def test_limits_how_long_a_hold_can_be_extended(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 1), stock=1, channel="till")

        shop.clock.advance(timedelta(seconds=50))
        extended = await _do(shop, ExtendHold(reservation_id=hold, ttl_seconds=120))
        again = await _do(shop, ExtendHold(reservation_id=hold, ttl_seconds=120))
        shop.clock.advance(timedelta(seconds=40))
        too_long = await _do(shop, ExtendHold(reservation_id=hold, ttl_seconds=120))
        shorter = await _do(shop, ExtendHold(reservation_id=hold, ttl_seconds=1))

        assert extended.expires_at == again.expires_at == shorter.expires_at == NOON + timedelta(seconds=170)
        assert too_long.code == "hold-lifetime-exceeded"
        assert len(await shop.announced(StockHoldExtended)) == 1


class TestExpiry:
    async def test_frees_the_units_for_who_waits(self, shop: Shop) -> None:
        hold, waiting = await _held(shop, (ARMCHAIR, 2), stock=2), approved((ARMCHAIR, 2))
        await shop.orders(waiting)

        assert await _expire(shop) == 0
        shop.clock.advance(timedelta(minutes=15))
        assert await _expire(shop) == 1

        assert await shop.status(hold) == "released"
        assert await shop.status(waiting.order_id) == "held"
        [event] = await shop.announced(StockReleased)
        assert (event.reason, event.allocations) == ("expired", [Allocation(warehouse="LON", sku=ARMCHAIR, quantity=2)])

    async def test_spares_what_was_extended_committed_released_or_ordered(self, shop: Shop) -> None:
        extended, committed, released, ordered = [await _held(shop, (ARMCHAIR, 1), stock=1) for _ in range(4)]
        await _do_all(
            shop,
            ExtendHold(reservation_id=extended, ttl_seconds=1800),
            CommitHold(reservation_id=committed),
            ReleaseHold(reservation_id=released),
        )
        await shop.orders(approved(order_id=ordered))

        shop.clock.advance(timedelta(minutes=20))

        assert await _expire(shop) == 0
        assert await shop.level(ARMCHAIR) == (3, 2)

    async def test_is_noticed_by_whoever_is_too_late_and_frees_the_units_at_once(self, shop: Shop) -> None:
        hold, waiting = await _held(shop, (ARMCHAIR, 1), stock=1), approved()
        await shop.orders(waiting)
        shop.clock.advance(timedelta(minutes=15))

        refusals = [
            await _do(shop, command) for command in (ExtendHold(reservation_id=hold), CommitHold(reservation_id=hold))
        ]

        assert [one.code for one in refusals] == ["hold-expired"] * 2
        assert await shop.status(waiting.order_id) == "held"

    async def test_and_a_late_order_have_one_winner(self, shop: Shop) -> None:
        for _ in range(10):
            hold, rival = await _held(shop, (ARMCHAIR, 1), stock=1), approved()
            await shop.orders(rival)
            shop.clock.advance(timedelta(minutes=16))
            order = approved(order_id=uuid4(), hold_id=hold)

            await asyncio.gather(shop.orders(order), _expire(shop), _expire(shop))

            statuses = [await shop.status(one.order_id) for one in (order, rival)]
            assert sorted(str(one) for one in statuses) == ["held", "waiting"]
            assert await shop.drift() == (0, 0)
            await shop.orders(cancelled(rival.order_id), cancelled(order.order_id))
            await shop.reports(adjusted(-1))

    async def test_takes_many_at_a_time(self, shop: Shop) -> None:
        await shop.reports(received(30))
        await _do_all(shop, *(_place(uuid4(), (ARMCHAIR, 1)) for _ in range(30)))
        shop.clock.advance(timedelta(hours=1))

        await asyncio.gather(_expire(shop), _expire(shop), _expire(shop))

        assert await shop.level(ARMCHAIR) == (30, 0)
        assert len(await shop.announced(StockReleased)) == 30


class TestRelease:
    async def test_is_final_and_may_be_said_again(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 1), stock=1)

        first = await _do(shop, ReleaseHold(reservation_id=hold))
        second = await _do(shop, ReleaseHold(reservation_id=hold))
        commit = await _do(shop, CommitHold(reservation_id=hold))

        assert (first.status, second.status, commit.code) == ("released", "released", "hold-ended")
        assert await shop.fates(hold) == ["stock.held", "stock.released"]
        assert await shop.level(ARMCHAIR) == (1, 0)

    async def test_of_what_nobody_held_or_an_order_holds_is_refused(self, shop: Shop) -> None:
        await shop.reports(received(1))
        order = approved()
        await shop.orders(order)

        assert (await _do(shop, ReleaseHold(reservation_id=uuid4()))).code == "reservation-not-found"
        assert (await _do(shop, ReleaseHold(reservation_id=order.order_id))).code == "not-a-hold"
        assert await shop.status(order.order_id) == "held"


class TestCommit:
    async def test_takes_the_units_out_of_their_warehouses(self, shop: Shop) -> None:
        await shop.reports(received(2), received(1, at="MAN"))
        hold = await _hold(shop, (ARMCHAIR, 3))

        state = await _do(shop, CommitHold(reservation_id=hold))

        assert state.status == "committed"
        assert await shop.level(ARMCHAIR) == await shop.level(ARMCHAIR, "MAN") == (0, 0)
        assert await shop.ledger(ARMCHAIR) == [("receipt", 2), ("ship", -2)]
        assert {one.warehouse for one in await shop.announced(StockCommitted)} == {"LON", "MAN"}

    async def test_of_a_part_leaves_the_rest_held(self, shop: Shop) -> None:
        await shop.reports(received(2), received(1, at="MAN"), received(1, MIRROR))
        hold = await _hold(shop, (ARMCHAIR, 3), (MIRROR, 1))

        state = await _do(shop, CommitHold(reservation_id=hold, lines=_lines((ARMCHAIR, 1, "MAN"), (ARMCHAIR, 1))))

        assert state.status == "held"
        assert sum(one.quantity for one in state.held) == 2
        assert await shop.level(ARMCHAIR) == (1, 1)
        assert await shop.level(ARMCHAIR, "MAN") == (0, 0)
        assert (await _do(shop, CommitHold(reservation_id=hold))).status == "committed"
        assert (await _do(shop, CommitHold(reservation_id=hold))).code == "hold-ended"

    @pytest.mark.parametrize(
        "lines", [[(ARMCHAIR, 3)], [(ARMCHAIR, 1, "MAN")], [(MIRROR, 1)], [(ARMCHAIR, 1), (ARMCHAIR, 2)]]
    )
    async def test_of_more_than_is_held_takes_nothing(self, shop: Shop, lines: list[Any]) -> None:
        hold = await _held(shop, (ARMCHAIR, 2), stock=9)

        refusal = await _do(shop, CommitHold(reservation_id=hold, lines=_lines(*lines)))

        assert (refusal.code, refusal.field) == ("commit-exceeds-hold", f"/lines/{len(lines) - 1}/quantity")
        assert await shop.level(ARMCHAIR) == (9, 2)


class TestUnitsThatVanish:
    async def test_are_taken_from_elsewhere_if_they_can(self, shop: Shop) -> None:
        await shop.reports(received(2), received(2, at="MAN"))
        hold = await _hold(shop, (ARMCHAIR, 2))

        await shop.reports(adjusted(-1))

        assert await shop.level(ARMCHAIR) == (1, 1)
        assert await shop.level(ARMCHAIR, "MAN") == (2, 1)
        assert await shop.fates(hold) == ["stock.held", "stock.held"]

    async def test_are_lost_to_the_hold_which_never_waits(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 2), stock=2)

        await shop.reports(adjusted(-1))
        await shop.reports(received(5))
        assert await shop.level(ARMCHAIR) == (6, 1)
        await shop.reports(adjusted(-6))

        assert await shop.status(hold) == "released"
        assert await shop.level(ARMCHAIR) == (0, 0)


class TestAdoption:
    async def test_gives_the_order_the_units_of_the_hold_though_others_wait(self, shop: Shop) -> None:
        hold, waiting = await _held(shop, (ARMCHAIR, 2), stock=2), approved((ARMCHAIR, 1))
        await shop.orders(waiting)
        order = approved((ARMCHAIR, 2), hold_id=hold)

        await shop.orders(envelope(order, at=minutes(9)))

        assert await shop.status(order.order_id) == "held"
        assert await shop.status(waiting.order_id) == "waiting"
        assert await shop.status(hold) == "released"
        [reserved] = await shop.announced(StockReserved)
        assert reserved.allocations == [Allocation(warehouse="LON", sku=ARMCHAIR, quantity=2)]
        assert [one.reason for one in await shop.announced(StockReleased)] == ["adopted"]

    async def test_by_the_same_id_goes_on_with_the_hold(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 2), stock=9)

        await shop.orders(approved((ARMCHAIR, 3), order_id=hold))
        shop.clock.advance(timedelta(hours=9))
        assert await _expire(shop) == 0
        await shop.orders(dispatched(hold, (ARMCHAIR, 3)))

        assert await shop.status(hold) == "committed"
        assert await shop.level(ARMCHAIR) == (6, 0)
        assert await shop.fates(hold) == ["stock.held", "stock.reserved", "stock.committed"]

    @pytest.mark.parametrize("is_same_id", [True, False])
    async def test_lets_go_of_what_the_order_does_not_want(self, shop: Shop, is_same_id: bool) -> None:  # noqa: FBT001
        await shop.reports(received(3), received(1, MIRROR))
        hold, waiting = await _hold(shop, (ARMCHAIR, 3), (MIRROR, 1)), approved()
        await shop.orders(waiting)
        order = _order_of(hold, (ARMCHAIR, 2), is_same_id=is_same_id)

        await shop.orders(order)

        assert await shop.status(waiting.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (3, 3)
        assert await shop.level(MIRROR) == (1, 0)

    @pytest.mark.parametrize("is_same_id", [True, False])
    async def test_keeps_the_units_while_the_rest_is_waited_for(self, shop: Shop, is_same_id: bool) -> None:  # noqa: FBT001
        hold = await _held(shop, (ARMCHAIR, 2), stock=2)
        order = _order_of(hold, (ARMCHAIR, 3), is_same_id=is_same_id)

        await shop.orders(order)
        assert await shop.status(order.order_id) == "partly-held"
        await shop.reports(received(1, at="MAN"))

        assert await shop.status(order.order_id) == "held"
        assert (await shop.fates(order.order_id))[-2:] == ["stock.backordered", "stock.reserved"]
        [reserved] = await shop.announced(StockReserved)
        assert sum(one.quantity for one in reserved.allocations) == 3

    async def test_of_an_order_that_does_not_wait_frees_the_units_if_the_rest_is_short(self, shop: Shop) -> None:
        hold, waiting = await _held(shop, (ARMCHAIR, 2), stock=2), approved((ARMCHAIR, 2))
        await shop.orders(waiting)
        order = approved((ARMCHAIR, 3), hold_id=hold, on_shortage="refuse")

        await shop.orders(order)

        assert await shop.status(order.order_id) == "rejected"
        assert await shop.status(waiting.order_id) == "held"

    async def test_gives_up_what_it_took_over_when_it_is_refused_and_is_explained_once(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 2), stock=2)
        waiting = approved((ARMCHAIR, 1), (MIRROR, 1))
        await shop.orders(waiting)
        await shop.reports(received(1, MIRROR))
        refused = approved((ARMCHAIR, 2), (LAMP, 1), hold_id=hold, on_shortage="refuse")

        # Whoever waits for what it gives up needs SKUs that it does not: all of it begins again.
        await shop.orders(refused)

        assert (await shop.status(refused.order_id), await shop.status(waiting.order_id)) == ("rejected", "held")
        rows = await shop.rows("SELECT 1 FROM decisions WHERE subject = $1", f"order:{refused.order_id}")
        assert len(rows) == 1

    async def test_of_a_hold_that_has_ended_or_is_none_allocates_as_always(self, shop: Shop) -> None:
        expired = await _held(shop, (ARMCHAIR, 1), stock=4)
        shop.clock.advance(timedelta(hours=1))
        await _expire(shop)
        other = approved()
        await shop.orders(other)

        orders = [approved(hold_id=hold_id) for hold_id in (expired, other.order_id, uuid4())]
        await shop.orders(*orders)

        assert [await shop.status(one.order_id) for one in (other, *orders)] == ["held"] * 4
        assert await shop.level(ARMCHAIR) == (4, 4)

    async def test_of_an_expired_hold_by_the_same_id_allocates_as_always(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 1), stock=1)
        shop.clock.advance(timedelta(hours=1))
        await _expire(shop)

        await shop.orders(approved(order_id=hold))

        assert await shop.status(hold) == "held"

    async def test_never_happens_once_the_order_was_called_off(self, shop: Shop) -> None:
        hold = await _held(shop, (ARMCHAIR, 1), stock=1)

        await shop.orders(cancelled(hold))
        await shop.orders(approved(order_id=hold))

        assert await shop.status(hold) == "released"
        assert await shop.level(ARMCHAIR) == (1, 0)


class TestPartialOrder:
    async def test_holds_what_there_is_and_waits_for_the_rest(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), (MIRROR, 1), on_shortage="partial")
        await shop.reports(received(1), received(1, at="MAN"))

        await shop.orders(order)
        assert await shop.status(order.order_id) == "partly-held"
        await shop.reports(received(1, MIRROR))
        await shop.reports(received(9, at="GLA"))

        assert await shop.status(order.order_id) == "held"
        assert await shop.fates(order.order_id) == ["stock.partly-reserved"] * 2 + ["stock.reserved"]
        assert [
            sum(one.quantity for one in event.allocations) for event in await shop.announced(StockPartlyReserved)
        ] == [2, 3]
        [reserved] = await shop.announced(StockReserved)
        assert sum(one.quantity for one in reserved.allocations) == 4

    async def test_of_which_nothing_is_there_waits_like_any_other(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")

        await shop.orders(order)

        assert await shop.status(order.order_id) == "waiting"
        assert await shop.fates(order.order_id) == ["stock.backordered"]

    async def test_in_one_parcel_waits_where_its_first_part_is_held(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial", is_split_allowed=False)
        await shop.reports(received(1), received(2, at="MAN"))
        await shop.orders(order)

        await shop.reports(received(5))
        assert await shop.status(order.order_id) == "partly-held"
        await shop.reports(received(1, at="MAN"))

        assert await shop.level(ARMCHAIR, "MAN") == (3, 3)

    async def test_gives_back_only_what_is_not_there_any_more(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        await shop.reports(received(3))
        await shop.orders(order)

        await shop.reports(adjusted(-1))

        assert await shop.level(ARMCHAIR) == (2, 2)
        assert await shop.fates(order.order_id) == ["stock.reserved", "stock.partly-reserved"]

    async def test_that_is_called_off_frees_what_it_held(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        await shop.reports(received(2))
        await shop.orders(order)

        await shop.orders(cancelled(order.order_id))
        await shop.reports(received(2))

        assert await shop.level(ARMCHAIR) == (4, 0)


class TestRemainder:
    async def test_takes_the_place_in_line_of_the_order_it_comes_of(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        other = approved((ARMCHAIR, 2))
        await shop.reports(received(2))
        await shop.orders(order)
        [part] = await shop.announced(StockPartlyReserved)
        assert part.missing == [SkuQuantity(sku=ARMCHAIR, quantity=1)]
        await shop.orders(envelope(other, at=minutes(1)))

        remainder = approved((ARMCHAIR, 1), remainder_of=order.order_id, keeps=part.allocations)
        await shop.orders(envelope(remainder, at=minutes(2)))
        await shop.reports(received(1))

        assert await shop.status(order.order_id) == await shop.status(remainder.order_id) == "held"
        assert await shop.status(other.order_id) == "waiting"
        assert await shop.level(ARMCHAIR) == (3, 3)

    async def test_gets_what_came_for_that_order_meanwhile_and_leaves_it_what_it_keeps(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        await shop.reports(received(2))
        await shop.orders(order)
        [part] = await shop.announced(StockPartlyReserved)
        await shop.reports(received(1, at="MAN"))

        remainder = approved((ARMCHAIR, 1), remainder_of=order.order_id, keeps=part.allocations)
        await shop.orders(remainder)
        await shop.orders(
            dispatched(order.order_id, (ARMCHAIR, 2)), dispatched(remainder.order_id, (ARMCHAIR, 1), at="MAN")
        )

        reserved = await shop.announced(StockReserved)
        assert reserved[-1].allocations == [Allocation(warehouse="MAN", sku=ARMCHAIR, quantity=1)]
        assert await shop.level(ARMCHAIR) == await shop.level(ARMCHAIR, "MAN") == (0, 0)

    async def test_gets_what_came_for_an_order_whose_parcel_has_left_before(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        await shop.reports(received(1))
        await shop.orders(order)
        [part] = await shop.announced(StockPartlyReserved)
        await shop.reports(received(4))

        remainder = approved((ARMCHAIR, 2), remainder_of=order.order_id, keeps=part.allocations)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 1)), remainder)

        assert await shop.status(order.order_id) == "committed"
        assert await shop.status(remainder.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (4, 2)

    async def test_leaves_an_order_whose_parcel_has_left_before_nothing_to_wait_for(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        await shop.reports(received(1))
        await shop.orders(order)
        [part] = await shop.announced(StockPartlyReserved)

        remainder = approved((ARMCHAIR, 2), remainder_of=order.order_id, keeps=part.allocations)
        await shop.orders(dispatched(order.order_id, (ARMCHAIR, 1)), remainder)

        assert await shop.fates(order.order_id) == ["stock.partly-reserved", "stock.committed"]
        assert await shop.fates(remainder.order_id) == ["stock.backordered"]

    async def test_of_an_order_that_was_called_off_stands_for_itself(self, shop: Shop) -> None:
        order = approved((ARMCHAIR, 3), on_shortage="partial")
        await shop.reports(received(2))
        await shop.orders(order, cancelled(order.order_id))

        remainder = approved((ARMCHAIR, 1), remainder_of=order.order_id)
        await shop.orders(remainder)

        assert await shop.status(order.order_id) == "released"
        assert await shop.level(ARMCHAIR) == (2, 1)


class TestPromise:
    async def test_is_when_enough_comes_for_all_who_wait_before(self, shop: Shop) -> None:
        first, second, third = (approved((ARMCHAIR, 3)) for _ in range(3))
        await shop.reports(
            expected(4, arrives=TOMORROW, reference="PO-1"), expected(4, arrives=LATER, reference="PO-2"), received(1)
        )

        for number, order in enumerate((first, second, third)):
            await shop.orders(envelope(order, at=minutes(number)))

        told = {event.order_id: event.shortages[0].expected_at for event in await shop.announced(StockBackordered)}
        assert told == {first.order_id: TOMORROW, second.order_id: LATER, third.order_id: LATER}

    async def test_is_not_made_for_what_nobody_has_announced(self, shop: Shop) -> None:
        await shop.reports(expected(2, arrives=TOMORROW, reference="PO-1"))

        await shop.orders(approved((ARMCHAIR, 3)))

        [waiting] = await shop.announced(StockBackordered)
        assert waiting.shortages[0].expected_at is None


class TestLastUnit:
    async def test_of_five_hundred_carts_at_once_goes_to_one(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(1))

        answers = await asyncio.gather(*(_post(client, _body(uuid4())) for _ in range(500)))

        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 499}
        assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"insufficient-stock"}
        assert await shop.level(ARMCHAIR) == (1, 1)
        assert len(await shop.rows("SELECT 1 FROM reservations")) == 1

    async def test_of_five_hundred_orders_at_once_goes_to_one(self, shop: Shop) -> None:
        await shop.reports(received(1))
        orders = [approved(on_shortage="refuse") for _ in range(500)]

        await asyncio.gather(*(shop.orders(*orders[start : start + 50]) for start in range(0, 500, 50)))

        rows = await shop.rows("SELECT status FROM reservations")
        assert Counter(row["status"] for row in rows) == {"rejected": 499, "held": 1}


class TestApi:
    async def test_holds_extends_commits_and_releases(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(3))
        hold = uuid4()

        placed = await _post(client, _body(hold, lines=[{"sku": ARMCHAIR, "quantity": 3}], ttl_seconds=60))
        extended = await _post(client, {"ttl_seconds": 90}, f"/{hold}/extend")
        part = await _post(client, {"lines": [{"sku": ARMCHAIR, "quantity": 1}]}, f"/{hold}/commit")
        released = await _post(client, None, f"/{hold}/release")

        assert (placed.status_code, placed.headers["Location"]) == (201, f"/v1/reservations/{hold}")
        assert placed.json()["held"] == [{"sku": ARMCHAIR, "warehouse": "LON", "quantity": 3}]
        assert placed.json()["expires_at"] == "2024-06-01T12:01:00Z"
        assert extended.json()["expires_at"] == "2024-06-01T12:01:30Z"
        assert [one["quantity"] for one in part.json()["held"] + part.json()["committed"]] == [2, 1]
        assert (released.status_code, released.json()["status"]) == (200, "released")
        assert await shop.level(ARMCHAIR) == (2, 0)

    async def test_has_one_effect_for_each_key(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(9))
        body = _body(uuid4())

        first, *others = await asyncio.gather(*(_post(client, body, key="k") for _ in range(5)))
        other = await _post(client, _body(uuid4()), key="k")

        assert {answer.status_code for answer in (first, *others)} == {201}
        assert {answer.content for answer in (first, *others)} == {first.content}
        assert other.json()["code"] == "idempotency-key-reused"
        assert await shop.level(ARMCHAIR) == (9, 1)

    async def test_that_was_refused_may_be_tried_again_with_its_key(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        body = _body(uuid4())

        refused = await _post(client, body, key="k")
        await shop.reports(received(1))
        held = await _post(client, body, key="k")

        assert (refused.status_code, held.status_code) == (409, 201)
        [error] = refused.json()["errors"]
        assert (error["pointer"], error["reason"]) == ("/lines/0/quantity", "1 units are wanted, 0 there.")

    async def test_about_one_hold_is_served_in_turn(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(5))
        hold = uuid4()
        await _post(client, _body(hold, lines=[{"sku": ARMCHAIR, "quantity": 5}]))
        one = {"lines": [{"sku": ARMCHAIR, "quantity": 1}]}

        answers = await asyncio.gather(*(_post(client, one, f"/{hold}/commit") for _ in range(7)))

        assert Counter(answer.status_code for answer in answers) == {200: 5, 409: 2}
        assert await shop.level(ARMCHAIR) == (0, 0)

    async def test_of_another_caller_cannot_be_changed(self, shop: Shop) -> None:
        await shop.reports(received(3))
        hold = uuid4()
        changes = [
            (f"/{hold}/extend", {"ttl_seconds": 90}),
            (f"/{hold}/commit", {"lines": [{"sku": ARMCHAIR, "quantity": 1}]}),
            (f"/{hold}/release", None),
        ]
        async with open_api(shop, KEYS, caller="web") as web, open_api(shop, KEYS, caller="till") as till:
            await _post(web, _body(hold, lines=[{"sku": ARMCHAIR, "quantity": 3}], ttl_seconds=60))

            refused = [await _post(till, body, path) for path, body in changes]
            assert {(one.status_code, one.json()["code"]) for one in refused} == {(403, "hold-of-another")}
            assert await shop.level(ARMCHAIR) == (3, 3)

            assert [(await _post(web, body, path)).status_code for path, body in changes] == [200, 200, 200]
            assert await shop.level(ARMCHAIR) == (2, 0)

    async def test_of_anybody_is_changed_by_who_manages_stock(self, shop: Shop, client: httpx.AsyncClient) -> None:
        await shop.reports(received(1))
        hold = uuid4()
        async with open_api(shop, KEYS, caller="web") as web:
            await _post(web, _body(hold))

        assert (await _post(client, None, f"/{hold}/release")).status_code == 200

    async def test_that_was_refused_belongs_to_nobody(self, shop: Shop) -> None:
        hold = uuid4()
        async with open_api(shop, KEYS, caller="web") as web, open_api(shop, KEYS, caller="till") as till:
            assert (await _post(web, _body(hold))).status_code == 409
            await shop.reports(received(1))

            assert (await _post(till, _body(hold))).status_code == 201
            assert (await _post(web, None, f"/{hold}/release")).status_code == 403
            assert (await _post(till, None, f"/{hold}/release")).status_code == 200

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"reservation_id": "me"}, "/reservation_id"),
            ({"channel": "a\x00b"}, "/channel"),
            ({"channel": ""}, "/channel"),
            ({"lines": []}, "/lines"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 1}] * 1001}, "/lines"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 0}]}, "/lines/0/quantity"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": -1}]}, "/lines/0/quantity"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 10**40}]}, "/lines/0/quantity"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": "1"}]}, "/lines/0/quantity"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 10**9}] * 2}, "/lines/1/quantity"),
            ({"lines": [{"sku": "A\x00", "quantity": 1}]}, "/lines/0/sku"),
            ({"ttl_seconds": 0}, "/ttl_seconds"),
            ({"ttl_seconds": 10**30}, "/ttl_seconds"),
            ({"ttl_seconds": 7200}, "/ttl_seconds"),
            ({"mode": "some"}, "/mode"),
            ({"destination": {"country": "gb"}}, "/destination/country"),
            ({"destination": {"country": "GB", "latitude": 1}}, "/destination"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 1001}]}, "/lines"),
            ({"surprise": 1}, "/surprise"),
        ],
    )
    async def test_says_what_is_wrong(self, client: httpx.AsyncClient, changes: dict[str, Any], pointer: str) -> None:
        answer = await _post(client, _body(uuid4()) | changes)

        assert answer.status_code == 422
        assert pointer in {error["pointer"] for error in answer.json()["errors"]}

    async def test_needs_a_key_and_a_scope(self, client: httpx.AsyncClient) -> None:
        storefront = {"Authorization": "Bearer storefront"}

        assert (await client.post("/v1/reservations", json=_body(uuid4()))).status_code == 422
        assert (await _post(client, _body(uuid4()), headers=storefront)).status_code == 403
        assert (await _post(client, None, f"/{uuid4()}/release")).status_code == 404
        assert (await _post(client, None, "/me/release")).status_code == 422


def _order_of(hold: UUID, *lines: tuple[str, int], is_same_id: bool) -> OrderApproved:
    return approved(*lines, order_id=hold) if is_same_id else approved(*lines, hold_id=hold)


def _place(reservation_id: UUID, *lines: tuple[str, int], channel: str = "web", **changes: Any) -> PlaceHold:
    return PlaceHold(
        reservation_id=reservation_id, channel=channel, wanted=dict(lines), destination=ANYWHERE, **changes
    )


def _lines(*lines: tuple[Any, ...]) -> tuple[CommitLine, ...]:
    return tuple(CommitLine(sku=sku, quantity=units, warehouse=next(iter(at), None)) for sku, units, *at in lines)


async def _do_all(shop: Shop, *commands: HoldCommand) -> list[Any]:
    async with shop.database.transaction() as transaction:
        _, results = await apply_hold_commands(commands, tools=shop.adapters.tools_of(transaction), policies=POLICIES)
    return list(results)


async def _do(shop: Shop, command: HoldCommand) -> Any:
    [result] = await _do_all(shop, command)
    return result


async def _hold(shop: Shop, *lines: tuple[str, int], channel: str = "web") -> UUID:
    hold = uuid4()
    state = await _do(shop, _place(hold, *lines, channel=channel))
    assert state.status == "held"
    return hold


async def _held(shop: Shop, *lines: tuple[str, int], stock: int, channel: str = "web") -> UUID:
    await shop.reports(received(stock))
    return await _hold(shop, *lines, channel=channel)


async def _expire(shop: Shop) -> int:
    async with shop.database.transaction() as transaction:
        desk = await expire_holds(shop.adapters.tools_of(transaction))
    return desk.outcomes["expired"] if desk else 0


def _body(reservation_id: UUID, **changes: Any) -> dict[str, Any]:
    body = {"reservation_id": str(reservation_id), "channel": "web", "lines": [{"sku": ARMCHAIR, "quantity": 1}]}
    return body | changes


async def _post(
    client: httpx.AsyncClient,
    body: Any,
    path: str = "",
    *,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    sent = {"Idempotency-Key": key or str(uuid4()), **(headers or {})}
    return await client.post(f"/v1/reservations{path}", json=body, headers=sent)
