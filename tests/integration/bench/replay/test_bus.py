"""What lies on a real broker, and how far a group has come."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from bench.replay.bus import consumer_lag, count_records, read_topics
from libs.common.events.orders import OrderShipped
from libs.common.events.topics import ORDERS_ORDER, ORDERS_RETURN
from tests.support.infrastructure import Infrastructure
from tests.support.kafka import TestBus

ORDER = UUID("00000000-0000-7000-8000-000000000001")
SHIPPED = OrderShipped(order_id=ORDER, shipped_at=datetime(2011, 5, 3, tzinfo=UTC))


@pytest.fixture
async def bus(infrastructure: Infrastructure) -> AsyncIterator[TestBus]:
    async with TestBus.open(infrastructure, topics=(ORDERS_ORDER, ORDERS_RETURN)) as bus:
        yield bus


class TestReadTopics:
    async def test_reads_everything_up_to_the_end(self, bus: TestBus) -> None:
        first = await bus.publish(SHIPPED, aggregate_version=1)
        await bus.publish(SHIPPED, aggregate_version=3)
        await bus.publish(SHIPPED, event_id=first.id, aggregate_version=1)

        readings = await read_topics(
            (ORDERS_ORDER, ORDERS_RETURN), bootstrap_servers=bus.bootstrap_servers, topic_prefix=bus.topic_prefix
        )

        orders = readings[ORDERS_ORDER.name]
        assert (orders.records, orders.events, orders.duplicates) == (3, 2, 1)
        assert orders.by_type == {"order.shipped": 2}
        assert orders.gaps() == [str(ORDER)]
        assert readings[ORDERS_RETURN.name].records == 0


class TestConsumerLag:
    async def test_is_everything_for_a_group_that_has_not_begun(self, bus: TestBus) -> None:
        await bus.publish(SHIPPED)

        lag = await consumer_lag(
            {"orders.saga": (ORDERS_ORDER,)}, bootstrap_servers=bus.bootstrap_servers, topic_prefix=bus.topic_prefix
        )

        assert lag == {"orders.saga": 1}

    async def test_is_what_came_after_the_group_committed(self, bus: TestBus) -> None:
        await bus.publish(SHIPPED)
        await bus.publish(SHIPPED)
        await bus.rewind("orders.saga", ORDERS_ORDER)

        lag = await consumer_lag(
            {"orders.saga": (ORDERS_ORDER, ORDERS_RETURN)},
            bootstrap_servers=bus.bootstrap_servers,
            topic_prefix=bus.topic_prefix,
        )

        assert lag == {"orders.saga": 2}


class TestCountRecords:
    async def test_adds_topics_up(self, bus: TestBus) -> None:
        await bus.publish(SHIPPED)

        count = await count_records(
            [ORDERS_ORDER.name, ORDERS_RETURN.name],
            bootstrap_servers=bus.bootstrap_servers,
            topic_prefix=bus.topic_prefix,
        )

        assert count == 1
