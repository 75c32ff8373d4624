"""What every tier of tests needs: markers by folder, and the servers started once for a run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.infrastructure import Infrastructure, chosen_infrastructure

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
