import gc
from collections.abc import Iterator

import pytest

from tests.unit.orders.domain.worlds import decided


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Look for no circles among millions of values that are in none."""
    gc.disable()
    yield
    gc.enable()
    decided.cache_clear()
