"""One product at a time, and the list of them."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Final, Literal

import msgspec
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
from libs.common.money import MINOR_MAX
from services.catalog.api.dependencies import (
    Catalog,
    Expected,
)
from services.catalog.api.schemas import (
    CategoryFilter,
    CreateProductRequest,
    Identifier,
    PatchProductRequest,
    ProductResponse,
    PutProductRequest,
    Words,
)
from services.catalog.domain.product import Product
from services.catalog.handlers.ports import UnitOfWork
from services.catalog.handlers.products import (
    create_product,
    delist_product,
    patch_product,
    put_product,
)
from services.catalog.handlers.queries import ListPosition, ProductFilter, Sort, Status

router: Final = APIRouter(prefix="/v1/products", tags=["products"])

_READ: Final = [requires("catalog:read")]
_WRITE: Final = [requires("catalog:write")]

_Price = Annotated[int, msgspec.Meta(ge=0, le=MINOR_MAX)]


@router.post("", status_code=HTTPStatus.CREATED, dependencies=_WRITE, response_model=ProductResponse)
async def add_product(body: CreateProductRequest, write: IdempotentWrite, catalog: Catalog) -> Response:
    """Bring a product into the catalog."""

    async def use_case(unit: UnitOfWork) -> StoredResponse:
        written = await create_product(sku=body.sku, details=body.details(), unit=unit)
        answer = ProductResponse.of(written.after).model_dump_json()
        return StoredResponse(HTTPStatus.CREATED, answer.encode())

    response = (await catalog.write_once(write, use_case)).response()
    response.headers["Location"] = f"/v1/products/{body.sku}"
    response.headers["ETag"] = entity_tag(1)
    return response


@router.put("/{sku}", dependencies=_WRITE, responses={201: {"model": ProductResponse}})
async def replace_product(
    sku: Identifier, body: PutProductRequest, expected: Expected, catalog: Catalog, response: Response
) -> ProductResponse:
    """Make a product be as the body says, whether or not it existed; a repetition changes nothing."""
    written = await catalog.write(
        lambda unit: put_product(sku=sku, details=body.details(), expected=expected, unit=unit)
    )
    if written.before is None:
        response.status_code = HTTPStatus.CREATED
        response.headers["Location"] = f"/v1/products/{sku}"
    return _tagged(written.after, response)


@router.patch("/{sku}", dependencies=_WRITE)
async def change_product(
    sku: Identifier, body: PatchProductRequest, expected: Expected, catalog: Catalog, response: Response
) -> ProductResponse:
    """Change some of a product's details (JSON merge patch); 412 if `If-Match` is not its version."""
    written = await catalog.write(
        lambda unit: patch_product(sku=sku, change=body.applied_to, expected=expected, unit=unit)
    )
    return _tagged(written.after, response)


@router.delete("/{sku}", dependencies=_WRITE, status_code=HTTPStatus.NO_CONTENT)
async def remove_product(sku: Identifier, expected: Expected, catalog: Catalog) -> None:
    """Stop selling a product. Its page and history stay; PUT or PATCH with `is_listed` lists it again."""
    await catalog.write(lambda unit: delist_product(sku=sku, expected=expected, unit=unit))


@router.get("/{sku}", dependencies=_READ, response_model=ProductResponse)
async def show_product(
    sku: Identifier, catalog: Catalog, response: Response, if_none_match: IfNoneMatch = None
) -> ProductResponse | Response:
    """Return a product, listed or not."""
    product = await catalog.views.product(sku)
    if is_current(if_none_match, product.version):
        tag = {"ETag": entity_tag(product.version)}
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=tag)
    return _tagged(product, response)


@router.get("", dependencies=_READ)
async def list_products(  # noqa: PLR0917 - the parameters of a route are its query string
    catalog: Catalog,
    q: Annotated[Words | None, Query(description="Only products with these words.")] = None,
    category: CategoryFilter = None,
    status: Status = "listed",
    sort: Sort = "newest",
    cursor: PageCursor = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
) -> Page[ProductResponse]:
    """List products; `GET /v1/search` ranks them instead."""
    found = await catalog.views.products(
        ProductFilter(status=status, category=category, words=q),
        sort=sort,
        after=_position(cursor, sort),
        limit=limit + 1,
    )
    return page_of(found, limit=limit, key=lambda one: _cursor_key(one, sort), item=ProductResponse.of)


def _tagged(product: Product, response: Response) -> ProductResponse:
    response.headers["ETag"] = entity_tag(product.version)
    return ProductResponse.of(product)


def _cursor_key(product: Product, sort: Sort) -> tuple[str, datetime | int | str, str]:
    match sort:
        case "newest":
            return sort, product.listed_at or product.created_at, product.sku
        case "price":
            return sort, product.details.price_minor, product.sku
        case "title":
            return sort, product.details.title, product.sku


def _position(cursor: str | None, sort: Sort) -> ListPosition | None:
    if cursor is None:
        return None
    match sort:
        case "newest":
            return Cursor.decode(cursor, tuple[Literal["newest"], datetime, str])[1:]
        case "price":
            return Cursor.decode(cursor, tuple[Literal["price"], _Price, str])[1:]
        case "title":
            return Cursor.decode(cursor, tuple[Literal["title"], str, str])[1:]
