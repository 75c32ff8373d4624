from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from libs.common.clock import FixedClock
from libs.common.events.storefront import RecommendationShown
from services.recommender.domain.histories import History
from services.recommender.domain.popularity import act
from services.recommender.domain.ranking import Evidence, Popular, Rule
from services.recommender.domain.shelf import Shelf
from services.recommender.handlers.recommending import Question, Recommender

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
YESTERDAY = NOW - timedelta(days=1)


class CannedReads:
    """Counts and histories as given."""

    def __init__(
        self,
        *,
        evidence: Sequence[Evidence] = (),
        histories: dict[str, History] | None = None,
        popular: Sequence[str] = (),
    ) -> None:
        self._evidence = evidence
        self._histories = histories or {}
        self._popular = popular

    async def evidence(self, sku: str) -> Sequence[Evidence]:
        return [one for one in self._evidence if one.seed == sku]

    async def history(self, user_id: str) -> History:
        return self._histories.get(user_id, History())

    async def popular(self) -> Sequence[Popular]:
        return [Popular(sku, act(1.0, NOW)) for sku in self._popular]


class RecordingShownLog:
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.events: list[RecommendationShown] = []

    def note(self, event: RecommendationShown) -> None:
        self.events.append(event)


def bought_together(seed: str, sku: str, *, times: int = 5) -> Evidence:
    return Evidence(seed=seed, sku=sku, bought=times * 1000, seed_bought=10_000, sku_bought=10_000)


def shelf_of(*skus: str, sold_out: Sequence[str] = ()) -> Shelf:
    shelf = Shelf()
    for sku in (*skus, *sold_out):
        shelf.set_listed(sku, is_listed=True, version=1)
        shelf.set_available(sku, 0 if sku in sold_out else 3, version=1)
    return shelf


def a_recommender(reads: CannedReads, shelf: Shelf, shown_log: RecordingShownLog | None = None) -> Recommender:
    return Recommender(reads=reads, shelf=shelf, clock=FixedClock(NOW), counts_age_seconds_max=2.0, shown_log=shown_log)


class TestRecommendForAProduct:
    reads = CannedReads(
        evidence=[
            bought_together("ARMCHAIR", "MIRROR", times=8),
            bought_together("ARMCHAIR", "LAMP", times=4),
        ],
        popular=["ARMCHAIR", "VASE"],
    )

    async def test_offers_what_goes_with_it_with_the_reason(self) -> None:
        answer = await a_recommender(self.reads, shelf_of("MIRROR", "LAMP")).recommend(
            Question(sku="ARMCHAIR", limit=5)
        )

        assert [one.sku for one in answer.suggestions] == ["MIRROR", "LAMP"]
        assert answer.suggestions[0].reason == "bought together with ARMCHAIR"
        assert answer.rule is Rule.ITEM_NEIGHBOURS

    async def test_never_offers_what_is_out_of_stock(self) -> None:
        answer = await a_recommender(self.reads, shelf_of("LAMP", sold_out=["MIRROR"])).recommend(
            Question(sku="ARMCHAIR", limit=5)
        )

        assert [one.sku for one in answer.suggestions] == ["LAMP"]
        assert answer.decision.inputs["filtered"] == {"out-of-stock": 1, "not-listed": 1}

    async def test_looks_at_the_stock_anew_though_the_ranking_is_remembered(self) -> None:
        shelf = shelf_of("MIRROR", "LAMP")
        recommender = a_recommender(self.reads, shelf)
        await recommender.recommend(Question(sku="ARMCHAIR", limit=5))
        shelf.set_available("MIRROR", 0, version=2)

        answer = await recommender.recommend(Question(sku="ARMCHAIR", limit=5))

        assert [one.sku for one in answer.suggestions] == ["LAMP"]

    async def test_fills_up_with_what_is_popular_but_not_with_the_product_itself(self) -> None:
        answer = await a_recommender(self.reads, shelf_of("MIRROR", "ARMCHAIR", "VASE")).recommend(
            Question(sku="ARMCHAIR", limit=5)
        )

        assert [(one.sku, one.reason) for one in answer.suggestions] == [
            ("MIRROR", "bought together with ARMCHAIR"),
            ("VASE", "popular now"),
        ]

    async def test_explains_itself(self) -> None:
        answer = await a_recommender(self.reads, shelf_of("MIRROR")).recommend(Question(sku="ARMCHAIR", limit=5))

        decision = answer.decision
        assert (decision.subject, decision.chosen, decision.rule) == ("sku:ARMCHAIR", "MIRROR", "item-neighbours/1")
        assert decision.inputs["seeds"] == ["ARMCHAIR"]
        assert decision.inputs["candidates"] == 2
        assert decision.alternatives[0].details["baskets"] == 8.0


class TestRecommendForAPerson:
    reads = CannedReads(
        evidence=[bought_together("ARMCHAIR", "MIRROR"), bought_together("ARMCHAIR", "LAMP", times=3)],
        histories={"customer-7": History(viewed={"ARMCHAIR": NOW}, bought={"MIRROR": YESTERDAY})},
        popular=["VASE", "MIRROR"],
    )

    async def test_starts_from_the_history_and_leaves_out_what_was_bought(self) -> None:
        answer = await a_recommender(self.reads, shelf_of("ARMCHAIR", "MIRROR", "LAMP")).recommend(
            Question(user_id="customer-7", limit=5)
        )

        assert [one.sku for one in answer.suggestions] == ["LAMP"]
        assert answer.rule is Rule.HISTORY_NEIGHBOURS
        assert answer.decision.inputs["seeds"] == ["ARMCHAIR", "MIRROR"]

    async def test_offers_a_stranger_what_is_popular(self) -> None:
        answer = await a_recommender(self.reads, shelf_of("VASE")).recommend(Question(user_id="stranger", limit=5))

        assert [one.sku for one in answer.suggestions] == ["VASE"]
        assert answer.rule is Rule.POPULAR

    async def test_answers_with_nothing_rather_than_with_what_cannot_be_sold(self) -> None:
        answer = await a_recommender(self.reads, Shelf()).recommend(Question(user_id="customer-7", limit=5))

        assert answer.suggestions == ()
        assert answer.decision.chosen == "nothing"


class TestShown:
    reads = CannedReads(popular=["VASE"])

    async def test_is_noted_for_the_visitor_who_sees_it(self) -> None:
        shown_log = RecordingShownLog()
        answer = await a_recommender(self.reads, shelf_of("VASE"), shown_log).recommend(
            Question(user_id="customer-7", visitor_id="visitor-1", placement="home", limit=1)
        )

        assert shown_log.events == [
            RecommendationShown(
                visitor_id="visitor-1",
                customer_id="customer-7",
                occurred_at=NOW,
                recommendation_id=str(answer.id),
                placement="home",
                skus=["VASE"],
            )
        ]

    async def test_is_not_noted_for_nobody(self) -> None:
        shown_log = RecordingShownLog()
        await a_recommender(self.reads, shelf_of("VASE"), shown_log).recommend(Question(limit=1))

        assert shown_log.events == []
