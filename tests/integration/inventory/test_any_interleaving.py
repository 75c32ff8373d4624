"""Whatever happens in whatever order, to the real handlers on the real database."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.inventory.bootstrap import SERVICE
from tests.integration.inventory.count_rules import CountRules
from tests.integration.inventory.hold_rules import HoldRules
from tests.integration.inventory.interleaving import OrderRules, WarehouseRules
from tests.integration.inventory.transfer_rules import TransferRules
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import emptied_database


class Trading(WarehouseRules, OrderRules, TransferRules, HoldRules, CountRules):
    """Everything at once: each group of rules is a base class."""


@pytest.fixture
def database_url(infrastructure: Infrastructure) -> str:
    async def choose() -> str:
        async with emptied_database(infrastructure, SERVICE.name, SERVICE.migrations) as database:
            return database.url

    return asyncio.run(choose())


class TestTrading:
    def test_keeps_its_books_whatever_happens(self, database_url: str) -> None:
        Trading.database_url = database_url
        run_state_machine_as_test(
            Trading,
            settings=settings(
                max_examples=10,
                stateful_step_count=25,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
