"""What the recommender forgets, and does not learn again."""

from typing import Any
from uuid import UUID

from libs.common.events.base import Event
from libs.common.events.customers import CustomerErasureRequested
from libs.common.ids import new_id
from libs.common.privacy import Pseudonyms
from services.recommender.consumers import behaviour_subscription
from services.recommender.storage.counts import PostgresCounts
from services.recommender.storage.erasure import PostgresErasureAnswers, Renaming, erase_people
from tests.integration.recommender.facts import order, view
from tests.support.kafka import envelope_of
from tests.support.postgres import FreshDatabase

PSEUDONYMS = Pseudonyms(b"of the shop")
CUSTOMER = PSEUDONYMS.of("customer-7")


async def hear(database: FreshDatabase, *events: Event) -> None:
    group = behaviour_subscription(PostgresCounts, pseudonyms=PSEUDONYMS, erase=erase_people)
    async with database.transaction() as transaction:
        await group.handle([envelope_of(event) for event in events], transaction)


async def histories(database: FreshDatabase) -> dict[str, Any]:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        rows = await driver.fetch("SELECT user_id, viewed::text || bought::text AS skus FROM histories")
        return {row["user_id"]: row["skus"] for row in rows}


def asked(part_id: UUID, *visitors: str) -> CustomerErasureRequested:
    people = [PSEUDONYMS.of(one) for one in visitors]
    return CustomerErasureRequested(erasure_id=new_id(), part_id=part_id, customer=CUSTOMER, visitors=people)


class TestErasure:
    async def test_forgets_and_learns_nothing_of_them_again(self, database: FreshDatabase) -> None:
        part = new_id()
        await hear(database, order("BLUE-VASE", "RED-VASE"), view("BLUE-VASE", visitor="visitor-1"))
        assert "BLUE-VASE" in (await histories(database))[CUSTOMER]

        await hear(database, asked(part, "visitor-1"))
        await hear(database, order("BLUE-VASE", "GREEN-VASE"), view("BLUE-VASE", visitor="visitor-1"))

        assert {user: skus for user, skus in (await histories(database)).items() if skus != "{}{}"} == {}
        assert [(one, rows > 0) for one, _, rows in await PostgresErasureAnswers(database).due(limit=9)] == [
            (part, True)
        ]

    async def test_answers_each_part_until_that_is_noted(self, database: FreshDatabase) -> None:
        part, answers = new_id(), PostgresErasureAnswers(database)
        await hear(database, asked(part))

        await answers.note_answered([part])

        assert await answers.due(limit=9) == []
        # Read again, it is answered again: who asks may have lost the answer.
        await hear(database, asked(part))
        assert [one for one, _, _ in await answers.due(limit=9)] == [part]

    async def test_knows_people_of_earlier_versions_by_their_pseudonyms(self, database: FreshDatabase) -> None:
        async with database.transaction() as transaction:
            driver = await transaction.driver()
            await driver.execute(
                "INSERT INTO histories VALUES ('customer-7', '{\"OLD-VASE\": \"2026-01-01T00:00:00Z\"}', '{}')"
            )
        renaming = Renaming(database, PSEUDONYMS)

        assert await renaming.work() == 1
        assert await renaming.work() == 0

        found = await histories(database)
        assert "OLD-VASE" in found[CUSTOMER]
        assert "customer-7" not in found
