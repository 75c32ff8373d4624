"""The tree of categories."""

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from libs.common.http.auth import requires
from libs.common.http.entity_tags import IfNoneMatch, entity_tag, is_current
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from libs.common.http.pagination import (
    PAGE_LIMIT_DEFAULT,
    Cursor,
    Page,
    PageCursor,
    PageLimit,
    page_of,
)
from services.catalog.api.dependencies import (
    Catalog,
    Expected,
)
from services.catalog.api.schemas import (
    CategoryResponse,
    CreateCategoryRequest,
    Identifier,
    PutCategoryRequest,
)
from services.catalog.domain.category import Category
from services.catalog.handlers.categories import create_category, put_category
from services.catalog.handlers.ports import UnitOfWork

router: Final = APIRouter(prefix="/v1/categories", tags=["categories"])

_READ: Final = [requires("catalog:read")]
_WRITE: Final = [requires("catalog:write")]


@router.post("", status_code=HTTPStatus.CREATED, dependencies=_WRITE, response_model=CategoryResponse)
async def add_category(body: CreateCategoryRequest, write: IdempotentWrite, catalog: Catalog) -> Response:
    """Add a category to the tree."""

    async def use_case(unit: UnitOfWork) -> StoredResponse:
        category = await create_category(code=body.code, details=body.details(), unit=unit)
        answer = CategoryResponse.of(category).model_dump_json()
        return StoredResponse(HTTPStatus.CREATED, answer.encode())

    response = (await catalog.write_once(write, use_case)).response()
    response.headers["Location"] = f"/v1/categories/{body.code}"
    response.headers["ETag"] = entity_tag(1)
    return response


@router.put("/{code}", dependencies=_WRITE, responses={201: {"model": CategoryResponse}})
async def replace_category(
    code: Identifier, body: PutCategoryRequest, expected: Expected, catalog: Catalog, response: Response
) -> CategoryResponse:
    """Make a category be as the body says, with all that lies below it; a repetition changes nothing."""
    written = await catalog.write(
        lambda unit: put_category(code=code, details=body.details(), expected=expected, unit=unit)
    )
    if written.before is None:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = f"/v1/categories/{code}"
    return _tagged(written.after, response)


@router.get("/{code}", dependencies=_READ, response_model=CategoryResponse)
async def show_category(
    code: Identifier, catalog: Catalog, response: Response, if_none_match: IfNoneMatch = None
) -> CategoryResponse | Response:
    """Return a category."""
    category = await catalog.views.category(code)
    if is_current(if_none_match, category.version):
        tag = {"ETag": entity_tag(category.version)}
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=tag)
    return _tagged(category, response)


@router.get("", dependencies=_READ)
async def list_categories(
    catalog: Catalog,
    parent: Annotated[Identifier | None, Query(description="Only those directly below.")] = None,
    cursor: PageCursor = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
) -> Page[CategoryResponse]:
    """List categories by code."""
    after = None if cursor is None else Cursor.decode(cursor, tuple[str])[0]
    found = await catalog.views.categories(parent=parent, after=after, limit=limit + 1)
    return page_of(found, limit=limit, key=lambda one: (one.code,), item=CategoryResponse.of)


def _tagged(category: Category, response: Response) -> CategoryResponse:
    response.headers["ETag"] = entity_tag(category.version)
    return CategoryResponse.of(category)
