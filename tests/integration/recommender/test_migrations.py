"""The migrations lead up, down and up again, and to the tables that the code declares."""

from services.recommender.bootstrap import SERVICE
from services.recommender.storage.tables import metadata
from tests.support.infrastructure import Infrastructure
from tests.support.migrations import climb, constraints_and_indexes, declared_constraints_and_indexes, differences
from tests.support.postgres import FreshDatabase


class TestMigrations:
    async def test_go_up_and_down_and_up_again_step_by_step(self, infrastructure: Infrastructure) -> None:
        await climb(infrastructure, SERVICE)

    async def test_lead_to_the_tables_that_the_code_declares(self, database: FreshDatabase) -> None:
        assert await differences(database, metadata) == []

    async def test_lead_to_the_constraints_and_indexes_that_the_code_declares(
        self, infrastructure: Infrastructure, database: FreshDatabase
    ) -> None:
        declared = await declared_constraints_and_indexes(infrastructure, SERVICE, metadata)

        assert await constraints_and_indexes(database) == declared
