"""From counts to an order of products, each with the reason why it is there."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from services.recommender.domain.baskets import WEIGHT_UNIT
from services.recommender.domain.popularity import relative

# So many baskets' worth of evidence earn half of the trust that endless evidence would.
SHRINKAGE_BASKETS: Final = 3.0
# Buying together says more than looking together: looks also mean "instead of".
BOUGHT_SHARE: Final = 0.7
VIEWED_SHARE: Final = 0.3
# Of a person's history, each older product speaks with so much of the voice of the one after it.
SEED_FADING: Final = 0.85
NEIGHBOURS_PER_SEED_MAX: Final = 30


class Rule(StrEnum):
    """How an answer was made; the number grows whenever the same counts would be ranked differently."""

    ITEM_NEIGHBOURS = "item-neighbours/1"
    HISTORY_NEIGHBOURS = "history-neighbours/1"
    POPULAR = "popular/1"


class Obstacle(StrEnum):
    """Why a product is not offered."""

    OUT_OF_STOCK = "out-of-stock"
    NOT_LISTED = "not-listed"
    ALREADY_BOUGHT = "already-bought"


class Evidence(NamedTuple):
    """
    What was counted about a product (the seed) and one that goes with it.

    All are weights in thousandths of a basket; `bought` and `viewed` are those of the pair, the others those
    of each product alone. `viewed_derived` is the part of `viewed` that was computed instead of observed.
    """

    seed: str
    sku: str
    bought: int = 0
    viewed: int = 0
    viewed_derived: int = 0
    seed_bought: int = 0
    seed_viewed: int = 0
    sku_bought: int = 0
    sku_viewed: int = 0


class Popular(NamedTuple):
    """A product and its popularity (see `popularity.act`)."""

    sku: str
    popularity: float


class Candidate(NamedTuple):
    """
    A product with its score, between 0 and 1, and the evidence that says most for it; without any, it is popular.

    Hundreds are made for each answer and few are shown, so it is small; `explain` makes the rest of it.
    """

    sku: str
    score: float
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A product worth showing; `details` is what its score is made of."""

    sku: str
    score: float
    reason: str
    details: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is shown, and how many candidates each obstacle kept from it."""

    shown: tuple[Candidate, ...]
    filtered: Mapping[Obstacle, int]


def similarity(together: int, one: int, other: int) -> float:
    """
    Return how much two products go together, from 0 to 1: a cosine that distrusts small numbers.

    The cosine of the products' basket vectors is together / √(one x other), as in item-to-item collaborative
    filtering (Linden, Smith & York, "Amazon.com Recommendations", IEEE Internet Computing 7(1), 2003). It is
    shrunk by n / (n + 3) with n baskets of evidence (Koren, "Factorization Meets the Neighborhood", KDD 2008,
    equation 2): without it, two products bought once, in the same basket, would beat everything.
    """
    if together <= 0 or one <= 0 or other <= 0:
        return 0.0
    # A product without sessions can be seen again while its companion still counts once; 1 is the most there is.
    cosine = min(1.0, together / math.sqrt(one * other))
    baskets = together / WEIGHT_UNIT
    return cosine * baskets / (baskets + SHRINKAGE_BASKETS)


def neighbours(evidence: Iterable[Evidence]) -> tuple[Candidate, ...]:
    """Score everything that goes with one product, best first."""
    return _best_first(Candidate(one.sku, _bought(one) + _viewed(one), one) for one in evidence)


def _bought(evidence: Evidence) -> float:
    return BOUGHT_SHARE * similarity(evidence.bought, evidence.seed_bought, evidence.sku_bought)


def _viewed(evidence: Evidence) -> float:
    return VIEWED_SHARE * similarity(evidence.viewed, evidence.seed_viewed, evidence.sku_viewed)


def for_history(
    neighbours_by_seed: Mapping[str, Sequence[Candidate]], *, seeds: Sequence[str]
) -> tuple[Candidate, ...]:
    """
    Blend what goes with each product of a person's history (`seeds`, newest first), best first.

    A score is the mean of the seeds' scores, weighted by how recent they are; the evidence is that of the
    seed that contributes most.
    """
    voices = [SEED_FADING**position for position in range(len(seeds))]
    total_voice = math.fsum(voices)
    scores: defaultdict[str, float] = defaultdict(float)
    strongest: dict[str, tuple[float, Candidate]] = {}
    for seed, voice in zip(seeds, voices, strict=True):
        for candidate in neighbours_by_seed.get(seed, ())[:NEIGHBOURS_PER_SEED_MAX]:
            share = candidate.score * voice / total_voice
            scores[candidate.sku] += share
            known = strongest.get(candidate.sku)
            if known is None or share > known[0]:
                strongest[candidate.sku] = share, candidate
    return _best_first(Candidate(sku, scores[sku], one.evidence) for sku, (_, one) in strongest.items())


def popular(items: Sequence[Popular]) -> tuple[Candidate, ...]:
    """Score products by their popularity relative to the most popular one, best first."""
    if not items:
        return ()
    top = max(item.popularity for item in items)
    return _best_first(Candidate(item.sku, relative(item.popularity, top)) for item in items)


def _best_first(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    # The SKU breaks ties, so that equal counts always give the same answer.
    return tuple(sorted(candidates, key=lambda one: (-one.score, one.sku)))


def select(
    candidates: Sequence[Candidate],
    filler: Sequence[Candidate],
    *,
    limit: int,
    obstacle: Callable[[str], Obstacle | None],
    leave_out: AbstractSet[str] = frozenset(),
) -> Selection:
    """
    Take the best `limit` of `candidates` that nothing stands against, then of `filler`.

    A filler's score is scaled below the last candidate's: the two are not on one scale, and the order shown
    must be the order of the scores. `leave_out` is passed over without being counted.
    """
    shown: list[Candidate] = []
    filtered: defaultdict[Obstacle, int] = defaultdict(int)
    seen = set(leave_out)
    for source in (candidates, filler):
        ceiling = shown[-1].score if shown else 1.0
        scale = ceiling if source is filler else 1.0
        for candidate in source:
            if len(shown) == limit:
                break
            if candidate.sku in seen:
                continue
            seen.add(candidate.sku)
            hindrance = obstacle(candidate.sku)
            if hindrance is not None:
                filtered[hindrance] += 1
                continue
            shown.append(candidate._replace(score=candidate.score * scale))
    return Selection(tuple(shown), dict(filtered))


def explain(candidate: Candidate) -> Suggestion:
    """Say why a candidate is there: bought or viewed with what, or simply popular."""
    evidence = candidate.evidence
    if evidence is None:
        return Suggestion(sku=candidate.sku, score=candidate.score, reason="popular now")
    bought, viewed = _bought(evidence), _viewed(evidence)
    verb, note = ("bought", "") if bought >= viewed else ("viewed", _derivation(evidence))
    return Suggestion(
        sku=candidate.sku,
        score=candidate.score,
        reason=f"{verb} together with {evidence.seed}{note}",
        details={
            "score_bought_together": bought,
            "score_viewed_together": viewed,
            "baskets": evidence.bought / WEIGHT_UNIT,
            "views": evidence.viewed / WEIGHT_UNIT,
            "views_derived": evidence.viewed_derived / WEIGHT_UNIT,
        },
    )


def _derivation(evidence: Evidence) -> str:
    if not evidence.viewed_derived:
        return ""
    return " (derived views)" if evidence.viewed_derived >= evidence.viewed else " (some views derived)"
