"""The migrations of every service lead up, down and up again, and to the tables that its code declares."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import MetaData

from deploy.local.services import SERVICES as DEPLOYED
from libs.common.runtime import Service
from services.catalog.bootstrap import SERVICE as CATALOG
from services.catalog.storage.tables import metadata as catalog_tables
from services.inventory.bootstrap import SERVICE as INVENTORY
from services.inventory.storage.tables import metadata as inventory_tables
from services.logistics.bootstrap import SERVICE as LOGISTICS
from services.logistics.storage.tables import metadata as logistics_tables
from services.orders.bootstrap import SERVICE as ORDERS
from services.orders.storage.tables import metadata as orders_tables
from services.recommender.bootstrap import SERVICE as RECOMMENDER
from services.recommender.storage.tables import metadata as recommender_tables
from tests.support.infrastructure import Infrastructure
from tests.support.migrations import climb, constraints_and_indexes, declared_constraints_and_indexes, differences
from tests.support.postgres import FreshDatabase, emptied_database

DECLARED = (
    (CATALOG, catalog_tables),
    (INVENTORY, inventory_tables),
    (LOGISTICS, logistics_tables),
    (ORDERS, orders_tables),
    (RECOMMENDER, recommender_tables),
)

each_service = pytest.mark.parametrize(
    ("service", "declared"), [pytest.param(*one, id=one[0].name) for one in DECLARED]
)


@pytest.fixture
async def database(infrastructure: Infrastructure, service: Service[Any]) -> AsyncIterator[FreshDatabase]:
    async with emptied_database(infrastructure, service.name, service.migrations) as database:
        yield database


def test_of_every_service_are_here() -> None:
    assert {service.name for service, _ in DECLARED} == {service.name for service in DEPLOYED}


@pytest.mark.parametrize("service", [pytest.param(service, id=service.name) for service, _ in DECLARED])
async def test_go_up_and_down_and_up_again_step_by_step_and_leave_nothing_behind(
    infrastructure: Infrastructure, service: Service[Any]
) -> None:
    await climb(infrastructure, service)


@each_service
async def test_lead_to_the_tables_that_the_code_declares(database: FreshDatabase, declared: MetaData) -> None:
    assert await differences(database, declared) == []


@each_service
async def test_lead_to_the_constraints_and_indexes_that_the_code_declares(
    infrastructure: Infrastructure, database: FreshDatabase, service: Service[Any], declared: MetaData
) -> None:
    expected = await declared_constraints_and_indexes(infrastructure, service, declared)

    assert await constraints_and_indexes(database) == expected
