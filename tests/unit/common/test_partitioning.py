"""Keys go where every other client of Kafka puts them."""

from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from libs.common.messaging.partitioning import hash_of


class TestHash:
    @given(key=st.binary(max_size=80))
    def test_is_that_of_other_clients(self, key: bytes) -> None:
        assert hash_of(key) == murmur2(key) & 0x7FFF_FFFF
