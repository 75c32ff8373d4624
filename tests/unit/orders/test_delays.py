"""Promises, probabilities and attributions: pure functions and their invariants."""

import math
import random
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain.delays import (
    PARTS,
    PROMISE_SHARE,
    DelayModel,
    Journey,
    Parcel,
    Stage,
    WorkCalendar,
    attribute,
    make_promise,
    probability_late,
)
from services.orders.domain.durations import (
    BUCKETS,
    EDGES_SECONDS,
    FINEST,
    Distribution,
    bucket_of,
    counted_quantile,
    learned,
)

MONDAY = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = 3600.0
DAY = timedelta(days=1)
WEEKDAYS = WorkCalendar(time_zone=ZoneInfo("UTC"), working_days=frozenset(range(5)), cutoff=time(15))
PRIOR = Distribution.log_normal(24 * HOUR, 0.7)
seconds = st.floats(0, 200 * 86_400, allow_nan=False)


def counted(*durations: float) -> dict[int, int]:
    counts: dict[int, int] = {}
    for duration in durations:
        counts[bucket_of(duration)] = counts.get(bucket_of(duration), 0) + 1
    return counts


class TestDistributions:
    @given(seconds)
    def test_a_duration_lies_in_its_bucket(self, duration: float) -> None:
        bucket = bucket_of(duration)

        assert 0 <= bucket < BUCKETS
        assert EDGES_SECONDS[bucket] <= duration * (1 + 1e-9)
        assert bucket == BUCKETS - 1 or duration <= EDGES_SECONDS[bucket + 1] * (1 + 1e-9)

    @given(st.lists(seconds, max_size=50), seconds, seconds)
    def test_more_time_is_never_less_likely(self, seen: list[float], one: float, other: float) -> None:
        believed = learned(counted(*seen), PRIOR, strength=20)

        low, high = sorted((one, other))
        assert 0 <= believed.below(low) <= believed.below(high) <= 1 + 1e-9

    @given(st.lists(seconds, max_size=50), st.floats(0.01, 0.99))
    def test_a_quantile_is_exceeded_as_often_as_it_says(self, seen: list[float], share: float) -> None:
        believed = learned(counted(*seen), PRIOR, strength=20)

        assert believed.below(believed.quantile(share)) == pytest.approx(share, abs=1e-6)

    @given(st.lists(st.floats(1e-3, 100 * 86_400), min_size=1, max_size=50), st.floats(0.01, 0.99))
    def test_a_counted_quantile_is_that_of_a_duration_next_to_it(self, seen: list[float], share: float) -> None:
        counts: dict[int, int] = {}
        for duration in seen:
            bucket = max(FINEST, 1 + math.floor(6 * math.log2(duration / 60)))
            counts[bucket] = counts.get(bucket, 0) + 1

        found = counted_quantile(counts, share)

        exact = sorted(seen)[math.ceil(share * len(seen)) - 1]
        assert found == pytest.approx(exact, rel=2 ** (1 / 6) - 1, abs=0.0165)

    def test_the_prior_is_the_log_normal_distribution(self) -> None:
        assert PRIOR.quantile(0.5) == pytest.approx(24 * HOUR, rel=0.01)
        assert PRIOR.below(24 * HOUR * math.exp(0.7)) == pytest.approx(0.8413, abs=0.005)

    def test_few_observations_move_little_and_many_decide(self) -> None:
        few = learned(counted(*[HOUR] * 2), PRIOR, strength=20)
        many = learned(counted(*[HOUR] * 2_000), PRIOR, strength=20)

        assert few.quantile(0.5) > 20 * HOUR
        assert many.quantile(0.5) == pytest.approx(HOUR, rel=0.1)

    def test_a_sum_is_that_of_independent_durations(self) -> None:
        other = Distribution.log_normal(48 * HOUR, 0.4)
        chance = random.Random(7)  # noqa: S311 - a simulation
        sums = [
            24 * HOUR * math.exp(chance.gauss(0, 0.7)) + 48 * HOUR * math.exp(chance.gauss(0, 0.4))
            for _ in range(40_000)
        ]

        for limit in (40 * HOUR, 72 * HOUR, 120 * HOUR):
            observed = sum(one <= limit for one in sums) / len(sums)
            assert PRIOR.sum_below(other, limit) == pytest.approx(observed, abs=0.01)

    @given(seconds, seconds)
    def test_what_lasts_longer_is_less_likely_over_by_then(self, elapsed: float, limit: float) -> None:
        given_that = PRIOR.below_given(limit, elapsed_seconds=elapsed)

        assert 0 <= given_that <= 1
        assert given_that <= PRIOR.below(limit) + 1e-9

    def test_what_outlasts_everything_seen_is_simply_not_over(self) -> None:
        assert list(PRIOR.beyond(10**9)) == [(10**9, 1.0)]
        assert PRIOR.below_given(10**9 + 1, elapsed_seconds=10**9) == 0


class TestModel:
    def test_a_warehouse_is_judged_by_itself_once_it_is_known(self) -> None:
        model = DelayModel(
            {
                (Stage.PICK, "leeds", ""): counted(*[2 * HOUR] * 500),
                (Stage.PICK, "lyon", ""): counted(*[60 * HOUR] * 500),
            }
        )

        assert model.of(Stage.PICK, "leeds").quantile(0.5) == pytest.approx(2 * HOUR, rel=0.15)
        assert model.of(Stage.PICK, "lyon").quantile(0.5) == pytest.approx(60 * HOUR, rel=0.15)
        assert 2 * HOUR < model.of(Stage.PICK, "unheard of").quantile(0.6) < 61 * HOUR

    def test_a_new_carrier_is_believed_what_the_country_shows(self) -> None:
        model = DelayModel({(Stage.TRANSIT, "gull", "AU"): counted(*[300 * HOUR] * 500)})

        assert model.of(Stage.TRANSIT, "swift", "AU").quantile(0.5) == pytest.approx(300 * HOUR, rel=0.15)


class TestCalendar:
    @pytest.mark.parametrize(
        ("ready", "start"),
        [
            (MONDAY, MONDAY),
            (MONDAY.replace(hour=15), MONDAY.replace(hour=0) + DAY),
            (MONDAY + 4 * DAY + timedelta(hours=8), MONDAY.replace(hour=0) + 7 * DAY),
            (MONDAY + 5 * DAY, MONDAY.replace(hour=0) + 7 * DAY),
        ],
    )
    def test_work_begins_before_the_cutoff_of_a_working_day(self, ready: datetime, start: datetime) -> None:
        assert WEEKDAYS.handling_start(ready) == start

    def test_days_are_those_of_the_shop(self) -> None:
        auckland = WorkCalendar(
            time_zone=ZoneInfo("Pacific/Auckland"), working_days=frozenset(range(5)), cutoff=time(15)
        )

        assert auckland.handling_start(datetime(2026, 3, 1, 20, tzinfo=UTC)) == datetime(2026, 3, 1, 20, tzinfo=UTC)
        assert auckland.end_of_day(MONDAY) == datetime(2026, 3, 2, 11, tzinfo=UTC)


def promised(placed_at: datetime, confirmed_at: datetime, *warehouses: str) -> tuple[datetime, datetime, float]:
    promise = make_promise(
        placed_at=placed_at,
        confirmed_at=confirmed_at,
        warehouses=warehouses,
        country="GB",
        share=0.9,
        calendar=WEEKDAYS,
        model=DelayModel({}),
    )
    return promise.promised_by, promise.ship_by, promise.allowance_seconds


class TestPromises:
    def test_are_the_end_of_a_day_by_which_most_arrive(self) -> None:
        promised_by, ship_by, allowance = promised(MONDAY, MONDAY + timedelta(seconds=5), "leeds")

        assert promised_by.time() == time()
        assert MONDAY < ship_by < promised_by
        assert allowance == 0
        late = probability_late(
            [Parcel(warehouse="leeds")],
            promised_by=promised_by,
            handling_start=MONDAY,
            country="GB",
            now=MONDAY,
            model=DelayModel({}),
        )
        assert 0.03 < late <= 0.1

    def test_count_from_when_the_customer_ordered(self) -> None:
        at_once, _, _ = promised(MONDAY, MONDAY + timedelta(seconds=5), "leeds")
        after_review, _, allowance = promised(MONDAY, MONDAY + timedelta(hours=20), "leeds")

        assert (after_review, allowance) == (at_once, 0)

    def test_are_not_made_when_they_would_more_likely_be_broken(self) -> None:
        confirmed_at = MONDAY + 14 * DAY

        promised_by, _, allowance = promised(MONDAY, confirmed_at, "leeds")

        assert promised_by > confirmed_at + DAY
        assert allowance > 0

    def test_of_two_parcels_are_later_than_of_one(self) -> None:
        one = DelayModel({}).from_pick_to_door_seconds(["leeds"], "GB", 0.9)
        both = DelayModel({}).from_pick_to_door_seconds(["leeds", "lyon"], "GB", 0.9)

        assert both > one


class TestRisk:
    @given(st.floats(0, 400), st.floats(0, 400))
    def test_grows_while_nothing_happens(self, one: float, other: float) -> None:
        model = DelayModel({})
        earlier, later = sorted((one, other))

        def at(hours: float, parcel: Parcel) -> float:
            return probability_late(
                [parcel],
                promised_by=MONDAY + timedelta(hours=200),
                handling_start=MONDAY,
                country="GB",
                now=MONDAY + timedelta(hours=hours),
                model=model,
            )

        for parcel in (Parcel(warehouse="leeds"), Parcel(warehouse="leeds", dispatched_at=MONDAY)):
            assert 0 <= at(earlier, parcel) <= at(later, parcel) + 1e-6 <= 1 + 1e-5

    @pytest.mark.parametrize(("hours", "late"), [(199, 0.0), (201, 1.0)])
    def test_of_what_has_arrived_is_known(self, hours: int, late: float) -> None:
        assert (
            probability_late(
                [Parcel(dispatched_at=MONDAY, delivered_at=MONDAY + timedelta(hours=hours))],
                promised_by=MONDAY + timedelta(hours=200),
                handling_start=MONDAY,
                country="GB",
                now=MONDAY,
                model=DelayModel({}),
            )
            == late
        )


stage_times = st.dictionaries(st.sampled_from(PARTS), st.floats(0, 10**6), max_size=8)


class TestAttribution:
    @given(st.floats(1, 10**6), stage_times, stage_times, st.floats(0, 10**6))
    def test_adds_up_to_the_lateness(
        self, lateness: float, spent: dict[Stage, float], typical: dict[Stage, float], allowance: float
    ) -> None:
        shares = attribute(lateness, seconds=spent, typical_seconds=typical, allowance_seconds=allowance)

        assert sum(shares.values()) == pytest.approx(lateness, abs=0.51)
        assert all(share > 0 for share in shares.values())

    @given(st.floats(1, 10**6), stage_times, stage_times)
    def test_blames_no_stage_that_was_no_slower_than_usual(
        self, lateness: float, spent: dict[Stage, float], typical: dict[Stage, float]
    ) -> None:
        shares = attribute(lateness, seconds=spent, typical_seconds=typical, allowance_seconds=0)

        assert set(shares) <= {PROMISE_SHARE, *(stage for stage in spent if spent[stage] > typical.get(stage, 0))}

    def test_names_the_stage_that_dragged(self) -> None:
        shares = attribute(
            40 * HOUR,
            seconds={Stage.REVIEW: 2 * HOUR, Stage.PICK: 100 * HOUR, Stage.CARRIER: 30 * HOUR},
            typical_seconds={Stage.REVIEW: 2 * HOUR, Stage.PICK: 20 * HOUR, Stage.CARRIER: 40 * HOUR},
            allowance_seconds=0,
        )

        assert shares == {"pick": pytest.approx(40 * HOUR)}

    def test_does_not_blame_a_review_that_the_promise_allowed_for(self) -> None:
        shares = attribute(
            10 * HOUR,
            seconds={Stage.REVIEW: 50 * HOUR, Stage.CARRIER: 50 * HOUR},
            typical_seconds={Stage.REVIEW: 2 * HOUR, Stage.CARRIER: 40 * HOUR},
            allowance_seconds=48 * HOUR,
        )

        assert shares == {"carrier": pytest.approx(10 * HOUR)}


class TestJourneys:
    def test_take_the_time_of_the_parcel_that_came_last(self) -> None:
        journey = Journey(
            placed_at=MONDAY,
            entered_at={
                "received": MONDAY,
                "held": MONDAY + timedelta(seconds=1),
                "approved": MONDAY + timedelta(hours=2),
                "reserved": MONDAY + timedelta(hours=2, seconds=3),
                "confirmed": MONDAY + timedelta(hours=2, seconds=5),
            },
            parcels=(
                Parcel(warehouse="leeds", dispatched_at=MONDAY + DAY, delivered_at=MONDAY + 2 * DAY),
                Parcel(
                    warehouse="lyon",
                    dispatched_at=MONDAY + 2 * DAY,
                    first_scanned_at=MONDAY + 2.5 * DAY,
                    last_scanned_at=MONDAY + 4 * DAY,
                    delivered_at=MONDAY + 4.25 * DAY,
                ),
            ),
            calendar=WEEKDAYS,
        )

        spent = journey.stage_seconds()

        assert journey.decisive.warehouse == "lyon"
        assert spent == {
            Stage.QUEUE: 1,
            Stage.REVIEW: 2 * HOUR - 1,
            Stage.STOCK: 3,
            Stage.PAYMENT: 2,
            Stage.PICK: 46 * HOUR - 5,
            Stage.HAND_OVER: 12 * HOUR,
            Stage.CARRIER: 36 * HOUR,
            Stage.LAST_MILE: 6 * HOUR,
            Stage.TRANSIT: 54 * HOUR,
        }
        in_all = sum(spent[stage] for stage in PARTS if stage in spent)
        assert journey.delivered_at is not None
        assert in_all == (journey.delivered_at - MONDAY).total_seconds()
