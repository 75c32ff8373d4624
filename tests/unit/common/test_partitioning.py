"""Keys go where every other client of Kafka puts them."""

from uuid import UUID

from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from libs.common.messaging.partitioning import hash_of, hashes_of


class TestHash:
    @given(key=st.binary(max_size=80))
    def test_is_that_of_other_clients(self, key: bytes) -> None:
        assert hash_of(key) == murmur2(key) & 0x7FFF_FFFF

    # So many of a length that they are computed together, and one by one where they are few or no whole words.
    @given(
        keys=st.integers(0, 12).flatmap(
            lambda length: st.lists(st.binary(min_size=length, max_size=length), max_size=100)
        ),
        others=st.lists(st.binary(max_size=40), max_size=5),
    )
    def test_is_the_same_for_many_at_once(self, keys: list[bytes], others: list[bytes]) -> None:
        assert hashes_of([*keys, *others]) == {key: hash_of(key) for key in (*keys, *others)}

    def test_is_the_same_for_many_ids(self) -> None:
        ids = [str(UUID(int=number * 0x1234_5678_9ABC_DEF0_FEDC_BA98)).encode() for number in range(3_000)]
        assert hashes_of(ids) == {key: murmur2(key) & 0x7FFF_FFFF for key in ids}
