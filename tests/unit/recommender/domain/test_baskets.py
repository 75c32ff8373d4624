import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.baskets import BASKET_SKUS_MAX, WEIGHT_UNIT, Tally, basket_weight, sampled

skus = st.sampled_from(["CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR", "SMALL-TABLE", "BLUE-VASE", "TALL-LAMP"])
orders = st.lists(st.tuples(st.text("abc", max_size=3), st.lists(skus, min_size=1, max_size=6)), max_size=5)


def tally_of(counted: list[tuple[str, list[str]]]) -> Tally:
    tally = Tally()
    for basket_id, basket in counted:
        tally.count_purchase(basket, basket_id=basket_id)
    return tally


class TestBasketWeight:
    def test_is_whole_for_a_single_product(self) -> None:
        assert basket_weight(1) == WEIGHT_UNIT

    def test_is_a_tenth_for_the_largest_known_order(self) -> None:
        assert basket_weight(1114) == 99

    @given(st.integers(1, 5000))
    def test_never_grows_with_the_basket(self, size: int) -> None:
        assert basket_weight(size) >= basket_weight(size + 1) > 0

    def test_refuses_an_empty_basket(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            basket_weight(0)


class TestSampled:
    def test_keeps_a_small_basket_whole_and_distinct(self) -> None:
        assert sampled(["TALL-LAMP", "BLUE-VASE", "TALL-LAMP"], basket_id="one") == ("BLUE-VASE", "TALL-LAMP")

    def test_is_the_same_whenever_the_same_basket_is_counted(self) -> None:
        basket = [f"SKU-{number}" for number in range(1114)]
        shuffled = random.Random(7).sample(basket, len(basket))  # noqa: S311 - an order, not a secret

        assert sampled(basket, basket_id="large") == sampled(shuffled, basket_id="large")
        assert len(sampled(basket, basket_id="large")) == BASKET_SKUS_MAX

    def test_differs_between_baskets_so_that_no_product_is_favoured(self) -> None:
        basket = [f"SKU-{number}" for number in range(200)]
        chosen = set().union(*(sampled(basket, basket_id=str(number)) for number in range(60)))

        assert chosen == set(basket)


class TestTally:
    def test_counts_the_pair_of_an_order_by_its_size(self) -> None:
        tally = tally_of([("one", ["CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"])])

        assert tally.pairs["CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"].bought == 631  # 1000 / log2(3)
        assert tally.items["OMINOUS-MIRROR"].bought == 631

    def test_bounds_the_pairs_of_a_large_order(self) -> None:
        tally = tally_of([("large", [f"SKU-{number}" for number in range(1114)])])

        assert len(tally.pairs) == 50 * 49 / 2

    @given(orders, st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_orders_or_lines(
        self, counted: list[tuple[str, list[str]]], chance: random.Random
    ) -> None:
        shuffled = [
            (basket_id, chance.sample(basket, len(basket)))
            for basket_id, basket in chance.sample(counted, len(counted))
        ]

        assert tally_of(counted) == tally_of(shuffled)

    @given(orders)
    def test_never_counts_a_pair_more_than_one_of_its_products(self, counted: list[tuple[str, list[str]]]) -> None:
        tally = tally_of(counted)

        for (low, high), weight in tally.pairs.items():
            assert low < high
            assert 0 < weight.bought <= min(tally.items[low].bought, tally.items[high].bought)

    @given(skus, skus)
    def test_counts_views_of_a_pair_from_both_sides_as_one(self, one: str, other: str) -> None:
        if one == other:
            return
        forth, back = Tally(), Tally()
        forth.count_viewed_together(one, other, is_derived=False)
        back.count_viewed_together(other, one, is_derived=False)

        assert forth == back

    def test_refuses_a_pair_of_one_product(self) -> None:
        with pytest.raises(ValueError, match="with itself"):
            Tally().count_viewed_together("BLUE-VASE", "BLUE-VASE", is_derived=False)
