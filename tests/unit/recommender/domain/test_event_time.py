from datetime import UTC, datetime, timedelta

import pytest

from services.recommender.domain.event_time import AGE_MAX, AHEAD_MAX, ImplausibleTime, check_event_time

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class TestCheckEventTime:
    @pytest.mark.parametrize(
        "at",
        [
            pytest.param(NOW + timedelta(hours=14), id="a clock in another time zone"),
            pytest.param(NOW + AHEAD_MAX, id="a day ahead and no more"),
            pytest.param(NOW - AGE_MAX, id="as old as may be"),
            pytest.param(datetime(2010, 12, 1, 8, 26, tzinfo=UTC), id="the bundled data set"),
        ],
    )
    def test_accepts_what_can_be_true(self, at: datetime) -> None:
        check_event_time(at, now=NOW, field="occurred_at")

    @pytest.mark.parametrize(
        "at",
        [
            pytest.param(NOW + timedelta(days=1, seconds=1), id="the day after tomorrow"),
            pytest.param(NOW - AGE_MAX - timedelta(seconds=1), id="a second too old"),
            pytest.param(datetime(1970, 1, 21, tzinfo=UTC), id="milliseconds taken for seconds"),
        ],
    )
    def test_refuses_what_must_be_a_mistake_by_name(self, at: datetime) -> None:
        with pytest.raises(ImplausibleTime) as refusal:
            check_event_time(at, now=NOW, field="occurred_at")

        assert refusal.value.field == "occurred_at"
