"""Answering what to show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from libs.common.clock import Clock
from libs.common.decisions import Alternative, Decision
from libs.common.events.storefront import RecommendationShown
from libs.common.ids import new_id
from services.recommender import metrics
from services.recommender.domain import ranking
from services.recommender.domain.histories import History
from services.recommender.domain.ranking import Candidate, Obstacle, Rule, Selection, Suggestion
from services.recommender.domain.shelf import Shelf
from services.recommender.handlers.freshness import RecentReads
from services.recommender.handlers.ports import Reads, ShownLog

# Of a person's history: more products make the answer slower and hardly different.
SEEDS_MAX: Final = 6
# About 15 kB each.
_RANKINGS_KEPT_MAX: Final = 2000

_NOBODY: Final = History()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """For whom (a visitor or customer), beside which product, and how many; all but the number optional."""

    user_id: str | None = None
    sku: str | None = None
    visitor_id: str | None = None
    placement: str = "unspecified"
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """An answer, and the record of why it is what it is."""

    id: UUID
    suggestions: tuple[Suggestion, ...]
    rule: Rule
    # The counts behind the answer are of this time or later.
    as_of: datetime
    decision: Decision


@dataclass(frozen=True, slots=True)
class _Ranked:
    rule: Rule
    seeds: Sequence[str]
    candidates: Sequence[Candidate]
    as_of: datetime


class Recommender:
    """Ranks what goes with a product or a person, and offers what can be sold."""

    def __init__(
        self,
        *,
        reads: Reads,
        shelf: Shelf,
        clock: Clock,
        counts_age_seconds_max: float,
        shown_log: ShownLog | None,
    ) -> None:
        """Rankings are remembered for `counts_age_seconds_max`; stock is always looked at anew."""
        self._reads = reads
        self._shelf = shelf
        self._clock = clock
        self._shown_log = shown_log
        self._neighbours = RecentReads(
            self._load_neighbours,
            clock=clock,
            age_seconds_max=counts_age_seconds_max,
            entries_max=_RANKINGS_KEPT_MAX,
        )
        self._popular = RecentReads(
            self._load_popular, clock=clock, age_seconds_max=counts_age_seconds_max, entries_max=1
        )

    async def recommend(self, question: Question) -> Recommendation:
        """
        Answer with products that are listed and in stock, most fitting first, none of them bought before.

        A SKU asks for what goes with it, a user id for what goes with that history; where too little goes
        with either, and where nothing was asked for, popular products fill the answer.
        """
        user_id = question.user_id
        history = await self._reads.history(user_id) if user_id is not None else _NOBODY
        ranked = await self._rank(question, history)
        popular = await self._popular.get("shop")

        def obstacle(sku: str) -> Obstacle | None:
            return Obstacle.ALREADY_BOUGHT if sku in history.bought else self._shelf.obstacle(sku)

        selection = ranking.select(
            ranked.candidates,
            popular.value,
            limit=question.limit,
            obstacle=obstacle,
            leave_out=frozenset({question.sku} if question.sku else ()),
        )
        rule = ranked.rule if ranked.candidates else Rule.POPULAR
        recommendation = _answer(
            question,
            selection,
            rule=rule,
            as_of=min(ranked.as_of, popular.as_of),
            inputs={
                "seeds": list(ranked.seeds),
                "candidates": len(ranked.candidates),
                "filtered": {str(reason): count for reason, count in selection.filtered.items()},
            },
            now=self._clock.now(),
        )
        _observe(recommendation, selection)
        self._note_shown(question, recommendation)
        return recommendation

    async def _rank(self, question: Question, history: History) -> _Ranked:
        if question.sku is not None:
            read = await self._neighbours.get(question.sku)
            return _Ranked(Rule.ITEM_NEIGHBOURS, (question.sku,), read.value, read.as_of)
        seeds = history.latest(SEEDS_MAX)
        as_of = self._clock.now()
        reads = await self._neighbours.get_all(seeds)
        candidates = ranking.for_history(
            {seed: read.value for seed, read in zip(seeds, reads, strict=True)}, seeds=seeds
        )
        as_of = min((read.as_of for read in reads), default=as_of)
        return _Ranked(Rule.HISTORY_NEIGHBOURS, seeds, candidates, as_of)

    async def _load_neighbours(self, sku: str) -> tuple[Candidate, ...]:
        return ranking.neighbours(await self._reads.evidence(sku))

    async def _load_popular(self, _shop: str) -> tuple[Candidate, ...]:
        return ranking.popular(await self._reads.popular())

    def _note_shown(self, question: Question, recommendation: Recommendation) -> None:
        if self._shown_log is None or not recommendation.suggestions:
            return
        visitor_id = question.visitor_id or question.user_id
        if visitor_id is None:
            # The stream is ordered by visitor; a made-up one would be counted as somebody.
            metrics.shown_events_total.labels("unattributed").inc()
            return
        self._shown_log.note(
            RecommendationShown(
                visitor_id=visitor_id,
                customer_id=question.user_id if question.user_id != visitor_id else None,
                occurred_at=recommendation.decision.decided_at,
                recommendation_id=str(recommendation.id),
                placement=question.placement,
                skus=[suggestion.sku for suggestion in recommendation.suggestions],
            )
        )


def _answer(
    question: Question,
    selection: Selection,
    *,
    rule: Rule,
    as_of: datetime,
    inputs: Mapping[str, Any],
    now: datetime,
) -> Recommendation:
    answer_id = new_id()
    shown = tuple(ranking.explain(candidate) for candidate in selection.shown)
    decision = Decision(
        id=answer_id,
        decision="recommend-products",
        subject=_subject(question),
        chosen=shown[0].sku if shown else "nothing",
        reason=shown[0].reason if shown else "no candidate is listed and in stock",
        rule=rule,
        decided_at=now,
        alternatives=[Alternative(option=one.sku, score=one.score, details=dict(one.details)) for one in shown],
        inputs={**inputs, "limit": question.limit},
    )
    return Recommendation(id=answer_id, suggestions=shown, rule=rule, as_of=as_of, decision=decision)


def _subject(question: Question) -> str:
    if question.sku is not None:
        return f"sku:{question.sku}"
    return f"user:{question.user_id}" if question.user_id is not None else "shop"


def _observe(recommendation: Recommendation, selection: Selection) -> None:
    metrics.recommendations_served_total.labels(recommendation.rule).inc()
    if not selection.shown:
        metrics.empty_answers_total.labels(recommendation.rule).inc()
    for reason, count in selection.filtered.items():
        metrics.candidates_filtered_total.labels(reason).inc(count)
