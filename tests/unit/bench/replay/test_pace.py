"""How fast event time passes."""

from datetime import UTC, datetime, timedelta

import pytest

from bench.replay.pace import Pace
from libs.common.clock import FixedClock

MAY_DAY = datetime(2011, 5, 1, 9, tzinfo=UTC)


class TestPace:
    @pytest.mark.parametrize(
        ("speed", "hours", "waits_seconds"),
        [
            pytest.param(3_600, 2, 2.0, id="an hour a second"),
            pytest.param(0, 2, 0.0, id="as fast as it goes"),
            pytest.param(3_600, 0, 0.0, id="already due"),
        ],
    )
    async def test_holds_event_time_back(self, speed: float, hours: int, waits_seconds: float) -> None:
        waited: list[float] = []

        async def sleep(seconds: float) -> None:
            waited.append(seconds)

        pace = Pace(begins_at=MAY_DAY, speed=speed, clock=FixedClock(MAY_DAY), sleep=sleep)
        await pace.wait_for(MAY_DAY + timedelta(hours=hours))

        assert sum(waited) == pytest.approx(waits_seconds)

    async def test_does_not_wait_when_the_stack_is_slower(self) -> None:
        async def sleep(_seconds: float) -> None:
            pytest.fail("it is late already")

        clock = FixedClock(MAY_DAY)
        pace = Pace(begins_at=MAY_DAY, speed=3_600, clock=clock, sleep=sleep)
        clock.advance(timedelta(seconds=5))

        await pace.wait_for(MAY_DAY + timedelta(hours=2))
