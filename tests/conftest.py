"""What every tier of tests needs: markers by folder, and the servers started once for a run."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.infrastructure import Infrastructure, chosen_infrastructure
from tests.support.postgres import drop_kept_databases

# Two cores shared by servers and tests: how long an example takes says nothing about the code. And the same code gets
# the same examples, so that a run that fails says something about a change; `--hypothesis-profile=searching` looks for
# what no run has met.
settings.register_profile("searching", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("searching"), derandomize=True)
settings.load_profile("steady")

# Whom these tests ask is on this machine, whatever proxy there is to the rest of the world.
for variable in ("NO_PROXY", "no_proxy"):
    os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1", "localhost"]))  # noqa: TID251

# Where nobody has configured it, it shows the variables of every frame of an exception: many seconds of a busy machine.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

TESTS = Path(__file__).parent
MARKED_FOLDERS = ("integration", "e2e", "faults")
# Half a minute and more each: begun last, one of them would leave the other workers with nothing to do.
LONGEST = frozenset(
    TESTS / path
    for path in (
        "faults/test_matrix.py",
        "simulation/test_simulation.py",
        "integration/bench/speed/test_figures.py",
        "unit/orders/domain/test_every_interleaving.py",
    )
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0]
        if tier in MARKED_FOLDERS:
            item.add_marker(tier)
    items.sort(key=lambda item: item.path not in LONGEST)


@pytest.fixture(scope="session")
def infrastructure() -> Iterator[Infrastructure]:
    """PostgreSQL and Kafka; no test that does not name this fixture waits for them."""
    with chosen_infrastructure() as servers:
        yield servers
        asyncio.run(drop_kept_databases(servers))
