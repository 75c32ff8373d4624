from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import NAMESPACE_DNS, UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import SystemClock
from libs.common.ids import named_id, new_id


class TestNewId:
    def test_sorts_in_the_order_of_making(self) -> None:
        made = [new_id() for _ in range(50_000)]

        assert made == sorted(made)
        assert len(set(made)) == len(made)

    def test_is_unique_across_threads(self) -> None:
        with ThreadPoolExecutor(8) as threads:
            batches = list(threads.map(lambda _: [new_id() for _ in range(2_000)], range(8)))

        assert len({one for batch in batches for one in batch}) == 16_000

    def test_is_a_version_7_uuid_of_now(self) -> None:
        before = SystemClock().now() - timedelta(milliseconds=1)

        made = new_id()

        assert made.version == 7
        assert made.variant == "specified in RFC 4122"
        milliseconds = made.int >> 80
        assert before.timestamp() * 1000 <= milliseconds <= SystemClock().now().timestamp() * 1000


class TestNamedId:
    @given(namespace=st.uuids(), name=st.text())
    def test_is_the_version_5_uuid_of_the_name(self, namespace: UUID, name: str) -> None:
        made = named_id(namespace, name)

        assert made == uuid5(namespace, name)
        assert str(made) == str(uuid5(namespace, name))
        assert made.version == 5

    def test_is_that_of_the_standard_example(self) -> None:
        # RFC 9562, appendix A.4.
        assert named_id(NAMESPACE_DNS, "www.example.com") == UUID("2ed6657d-e927-568b-95e1-2665a8aea6a2")
