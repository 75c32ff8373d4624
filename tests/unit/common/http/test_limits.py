from datetime import UTC, datetime, timedelta

import pytest

from libs.common.clock import FixedClock
from libs.common.http.limits import RateLimiter
from libs.common.http.problems import RateLimited


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 3, 1, tzinfo=UTC))


class TestRateLimiter:
    def test_allows_a_burst_of_two_seconds_and_no_more(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 5}, clock=clock)

        for _ in range(10):
            limiter.take("storefront", "write")

        with pytest.raises(RateLimited):
            limiter.take("storefront", "write")

    def test_says_how_long_to_wait(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 0.1}, clock=clock)
        limiter.take("storefront", "write")

        with pytest.raises(RateLimited) as refusal:
            limiter.take("storefront", "write")

        assert refusal.value.retry_after_seconds == 10
        assert refusal.value.headers["RateLimit"] == '"write";r=0;t=10'

    def test_allows_again_what_the_time_has_refilled(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 1}, clock=clock)
        limiter.take("storefront", "write")
        limiter.take("storefront", "write")

        clock.advance(timedelta(seconds=1))

        limiter.take("storefront", "write")
        with pytest.raises(RateLimited):
            limiter.take("storefront", "write")

    def test_never_saves_up_more_than_a_burst(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 1}, clock=clock)
        limiter.take("storefront", "write")

        clock.advance(timedelta(days=1))

        assert limiter.take("storefront", "write") == ('"write";q=2;w=2', '"write";r=1;t=1')

    def test_gives_each_caller_its_own_share(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 0.5}, clock=clock)
        limiter.take("storefront", "write")

        assert limiter.take("warehouse", "write")

    def test_counts_kinds_apart(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 0.5, "read": 0.5}, clock=clock)
        limiter.take("storefront", "write")

        assert limiter.take("storefront", "read")

    def test_does_not_limit_a_rate_of_zero(self, clock: FixedClock) -> None:
        limiter = RateLimiter({"write": 0}, clock=clock)

        assert limiter.take("storefront", "write") is None
