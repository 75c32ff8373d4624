from datetime import UTC, datetime, timedelta

from libs.common.clock import FixedClock
from services.recommender.handlers.freshness import RecentReads


class Source:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def load(self, key: str) -> int:
        self.asked.append(key)
        return len(self.asked)


def recent_reads(source: Source, clock: FixedClock, *, age_seconds_max: float = 2.0) -> RecentReads[str, int]:
    return RecentReads(source.load, clock=clock, age_seconds_max=age_seconds_max, entries_max=2)


class TestRecentReads:
    clock = FixedClock(datetime(2026, 11, 22, tzinfo=UTC))

    async def test_reads_once_while_the_answer_is_fresh(self) -> None:
        source = Source()
        reads = recent_reads(source, self.clock)

        assert (await reads.get("LAMP")).value == (await reads.get("LAMP")).value == 1

    async def test_reads_again_when_it_is_not_and_says_since_when(self) -> None:
        clock = FixedClock(datetime(2026, 11, 22, tzinfo=UTC))
        reads = recent_reads(Source(), clock)
        first = await reads.get("LAMP")
        clock.advance(timedelta(seconds=2))
        second = await reads.get("LAMP")

        assert (first.value, second.value) == (1, 2)
        assert second.as_of - first.as_of == timedelta(seconds=2)

    async def test_forgets_what_was_not_asked_for_lately(self) -> None:
        source = Source()
        reads = recent_reads(source, self.clock)
        for key in ("LAMP", "VASE", "LAMP", "TABLE", "LAMP", "VASE"):
            await reads.get(key)

        assert source.asked == ["LAMP", "VASE", "TABLE", "VASE"]

    async def test_remembers_nothing_when_told_so(self) -> None:
        source = Source()
        reads = recent_reads(source, self.clock, age_seconds_max=0)
        await reads.get("LAMP")
        await reads.get("LAMP")

        assert source.asked == ["LAMP", "LAMP"]
