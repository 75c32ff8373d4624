from collections.abc import Mapping
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from libs.common.messaging.crash_breaker import CrashBreaker, Mark

PARTITION = TopicPartition("warehouse", 3)


@given(
    offset=st.integers(0, 2**63 - 2), length=st.integers(1, 500), attempts=st.integers(0, 9_999), other=st.integers(0)
)
def test_a_mark_is_read_beside_its_own_offset_only(offset: int, length: int, attempts: int, other: int) -> None:
    mark = Mark(offset, min(offset + length, 2**63 - 1), attempts)

    assert Mark.decode(offset, mark.encode()) == mark
    assert Mark.decode(other, mark.encode()) == (mark if other == offset else None)


@pytest.mark.parametrize(
    "metadata", ["", "by an operator", "handling 1-1, attempt 0", "handling 1-x, attempt 0", "handling -1-2, attempt 0"]
)
def test_what_others_wrote_there_is_no_mark(metadata: str) -> None:
    assert Mark.decode(1, metadata) is None


def test_what_was_not_fatal_leaves_what_was_known_before() -> None:
    assert Mark(7, 12).survived == ""
    assert Mark.decode(7, Mark(7, 12, attempts=2).survived) == Mark(7, 12, attempts=1)
    assert Mark.decode(7, Mark(7, 12, attempts=1).survived) == Mark(7, 12)


class TestWhatPredecessorsDiedOver:
    async def test_is_found_out_once_for_each_assignment(self) -> None:
        read: list[AIOKafkaConsumer] = []
        counted: list[None] = []

        async def read_marks(consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, Mark]:
            read.append(consumer)
            return {PARTITION: Mark(7, 12, attempts=1)}

        breaker = CrashBreaker("group", read=read_marks, count=lambda: counted.append(None))
        consumer = cast("AIOKafkaConsumer", object())
        for assignment in (1, 2):
            breaker.forget()
            assert breaker.suspicion(PARTITION, 7) is None

            for _ in range(3):
                await breaker.learn(consumer)

            assert breaker.suspicion(PARTITION, 7) == Mark(7, 12, attempts=1)
            assert (len(read), len(counted)) == (assignment, assignment)
