"""Transfers between warehouses: planned over HTTP, carried out by reports from wherever they come."""

import asyncio
import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import pytest
from prometheus_client import REGISTRY

from libs.common.events.base import Envelope
from libs.common.events.inventory import (
    TransferApproved,
    TransferCancelled,
    TransferClosed,
    TransferDispatched,
    TransferProposed,
    TransferReceived,
)
from libs.common.events.topics import INVENTORY_TRANSFER
from services.inventory.bootstrap.transfers import show_transfers
from tests.integration.inventory.shop import Shop
from tests.support.postgres import FreshDatabase, empty
from tests.unit.inventory.builders import (
    ARMCHAIR,
    MIRROR,
    NOON,
    adjusted,
    approved,
    counted,
    envelope,
    minutes,
    received,
)


def key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid4()), "Authorization": "Bearer ops"}


async def post(client: httpx.AsyncClient, path: str = "", body: Any = None, **headers: str) -> httpx.Response:
    return await client.post(f"/v1/transfers{path}", json=body, headers=key() | headers)


async def propose(client: httpx.AsyncClient, *lines: tuple[str, int], **changes: Any) -> dict[str, Any]:
    body = {
        "source": "LON",
        "destination": "MAN",
        "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in lines or ((ARMCHAIR, 4),)],
    }
    answer = await post(client, body=body | changes)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def done(client: httpx.AsyncClient, transfer: dict[str, Any], command: str, body: Any = None) -> dict[str, Any]:
    answer = await post(client, f"/{transfer['id']}/{command}", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sent(transfer_id: Any, units: int, sku: str = ARMCHAIR, *, to: str = "MAN", when: datetime = NOON) -> Envelope:
    report = TransferDispatched(
        sku=sku, warehouse="LON", occurred_at=when, transfer_id=UUID(str(transfer_id)), destination=to, quantity=units
    )
    return envelope(report)


def came(transfer_id: Any, units: int, sku: str = ARMCHAIR, *, at: str = "MAN", when: datetime = NOON) -> Envelope:
    report = TransferReceived(
        sku=sku, warehouse=at, occurred_at=when, transfer_id=UUID(str(transfer_id)), quantity=units
    )
    return envelope(report)


@pytest.fixture(autouse=True)
async def stocked(shop: Shop) -> None:
    await shop.reports(received(10), received(10, MIRROR))


class TestPlanning:
    async def test_takes_a_transfer_from_proposal_to_receipt(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await propose(client, (ARMCHAIR, 4), (MIRROR, 2), expected_at=minutes(600).isoformat())
        assert (transfer["status"], transfer["proposed_by"], transfer["version"]) == ("proposed", "ops", 1)
        assert await shop.level(ARMCHAIR) == (10, 0)

        transfer = await done(client, transfer, "approve")
        assert transfer["status"] == "approved"
        assert await shop.level(ARMCHAIR) == (10, 4)

        transfer = await done(client, transfer, "dispatch")
        assert transfer["status"] == "dispatched"
        levels = await shop.levels()
        assert (levels[ARMCHAIR, "LON"], levels[ARMCHAIR, "MAN"]) == ((6, 0, 0, 0), (0, 0, 4, 0))

        body = {"lines": [{"sku": ARMCHAIR, "quantity": 3}]}
        assert (await done(client, transfer, "receive", body))["status"] == "partially-received"
        transfer = await done(client, transfer, "receive")
        assert transfer["status"] == "received"
        assert (await shop.levels())[ARMCHAIR, "MAN"] == (4, 0, 0, 0)
        assert (await shop.levels())[MIRROR, "MAN"] == (2, 0, 0, 0)
        assert await shop.drift() == (0, 0)
        published = await shop.published(INVENTORY_TRANSFER)
        assert [(one.event.type, one.aggregate_version) for one in published] == [
            ("transfer.proposed", 1),
            ("transfer.approved", 2),
        ]
        assert len((await shop.announced(TransferProposed))[0].lines) == 2

    async def test_keeps_approved_units_from_orders_until_it_is_cancelled(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        transfer = await done(client, await propose(client, (ARMCHAIR, 8)), "approve")
        order = approved((ARMCHAIR, 5))
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        transfer = await done(client, transfer, "cancel", {"reason": "changed our mind"})

        assert transfer["status"] == "cancelled"
        assert await shop.status(order.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (10, 5)
        assert [one.reason for one in await shop.announced(TransferCancelled)] == ["changed our mind"]

    async def test_is_not_approved_beyond_what_the_source_can_give(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.orders(approved((ARMCHAIR, 7)))
        transfer = await propose(client, (ARMCHAIR, 4))

        answer = await post(client, f"/{transfer['id']}/approve")

        assert (answer.status_code, answer.json()["code"]) == (409, "transfer-short")
        assert await shop.level(ARMCHAIR) == (10, 7)

    async def test_gives_way_to_orders_when_units_turn_out_not_to_be_there(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        order = approved((ARMCHAIR, 5))
        await shop.orders(order)
        await done(client, await propose(client, (ARMCHAIR, 5)), "approve")

        await shop.reports(adjusted(-3))

        assert await shop.status(order.order_id) == "held"
        assert await shop.level(ARMCHAIR) == (7, 7)
        assert await shop.drift() == (0, 0)

    async def test_is_approved_once_by_many_at_once(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await propose(client, (ARMCHAIR, 4))

        answers = await asyncio.gather(*(post(client, f"/{transfer['id']}/approve") for _ in range(8)))

        assert {answer.status_code for answer in answers} == {200}
        assert await shop.level(ARMCHAIR) == (10, 4)
        assert len(await shop.announced(TransferApproved)) == 1

    async def test_has_one_effect_for_each_key(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await done(client, await propose(client), "approve")
        headers = key()
        body = {"lines": [{"sku": ARMCHAIR, "quantity": 1}]}

        for _ in range(2):
            await client.post(f"/v1/transfers/{transfer['id']}/dispatch", json=body, headers=headers)

        assert await shop.level(ARMCHAIR) == (9, 3)

    async def test_books_once_what_the_warehouse_reports_as_well(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await done(client, await propose(client), "approve")
        report = sent(transfer["id"], 4)
        await shop.reports(report)

        body = {"lines": [{"id": str(report.id), "sku": ARMCHAIR, "quantity": 4}]}
        transfer = await done(client, transfer, "dispatch", body)

        assert transfer["lines"][0]["dispatched"] == 4
        assert await shop.level(ARMCHAIR) == (6, 0)

    async def test_changes_only_the_version_that_the_caller_knows(self, client: httpx.AsyncClient) -> None:
        transfer = await propose(client)
        path = f"/{transfer['id']}"
        shown = await client.get(f"/v1/transfers{path}", headers=key())

        stale = await post(client, f"{path}/approve", **{"If-Match": '"7"'})
        fresh = await post(client, f"{path}/approve", **{"If-Match": shown.headers["ETag"]})

        assert (stale.status_code, stale.json()["code"]) == (412, "precondition-failed")
        assert (fresh.status_code, fresh.json()["version"]) == (200, 2)
        assert (await post(client, f"{path}/cancel", {"reason": "x"}, **{"If-Match": "nonsense"})).status_code == 422


class TestClosing:
    async def test_writes_off_what_did_not_arrive(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(sent(transfer_id, 10), came(transfer_id, 8))

        closed = await done(client, {"id": transfer_id}, "close", {"reason": "a box fell off"})

        assert closed["status"] == "closed"
        levels = await shop.levels()
        assert (levels[ARMCHAIR, "LON"], levels[ARMCHAIR, "MAN"]) == ((0, 0, 0, 0), (8, 0, 0, 0))
        assert await shop.ledger(ARMCHAIR, "MAN") == [("transfer-in", 8), ("transfer-in", 2), ("write-off", -2)]
        assert await shop.drift() == (0, 0)
        [event] = await shop.announced(TransferClosed)
        assert (event.settlements[0].written_off, event.reason) == (2, "a box fell off")

    async def test_takes_back_what_never_left(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(sent(transfer_id, 10), came(transfer_id, 8))

        body = {"reason": "two were left on the dock", "missing": "return-to-source"}
        await done(client, {"id": transfer_id}, "close", body)

        levels = await shop.levels()
        assert (levels[ARMCHAIR, "LON"], levels[ARMCHAIR, "MAN"]) == ((2, 0, 0, 0), (8, 0, 0, 0))
        assert await shop.drift() == (0, 0)

    async def test_books_what_was_found(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(sent(transfer_id, 5), came(transfer_id, 6))
        assert (await client.get(f"/v1/transfers/{transfer_id}")).json()["status"] == "discrepancy"

        closed = await done(client, {"id": transfer_id}, "close", {"reason": "miscounted"})

        assert (closed["status"], closed["lines"][0]["found"]) == ("closed", 1)
        assert await shop.ledger(ARMCHAIR, "MAN") == [("transfer-in", 6), ("adjust", 1), ("transfer-in", -1)]
        assert (await shop.levels())[ARMCHAIR, "MAN"] == (6, 0, 0, 0)

    async def test_lets_go_of_what_was_held_and_did_not_leave(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await done(client, await propose(client, (ARMCHAIR, 8)), "approve")
        await done(client, transfer, "dispatch", {"lines": [{"sku": ARMCHAIR, "quantity": 3}]})
        await done(client, transfer, "receive")

        await done(client, transfer, "close", {"reason": "the rest stays"})

        assert await shop.level(ARMCHAIR) == (7, 0)

    async def test_settles_what_went_astray_in_both_places(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(sent(transfer_id, 5, to="GLA"), came(transfer_id, 5, at="MAN"))

        closed = await done(client, {"id": transfer_id}, "close", {"reason": "wrong lorry"})

        lines = {line["destination"]: line for line in closed["lines"]}
        assert (lines["GLA"]["written_off"], lines["MAN"]["found"]) == (5, 5)
        levels = await shop.levels()
        assert (levels[ARMCHAIR, "GLA"], levels[ARMCHAIR, "MAN"]) == ((0, 0, 0, 0), (5, 0, 0, 0))
        assert await shop.drift() == (0, 0)


class TestReports:
    async def test_bring_transfers_into_being(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()
        await shop.reports(came(transfer_id, 3, when=minutes(60)))
        await shop.reports(sent(transfer_id, 4))

        found = (await client.get(f"/v1/transfers/{transfer_id}")).json()

        assert (found["status"], found["source"], found["destination"]) == ("partially-received", "LON", "MAN")
        assert (found["is_planned"], found["lines"][0]["in_transit"]) == (False, 1)

    async def test_say_when_what_nobody_planned_should_arrive(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()
        for hours in (9, 5):
            report = sent(transfer_id, 1).event
            await shop.reports(envelope(msgspec.structs.replace(report, expected_at=minutes(60 * hours))))

        shown = (await client.get(f"/v1/transfers/{transfer_id}")).json()
        assert datetime.fromisoformat(shown["expected_at"]) == minutes(540)

    async def test_are_facts_even_where_nobody_approved(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await propose(client)

        await shop.reports(sent(transfer["id"], 4))

        assert (await client.get(f"/v1/transfers/{transfer['id']}")).json()["status"] == "dispatched"
        assert await shop.level(ARMCHAIR) == (6, 0)

    async def test_shuffled_and_doubled_give_the_same_transfers(self, database: FreshDatabase) -> None:
        chance = random.Random(8)  # noqa: S311 - a seed, not a secret
        reports = [received(100), received(100, MIRROR)]
        events = [envelope(one) for one in reports]
        for number in range(300):
            transfer_id, sku = UUID(int=chance.randrange(1, 30)), chance.choice((ARMCHAIR, MIRROR))
            when = minutes(number)
            if chance.random() < 0.5:
                events.append(
                    sent(transfer_id, chance.randrange(1, 5), sku, to=chance.choice(("MAN", "GLA")), when=when)
                )
            else:
                events.append(
                    came(transfer_id, chance.randrange(1, 5), sku, at=chance.choice(("MAN", "GLA")), when=when)
                )
        await empty(database)
        first = await self._outcome(await Shop.open(database), events, 400)

        shuffled = events * 2
        chance.shuffle(shuffled)
        await empty(database)
        assert await self._outcome(await Shop.open(database), shuffled, 70) == first

    async def test_about_one_transfer_at_once_lose_nothing(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer_id = uuid4()

        await asyncio.gather(*(shop.reports(sent(transfer_id, 1, sku)) for sku in (ARMCHAIR, MIRROR) for _ in range(6)))

        found = (await client.get(f"/v1/transfers/{transfer_id}")).json()
        assert [(line["sku"], line["dispatched"]) for line in found["lines"]] == [(ARMCHAIR, 6), (MIRROR, 6)]

    async def _outcome(self, shop: Shop, events: list[Envelope], size: int) -> list[Any]:
        for start in range(0, len(events), size):
            await shop.reports(*events[start : start + size])
        assert await shop.drift() == (0, 0)
        return [
            [tuple(row) for row in await shop.rows(statement)]
            for statement in (
                "SELECT * FROM transfer_lines ORDER BY transfer_id, sku, destination",
                """
                SELECT transfer_id, status, from_warehouse, to_warehouse, dispatched_at, received_at
                FROM transfers ORDER BY transfer_id
                """,
                "SELECT sku, warehouse, on_hand, in_transit, shortfall FROM stock_levels ORDER BY sku, warehouse",
            )
        ]


class TestListing:
    async def test_is_by_state_warehouse_and_sku_newest_first(self, client: httpx.AsyncClient, shop: Shop) -> None:
        first = await propose(client)
        shop.clock.advance(timedelta(minutes=1))
        second = await propose(client, (MIRROR, 1), destination="GLA")
        await done(client, second, "approve")

        async def listed(**params: Any) -> list[str]:
            answer = await client.get("/v1/transfers", params=params)
            return [one["id"] for one in answer.json()["items"]]

        both = [second["id"], first["id"]]
        assert await listed() == both
        assert await listed(status="approved") == both[:1]
        assert await listed(warehouse="MAN") == both[1:]
        assert await listed(sku=MIRROR) == both[:1]
        page = (await client.get("/v1/transfers", params={"limit": 1})).json()
        assert await listed(cursor=page["next_cursor"]) == both[1:]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"source": "NOWHERE"}, "source"),
            ({"destination": "NOWHERE"}, "destination"),
            ({"destination": "LON"}, "destination"),
            ({"lines": []}, "lines"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 0}]}, "quantity"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 2**63}]}, "quantity"),
            ({"lines": [{"sku": "NO-SUCH", "quantity": 1}]}, "sku"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": 1}] * 2}, "sku"),
            ({"lines": [{"sku": ARMCHAIR, "quantity": "1"}]}, "quantity"),
            ({"lines": [{"sku": "a\x00b", "quantity": 1}]}, "lines"),
            ({"expected_at": "2001-01-01T00:00:00Z"}, "expected_at"),
            ({"expected_at": "9999-12-31T23:59:59Z"}, "expected_at"),
            ({"expected_at": "tomorrow"}, "expected_at"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    async def test_name_the_field(self, client: httpx.AsyncClient, changes: dict[str, Any], field: str) -> None:
        body = {"source": "LON", "destination": "MAN", "lines": [{"sku": ARMCHAIR, "quantity": 1}]}

        answer = await post(client, body=body | changes)

        assert answer.status_code in {400, 422}, answer.text
        assert field in answer.text

    async def test_say_what_the_state_does_not_allow(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await propose(client)

        for command, body in (("dispatch", None), ("receive", None), ("close", {"reason": "x"})):
            answer = await post(client, f"/{transfer['id']}/{command}", body)
            assert (answer.status_code, answer.json()["code"]) == (409, "transfer-refused")
        assert (await post(client, f"/{uuid4()}/approve")).status_code == 404
        assert await shop.level(ARMCHAIR) == (10, 0)

    async def test_undo_everything_of_a_dispatch_that_cannot_be(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await done(client, await propose(client, (ARMCHAIR, 1), (MIRROR, 1)), "approve")

        for body in (
            {"lines": [{"sku": ARMCHAIR, "quantity": 1}, {"sku": "OTHER", "quantity": 1}]},
            {"occurred_at": "1900-01-01T00:00:00Z"},
        ):
            assert (await post(client, f"/{transfer['id']}/dispatch", body)).status_code == 422
        assert await shop.level(ARMCHAIR) == (10, 1)

    async def test_need_the_right_to_decide_and_to_move(self, client: httpx.AsyncClient) -> None:
        transfer = await propose(client)
        path = f"/{transfer['id']}"
        warehouse = {"Authorization": "Bearer warehouse"}

        assert (await post(client, f"{path}/approve", **warehouse)).status_code == 403
        assert (await post(client, f"{path}/dispatch", **warehouse)).status_code == 409
        assert (await client.get("/v1/transfers", headers={"Authorization": "Bearer storefront"})).status_code == 403
        assert (await client.post("/v1/transfers", json={}, headers={"Authorization": "Bearer ops"})).status_code == 422


class TestMetrics:
    async def test_show_what_is_on_its_way_and_what_should_have_arrived(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        late = await propose(client, (ARMCHAIR, 4), expected_at=minutes(60).isoformat())
        await done(client, await done(client, late, "approve"), "dispatch")
        await shop.reports(sent(uuid4(), 2, MIRROR))
        shop.clock.advance(timedelta(minutes=61))

        await show_transfers(shop.adapters)

        assert REGISTRY.get_sample_value("inventory_transfer_units_in_transit") == 6
        assert REGISTRY.get_sample_value("inventory_transfers_overdue") == 1


class TestTimeline:
    async def test_names_both_ends_and_what_is_held(self, client: httpx.AsyncClient) -> None:
        transfer = await done(client, await propose(client), "approve")
        body = {"lines": [{"sku": ARMCHAIR, "quantity": 1}], "reference": "T-7"}
        await done(client, transfer, "dispatch", body)
        await done(client, transfer, "receive")

        found = (await client.get(f"/v1/stock/{ARMCHAIR}/timeline")).json()

        ends = [(one["warehouse"], one["cause"]["other_warehouse"]) for one in found["items"][1:]]
        assert ends == [("LON", "MAN"), ("MAN", "LON")]
        [hold] = found["reserved"]["newest"]
        assert (hold["type"], hold["id"], hold["units"]) == ("transfer", transfer["id"], 3)


class TestCounts:
    async def test_below_what_a_transfer_holds_take_from_it(self, client: httpx.AsyncClient, shop: Shop) -> None:
        transfer = await done(client, await propose(client, (ARMCHAIR, 9)), "approve")

        await shop.reports(counted(4, when=minutes(1)))

        shown = (await client.get(f"/v1/transfers/{transfer['id']}")).json()
        assert shown["lines"][0]["held"] == 4
        assert await shop.level(ARMCHAIR) == (4, 4)
        assert await shop.drift() == (0, 0)
