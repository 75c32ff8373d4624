import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.popularity import HALF_LIFE, NOTHING, act, relative, together

moments = st.integers(0, 20 * 365 * 24).map(lambda hours: datetime(2009, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
weights = st.sampled_from([1.0, 3.0, 5.0])
acts = st.tuples(weights, moments).map(lambda one: act(*one))


class TestPopularity:
    def test_of_an_act_is_half_as_much_a_half_life_later(self) -> None:
        today = datetime(2011, 6, 1, tzinfo=UTC)

        assert relative(act(1.0, today - HALF_LIFE), to=act(1.0, today)) == pytest.approx(0.5)

    def test_of_two_equal_acts_is_twice_that_of_one(self) -> None:
        one = act(3.0, datetime(2011, 6, 1, tzinfo=UTC))

        assert relative(together(one, one), to=one) == pytest.approx(2.0)

    @given(weights, moments, st.timedeltas(timedelta(seconds=1), timedelta(days=4000)))
    def test_fades_the_longer_ago_an_act_was(self, weight: float, moment: datetime, age: timedelta) -> None:
        assert act(weight, moment) < act(weight, moment + age)

    @given(st.lists(acts, min_size=1, max_size=10), st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_acts(self, values: list[float], chance: random.Random) -> None:
        forth = back = NOTHING
        for value in values:
            forth = together(forth, value)
        for value in chance.sample(values, len(values)):
            back = together(back, value)

        assert forth == pytest.approx(back, abs=1e-9)

    @given(acts, acts)
    def test_never_shrinks_by_another_act(self, one: float, other: float) -> None:
        assert together(one, other) >= max(one, other)

    @given(acts)
    def test_of_nothing_changes_nothing(self, one: float) -> None:
        assert together(NOTHING, one) == together(one, NOTHING) == one
