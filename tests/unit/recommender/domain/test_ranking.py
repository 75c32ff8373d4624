import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommender.domain import ranking
from services.recommender.domain.ranking import Candidate, Evidence, Obstacle, Popular, similarity

weights = st.integers(0, 10**9)


def candidate(sku: str, score: float, *, seed: str | None = None) -> Candidate:
    return Candidate(sku, score, Evidence(seed, sku) if seed is not None else None)


def nothing_in_the_way(_sku: str) -> Obstacle | None:
    return None


class TestSimilarity:
    @given(weights, weights, weights)
    def test_is_the_same_from_both_sides_and_between_0_and_1(self, together: int, one: int, other: int) -> None:
        assert similarity(together, one, other) == similarity(together, other, one)
        assert 0.0 <= similarity(together, one, other) <= 1.0

    @given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(10**6, 10**9), st.integers(10**6, 10**9))
    def test_grows_with_the_evidence(self, fewer: int, more: int, one: int, other: int) -> None:
        fewer, more = sorted((fewer, more))

        assert similarity(fewer, one, other) <= similarity(more, one, other)

    def test_distrusts_a_single_common_basket(self) -> None:
        once_each_together = similarity(1000, 1000, 1000)
        often_together = similarity(20_000, 30_000, 30_000)

        assert once_each_together == pytest.approx(0.25)
        assert often_together == pytest.approx(20 / 30 * 20 / 23)

    def test_discounts_what_everybody_buys_anyway(self) -> None:
        assert similarity(10_000, 20_000, 20_000) > similarity(10_000, 20_000, 2_000_000)

    def test_is_nothing_without_a_common_basket(self) -> None:
        assert similarity(0, 1000, 1000) == 0.0


class TestNeighbours:
    def test_come_with_the_most_fitting_first(self) -> None:
        ranked = ranking.neighbours(
            [
                Evidence("ARMCHAIR", "LAMP", bought=2000, seed_bought=9000, sku_bought=8000),
                Evidence("ARMCHAIR", "MIRROR", bought=5000, seed_bought=9000, sku_bought=8000),
            ]
        )

        assert [one.sku for one in ranked] == ["MIRROR", "LAMP"]

    def test_score_buying_together_above_looking_together(self) -> None:
        ranked = ranking.neighbours(
            [
                Evidence("ARMCHAIR", "LAMP", viewed=5000, seed_viewed=9000, sku_viewed=9000),
                Evidence("ARMCHAIR", "MIRROR", bought=5000, seed_bought=9000, sku_bought=9000),
            ]
        )

        assert [one.sku for one in ranked] == ["MIRROR", "LAMP"]


class TestExplain:
    def test_says_what_it_was_bought_together_with(self) -> None:
        (one,) = ranking.neighbours(
            [
                Evidence(
                    "CRUNCHY-ARMCHAIR",
                    "OMINOUS-MIRROR",
                    bought=5000,
                    viewed=1000,
                    seed_bought=9000,
                    seed_viewed=9000,
                    sku_bought=8000,
                    sku_viewed=9000,
                )
            ]
        )
        suggestion = ranking.explain(one)

        assert suggestion.reason == "bought together with CRUNCHY-ARMCHAIR"
        assert (suggestion.details["baskets"], suggestion.details["views"]) == (5.0, 1.0)
        assert suggestion.score == pytest.approx(
            suggestion.details["score_bought_together"] + suggestion.details["score_viewed_together"]
        )

    @pytest.mark.parametrize(
        ("derived", "note"),
        [
            pytest.param(0, "", id="all were observed"),
            pytest.param(5000, " (derived views)", id="nobody observed any of them"),
            pytest.param(1000, " (some views derived)", id="some were observed"),
        ],
    )
    def test_says_what_it_was_viewed_together_with_and_labels_derived_views(self, derived: int, note: str) -> None:
        (one,) = ranking.neighbours(
            [
                Evidence(
                    "CRUNCHY-ARMCHAIR",
                    "TALL-LAMP",
                    viewed=5000,
                    viewed_derived=derived,
                    seed_viewed=9000,
                    sku_viewed=8000,
                )
            ]
        )

        assert ranking.explain(one).reason == f"viewed together with CRUNCHY-ARMCHAIR{note}"

    def test_says_that_it_is_popular(self) -> None:
        assert ranking.explain(candidate("VASE", 1.0)).reason == "popular now"


class TestForHistory:
    def test_adds_up_what_several_products_agree_on(self) -> None:
        blended = ranking.for_history(
            {
                "ARMCHAIR": [candidate("LAMP", 0.4), candidate("VASE", 0.5)],
                "MIRROR": [candidate("LAMP", 0.4)],
            },
            seeds=("ARMCHAIR", "MIRROR"),
        )

        assert [one.sku for one in blended] == ["LAMP", "VASE"]
        assert blended[0].score == pytest.approx(0.4)

    def test_listens_more_to_what_is_recent(self) -> None:
        blended = ranking.for_history(
            {"NEW": [candidate("LAMP", 0.4)], "OLD": [candidate("VASE", 0.4)]}, seeds=("NEW", "OLD")
        )

        assert [one.sku for one in blended] == ["LAMP", "VASE"]

    def test_keeps_the_evidence_that_weighs_most(self) -> None:
        blended = ranking.for_history(
            {
                "NEW": [candidate("LAMP", 0.1, seed="NEW")],
                "OLD": [candidate("LAMP", 0.9, seed="OLD")],
            },
            seeds=("NEW", "OLD"),
        )

        assert blended[0].evidence == Evidence("OLD", "LAMP")

    def test_is_empty_for_somebody_without_a_history(self) -> None:
        assert ranking.for_history({}, seeds=()) == ()


class TestPopular:
    def test_scores_by_the_share_of_the_most_popular(self) -> None:
        best = ranking.popular([Popular("VASE", 2999.0), Popular("LAMP", 3000.0)])

        assert [(one.sku, one.score) for one in best] == [("LAMP", 1.0), ("VASE", 0.5)]

    def test_survives_a_product_forgotten_for_decades(self) -> None:
        assert ranking.popular([Popular("LAMP", 3000.0), Popular("OLD", -9e9)])[1].score == 0.0


class TestSelect:
    def test_leaves_out_what_something_stands_against_and_counts_why(self) -> None:
        stock = {"ARMCHAIR": Obstacle.OUT_OF_STOCK, "MIRROR": Obstacle.NOT_LISTED}

        selection = ranking.select(
            [candidate("ARMCHAIR", 0.9), candidate("MIRROR", 0.8), candidate("LAMP", 0.7)],
            [],
            limit=2,
            obstacle=stock.get,
        )

        assert [one.sku for one in selection.shown] == ["LAMP"]
        assert selection.filtered == {Obstacle.OUT_OF_STOCK: 1, Obstacle.NOT_LISTED: 1}

    def test_fills_up_below_the_last_candidate_without_repeating_any(self) -> None:
        selection = ranking.select(
            [candidate("LAMP", 0.2)],
            [candidate("LAMP", 1.0), candidate("VASE", 1.0), candidate("TABLE", 0.5)],
            limit=3,
            obstacle=nothing_in_the_way,
        )

        assert [(one.sku, one.score) for one in selection.shown] == [("LAMP", 0.2), ("VASE", 0.2), ("TABLE", 0.1)]

    def test_passes_over_the_product_that_is_being_looked_at(self) -> None:
        selection = ranking.select(
            [candidate("LAMP", 0.2)], [], limit=3, obstacle=nothing_in_the_way, leave_out={"LAMP"}
        )

        assert selection.shown == ()
        assert selection.filtered == {}

    @given(
        st.lists(st.tuples(st.sampled_from("ABCDEFGH"), st.floats(0, 1)), unique_by=lambda one: one[0]),
        st.lists(st.tuples(st.sampled_from("EFGHIJKL"), st.floats(0, 1)), unique_by=lambda one: one[0]),
        st.sets(st.sampled_from("ABCDEFGHIJKL")),
        st.integers(1, 12),
    )
    def test_never_offers_what_is_gone_and_always_in_the_order_of_scores(
        self, candidates: list[tuple[str, float]], filler: list[tuple[str, float]], gone: set[str], limit: int
    ) -> None:
        def best_first(pairs: list[tuple[str, float]]) -> list[Candidate]:
            return [candidate(sku, score) for sku, score in sorted(pairs, key=lambda one: -one[1])]

        selection = ranking.select(
            best_first(candidates),
            best_first(filler),
            limit=limit,
            obstacle=lambda sku: Obstacle.OUT_OF_STOCK if sku in gone else None,
        )

        shown = [one.sku for one in selection.shown]
        offerable = {sku for sku, _ in (*candidates, *filler)} - gone
        assert not gone & set(shown)
        assert len(shown) == len(set(shown)) == min(limit, len(offerable))
        scores = [one.score for one in selection.shown]
        assert scores == sorted(scores, reverse=True)
