from datetime import timedelta

from services.recommender.handlers.learning import learn
from services.recommender.storage.counts import PostgresCounts
from services.recommender.storage.retention import Retention
from tests.integration.recommender.facts import view
from tests.support.postgres import FreshDatabase


async def browse(database: FreshDatabase, *visitors: str) -> None:
    async with database.transaction() as transaction:
        await learn([view("TALL-LAMP", visitor=visitor) for visitor in visitors], counts=PostgresCounts(transaction))


async def age(database: FreshDatabase, visitor: str, *, days: int) -> None:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        for table, column in (("browsing_windows", "visitor_id"), ("histories", "user_id")):
            await driver.execute(
                f"UPDATE {table} SET touched_at = now() - $2::interval WHERE {column} = $1",  # noqa: S608
                visitor,
                timedelta(days=days),
            )


async def known(database: FreshDatabase, table: str, column: str) -> list[str]:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        rows = await driver.fetch(f"SELECT {column} FROM {table} ORDER BY 1")  # noqa: S608
        return [row[0] for row in rows]


class TestRetention:
    async def test_forgets_those_who_have_not_come_back(self, database: FreshDatabase) -> None:
        await browse(database, "gone", "away", "here")
        await age(database, "gone", days=500)
        await age(database, "away", days=3)
        retention = Retention(database, windows_kept=timedelta(days=2), histories_kept=timedelta(days=400))

        assert await retention.forget_windows() == 2
        assert await retention.forget_windows() == 0
        assert await retention.forget_histories() == 1
        assert await known(database, "browsing_windows", "visitor_id") == ["here"]
        assert await known(database, "histories", "user_id") == ["away", "here"]
