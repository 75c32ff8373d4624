import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain.windows import WINDOW_VIEWS_MAX, BrowsingWindow, View

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)


def at(sku: str, minute: float) -> View:
    return View(sku, NOON + timedelta(minutes=minute))


def pairs_of(window: BrowsingWindow, views: list[View]) -> list[tuple[str, str]]:
    """Return every pair that looking at `views` in turn counts, in a fixed order."""
    pairs = []
    for view in views:
        sighting = window.look(view)
        window = sighting.window
        for companion in sighting.companions:
            low, high = sorted((view.sku, companion.sku))
            pairs.append((low, high))
    return sorted(pairs)


session_views = st.lists(
    st.tuples(st.sampled_from(["ARMCHAIR", "MIRROR", "TABLE", "VASE", "LAMP"]), st.integers(0, 600)), max_size=12
)


class TestSession:
    window = BrowsingWindow(has_session=True)

    def test_pairs_everything_in_it_however_long_it_lasts(self) -> None:
        assert pairs_of(self.window, [at("ARMCHAIR", 0), at("MIRROR", 5), at("TABLE", 90)]) == [
            ("ARMCHAIR", "MIRROR"),
            ("ARMCHAIR", "TABLE"),
            ("MIRROR", "TABLE"),
        ]

    def test_counts_a_reloaded_page_once(self) -> None:
        assert pairs_of(self.window, [at("ARMCHAIR", 0), at("MIRROR", 1), at("ARMCHAIR", 2), at("MIRROR", 3)]) == [
            ("ARMCHAIR", "MIRROR")
        ]

    @given(session_views, st.randoms(use_true_random=False))
    def test_counts_the_same_pairs_in_any_order(self, looks: list[tuple[str, int]], chance: random.Random) -> None:
        views = [at(sku, minute) for sku, minute in looks]
        shuffled = chance.sample(views, len(views))

        assert pairs_of(self.window, views) == pairs_of(self.window, shuffled)

    def test_forgets_the_oldest_views_of_a_crawler(self) -> None:
        window = self.window
        for number in range(100):
            window = window.look(at(f"SKU-{number}", number)).window

        assert len(window.views) == WINDOW_VIEWS_MAX
        assert len(window.look(at("SKU-100", 100)).companions) == WINDOW_VIEWS_MAX


class TestVisitorWithoutSession:
    window = BrowsingWindow(has_session=False)

    def test_pairs_what_was_viewed_within_half_an_hour(self) -> None:
        assert pairs_of(self.window, [at("ARMCHAIR", 0), at("MIRROR", 30)]) == [("ARMCHAIR", "MIRROR")]

    def test_does_not_pair_what_was_viewed_later(self) -> None:
        assert pairs_of(self.window, [at("ARMCHAIR", 0), at("MIRROR", 31)]) == []

    def test_pairs_a_view_that_arrives_late_by_its_own_time(self) -> None:
        assert pairs_of(self.window, [at("MIRROR", 50), at("ARMCHAIR", 25), at("TABLE", 0)]) == [
            ("ARMCHAIR", "MIRROR"),
            ("ARMCHAIR", "TABLE"),
        ]

    def test_counts_again_what_is_viewed_again_another_time(self) -> None:
        views = [at("ARMCHAIR", 0), at("MIRROR", 1), at("ARMCHAIR", 100), at("MIRROR", 101)]

        assert pairs_of(self.window, views) == [("ARMCHAIR", "MIRROR"), ("ARMCHAIR", "MIRROR")]

    @given(
        st.dictionaries(st.sampled_from(["ARMCHAIR", "MIRROR", "TABLE", "VASE"]), st.integers(0, 120)),
        st.randoms(use_true_random=False),
    )
    def test_counts_the_same_pairs_in_any_order(self, minutes: dict[str, int], chance: random.Random) -> None:
        views = [at(sku, minute) for sku, minute in minutes.items()]
        shuffled = chance.sample(views, len(views))

        assert pairs_of(self.window, views) == pairs_of(self.window, shuffled)
