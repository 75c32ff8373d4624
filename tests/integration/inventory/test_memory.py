"""A process that runs for months keeps nothing of the batches that it has handled."""

import gc
from collections.abc import Iterator

import pytest

from libs.common.events.base import Envelope
from tests.integration.inventory.shop import Shop
from tests.unit.inventory.builders import approved, received


def envelopes() -> int:
    return sum(isinstance(one, Envelope) for one in gc.get_objects())


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class TestBatches:
    @pytest.mark.usefixtures("without_collector")
    async def test_are_let_go_without_the_garbage_collector(self, shop: Shop) -> None:
        # Other tests may have left some.
        before = envelopes()

        for _ in range(3):
            await shop.reports(*(received(1) for _ in range(20)))
            await shop.orders(*(approved() for _ in range(20)))

        # Of the last batches something may still be referred to; of those before them nothing.
        assert envelopes() - before <= 40
