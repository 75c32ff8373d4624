import pytest

from libs.common.messaging.fetching import nothing_fetched


class Partitions:
    """What a consumer knows of its partitions; those that it loses are no longer paused."""

    def __init__(self, *assigned: str) -> None:
        self.assigned = set(assigned)
        self.held = set[str]()

    def assignment(self) -> set[str]:
        return self.assigned

    def paused(self) -> set[str]:
        return self.held & self.assigned

    def pause(self, *partitions: str) -> None:
        assert set(partitions) <= self.assigned
        self.held |= set(partitions)

    def resume(self, *partitions: str) -> None:
        assert set(partitions) <= self.assigned
        self.held -= set(partitions)


class TestNothingFetched:
    def test_holds_every_partition_inside_and_none_after(self) -> None:
        partitions = Partitions("a", "b")

        with nothing_fetched(partitions):
            assert partitions.paused() == {"a", "b"}

        assert not partitions.paused()

    def test_lets_go_when_the_work_fails(self) -> None:
        partitions = Partitions("a")

        with pytest.raises(LookupError), nothing_fetched(partitions):
            raise LookupError

        assert not partitions.paused()

    def test_lets_go_of_what_is_left_after_a_rebalance(self) -> None:
        partitions = Partitions("a", "b")

        with nothing_fetched(partitions):
            partitions.assigned = {"b", "c"}

        assert not partitions.paused()

    def test_fetches_ahead_of_a_backlog(self) -> None:
        partitions = Partitions("a")

        with nothing_fetched(partitions, unless=True):
            assert not partitions.paused()
