"""
What could be bought instead of a SKU that is short: one pure function, and the likeness that it goes by.

Likeness is Gower's general coefficient of similarity (J. C. Gower, "A General Coefficient of Similarity and Some of Its
Properties", Biometrics 27, 1971): the weighted mean of what is known of both products, each part between 0 and 1;
what is not known of one of them counts neither for nor against.

- Category: Wu and Palmer's similarity of two nodes of a tree, twice the depth of what they have in common over the
  sum of their depths ("Verb Semantics and Lexical Selection", ACL 1994). The same category is 1, a sibling below a
  root 1/2.
- Price: the lower over the higher. Buyers judge by ratios, not differences (K. B. Monroe, "Buyers' Subjective
  Perceptions of Price", Journal of Marketing Research 10, 1973).
- Attributes: the share of those that both have in which they agree.
- Title: the words in common over all words of both (Jaccard's index).

What is left counts as well, as units over units and `comfortable_units`, so that not everybody is sent to the last
piece.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from sys import intern
from typing import Final, NamedTuple

from libs.common.events.shapes import AlternativeSku

# Named in decision records: another formula is another version.
RULE: Final = "alternatives-1"

_WORDS_MAX: Final = 24
_SCORE_DIGITS: Final = 4
# Where no category says that two products have anything to do with each other, their titles must.
_TITLE_OVERLAP_MIN: Final = 0.25
_ATTRIBUTES_NAMED_MAX: Final = 3
_words: Final = re.compile(r"[^\W_]{2,}").findall

CategoryPath = tuple[str, ...]


class Product(NamedTuple):
    """
    What the catalog says of a SKU, as far as it matters here, in as little memory as it takes.

    `attributes` are names and values in turn, case-folded.
    """

    sku: str
    version: int
    category: str | None
    price_minor: int
    currency: str
    is_listed: bool
    words: tuple[str, ...]
    attributes: tuple[str, ...]


class Wanted(NamedTuple):
    """A product that others are compared with."""

    product: Product
    words: frozenset[str]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LikenessWeights:
    """How much each part counts."""

    category: float = 3.0
    price: float = 2.0
    attributes: float = 2.0
    title: float = 1.0
    availability: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlternativesPolicy:
    """
    What may be offered instead of something else, and how many; none if `alternatives_max` is 0.

    The dearer of the two costs at most `price_ratio_max` times the other. In `essential_attributes` they are the same,
    if both have them: what does not fit is no alternative.
    """

    alternatives_max: int = 5
    weights: LikenessWeights = LikenessWeights()
    price_ratio_max: float = 2.0
    essential_attributes: frozenset[str] = frozenset({"size"})
    comfortable_units: int = 10


class Likeness(NamedTuple):
    """How like two products are: the sum of the weighted parts that are known, and of their weights."""

    product: Product
    weighted: float
    weight: float
    category: float | None
    agreeing: tuple[str, ...]


def product_of(
    sku: str,
    *,
    version: int,
    title: str,
    category: str | None,
    price_minor: int,
    currency: str,
    is_listed: bool,
    attributes: Mapping[str, str],
) -> Product:
    """Return a product as it is compared; strings that many have in common are kept once."""
    return Product(
        sku=sku,
        version=version,
        category=intern(category) if category is not None else None,
        price_minor=price_minor,
        currency=intern(currency),
        is_listed=is_listed,
        words=tuple({intern(word): None for word in _words(title.casefold())[:_WORDS_MAX]}),
        attributes=tuple(
            chain.from_iterable(
                {
                    intern(name.casefold()): intern(value.strip().casefold()) for name, value in attributes.items()
                }.items()
            )
        ),
    )


def wanted_of(product: Product) -> Wanted:
    """Return a product as one that others are compared with."""
    return Wanted(product, frozenset(product.words), dict(_pairs(product.attributes)))


def likeness(
    basis: Wanted, other: Product, paths: Mapping[str, CategoryPath], policy: AlternativesPolicy
) -> Likeness | None:
    """
    Return how like a product is to the one that is wanted, None if it is no alternative to it.

    `paths` are of categories by code: codes from the root down to their own.
    """
    wanted = basis.product
    if not other.is_listed or other.sku == wanted.sku or other.currency != wanted.currency:
        return None
    price = _price_similarity(wanted.price_minor, other.price_minor)
    if price is not None and price * policy.price_ratio_max < 1:
        return None
    agreeing, differing = _compare_attributes(basis.attributes, other.attributes)
    if not policy.essential_attributes.isdisjoint(differing):
        return None
    shared = len(agreeing) + len(differing)
    category = _category_similarity(wanted.category, other.category, paths)
    title = _overlap(basis.words, other.words)
    if not category and (category is not None or title is None or title < _TITLE_OVERLAP_MIN):
        return None
    weights = policy.weights
    known = [
        (weights.category, category),
        (weights.price, price),
        (weights.attributes, len(agreeing) / shared if shared else None),
        (weights.title, title),
    ]
    weight = sum([one for one, part in known if part is not None])
    weighted = sum([one * part for one, part in known if part is not None])
    return Likeness(other, weighted, weight, category, tuple(sorted(agreeing)))


def rank_alternatives(
    wanted: Product, likely: Iterable[tuple[Likeness, int]], policy: AlternativesPolicy
) -> Sequence[AlternativeSku]:
    """Order alternatives, each with its free units, by their score, the best first; equals by nearness of price."""
    scored = [(_score(one, units, policy), one, units) for one, units in likely]
    scored.sort(key=lambda each: (-each[0], abs(each[1].product.price_minor - wanted.price_minor), each[1].product.sku))
    return [_alternative(wanted, one, units, score) for score, one, units in scored]


def _alternative(wanted: Product, one: Likeness, units: int, score: float) -> AlternativeSku:
    return AlternativeSku(
        sku=one.product.sku,
        price_minor=one.product.price_minor,
        currency=one.product.currency,
        available=units,
        score=score,
        reason=_reason(wanted, one, units),
    )


def _score(one: Likeness, units: int, policy: AlternativesPolicy) -> float:
    weight = policy.weights.availability
    whole = one.weight + weight
    if not whole:
        return 0.0
    comfort = units / (units + policy.comfortable_units)
    return round((one.weighted + weight * comfort) / whole, _SCORE_DIGITS)


def _price_similarity(wanted_minor: int, other_minor: int) -> float | None:
    if wanted_minor <= 0:
        return None
    return min(wanted_minor, other_minor) / max(wanted_minor, other_minor)


def _category_similarity(wanted: str | None, other: str | None, paths: Mapping[str, CategoryPath]) -> float | None:
    if wanted is None or other is None:
        return None
    if wanted == other:
        return 1.0
    one, two = paths.get(wanted, (wanted,)), paths.get(other, (other,))
    common = 0
    for left, right in zip(one, two, strict=False):
        if left != right:
            break
        common += 1
    return 2 * common / (len(one) + len(two))


def _compare_attributes(wanted: Mapping[str, str], other: Sequence[str]) -> tuple[list[str], list[str]]:
    agreeing: list[str] = []
    differing: list[str] = []
    for name, value in _pairs(other):
        known = wanted.get(name)
        if known is not None:
            (agreeing if known == value else differing).append(name)
    return agreeing, differing


def _pairs(attributes: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(attributes[::2], attributes[1::2], strict=True)


def _overlap(wanted: frozenset[str], other: Sequence[str]) -> float | None:
    if not wanted or not other:
        return None
    common = len(wanted.intersection(other))
    return common / (len(wanted) + len(other) - common)


def _reason(wanted: Product, one: Likeness, units: int) -> str:
    parts = []
    if one.category is None:
        parts.append("similar title")
    else:
        parts.append("same category" if one.category == 1 else "related category")
    parts.append(_price_in_words(wanted.price_minor, one.product.price_minor))
    if one.agreeing:
        named = one.agreeing[:_ATTRIBUTES_NAMED_MAX]
        parts.append("same " + " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named))
    return f"{', '.join(parts)}; {units} free"


def _price_in_words(wanted_minor: int, other_minor: int) -> str:
    if wanted_minor == other_minor:
        return "same price"
    if wanted_minor <= 0:
        return "dearer"
    percent = round(100 * abs(other_minor - wanted_minor) / wanted_minor)
    word = "dearer" if other_minor > wanted_minor else "cheaper"
    return f"{percent} % {word}" if percent else f"less than 1 % {word}"
