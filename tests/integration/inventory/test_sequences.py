"""The numbers of warehouses' reports, and what is missing of them."""

import random
from datetime import datetime, timedelta
from uuid import uuid4

import httpx
import msgspec
import pytest
from prometheus_client import REGISTRY

from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsExpected
from services.inventory.bootstrap.jobs import watch_sequence_gaps
from services.inventory.domain.sequences import SequenceState
from services.inventory.storage import sequences
from services.inventory.storage.ledger_feed import SettledLedger
from services.inventory.storage.sequences import FOLLOWER, PostgresSequences
from tests.integration.inventory.shop import Shop
from tests.support.eventually import eventually
from tests.unit.inventory.builders import MIRROR, NOON, envelope, expected, minutes, received


def numbered(sequence: int, *, at: str = "LON", sku: str = MIRROR) -> Envelope:
    return envelope(msgspec.structs.replace(received(1, sku, at=at), sequence=sequence))


def announcement(sequence: int) -> GoodsExpected:
    report = expected(5, MIRROR, arrives=minutes(60), reference=f"PO-{sequence}")
    return msgspec.structs.replace(report, sequence=sequence)


async def state(shop: Shop, warehouse: str = "LON") -> SequenceState:
    """Return what came of a warehouse's numbers once all of the ledger is settled."""
    ledger = SettledLedger()

    async def untaken() -> int:
        async with shop.database.transaction() as transaction:
            await PostgresSequences(transaction, ledger).catch_up(shop.clock.now())
        [row] = await shop.rows(
            "SELECT count(*) FROM stock_movements JOIN ledger_followers ON id > movement_id WHERE name = $1", FOLLOWER
        )
        return int(row[0])

    await eventually(untaken, lambda movements: movements == 0)
    async with shop.database.transaction() as transaction:
        return await PostgresSequences(transaction, ledger).state(warehouse, after=0, limit=10_000)


async def missing(shop: Shop, warehouse: str = "LON") -> list[tuple[int, int, datetime]]:
    return [(gap.first, gap.last, gap.since) for gap in (await state(shop, warehouse)).gaps]


class TestGaps:
    async def test_are_the_numbers_that_were_passed_over(self, shop: Shop) -> None:
        await shop.reports(*(numbered(number) for number in (1, 2, 5, 6, 9)))

        assert await missing(shop) == [(3, 4, NOON), (7, 8, NOON)]
        found = await state(shop)
        assert (found.highest, found.missing, found.conflicts) == (9, 4, [])

    async def test_keep_their_age_while_they_are_filled_and_close_when_they_are(self, shop: Shop) -> None:
        await shop.reports(numbered(1), numbered(7))
        assert await missing(shop) == [(2, 6, NOON)]
        shop.clock.advance(timedelta(minutes=5))

        await shop.reports(numbered(4), numbered(9))
        assert await missing(shop) == [(2, 3, NOON), (5, 6, NOON), (8, 8, minutes(5))]

        await shop.reports(*(numbered(number) for number in (2, 3, 5, 6, 8)))
        assert await missing(shop) == []

    async def test_are_of_one_warehouse(self, shop: Shop) -> None:
        await shop.reports(numbered(1), numbered(3), numbered(1, at="MAN"), numbered(2, at="MAN"))

        assert await missing(shop) == [(2, 2, NOON)]
        assert await missing(shop, "MAN") == []

    async def test_of_a_warehouse_that_numbers_nothing_are_none(self, shop: Shop) -> None:
        await shop.reports(received(1))

        assert (await state(shop)).highest is None
        assert await shop.rows("SELECT 1 FROM warehouse_sequences") == []

    async def test_are_what_never_came_in_whatever_order_the_rest_did(self, shop: Shop) -> None:
        chance = random.Random(7)  # noqa: S311 - a seed, not a secret
        sent = chance.sample(range(1, 400), 250)
        events = [numbered(number) for number in sent for _ in range(chance.choice((1, 1, 2)))]
        for start in range(0, len(events), 20):
            await shop.reports(*events[start : start + 20], events[chance.randrange(len(events))])

        lost = set(range(1, max(sent))) - set(sent)
        found = {number for first, last, _ in await missing(shop) for number in range(first, last + 1)}
        assert found == lost
        assert (await state(shop)).missing == len(lost)

    async def test_that_are_too_many_are_given_up_oldest_first(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sequences, "GAPS_MAX", 20)
        await shop.reports(*(numbered(2 * number) for number in range(1, 26)))

        found = await state(shop)

        assert (len(found.gaps), found.given_up, found.missing) == (20, 5, 20)
        assert found.gaps[0].first == 11

    async def test_are_seen_before_the_ledger_is_settled(self, shop: Shop) -> None:
        await shop.reports(numbered(1), numbered(3))

        for _ in range(2):
            async with shop.database.transaction() as transaction:
                numbers = PostgresSequences(transaction, SettledLedger())
                await numbers.catch_up(shop.clock.now(), is_fresh=True)
                found = await numbers.state("LON", after=0, limit=10)

            assert [(gap.first, gap.last) for gap in found.gaps] == [(2, 2)]
        assert (await state(shop)).conflicts == []


class TestAnnouncements:
    """They move nothing, so that no line of the ledger has their number."""

    async def test_leave_no_gap(self, shop: Shop) -> None:
        announced = [envelope(announcement(number)) for number in (2, 3)]
        await shop.reports(numbered(1), *announced, numbered(4))
        await shop.reports(*announced)

        assert await missing(shop) == []
        assert (await state(shop)).conflicts == []

        await shop.reports(envelope(announcement(6)))

        found = await state(shop)
        assert (found.highest, [(gap.first, gap.last) for gap in found.gaps]) == (6, [(5, 5)])

    async def test_conflict_with_what_came_under_their_number(self, shop: Shop) -> None:
        announced, booked = envelope(announcement(1)), numbered(1)
        await shop.reports(announced, booked)

        [conflict] = (await state(shop)).conflicts

        assert (conflict.sequence, set(conflict.event_ids)) == (1, {announced.id, booked.id})


class TestConflicts:
    async def test_are_different_events_with_one_number(self, shop: Shop) -> None:
        first, other, again = numbered(1), numbered(1, sku="SMUG-LAMP"), numbered(2)
        await shop.reports(first, again)

        await shop.reports(other, again)

        [conflict] = (await state(shop)).conflicts
        assert conflict.sequence == 1
        assert set(conflict.event_ids) == {first.id, other.id}

    async def test_are_seen_within_one_batch(self, shop: Shop) -> None:
        await shop.reports(numbered(1), numbered(1))

        assert [one.sequence for one in (await state(shop)).conflicts] == [1]

    async def test_are_not_events_that_come_twice(self, shop: Shop) -> None:
        event = numbered(1)
        await shop.reports(event)

        await shop.reports(event)

        assert (await state(shop)).conflicts == []


class TestGapsOverHttp:
    async def test_are_shown_by_pages(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(*(numbered(number) for number in (2, 4, 6)))

        first = (await client.get("/v1/warehouses/LON/gaps", params={"limit": 2})).json()
        rest = await client.get("/v1/warehouses/LON/gaps", params={"cursor": first["next_cursor"]})

        assert (first["highest"], first["missing"]) == (6, 3)
        gaps = [*first["items"], *rest.json()["items"]]
        assert [(gap["first"], gap["last"], gap["missing"]) for gap in gaps] == [(1, 1, 1), (3, 3, 1), (5, 5, 1)]

    async def test_that_will_not_come_are_accepted_once(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(numbered(50), numbered(53))
        body = {"first": 1, "last": 49, "reason": "before we began"}
        key = {"Idempotency-Key": str(uuid4())}

        answers = [await client.post("/v1/warehouses/LON/gaps/accept", json=body, headers=key) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert await missing(shop) == [(51, 52, NOON)]
        [row] = await shop.rows("SELECT missing, reason, accepted_by FROM sequence_acceptances")
        assert tuple(row) == (49, "before we began", "warehouse")
        # It comes after all: applied, and no conflict with anything.
        await shop.reports(numbered(7))
        assert (await state(shop)).conflicts == []

    @pytest.mark.parametrize(
        ("body", "status", "field"),
        [
            ({"first": 2, "last": 2, "reason": "lost"}, 422, "first"),
            ({"first": 3, "last": 2, "reason": "lost"}, 422, "last"),
            ({"first": 0, "last": 2, "reason": "lost"}, 422, "first"),
            ({"first": 1, "last": 2**63, "reason": "lost"}, 422, "last"),
            ({"first": 1, "last": 1, "reason": ""}, 422, "reason"),
        ],
    )
    async def test_that_are_none_cannot_be_accepted(
        self, client: httpx.AsyncClient, shop: Shop, body: dict[str, object], status: int, field: str
    ) -> None:
        await shop.reports(numbered(2))

        answer = await client.post("/v1/warehouses/LON/gaps/accept", json=body, headers={"Idempotency-Key": "1"})

        assert answer.status_code == status
        assert field in answer.text

    async def test_of_a_warehouse_that_does_not_exist_are_not_found(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/warehouses/NOWHERE/gaps")).status_code == 404

    async def test_need_the_right_to_see_and_to_accept_them(self, client: httpx.AsyncClient) -> None:
        storefront = {"Authorization": "Bearer storefront", "Idempotency-Key": "1"}
        body = {"first": 1, "last": 1, "reason": "lost"}

        assert (await client.get("/v1/warehouses/LON/gaps", headers=storefront)).status_code == 403
        assert (await client.post("/v1/warehouses/LON/gaps/accept", json=body, headers=storefront)).status_code == 403


class TestMetrics:
    async def test_show_how_much_is_missing_and_for_how_long(self, shop: Shop) -> None:
        await shop.reports(numbered(1), numbered(4), numbered(1, at="MAN"))
        shop.clock.advance(timedelta(minutes=2))

        adapters = shop.adapters

        def value(name: str, warehouse: str) -> float | None:
            return REGISTRY.get_sample_value(name, {"warehouse": warehouse})

        async def watched() -> float | None:
            await watch_sequence_gaps(adapters)
            return value("inventory_sequence_gap_events", "LON")

        assert await eventually(watched) == 2
        assert value("inventory_sequence_gap_oldest_seconds", "LON") == 120
        assert value("inventory_sequence_gap_events", "MAN") == 0
        assert value("inventory_sequence_gap_oldest_seconds", "MAN") == 0
