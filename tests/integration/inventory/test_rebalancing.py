"""Transfers that are proposed before a warehouse runs short."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from libs.common.events.inventory import GoodsReceived, TransferCancelled, TransferProposed
from services.inventory.bootstrap.transfers import approve_cheap_transfers, propose_transfers
from services.inventory.domain.rebalancing import RebalancingPolicy
from services.inventory.handlers.rebalancing import Rebalancing
from services.inventory.settings import InventorySettings
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, NOON, approved, picked, received

POLICY = RebalancingPolicy(lead_days=3, review_days=1, cover_days=10, transfer_minor=500)


async def review(shop: Shop, *, page_skus: int = 200, policy: RebalancingPolicy = POLICY) -> None:
    rebalancing = Rebalancing(policy, page_skus=page_skus)
    while await propose_transfers(rebalancing, shop.adapters):
        pass


async def transfers(client: httpx.AsyncClient, **params: str) -> list[dict[str, Any]]:
    answer = await client.get("/v1/transfers", params=params)
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def decline(client: httpx.AsyncClient, transfer: dict[str, Any]) -> None:
    headers = {"Authorization": "Bearer ops", "Idempotency-Key": transfer["id"]}
    answer = await client.post(f"/v1/transfers/{transfer['id']}/cancel", headers=headers, json={"reason": "no van"})
    assert answer.status_code == 200, answer.text


@pytest.fixture(autouse=True)
async def demand(shop: Shop) -> None:
    """Let two armchairs a day leave Manchester, which has one left, while London has plenty."""
    past = NOON - timedelta(days=28)
    bought = GoodsReceived(
        sku=ARMCHAIR, warehouse="LON", occurred_at=past, quantity=100, unit_cost_minor=2_000, currency="GBP"
    )
    sold = [picked(14, at="MAN", when=past + timedelta(days=7 * week)) for week in range(1, 5)]
    await shop.reports(bought, received(57, at="MAN", when=past), *sold)


class TestProposals:
    async def test_say_what_they_avoid_and_what_they_cost(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop)

        [transfer] = await transfers(client)
        assert (transfer["status"], transfer["source"], transfer["destination"]) == ("proposed", "LON", "MAN")
        assert (transfer["is_automatic"], transfer["lines"][0]["requested"]) == (True, 19)
        assert (transfer["value_minor"], transfer["currency"]) == (38_000, "GBP")
        found = await client.get("/v1/decisions", params={"subject": f"transfer:{transfer['id']}"})
        [decision] = found.json()["items"]
        assert (decision["decision"], decision["id"]) == ("propose-transfer", transfer["decision_id"])
        assert decision["inputs"]["avoided_units"] == 7
        assert decision["inputs"]["avoided_minor"] == 7 * 600
        assert "avoids 7 of them, which would cost 4200 in minor units of GBP, for 500." in transfer["reason"]
        assert [one["option"] for one in decision["alternatives"]] == ["LON"]
        [event] = await shop.announced(TransferProposed)
        assert (event.is_automatic, event.lines[0].quantity) == (True, 19)

    async def test_are_made_once_however_often_and_wherever_they_are_reviewed(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        await asyncio.gather(*(review(shop) for _ in range(4)))
        await review(shop, page_skus=1)

        assert len(await transfers(client)) == 1
        assert len(await shop.announced(TransferProposed)) == 1

    async def test_are_revised_when_much_more_is_needed(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop)
        await shop.reports(picked(28, at="MAN"))

        await review(shop)

        [transfer] = await transfers(client)
        assert transfer["lines"][0]["requested"] > 19
        assert transfer["version"] == 2

    async def test_are_withdrawn_when_nothing_is_needed_any_more(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop)
        await shop.reports(received(50, at="MAN"))

        await review(shop)

        [transfer] = await transfers(client)
        assert (transfer["status"], transfer["reason"]) == ("cancelled", "not needed any more")
        assert len(await shop.announced(TransferCancelled)) == 1

    async def test_say_large_amounts_in_full(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop, policy=RebalancingPolicy(lead_days=3, review_days=1, cover_days=10, shortage_share=1_000.5))

        [transfer] = await transfers(client)
        assert f"would cost {7 * 2_001_000} in minor units" in transfer["reason"]

    async def test_are_not_repeated_to_who_declined_them_unless_much_more_is_needed(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        await review(shop)
        [declined] = await transfers(client)
        await decline(client, declined)

        await shop.reports(picked(1, at="MAN"))
        await review(shop)
        assert await transfers(client, status="proposed") == []

        await shop.reports(picked(28, at="MAN"))
        await review(shop)
        await review(shop)
        [again] = await transfers(client, status="proposed")
        assert again["lines"][0]["requested"] == 31

        # It waits for an answer of its own, also when hardly more is needed than was declined: 28 that came make up
        # for what was picked and not there.
        await shop.reports(received(28 + 9, at="MAN"))
        await review(shop)
        [revised] = await transfers(client, status="proposed")
        assert (revised["id"], revised["lines"][0]["requested"]) == (again["id"], 22)

    async def test_are_repeated_after_some_days(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop)
        [declined] = await transfers(client)
        await decline(client, declined)

        shop.clock.advance(timedelta(days=7, seconds=1))
        await review(shop)

        assert [one["id"] != declined["id"] for one in await transfers(client, status="proposed")] == [True]

    async def test_that_were_declined_are_made_to_the_next_source(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(60, at="GLA"))
        await review(shop)
        [first] = await transfers(client)
        assert (first["source"], first["destination"], first["lines"][0]["requested"]) == ("GLA", "MAN", 19)
        await decline(client, first)

        await asyncio.gather(*(review(shop) for _ in range(3)))
        await review(shop)

        [second] = await transfers(client, status="proposed")
        assert (second["source"], second["destination"], second["lines"][0]["requested"]) == ("LON", "MAN", 19)
        assert second["reason"].endswith("A move from GLA was declined.")
        found = await client.get("/v1/decisions", params={"subject": f"transfer:{second['id']}"})
        options = found.json()["items"][0]["alternatives"]
        assert [(one["option"], one["details"]["declined_units"]) for one in options] == [("LON", 0), ("GLA", 19)]
        await decline(client, second)
        await review(shop)
        assert await transfers(client, status="proposed") == []

    async def test_that_were_declined_are_not_made_again_beside_the_next_source(
        self, client: httpx.AsyncClient, shop: Shop
    ) -> None:
        await shop.reports(received(60, at="GLA"))
        await review(shop)
        await decline(client, (await transfers(client))[0])
        await review(shop)

        shop.clock.advance(timedelta(days=7, seconds=1))
        await shop.reports(picked(28, at="MAN"))
        await review(shop)

        [proposal] = await transfers(client, status="proposed")
        assert proposal["source"] == "GLA"
        assert sorted(one["source"] for one in await transfers(client, status="cancelled")) == ["GLA", "LON"]

    async def test_count_what_was_approved_as_on_its_way(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop)
        [transfer] = await transfers(client)
        headers = {"Authorization": "Bearer ops", "Idempotency-Key": "1"}
        answer = await client.post(f"/v1/transfers/{transfer['id']}/approve", headers=headers)
        assert answer.status_code == 200

        await review(shop)

        assert [one["status"] for one in await transfers(client)] == ["approved"]

    async def test_help_an_order_that_may_not_be_split(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await shop.reports(received(9, MIRROR, at="GLA"))
        order = approved((ARMCHAIR, 4), (MIRROR, 5), is_split_allowed=False)
        await shop.orders(order)
        assert await shop.status(order.order_id) == "waiting"

        await review(shop)

        moves = [(one["lines"][0]["sku"], one["source"], one["destination"]) for one in await transfers(client)]
        assert (ARMCHAIR, "LON", "GLA") in moves
        assert not [move for move in moves if move[0] == MIRROR]

    async def test_are_none_that_cost_more_than_they_avoid(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop, policy=RebalancingPolicy(lead_days=3, review_days=1, cover_days=10, transfer_minor=4_200))

        assert await transfers(client) == []


class TestApproval:
    @pytest.mark.parametrize(("below_minor", "status", "held"), [(38_000, "proposed", 0), (38_001, "approved", 19)])
    async def test_is_given_at_once_to_what_is_worth_little(
        self, client: httpx.AsyncClient, shop: Shop, below_minor: int, status: str, held: int
    ) -> None:
        await review(shop)
        settings = InventorySettings(
            database_url=SecretStr("postgresql://unused"), transfer_approve_below_minor=below_minor
        )

        await approve_cheap_transfers(settings, shop.adapters)

        [transfer] = await transfers(client)
        assert (transfer["status"], transfer["lines"][0]["held"]) == (status, held)
        assert await shop.level(ARMCHAIR) == (100, held)

    async def test_waits_for_units_that_are_promised_meanwhile(self, client: httpx.AsyncClient, shop: Shop) -> None:
        await review(shop)
        await shop.orders(approved((ARMCHAIR, 95)))
        settings = InventorySettings(
            database_url=SecretStr("postgresql://unused"), transfer_approve_below_minor=1_000_000
        )

        await approve_cheap_transfers(settings, shop.adapters)

        assert [one["status"] for one in await transfers(client)] == ["proposed"]
