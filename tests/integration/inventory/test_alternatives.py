import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from libs.common.events.base import Event
from libs.common.events.inventory import (
    StockBackordered,
    StockChangeRefused,
    StockPartlyReserved,
    StockRejected,
)
from libs.common.events.orders import OrderEditRequested
from libs.common.events.shapes import SkuQuantity
from libs.common.events.topics import CATALOG_PRODUCT
from services.inventory.bootstrap.consumers import build_assortment_follower
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.domain.warehouses import WarehouseKind
from services.inventory.handlers.assortment import Assortment
from services.inventory.handlers.availability import Availability
from services.inventory.handlers.bundles import put_bundle
from services.inventory.handlers.stock_policies import put_stock_policy
from services.inventory.storage.stock import PostgresStock
from tests.integration.inventory.conftest import KEYS
from tests.integration.inventory.shop import SETTINGS, Shop, open_api
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    LONDON,
    MIRROR,
    NOON,
    adjusted,
    approved,
    envelope,
    expected,
    minutes,
    received,
)
from tests.unit.inventory.test_alternatives import assortment, delisted, listed

STOOL, BENCH, THRONE = "STOOL", "BENCH", "THRONE"
STORE = replace(
    LONDON, code="SOHO", name="Soho", kind=WarehouseKind.STORE, ships_orders=False, is_collection_point=True
)


@pytest.fixture
def furnished(shop: Shop) -> Shop:
    """Sell armchairs and what could be had instead of them: a bench rather than a stool, by its price."""
    shop.assortment = assortment(
        listed(ARMCHAIR, 10_000), listed(BENCH, 10_500), listed(STOOL, 12_000), listed(THRONE, 90_000)
    )
    return shop


class TestUnknownSkus:
    async def test_are_refused_where_the_catalog_has_all(self, furnished: Shop) -> None:
        furnished.refuses_unknown_skus = True

        known, _, unknown = await furnished.reports(received(2, ARMCHAIR), received(3, BENCH), received(4, "ARMCHIAR"))

        assert furnished.refusals == {unknown.id: "sku: The catalog has no such SKU."}
        assert await furnished.level(ARMCHAIR) == (2, 0)
        assert await furnished.level(BENCH) == (3, 0)
        assert known.id not in furnished.refusals

    async def test_are_known_from_their_first_report_on_elsewhere(self, furnished: Shop) -> None:
        await furnished.reports(received(4, "ARMCHIAR"))

        assert await furnished.level("ARMCHIAR") == (4, 0)


async def offered(shop: Shop, kind: type[Event] = StockRejected) -> list[str]:
    """Return what the last order that was short was offered."""
    told: Any = (await shop.announced(kind))[-1]
    return [one.sku for short in told.shortages for one in short.alternatives]


def refused_if_short(*lines: tuple[str, int], **terms: Any) -> Event:
    return approved(*lines, on_shortage="refuse", **terms)


class TestOrderThatIsShort:
    async def test_is_refused_with_what_is_free_instead(self, furnished: Shop) -> None:
        await furnished.reports(received(1), received(9, BENCH), received(5, STOOL), received(5, THRONE))

        await furnished.orders(refused_if_short((ARMCHAIR, 5)))

        [told] = await furnished.announced(StockRejected)
        [short] = told.shortages
        assert [(one.sku, one.price_minor, one.available) for one in short.alternatives] == [
            (BENCH, 10_500, 9),
            (STOOL, 12_000, 5),
        ]
        assert "5 % dearer" in short.alternatives[0].reason
        assert short.alternatives[0].score > short.alternatives[1].score

    async def test_is_told_what_it_could_have_of_what_an_edit_wants_more(self, furnished: Shop) -> None:
        order = approved((ARMCHAIR, 1))
        await furnished.reports(received(1), received(9, BENCH))
        await furnished.orders(order)

        units = [SkuQuantity(sku=ARMCHAIR, quantity=3)]
        await furnished.orders(OrderEditRequested(order_id=order.order_id, edit_id=uuid4(), lines=units, is_held=True))

        assert await offered(furnished, StockChangeRefused) == [BENCH]

    async def test_of_what_nobody_ever_stocked_is_offered_alternatives_too(self, furnished: Shop) -> None:
        await furnished.reports(received(1, BENCH))

        await furnished.orders(refused_if_short())

        [told] = await furnished.announced(StockRejected)
        assert told.reason == "unknown-sku"
        assert await offered(furnished) == [BENCH]

    async def test_waits_and_is_offered_what_is_there_now(self, furnished: Shop) -> None:
        await furnished.reports(received(1, BENCH))

        await furnished.orders(approved((ARMCHAIR, 1)))

        assert await offered(furnished, StockBackordered) == [BENCH]

    async def test_in_part_is_offered_what_would_make_it_whole(self, furnished: Shop) -> None:
        await furnished.reports(received(1), received(3, BENCH))

        await furnished.orders(approved((ARMCHAIR, 3), on_shortage="partial"))

        assert await offered(furnished, StockPartlyReserved) == [BENCH]

    async def test_because_its_units_are_gone_is_offered_what_is_there(self, furnished: Shop) -> None:
        await furnished.reports(received(2), received(5, BENCH))
        await furnished.orders(approved((ARMCHAIR, 2)))

        await furnished.reports(adjusted(-1))

        assert await offered(furnished, StockBackordered) == [BENCH]

    async def test_learns_when_what_it_wanted_is_expected_though_it_does_not_wait(self, furnished: Shop) -> None:
        tomorrow = NOON + timedelta(days=1)
        await furnished.reports(expected(5, arrives=tomorrow))

        await furnished.orders(refused_if_short())
        await furnished.orders(refused_if_short((ARMCHAIR, 6)))

        told = await furnished.announced(StockRejected)
        assert [one.shortages[0].expected_at for one in told] == [tomorrow, None]

    async def test_is_not_offered_what_is_in_it_already(self, furnished: Shop) -> None:
        await furnished.reports(received(9, BENCH), received(9, STOOL))

        await furnished.orders(refused_if_short((ARMCHAIR, 1), (BENCH, 1)))

        assert await offered(furnished) == [STOOL]

    async def test_is_not_offered_what_others_of_its_batch_have_just_taken(self, furnished: Shop) -> None:
        await furnished.reports(received(2, BENCH))

        await furnished.orders(
            envelope(approved((BENCH, 2)), at=minutes(1)), envelope(refused_if_short(), at=minutes(2))
        )

        assert await offered(furnished) == []

    async def test_is_not_offered_safety_stock(self, furnished: Shop) -> None:
        await furnished.reports(received(2, BENCH))
        async with furnished.database.transaction() as transaction:
            tools = furnished.adapters.tools_of(transaction)
            await put_stock_policy(BENCH, StockPolicy(safety_stock_units=2), tools=tools)

        await furnished.orders(refused_if_short())

        assert await offered(furnished) == []

    async def test_is_not_offered_what_only_a_store_has_unless_it_is_collected_there(self, furnished: Shop) -> None:
        await furnished.register(STORE)
        await furnished.reports(received(5, BENCH, at="SOHO"), received(5, STOOL))

        await furnished.orders(refused_if_short())
        assert await offered(furnished) == [STOOL]

        await furnished.orders(refused_if_short((ARMCHAIR, 1), collect_at="SOHO"))
        assert await offered(furnished) == [BENCH]

    async def test_in_one_parcel_is_offered_what_one_warehouse_has(self, furnished: Shop) -> None:
        await furnished.reports(received(2, BENCH), received(2, BENCH, at="MAN"), received(3, STOOL))

        await furnished.orders(refused_if_short((ARMCHAIR, 3), is_split_allowed=False))

        assert await offered(furnished) == [STOOL]

    async def test_is_never_offered_what_is_not_sold_any_more(self, furnished: Shop) -> None:
        await furnished.reports(received(2, BENCH), received(2, STOOL))
        furnished.assortment.apply(delisted(BENCH))
        furnished.assortment.forget(STOOL.encode())

        await furnished.orders(refused_if_short())

        assert await offered(furnished) == []

    async def test_may_be_offered_a_bundle_of_which_all_parts_are_there(self, furnished: Shop) -> None:
        await furnished.reports(received(5, LAMP), received(2, MIRROR))
        async with furnished.database.transaction() as transaction:
            await put_bundle(STOOL, {LAMP: 2, MIRROR: 1}, tools=furnished.adapters.tools_of(transaction))

        await furnished.orders(refused_if_short((ARMCHAIR, 2)))
        assert await offered(furnished) == [STOOL]

        await furnished.orders(refused_if_short((ARMCHAIR, 3)))
        assert await offered(furnished) == []

    async def test_of_a_bundle_is_not_offered_something_else_for_a_part_of_it(self, furnished: Shop) -> None:
        await furnished.reports(received(5, BENCH), received(2, LAMP))
        async with furnished.database.transaction() as transaction:
            await put_bundle("SET", {ARMCHAIR: 1, LAMP: 1}, tools=furnished.adapters.tools_of(transaction))

        await furnished.orders(refused_if_short(("SET", 1)))

        assert await offered(furnished) == []


class TestCost:
    async def test_is_nothing_while_nothing_is_short(self, furnished: Shop, asked: Counter[str]) -> None:
        await furnished.reports(received(9), received(9, BENCH))

        await furnished.orders(approved((ARMCHAIR, 1)), approved((BENCH, 1)))

        assert not asked

    async def test_is_that_of_one_order_however_many_are_short_of_the_same(
        self, furnished: Shop, asked: Counter[str]
    ) -> None:
        await furnished.reports(received(9, BENCH))

        await furnished.orders(*(refused_if_short() for _ in range(50)), *(approved() for _ in range(50)))

        assert asked == {"unreserved": 1, "alternatives": 1}
        told: list[Any] = [*await furnished.announced(StockRejected), *await furnished.announced(StockBackordered)]
        assert [one.shortages[0].alternatives[0].sku for one in told] == [BENCH] * 100

    async def test_is_nothing_where_the_shop_wants_no_alternatives(self, shop: Shop, asked: Counter[str]) -> None:
        await shop.orders(refused_if_short())

        assert not asked
        assert await offered(shop) == []

    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
        """Count what is asked for to find alternatives."""
        asked: Counter[str] = Counter()

        def counting(name: str, found: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any, **named: Any) -> Any:
                asked[name] += 1
                return found(*arguments, **named)

            return counted

        for owner, name in ((PostgresStock, "unreserved"), (Assortment, "alternatives")):
            monkeypatch.setattr(owner, name, counting(name, getattr(owner, name)))
        return asked


class TestEndpoint:
    async def test_offers_what_is_free_in_memory(self, furnished: Shop) -> None:
        tomorrow = NOON + timedelta(days=1)
        await furnished.register(STORE)
        await furnished.reports(
            received(2, BENCH), received(4, STOOL), received(9, BENCH, at="SOHO"), expected(3, arrives=tomorrow)
        )

        shown = (await ask(furnished, f"{ARMCHAIR}/alternatives?quantity=2")).json()
        assert [one["sku"] for one in shown["items"]] == [BENCH, STOOL]
        assert shown["items"][0]["available"] == 2
        assert (shown["available"], shown["restock"]["units"], shown["is_catalog_read"]) == (0, 3, True)

        for query, skus in [
            ("quantity=3", [STOOL]),
            ("quantity=3&collect_at=SOHO", [BENCH]),
            ("quantity=2&exclude=BENCH&exclude=X", [STOOL]),
            ("quantity=5", []),
        ]:
            shown = (await ask(furnished, f"{ARMCHAIR}/alternatives?{query}")).json()
            assert [one["sku"] for one in shown["items"]] == skus

    async def test_offers_nothing_before_the_catalog_was_read(self, shop: Shop) -> None:
        shop.assortment = Assortment()
        shop.assortment.apply(listed(ARMCHAIR))

        shown = (await ask(shop, f"{ARMCHAIR}/alternatives")).json()

        assert (shown["items"], shown["is_catalog_read"]) == ([], False)

    @pytest.mark.parametrize(
        "path",
        [
            f"{ARMCHAIR}/alternatives?quantity=0",
            f"{ARMCHAIR}/alternatives?quantity=1{'0' * 30}",
            f"{ARMCHAIR}/alternatives?quantity=1.5",
            f"{ARMCHAIR}/alternatives?collect_at=%00",
            f"{ARMCHAIR}/alternatives?exclude=",
            "A%00/alternatives",
            "A" * 200 + "/alternatives",
            f"{ARMCHAIR}/alternatives?" + "&".join(["exclude=A"] * 201),
        ],
    )
    async def test_asked_wrongly_says_so(self, furnished: Shop, path: str) -> None:
        assert (await ask(furnished, path)).status_code == 422

    async def test_wants_the_scope_of_storefronts(self, furnished: Shop) -> None:
        assert (await ask(furnished, f"{ARMCHAIR}/alternatives", caller="warehouse")).status_code == 403


async def ask(shop: Shop, path: str, *, caller: str = "storefront") -> httpx.Response:
    """Ask an API whose copy has everything that was published."""
    copy = Availability()
    for one in await shop.published():
        copy.apply(one)
    async with open_api(shop, KEYS, caller=caller, availability=copy) as client:
        return await client.get(f"/v1/availability/{path}")


class TestFollowing:
    async def test_reads_the_catalog_to_its_end_and_forgets_deleted_records(
        self, infrastructure: Infrastructure
    ) -> None:
        async with TestBus.open(infrastructure, topics=(CATALOG_PRODUCT,)) as bus:
            for sku in (ARMCHAIR, STOOL, BENCH):
                await bus.publish(listed(sku).event, aggregate_version=1)
            copy = Assortment()
            settings = SETTINGS.model_copy(
                update={
                    "kafka_bootstrap_servers": bus.bootstrap_servers,
                    "kafka_topic_prefix": bus.topic_prefix,
                }
            )

            async def like() -> set[str]:
                return {one.product.sku for one in copy.like(ARMCHAIR)}

            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(build_assortment_follower(settings, copy).run(stop))
                await eventually(like, lambda found: found == {STOOL, BENCH})
                await bus.delete(CATALOG_PRODUCT, STOOL)
                await eventually(like, lambda found: found == {BENCH})
                stop.set()
