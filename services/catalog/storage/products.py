"""Products and categories in PostgreSQL, for changing them: set-based, whatever their number."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from libs.common.db import Transaction
from services.catalog.domain.category import Category, CategoryDetails
from services.catalog.domain.product import Product, ProductDetails

# A category's names are copied into its products. Whoever writes products holds this lock shared, whoever writes
# categories holds it alone: the copies are always right, and the two never wait for each other in a circle.
_TREE_LOCK = 0x54_52_45_45  # "TREE"
_SHARE_TREE = f"SELECT pg_advisory_xact_lock_shared({_TREE_LOCK})"
_HOLD_TREE = f"SELECT pg_advisory_xact_lock({_TREE_LOCK})"

_PRODUCT_COLUMNS = """
sku, version, title, description, category, price_minor, currency, attributes::text AS attributes, is_listed,
listed_at, created_at, changed_at
"""
_LOCK_PRODUCTS = f"""
SELECT {_PRODUCT_COLUMNS} FROM products WHERE sku = ANY($1::text[]) ORDER BY sku FOR UPDATE
"""  # noqa: S608 - constants only
_INCOMING = """
unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::text[],
       $9::boolean[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[])
    AS incoming (sku, version, title, description, category, price_minor, currency, attributes, is_listed,
                 listed_at, created_at, changed_at)
"""
# In the order of the SKUs, as every transaction does it: two that create the same products wait, and do not deadlock.
_ADD_PRODUCTS = f"""
INSERT INTO products (sku, version, title, description, category, category_path, price_minor, currency, attributes,
                      is_listed, listed_at, created_at, changed_at)
SELECT incoming.sku, incoming.version, title, description, category, coalesce(path_name, ''), price_minor, currency,
       attributes::jsonb, is_listed, listed_at, incoming.created_at, incoming.changed_at
FROM {_INCOMING} LEFT JOIN categories ON categories.code = incoming.category
ORDER BY incoming.sku
ON CONFLICT (sku) DO NOTHING
RETURNING sku
"""  # noqa: S608 - constants only
_UPDATE_PRODUCTS = f"""
UPDATE products SET
    version = incoming.version, title = incoming.title, description = incoming.description,
    category = incoming.category, category_path = coalesce(path_name, ''), price_minor = incoming.price_minor,
    currency = incoming.currency, attributes = incoming.attributes::jsonb, is_listed = incoming.is_listed,
    listed_at = incoming.listed_at, changed_at = incoming.changed_at
FROM {_INCOMING} LEFT JOIN categories ON categories.code = incoming.category
WHERE products.sku = incoming.sku
"""  # noqa: S608 - constants only

_CATEGORY_COLUMNS = "code, version, name, parent, ancestors, path_name, created_at, changed_at"
_PATHS = "SELECT code, ancestors FROM categories WHERE code = ANY($1::text[])"
_ALL_CATEGORIES = f"SELECT {_CATEGORY_COLUMNS} FROM categories"  # noqa: S608 - constants only
# Ancestors are an array of arrays of different lengths, which unnest cannot take apart: they come as JSON.
_SAVE_CATEGORIES = """
INSERT INTO categories (code, version, name, parent, ancestors, path_name, created_at, changed_at)
SELECT code, version, name, parent, ARRAY(SELECT jsonb_array_elements_text(ancestors::jsonb)), path_name, created_at,
       changed_at
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
            $8::timestamptz[])
    AS incoming (code, version, name, parent, ancestors, path_name, created_at, changed_at)
ON CONFLICT (code) DO UPDATE SET
    version = excluded.version, name = excluded.name, parent = excluded.parent, ancestors = excluded.ancestors,
    path_name = excluded.path_name, changed_at = excluded.changed_at
"""
_RENAME_PATHS = """
UPDATE products SET category_path = categories.path_name
FROM categories
WHERE products.category = categories.code AND categories.code = ANY($1::text[])
    AND products.category_path <> categories.path_name
"""


class Row(Protocol):
    """A row of the driver's or of SQLAlchemy's."""

    def __getitem__(self, column: str, /) -> Any:
        """Return the value of a column."""
        ...


class PostgresProducts:
    """The product repository of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work within `transaction`."""
        self._transaction = transaction

    async def lock(self, skus: Sequence[str]) -> dict[str, Product]:
        """Return those of `skus` that exist, locked."""
        driver = await self._transaction.driver()
        # A statement of its own: the next one must see what the holder before committed.
        await driver.execute(_SHARE_TREE)
        rows = await driver.fetch(_LOCK_PRODUCTS, skus)
        return {row["sku"]: product_of(row) for row in rows}

    async def add(self, products: Sequence[Product]) -> set[str]:
        """Store new products; return the SKUs that were free."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_ADD_PRODUCTS, *_product_arrays(products))
        return {row["sku"] for row in rows}

    async def update(self, products: Sequence[Product]) -> None:
        """Store new versions of locked products."""
        driver = await self._transaction.driver()
        await driver.execute(_UPDATE_PRODUCTS, *_product_arrays(products))


class PostgresCategories:
    """The category repository of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work within `transaction`."""
        self._transaction = transaction

    async def paths(self, codes: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the paths of those of `codes` that exist."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_PATHS, list(codes))
        return {row["code"]: (*row["ancestors"], row["code"]) for row in rows}

    async def lock_tree(self) -> dict[str, Category]:
        """Return all categories, with the tree and its products held still."""
        driver = await self._transaction.driver()
        await driver.execute(_HOLD_TREE)
        return {row["code"]: category_of(row) for row in await driver.fetch(_ALL_CATEGORIES)}

    async def save(self, categories: Sequence[Category]) -> None:
        """Store categories, and copy their paths into their products."""
        driver = await self._transaction.driver()
        await driver.execute(
            _SAVE_CATEGORIES,
            [category.code for category in categories],
            [category.version for category in categories],
            [category.details.name for category in categories],
            [category.details.parent for category in categories],
            [msgspec.json.encode(category.ancestors).decode() for category in categories],
            [category.path_name for category in categories],
            [category.created_at for category in categories],
            [category.changed_at for category in categories],
        )
        await driver.execute(_RENAME_PATHS, [category.code for category in categories])


def product_of(row: Row) -> Product:
    """Read a product from a row; `attributes` is JSON text."""
    return Product(
        sku=row["sku"],
        version=row["version"],
        details=ProductDetails(
            title=row["title"],
            description=row["description"],
            category=row["category"],
            price_minor=row["price_minor"],
            currency=row["currency"],
            attributes=msgspec.json.decode(row["attributes"], type=dict[str, str]),
            is_listed=row["is_listed"],
        ),
        listed_at=row["listed_at"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
    )


def category_of(row: Row) -> Category:
    """Read a category from a row."""
    return Category(
        code=row["code"],
        version=row["version"],
        details=CategoryDetails(name=row["name"], parent=row["parent"]),
        ancestors=tuple(row["ancestors"]),
        path_name=row["path_name"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
    )


def _product_arrays(products: Sequence[Product]) -> tuple[list[object], ...]:
    return (
        [product.sku for product in products],
        [product.version for product in products],
        [product.details.title for product in products],
        [product.details.description for product in products],
        [product.details.category for product in products],
        [product.details.price_minor for product in products],
        [product.details.currency for product in products],
        [msgspec.json.encode(product.details.attributes).decode() for product in products],
        [product.details.is_listed for product in products],
        [product.listed_at for product in products],
        [product.created_at for product in products],
        [product.changed_at for product in products],
    )
