"""Whatever happens in whatever order, to the real handlers on the real database."""

import asyncio

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from services.inventory.bootstrap import SERVICE
from tests.integration.inventory.count_rules import CountRules
from tests.integration.inventory.hold_rules import HoldRules
from tests.integration.inventory.interleaving import Frame, OrderRules, WarehouseRules
from tests.integration.inventory.transfer_rules import TransferRules
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import emptied_database


class Moving(WarehouseRules, TransferRules):
    """Goods come, go, are counted and moved."""


class Ordering(WarehouseRules, OrderRules):
    """Orders come for goods that come and go."""


class Holding(HoldRules):
    """Carts and orders want what there is."""


class Counting(WarehouseRules, CountRules):
    """Goods are counted, and come in lots that expire."""


class Trading(WarehouseRules, OrderRules, TransferRules, HoldRules, CountRules):
    """Everything at once: each group of rules is a base class."""


@pytest.fixture
def database_url(infrastructure: Infrastructure) -> str:
    async def choose() -> str:
        async with emptied_database(infrastructure, SERVICE.name, SERVICE.migrations) as database:
            return database.url

    return asyncio.run(choose())


class TestBooks:
    # The more rules there are, the less of each two of them meets.
    @pytest.mark.parametrize("trade", [Moving, Ordering, Holding, Counting, Trading])
    def test_are_kept_whatever_happens(self, trade: type[Frame], database_url: str) -> None:
        trade.database_url = database_url
        run_state_machine_as_test(
            trade,
            settings=settings(
                max_examples=12,
                stateful_step_count=20,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
