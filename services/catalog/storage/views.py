"""The catalog for reading: single products and categories, pages of them, and search."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from libs.common.db import Database, Transaction
from services.catalog.domain.category import Category, CategoryNotFound
from services.catalog.domain.product import Product, ProductNotFound
from services.catalog.handlers.queries import (
    ListPosition,
    ProductFilter,
    SearchPosition,
    SearchResult,
    Sort,
)
from services.catalog.storage.products import category_of, product_of
from services.catalog.storage.search import PRODUCT_COLUMNS, conditions_of, search_products
from services.catalog.storage.tables import categories, products

_LISTED_SINCE = func.coalesce(products.c.listed_at, products.c.created_at)


class PostgresViews:
    """The catalog's views, each answer read in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    async def product(self, sku: str) -> Product:
        """Return a product, listed or not."""
        rows = await self._read(select(*PRODUCT_COLUMNS).where(products.c.sku == sku))
        if not rows:
            raise ProductNotFound(sku)
        return product_of(rows[0])

    async def products(
        self, wanted: ProductFilter, *, sort: Sort, after: ListPosition | None, limit: int
    ) -> Sequence[Product]:
        """Return up to `limit` products in order."""
        page = select(*PRODUCT_COLUMNS).where(*conditions_of(wanted)).limit(limit)
        match sort:
            case "newest":
                page = page.order_by(_LISTED_SINCE.desc(), products.c.sku)
                page = page.where(*_behind(after, _LISTED_SINCE, is_descending=True))
            case "price":
                page = page.order_by(products.c.price_minor, products.c.sku)
                page = page.where(*_behind(after, products.c.price_minor))
            case "title":
                page = page.order_by(products.c.title, products.c.sku)
                page = page.where(*_behind(after, products.c.title))
        return [product_of(row) for row in await self._read(page)]

    async def search(
        self,
        words: str,
        wanted: ProductFilter,
        *,
        after: SearchPosition | None,
        limit: int,
        has_facets: bool,
    ) -> SearchResult:
        """Return up to `limit` hits by rank."""

        async def work(transaction: Transaction) -> SearchResult:
            return await search_products(transaction, words, wanted, after=after, limit=limit, has_facets=has_facets)

        return await self._database.run(work)

    async def category(self, code: str) -> Category:
        """Return a category."""
        rows = await self._read(select(categories).where(categories.c.code == code))
        if not rows:
            raise CategoryNotFound(code)
        return category_of(rows[0])

    async def categories(self, *, parent: str | None, after: str | None, limit: int) -> Sequence[Category]:
        """Return up to `limit` categories by code."""
        page = select(categories).order_by(categories.c.code).limit(limit)
        if parent is not None:
            page = page.where(categories.c.parent == parent)
        if after is not None:
            page = page.where(categories.c.code > after)
        return [category_of(row) for row in await self._read(page)]

    async def numbers_by_status(self) -> dict[str, int]:
        """Count the products that are listed, and those that are not."""
        listed = func.count().filter(products.c.is_listed).label("listed")
        delisted = func.count().filter(~products.c.is_listed).label("delisted")
        return dict((await self._read(select(listed, delisted)))[0])

    async def _read(self, statement: Any) -> Sequence[Any]:
        async def work(transaction: Transaction) -> Sequence[Any]:
            return (await transaction.connection.execute(statement)).mappings().all()

        return await self._database.run(work)


def _behind(
    after: ListPosition | None, value: ColumnElement[Any], *, is_descending: bool = False
) -> list[ColumnElement[bool]]:
    """Return the condition for what comes behind a position; SKUs ascend within equal values."""
    if after is None:
        return []
    last, sku = after
    # Said twice: the comparison alone narrows the range of the index, the disjunction is only a filter.
    in_range = value <= last if is_descending else value >= last
    beyond = value < last if is_descending else value > last
    return [in_range, or_(beyond, and_(value == last, products.c.sku > sku))]
