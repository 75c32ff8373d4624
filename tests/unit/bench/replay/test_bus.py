"""What a reading of a topic notices."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka import ConsumerRecord

from bench.replay.bus import TopicReading
from libs.common.events.topics import ORDERS_ORDER

FIRST, SECOND, THIRD = uuid4(), uuid4(), uuid4()


def a_record(
    event_id: UUID, *, version: int | None = 1, subject: str = "order-1", partition: int = 0
) -> "ConsumerRecord[Any, Any]":
    headers = [("ce_id", str(event_id)), ("ce_type", "order.placed"), ("ce_subject", subject)]
    if version is not None:
        headers.append(("aggregate_version", str(version)))
    return ConsumerRecord(
        topic=ORDERS_ORDER.name,
        partition=partition,
        offset=0,
        timestamp=0,
        timestamp_type=0,
        key=b"",
        value=b"{}",
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=2,
        headers=[(name, value.encode()) for name, value in headers],
    )


@pytest.fixture
def reading() -> TopicReading:
    return TopicReading(ORDERS_ORDER)


class TestTopicReading:
    def test_counts_an_event_once_however_often_it_was_published(self, reading: TopicReading) -> None:
        reading.take(a_record(FIRST))
        reading.take(a_record(FIRST))

        assert (reading.records, reading.events, reading.duplicates) == (2, 1, 1)
        assert reading.by_type == {"order.placed": 1}
        assert reading.gaps() == []

    def test_accepts_versions_in_any_order(self, reading: TopicReading) -> None:
        reading.take(a_record(SECOND, version=2))
        reading.take(a_record(FIRST, version=1))

        assert reading.gaps() == []
        assert reading.latest_version("order-1") == 2

    def test_finds_an_event_that_is_missing(self, reading: TopicReading) -> None:
        reading.take(a_record(FIRST, version=1))
        reading.take(a_record(THIRD, version=3))

        assert reading.gaps() == ["order-1"]

    def test_finds_a_first_event_that_is_missing(self, reading: TopicReading) -> None:
        reading.take(a_record(SECOND, version=2))

        assert reading.gaps() == ["order-1"]

    def test_finds_a_version_that_was_given_twice(self, reading: TopicReading) -> None:
        reading.take(a_record(FIRST, version=1))
        reading.take(a_record(SECOND, version=1))

        assert reading.clashes == {"order-1"}

    def test_finds_a_version_that_lies_behind_a_later_one(self, reading: TopicReading) -> None:
        reading.take(a_record(SECOND, version=2))
        reading.take(a_record(FIRST, version=1))

        assert reading.disorders == {"order-1"}
        assert reading.parted() == set()

    def test_knows_of_no_order_between_partitions(self, reading: TopicReading) -> None:
        # Whoever reads several partitions may be sent the newest of them first.
        reading.take(a_record(THIRD, version=3, partition=1))
        reading.take(a_record(FIRST, version=1))
        reading.take(a_record(SECOND, version=2))

        assert reading.disorders == set()
        assert reading.parted() == {"order-1"}
        assert reading.gaps() == []

    def test_knows_nothing_of_other_aggregates(self, reading: TopicReading) -> None:
        reading.take(a_record(FIRST, version=1))
        reading.take(a_record(SECOND, version=1, subject="order-2"))

        assert reading.clashes == set()
        assert reading.latest_version("order-3") == 0

    def test_leaves_events_without_a_version_out_of_the_count(self, reading: TopicReading) -> None:
        reading.take(a_record(FIRST, version=None))

        assert (reading.events, reading.versions, reading.gaps()) == (1, {}, [])
