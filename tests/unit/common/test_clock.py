from datetime import UTC, datetime, timedelta, timezone

import pytest

from libs.common.clock import FixedClock, SystemClock

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)


class TestFixedClock:
    def test_stands_still_until_it_is_advanced(self) -> None:
        clock = FixedClock(NOON)

        assert clock.now() == clock.now() == NOON
        clock.advance(timedelta(minutes=5))
        assert clock.now() == NOON + timedelta(minutes=5)
        assert clock.monotonic_seconds() == 300

    def test_speaks_utc_whatever_it_was_set_in(self) -> None:
        tokyo = timezone(timedelta(hours=9))

        assert FixedClock(NOON.astimezone(tokyo)).now().tzinfo == UTC

    def test_refuses_a_time_without_zone_and_going_back(self) -> None:
        with pytest.raises(ValueError, match="aware"):
            FixedClock(datetime(2011, 6, 1))  # noqa: DTZ001 - what is refused
        with pytest.raises(ValueError, match="back"):
            FixedClock(NOON).advance(timedelta(seconds=-1))


def test_the_system_clock_is_aware() -> None:
    assert SystemClock().now().tzinfo == UTC
