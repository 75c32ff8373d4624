import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.pacing import WorkPace

PACE = WorkPace(interval_seconds=0.02, share_max=0.25, rest_seconds_max=0.1, items_plenty=100)
_ROUNDING_SECONDS = 1e-9
SECONDS = st.floats(min_value=0, max_value=10)


class TestWorkPace:
    @pytest.mark.parametrize(
        ("worked_seconds", "rest_seconds"),
        [
            pytest.param(0.002, 0.018, id="quick: the interval is kept"),
            pytest.param(0.02, 0.06, id="slower: in proportion"),
            pytest.param(1.0, 0.1, id="very slow: never longer than the most"),
        ],
    )
    def test_rests_after_a_small_batch(self, worked_seconds: float, rest_seconds: float) -> None:
        assert PACE.rest_seconds(items=1, worked_seconds=worked_seconds) == pytest.approx(rest_seconds)

    def test_does_not_rest_while_there_is_a_backlog(self) -> None:
        assert PACE.rest_seconds(items=100, worked_seconds=0.02) == 0

    def test_does_not_rest_unless_told_to(self) -> None:
        assert WorkPace().rest_seconds(items=1, worked_seconds=5) == 0

    @given(worked_seconds=SECONDS, interval_seconds=SECONDS, rest_seconds_max=SECONDS)
    def test_small_batches_begin_no_closer_than_the_interval_and_rest_no_longer_than_the_most(
        self, worked_seconds: float, interval_seconds: float, rest_seconds_max: float
    ) -> None:
        pace = WorkPace(interval_seconds=interval_seconds, share_max=0.25, rest_seconds_max=rest_seconds_max)

        rest_seconds = pace.rest_seconds(items=1, worked_seconds=worked_seconds)

        assert worked_seconds + rest_seconds >= interval_seconds - _ROUNDING_SECONDS
        assert 0 <= rest_seconds <= max(rest_seconds_max, interval_seconds)
