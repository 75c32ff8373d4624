"""What the attacks share: one shop for all of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.abuse.effort import Effort
from tests.abuse.site import Site, open_site
from tests.support.infrastructure import Infrastructure


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="try everything, as `make abuse` does, not a part of it")


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    # Unknown where these tests are a part of a larger run, which has no time for everything.
    return Effort(is_thorough=bool(pytestconfig.getoption("--thorough", default=False)))


@pytest.fixture(scope="session")
def site(infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Five services as processes; a test must leave them as able to serve as it found them."""
    folder: Path = tmp_path_factory.mktemp("site")
    with open_site(infrastructure, folder) as site:
        yield site
