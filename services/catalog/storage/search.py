"""Finding products: by the stems of their words, and by similar words where somebody mistyped."""

import re
from collections.abc import Sequence

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import REGCONFIG

from libs.common.db import Transaction
from services.catalog.handlers.queries import (
    Facet,
    Hit,
    MatchedBy,
    ProductFilter,
    SearchPosition,
    SearchResult,
)
from services.catalog.storage.products import product_of
from services.catalog.storage.tables import SEARCH_LANGUAGE, categories, products

# A letter missing in a short word leaves four tenths of its trigrams ("wiker" for "wicker"); PostgreSQL's own limit
# of 0.6 would forgive hardly any mistake.
_WORD_SIMILARITY_MIN = 0.4
# Two letters swapped in a short word leave almost nothing, so not every word must be similar: one of them, and all of
# them so much on average.
_MEAN_SIMILARITY_MIN = 0.35
_SIMILAR_WORDS_MAX = 8
# Shorter words have too few trigrams to compare.
_SIMILAR_WORD_LENGTH_MIN = 3
# ts_rank_cd divides the rank by 1 + the logarithm of the length, or long descriptions would win.
_RANK_BY_LENGTH = 1
# Whoever types a SKU wants that product, whatever else mentions it; ranks stay far below this.
_SKU_BONUS = 100.0

_EXCLUDED_WORD = re.compile(r"(?:^|\s)-\S+")
_WORD = re.compile(r"\w+")
_TRIGRAMS_ARE_INSTALLED = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')")

PRODUCT_COLUMNS = (
    products.c.sku,
    products.c.version,
    products.c.title,
    products.c.description,
    products.c.category,
    products.c.price_minor,
    products.c.currency,
    cast(products.c.attributes, Text).label("attributes"),
    products.c.is_listed,
    products.c.listed_at,
    products.c.created_at,
    products.c.changed_at,
)


async def search_products(
    transaction: Transaction,
    words: str,
    wanted: ProductFilter,
    *,
    after: SearchPosition | None,
    limit: int,
    has_facets: bool,
) -> SearchResult:
    """Return one page of hits, best first."""
    if after is None or after.matched_by == "words":
        matches = _matches_by_words(words, wanted)
        result = await _page(transaction, matches, "words", after, limit, has_facets=has_facets)
        if result.hits or after is not None:
            return result
    similar_words = words_to_compare(words)
    if not similar_words or not await _can_compare(transaction):
        return SearchResult(hits=(), matched_by="words")
    await transaction.connection.execute(
        select(func.set_config("pg_trgm.word_similarity_threshold", str(_WORD_SIMILARITY_MIN), True))  # noqa: FBT003 - the function's own signature
    )
    matches = _matches_by_similarity(similar_words, wanted)
    return await _page(transaction, matches, "similarity", after, limit, has_facets=has_facets)


def words_to_compare(words: str) -> list[str]:
    """Return the words of a query that are worth comparing with others, in lower case."""
    found = _WORD.findall(_EXCLUDED_WORD.sub(" ", words).lower())
    long_enough = [word for word in found if len(word) >= _SIMILAR_WORD_LENGTH_MIN]
    return list(dict.fromkeys(long_enough))[:_SIMILAR_WORDS_MAX]


def conditions_of(wanted: ProductFilter) -> list[ColumnElement[bool]]:
    """Return the WHERE clauses of a filter."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.status != "all":
        conditions.append(products.c.is_listed == (wanted.status == "listed"))
    if wanted.category is not None:
        below = literal(wanted.category, Text) == func.any(categories.c.ancestors)
        codes = select(categories.c.code).where(or_(categories.c.code == wanted.category, below))
        conditions.append(products.c.category.in_(codes))
    if wanted.words is not None:
        conditions.append(products.c.search.bool_op("@@")(_query(wanted.words)))
    if wanted.currency is not None:
        conditions.append(products.c.currency == wanted.currency)
    if wanted.price_min_minor is not None:
        conditions.append(products.c.price_minor >= wanted.price_min_minor)
    if wanted.price_max_minor is not None:
        conditions.append(products.c.price_minor <= wanted.price_max_minor)
    return conditions


def _matches_by_words(words: str, wanted: ProductFilter) -> CTE:
    query = _query(words)
    rank = cast(func.ts_rank_cd(products.c.search, query, _RANK_BY_LENGTH), Double)
    is_sku = func.lower(products.c.sku) == words.strip().lower()
    score = (rank + case((is_sku, _SKU_BONUS), else_=0.0)).label("score")
    found = products.c.search.bool_op("@@")(query)
    return select(*PRODUCT_COLUMNS, score).where(found, *conditions_of(wanted)).cte("matches")


def _matches_by_similarity(words: Sequence[str], wanted: ProductFilter) -> CTE:
    compared = [literal(word, Text) for word in words]
    found = [products.c.similar_text.bool_op("%>")(word) for word in compared]
    similarities = [func.word_similarity(word, products.c.similar_text) for word in compared]
    total: ColumnElement[float] = similarities[0]
    for similarity in similarities[1:]:
        total += similarity
    mean = cast(total / len(words), Double)
    return (
        select(*PRODUCT_COLUMNS, mean.label("score"))
        .where(or_(*found), mean >= _MEAN_SIMILARITY_MIN, *conditions_of(wanted))
        .cte("matches")
    )


def _query(words: str) -> ColumnElement[object]:
    # Lower case by the same rules as the stored vectors.
    lowered = func.lower(literal(words, Text).collate("pg_c_utf8"))
    return func.websearch_to_tsquery(cast(SEARCH_LANGUAGE, REGCONFIG), lowered)


async def _page(
    transaction: Transaction,
    matches: CTE,
    matched_by: MatchedBy,
    after: SearchPosition | None,
    limit: int,
    *,
    has_facets: bool,
) -> SearchResult:
    page = select(matches).order_by(matches.c.score.desc(), matches.c.sku).limit(limit)
    if after is not None:
        score = literal(after.score, Double)
        ties = and_(matches.c.score == score, matches.c.sku > after.sku)
        page = page.where(or_(matches.c.score < score, ties))
    rows = (await transaction.connection.execute(page)).mappings().all()
    facets: Sequence[Facet] = ()
    if has_facets and rows:
        counted = (await transaction.connection.execute(_facets(matches))).all()
        facets = [Facet(row.category, row.name, row.products) for row in counted]
    hits = [Hit(product_of(row), row["score"]) for row in rows]
    return SearchResult(hits=hits, matched_by=matched_by, facets=facets)


def _facets(matches: CTE) -> Select[tuple[str | None, str | None, int]]:
    counted = func.count().label("products")
    return (
        select(matches.c.category, categories.c.name, counted)
        .select_from(matches.outerjoin(categories, categories.c.code == matches.c.category))
        .group_by(matches.c.category, categories.c.name)
        .order_by(counted.desc(), matches.c.category)
    )


async def _can_compare(transaction: Transaction) -> bool:
    return bool((await transaction.connection.execute(_TRIGRAMS_ARE_INSTALLED)).scalar_one())
