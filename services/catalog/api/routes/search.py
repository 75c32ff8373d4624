"""Ranked search."""

from typing import Annotated, Final

from fastapi import APIRouter, Query

from libs.common.http.auth import requires
from libs.common.http.fields import Currency
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, PageCursor, PageLimit
from services.catalog.api.dependencies import Catalog
from services.catalog.api.schemas import (
    CategoryFilter,
    FacetResponse,
    HitResponse,
    PriceBound,
    SearchResponse,
    Words,
)
from services.catalog.handlers.queries import (
    Hit,
    MatchedBy,
    ProductFilter,
    SearchPosition,
    SearchResult,
)
from services.catalog.metrics import catalog_searches_total

router: Final = APIRouter(prefix="/v1/search", tags=["search"])


@router.get("", dependencies=[requires("catalog:read")])
async def search_products(  # noqa: PLR0917 - the parameters of a route are its query string
    catalog: Catalog,
    q: Annotated[Words, Query(description='Words, "a phrase", this OR that, -without.')],
    category: CategoryFilter = None,
    price_min_minor: PriceBound | None = None,
    price_max_minor: PriceBound | None = None,
    currency: Currency | None = None,
    facets: Annotated[bool, Query(description="Count the hits by category.")] = False,  # noqa: FBT002 - a query parameter
    cursor: PageCursor = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
) -> SearchResponse:
    """Find listed products by rank; misspelt words find similar ones where nothing has the words themselves."""
    after = None if cursor is None else _position(cursor)
    result = await catalog.views.search(
        q,
        ProductFilter(
            category=category,
            currency=currency,
            price_min_minor=price_min_minor,
            price_max_minor=price_max_minor,
        ),
        after=after,
        limit=limit + 1,
        has_facets=facets and after is None,
    )
    if after is None:
        catalog_searches_total.labels(result.matched_by if result.hits else "nothing").inc()
    return _response(result, limit)


def _response(result: SearchResult, limit: int) -> SearchResponse:
    shown = result.hits[:limit]
    is_more = len(result.hits) > limit
    return SearchResponse(
        items=[HitResponse.of_hit(hit) for hit in shown],
        next_cursor=_cursor(shown[-1], result.matched_by) if is_more else None,
        matched_by=result.matched_by,
        facets=[FacetResponse.of(facet) for facet in result.facets],
    )


def _cursor(last: Hit, matched_by: MatchedBy) -> str:
    return Cursor.encode(matched_by, last.score, last.product.sku)


def _position(cursor: str) -> SearchPosition:
    matched_by, score, sku = Cursor.decode(cursor, tuple[MatchedBy, float, str])
    return SearchPosition(matched_by=matched_by, score=score, sku=sku)
