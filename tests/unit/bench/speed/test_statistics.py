"""The arithmetic of figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.speed.statistics import NothingMeasured, histogram, latency_of, median, percentile

SECONDS = st.lists(st.floats(min_value=0, max_value=10), min_size=1)


def test_a_percentile_is_the_smallest_value_that_covers_its_share() -> None:
    hundred = list(range(1, 101))

    assert percentile(hundred, 0.5) == 50
    assert percentile(hundred, 0.99) == 99
    assert percentile(hundred, 0.999) == 100
    assert percentile(hundred, 1) == 100
    assert percentile([7.0], 0.01) == 7.0


@given(SECONDS, st.floats(min_value=0, max_value=1))
def test_at_least_its_share_of_the_values_are_not_above_a_percentile(values: list[float], share: float) -> None:
    ordered = sorted(values)

    value = percentile(ordered, share)

    assert value in ordered
    assert sum(one <= value for one in ordered) >= share * len(ordered) - 1e-9


def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle() -> None:
    assert median([4, 1, 3, 2]) == 2.5
    assert median([9, 1, 5]) == 5


def test_without_measurements_there_is_no_figure() -> None:
    with pytest.raises(NothingMeasured):
        percentile([], 0.5)
    with pytest.raises(NothingMeasured):
        median([])
    with pytest.raises(NothingMeasured):
        latency_of([])


def test_latencies_are_told_in_milliseconds() -> None:
    latency = latency_of([0.001 * number for number in range(1, 101)])

    assert latency.count == 100
    assert (latency.p50_ms, latency.p99_ms, latency.max_ms) == pytest.approx((50, 99, 100))


@given(SECONDS)
def test_a_histogram_counts_every_latency_once(values: list[float]) -> None:
    buckets = histogram(values, bounds_ms=(1, 10, 100))

    assert sum(count for _, count in buckets) == len(values)
    assert [bound for bound, _ in buckets] == [1, 10, 100, math.inf]


def test_a_bound_belongs_to_its_own_bucket() -> None:
    assert histogram([0.010, 0.0100001, 5], bounds_ms=(10, 20)) == [(10, 1), (20, 1), (math.inf, 1)]
