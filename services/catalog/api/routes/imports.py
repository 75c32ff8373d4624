"""Bulk imports, answered row by row."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request

from libs.common.errors import DomainError
from libs.common.http.auth import requires
from services.catalog.api.dependencies import Catalog
from services.catalog.api.imports import import_categories, import_products
from services.catalog.api.rows import CATEGORY_CSV, PRODUCT_CSV, read_rows
from services.catalog.api.schemas import (
    CreateCategoryRequest,
    CreateProductRequest,
    ImportResult,
)
from services.catalog.domain.category import CategoryDetails
from services.catalog.domain.product import ProductDetails
from services.catalog.handlers.categories import put_categories
from services.catalog.handlers.products import put_products

router: Final = APIRouter(prefix="/v1", tags=["imports"])

_WRITE: Final = [requires("catalog:write")]
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_PRODUCTS_MAX: Final = 100_000
# All in one transaction, which holds the whole tree.
_CATEGORIES_MAX: Final = 10_000


def _body_of(model: type[Any]) -> dict[str, Any]:
    """Describe the body for the API's document: FastAPI sees only that the request is streamed."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    texts = {"text/csv": {"schema": {"type": "string"}}}
    return {
        "requestBody": {
            "required": True,
            "description": "One row a line; the same fields as columns in CSV.",
            "content": {"application/x-ndjson": {"schema": schema}, **texts},
        }
    }


@router.post(
    "/products/import",
    dependencies=_WRITE,
    max_body_size=_BODY_BYTES_MAX,
    openapi_extra=_body_of(CreateProductRequest),
)
async def import_product_rows(request: Request, catalog: Catalog) -> ImportResult:
    """
    Create or replace many products; a row that changes nothing publishes nothing, so a file can be sent again.

    CSV columns are named like the fields; the columns `attribute.<name>` hold the attributes.
    """

    async def apply(details: Mapping[str, ProductDetails]) -> dict[str, bool | DomainError]:
        outcomes = await catalog.write(lambda unit: put_products(details_by_sku=details, unit=unit))
        return {
            sku: outcome if isinstance(outcome, DomainError) else outcome.change is not None
            for sku, outcome in outcomes.items()
        }

    rows = read_rows(request, CreateProductRequest, PRODUCT_CSV, lines_max=_PRODUCTS_MAX)
    return await import_products(rows, apply)


@router.post(
    "/categories/import",
    dependencies=_WRITE,
    max_body_size=_BODY_BYTES_MAX,
    openapi_extra=_body_of(CreateCategoryRequest),
)
async def import_category_rows(request: Request, catalog: Catalog) -> ImportResult:
    """Create or replace many categories in one transaction; parents may come after their children."""

    async def apply(details: Mapping[str, CategoryDetails]) -> dict[str, bool | DomainError]:
        outcomes = await catalog.write(lambda unit: put_categories(details_by_code=details, unit=unit))
        return {
            code: outcome if isinstance(outcome, DomainError) else outcome.before != outcome.after
            for code, outcome in outcomes.items()
        }

    rows = read_rows(request, CreateCategoryRequest, CATEGORY_CSV, lines_max=_CATEGORIES_MAX)
    return await import_categories(rows, apply)
