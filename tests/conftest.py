"""What every tier of tests needs: markers by folder, and the servers started once for a run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.infrastructure import Infrastructure, chosen_infrastructure
from tests.support.postgres import drop_templates

# Two cores shared by servers and tests: how long one example takes says nothing about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

TESTS = Path(__file__).parent
MARKED_FOLDERS = ("integration", "e2e", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        if tier in MARKED_FOLDERS:
            item.add_marker(tier)


@pytest.fixture(scope="session")
def infrastructure() -> Iterator[Infrastructure]:
    """PostgreSQL and Kafka; no test that does not name this fixture waits for them."""
    with chosen_infrastructure() as servers:
        yield servers
        asyncio.run(drop_templates(servers))
