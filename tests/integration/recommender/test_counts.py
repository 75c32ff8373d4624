import asyncio
import random
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from libs.common.events.base import Event
from libs.common.events.storefront import CartAdded
from services.recommender.domain import popularity
from services.recommender.handlers.learning import learn
from services.recommender.storage.counts import PostgresCounts
from services.recommender.storage.reads import NEIGHBOURS_MAX, PostgresReads
from tests.integration.recommender.facts import NOON, order, view
from tests.support.postgres import FreshDatabase

Contents = dict[str, list[tuple[object, ...]]]


async def learn_from(database: FreshDatabase, *events: Event) -> None:
    async with database.transaction() as transaction:
        await learn(events, counts=PostgresCounts(transaction))


async def _drop_connections(database: FreshDatabase) -> None:
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def pair(database: FreshDatabase, sku: str, neighbour: str) -> tuple[int, int, int] | None:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        row = await driver.fetchrow(
            "SELECT bought_weight, viewed_weight, viewed_derived_weight FROM item_pairs"
            " WHERE sku = $1 AND neighbour = $2",
            sku,
            neighbour,
        )
    return tuple(row) if row else None


async def contents(database: FreshDatabase) -> Contents:
    """Return all that was learned, popularity rounded: a sum of floats depends on the order in its last digits."""
    queries = {
        "items": "SELECT sku, bought_weight, viewed_weight, round(popularity_log2::numeric, 6) FROM items ORDER BY 1",
        "pairs": "SELECT sku, neighbour, bought_weight, viewed_weight, viewed_derived_weight"
        " FROM item_pairs ORDER BY 1, 2",
        "histories": "SELECT user_id, viewed::text, bought::text FROM histories ORDER BY 1",
    }
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        return {name: [tuple(row) for row in await driver.fetch(query)] for name, query in queries.items()}


def a_busy_day() -> list[Event]:
    # Distinct products in each session: what is viewed twice adds nothing, whichever came first.
    events: list[Event] = []
    for number in range(12):
        skus = [f"SKU-{(number * 7 + step) % 20}" for step in range(5)]
        events.append(order(*skus, customer=f"customer-{number % 4}", order_id=UUID(int=number + 1)))
        events.extend(
            view(sku, minute=position, visitor=f"visitor-{number % 4}", session=f"session-{number}")
            for position, sku in enumerate(skus)
        )
    return events


class TestLearning:
    async def test_counts_what_is_bought_together_from_both_sides(self, database: FreshDatabase) -> None:
        await learn_from(database, order("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"))

        assert await pair(database, "CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR") == (631, 0, 0)
        assert await pair(database, "OMINOUS-MIRROR", "CRUNCHY-ARMCHAIR") == (631, 0, 0)

    async def test_adds_to_what_is_counted(self, database: FreshDatabase) -> None:
        for _ in range(3):
            await learn_from(database, order("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"))

        assert await pair(database, "CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR") == (1893, 0, 0)

    async def test_pairs_views_of_a_session_across_batches(self, database: FreshDatabase) -> None:
        await learn_from(database, view("CRUNCHY-ARMCHAIR"))
        await learn_from(database, view("OMINOUS-MIRROR", minute=120), view("TALL-LAMP", session="session-2"))

        assert await pair(database, "CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR") == (0, 1000, 0)
        assert await pair(database, "CRUNCHY-ARMCHAIR", "TALL-LAMP") is None

    async def test_pairs_views_without_a_session_by_time(self, database: FreshDatabase) -> None:
        await learn_from(database, view("CRUNCHY-ARMCHAIR", session=None))
        await learn_from(
            database,
            view("OMINOUS-MIRROR", minute=20, session=None),
            view("TALL-LAMP", minute=45, session=None),
        )

        assert await pair(database, "CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR") == (0, 1000, 0)
        assert await pair(database, "OMINOUS-MIRROR", "TALL-LAMP") == (0, 1000, 0)
        assert await pair(database, "CRUNCHY-ARMCHAIR", "TALL-LAMP") is None

    async def test_keeps_apart_what_was_derived(self, database: FreshDatabase) -> None:
        await learn_from(database, view("CRUNCHY-ARMCHAIR", is_derived=True), view("OMINOUS-MIRROR", minute=1))

        assert await pair(database, "CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR") == (0, 1000, 1000)

    async def test_bounds_the_pairs_of_the_largest_order(self, database: FreshDatabase) -> None:
        await learn_from(database, order(*(f"SKU-{number}" for number in range(1114))))

        assert len((await contents(database))["pairs"]) == 50 * 49

    async def test_remembers_what_a_person_did_under_both_ids(self, database: FreshDatabase) -> None:
        await learn_from(database, view("CRUNCHY-ARMCHAIR", customer="customer-7"), order("OMINOUS-MIRROR"))

        async with PostgresReads(database) as reads:
            visitor = await reads.history("visitor-1")
            customer = await reads.history("customer-7")
        assert visitor.viewed == {"CRUNCHY-ARMCHAIR": NOON}
        assert customer.viewed == {"CRUNCHY-ARMCHAIR": NOON}
        assert customer.bought == {"OMINOUS-MIRROR": NOON}

    async def test_sums_popularity_as_the_rules_do(self, database: FreshDatabase) -> None:
        later = CartAdded(visitor_id="visitor-1", occurred_at=NOON + timedelta(days=30), sku="TALL-LAMP", quantity=1)
        await learn_from(database, view("TALL-LAMP"))
        await learn_from(database, later)

        async with PostgresReads(database) as reads:
            (lamp,) = await reads.popular()
        expected = popularity.together(
            popularity.act(popularity.VIEW_WEIGHT, NOON),
            popularity.act(popularity.CART_WEIGHT, NOON + timedelta(days=30)),
        )
        assert lamp.popularity == pytest.approx(expected, abs=1e-9)

    async def test_learns_the_same_in_any_order_and_any_batches(self, database: FreshDatabase) -> None:
        await learn_from(database, *a_busy_day())
        at_once = await contents(database)
        async with database.transaction() as transaction:
            driver = await transaction.driver()
            await driver.execute("TRUNCATE items, item_pairs, browsing_windows, histories")

        shuffled = a_busy_day()
        random.Random(11).shuffle(shuffled)  # noqa: S311 - an order, not a secret
        for start in range(0, len(shuffled), 7):
            await learn_from(database, *shuffled[start : start + 7])

        assert await contents(database) == at_once

    async def test_of_several_consumers_at_once_loses_nothing_and_never_deadlocks(
        self, database: FreshDatabase
    ) -> None:
        # All of them touch many of the same products, and meet them in different orders.
        chance = random.Random(5)  # noqa: S311 - an order, not a secret
        skus = [f"SKU-{number}" for number in range(40)]
        batches = [[chance.sample(skus, 15) for _ in range(5)] for _ in range(8)]

        async with asyncio.TaskGroup() as group:
            for number, batch in enumerate(batches):
                # Customers of their own: transactions that wait for a common customer would never meet at the products.
                orders = [order(*basket, customer=f"customer-{number}") for basket in batch]
                group.create_task(learn_from(database, *orders))

        common = sum({"SKU-3", "SKU-17"} <= set(basket) for batch in batches for basket in batch)
        assert common > 0
        assert await pair(database, "SKU-3", "SKU-17") == (common * 250, 0, 0)  # 1000 / log2(16)


class TestReads:
    async def test_are_bounded_to_the_strongest_neighbours(self, database: FreshDatabase) -> None:
        for _ in range(2):
            await learn_from(database, order("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"))
        for number in range(3):
            await learn_from(database, order("CRUNCHY-ARMCHAIR", *(f"SKU-{number}-{one}" for one in range(49))))

        async with PostgresReads(database) as reads:
            evidence = await reads.evidence("CRUNCHY-ARMCHAIR")

        assert len(evidence) == NEIGHBOURS_MAX
        (mirror,) = [one for one in evidence if one.sku == "OMINOUS-MIRROR"]
        assert (mirror.bought, mirror.sku_bought) == (1262, 1262)
        assert mirror.seed_bought == 1262 + 3 * round(1000 / 5.672425341971495)  # log2(51)

    async def test_of_many_requests_are_shared(self, database: FreshDatabase) -> None:
        await learn_from(database, order("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"))

        async with PostgresReads(database) as reads:
            answers = await asyncio.gather(
                *(reads.evidence(sku) for sku in ("CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR", "CRUNCHY-ARMCHAIR", "NEVER"))
            )

        assert [[one.sku for one in answer] for answer in answers] == [
            ["OMINOUS-MIRROR"],
            ["CRUNCHY-ARMCHAIR"],
            ["OMINOUS-MIRROR"],
            [],
        ]

    async def test_go_on_after_the_server_dropped_every_connection(self, database: FreshDatabase) -> None:
        async with PostgresReads(database) as reads:
            await reads.popular()
            await _drop_connections(database)

            assert await reads.popular() == []

    async def test_find_nothing_about_a_stranger(self, database: FreshDatabase) -> None:
        async with PostgresReads(database) as reads:
            assert not (await reads.history("stranger")).latest(5)


class TestTables:
    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param("INSERT INTO item_pairs VALUES ('LAMP', 'LAMP', 1, 0, 0)", id="a product beside itself"),
            pytest.param("INSERT INTO item_pairs VALUES ('LAMP', 'VASE', 0, 1, 2)", id="more derived than counted"),
            pytest.param("INSERT INTO items VALUES ('LAMP', -1, 0, 0)", id="less than nothing"),
        ],
    )
    async def test_refuse_what_cannot_be(self, database: FreshDatabase, statement: str) -> None:
        with pytest.raises(asyncpg.CheckViolationError):
            async with database.transaction() as transaction:
                await (await transaction.driver()).execute(statement)
