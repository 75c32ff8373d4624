import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.histories import BOUGHT_MAX, VIEWED_MAX, History, Occasion

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)


def occasion(sku: str, minute: int) -> Occasion:
    return Occasion(sku, NOON + timedelta(minutes=minute))


class TestHistory:
    def test_keeps_the_latest_time_of_each_product(self) -> None:
        history = History().with_views([occasion("ARMCHAIR", 5), occasion("ARMCHAIR", 2)])

        assert history.viewed == {"ARMCHAIR": NOON + timedelta(minutes=5)}

    def test_is_bounded(self) -> None:
        many = [occasion(f"SKU-{number}", number) for number in range(1114)]

        history = History().with_views(many).with_purchases(many)

        assert len(history.viewed) == VIEWED_MAX
        assert len(history.bought) == BOUGHT_MAX
        assert "SKU-1113" in history.viewed

    @given(
        st.lists(st.tuples(st.integers(0, 120), st.integers(0, 300)), max_size=150),
        st.randoms(use_true_random=False),
        st.integers(1, 20),
    )
    def test_ends_the_same_in_any_order_and_any_batches(
        self, looks: list[tuple[int, int]], chance: random.Random, batch_size: int
    ) -> None:
        occasions = [occasion(f"SKU-{number}", minute) for number, minute in looks]
        at_once = History().with_views(occasions)
        piecemeal = History()
        shuffled = chance.sample(occasions, len(occasions))
        for start in range(0, len(shuffled), batch_size):
            piecemeal = piecemeal.with_views(shuffled[start : start + batch_size])

        assert piecemeal == at_once

    def test_lists_the_latest_of_both_kinds_newest_first(self) -> None:
        history = (
            History()
            .with_views([occasion("ARMCHAIR", 1), occasion("MIRROR", 3)])
            .with_purchases([occasion("ARMCHAIR", 4), occasion("TABLE", 2)])
        )

        assert history.latest(2) == ("ARMCHAIR", "MIRROR")
