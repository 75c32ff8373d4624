"""The catalog's requests and responses."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final, Self

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from libs.common.http.fields import ONE_LINE, Currency
from libs.common.http.ndjson import BulkResult
from libs.common.http.pagination import Page
from libs.common.http.query import IN_DIGITS
from libs.common.money import MINOR_MAX
from services.catalog.domain.category import Category, CategoryDetails
from services.catalog.domain.product import ATTRIBUTES_MAX, Product, ProductDetails
from services.catalog.handlers.queries import Facet, Hit, MatchedBy

IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}$"
_SEVERAL_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=ONE_LINE)]
Description = Annotated[str, StringConstraints(max_length=5_000, pattern=_SEVERAL_LINES)]
AttributeName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=ONE_LINE)]
AttributeValue = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=ONE_LINE)]
Attributes = Annotated[dict[AttributeName, AttributeValue], Field(max_length=ATTRIBUTES_MAX)]
PriceMinor = Annotated[int, Field(ge=0, le=MINOR_MAX, description="In the minor unit of the currency: pence, cents.")]

# Query parameters that several routes have.
Words = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"[^\x00-\x1f\x7f\x85\s]")
]
PriceBound = Annotated[int, Field(ge=0, le=MINOR_MAX, description="In the minor unit of the currency."), IN_DIGITS]
CategoryFilter = Annotated[Identifier | None, Query(description="Only products in this category or below it.")]


class _Input(BaseModel):
    """What callers send: nothing unknown, nothing converted, no blanks around texts."""

    model_config = ConfigDict(extra="forbid", strict=True, str_strip_whitespace=True)


class PutProductRequest(_Input):
    """The whole of a product; what is left out takes its default."""

    title: Title = Field(examples=["Crunchy armchair"])
    description: Description | None = None
    category: Identifier | None = None
    price_minor: PriceMinor
    currency: Currency
    attributes: Attributes = Field(default_factory=dict, examples=[{"colour": "red"}])
    is_listed: bool = True

    def details(self) -> ProductDetails:
        """Return what the use cases take."""
        return ProductDetails(
            title=self.title,
            description=self.description or "",
            category=self.category,
            price_minor=self.price_minor,
            currency=self.currency,
            attributes=self.attributes,
            is_listed=self.is_listed,
        )


class CreateProductRequest(PutProductRequest):
    """A product and its SKU; also a row of an import."""

    sku: Identifier = Field(examples=["CRUNCHY-ARMCHAIR"])


_NEEDED: Final = ("title", "price_minor", "currency", "is_listed")


def _say_what_cannot_be_removed(schema: dict[str, Any]) -> None:
    for name in _NEEDED:
        described = schema["properties"][name]
        [needed] = [one for one in described.pop("anyOf") if one != {"type": "null"}]
        described.pop("default")
        described.update(needed)


class PatchProductRequest(_Input):
    """Some of a product's details (JSON merge patch): what is left out stays, null removes."""

    model_config = ConfigDict(json_schema_extra=_say_what_cannot_be_removed)

    title: Title | None = None
    description: Description | None = None
    category: Identifier | None = None
    price_minor: PriceMinor | None = None
    currency: Currency | None = None
    attributes: dict[AttributeName, AttributeValue | None] | None = Field(
        default=None, max_length=ATTRIBUTES_MAX, description="Merged; null removes an attribute."
    )
    is_listed: bool | None = None

    @field_validator(*_NEEDED, mode="before")
    @classmethod
    def _refuse_removal(cls, value: Any) -> Any:
        if value is None:
            message = "a product cannot be without it"
            raise ValueError(message)
        return value

    def applied_to(self, details: ProductDetails) -> ProductDetails:
        """Return the details with what was sent in place of what was."""
        changes = {name: getattr(self, name) for name in self.model_fields_set}
        if "description" in changes:
            changes["description"] = self.description or ""
        if "attributes" in changes:
            changes["attributes"] = _merged(details.attributes, self.attributes)
        return replace(details, **changes)


class ProductResponse(BaseModel):
    """A product as it stands."""

    sku: str
    version: int = Field(description="Counts the changes from 1; the ETag of the resource.")
    title: str
    description: str
    category: str | None
    price_minor: int
    currency: str
    attributes: dict[str, str]
    is_listed: bool
    listed_at: datetime | None = Field(description="When it was first listed.")
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, product: Product) -> Self:
        """Shape a product."""
        return cls(**_shape(product))


class HitResponse(ProductResponse):
    """A product that a search found."""

    score: float = Field(description="Higher is better; comparable within one search only.")

    @classmethod
    def of_hit(cls, hit: Hit) -> Self:
        """Shape a hit."""
        return cls(**_shape(hit.product), score=hit.score)


class FacetResponse(BaseModel):
    """How many of the products found lie directly in a category."""

    category: str | None
    name: str | None
    products: int

    @classmethod
    def of(cls, facet: Facet) -> Self:
        """Shape a facet."""
        return cls(category=facet.category, name=facet.name, products=facet.products)


class SearchResponse(Page[HitResponse]):
    """One page of hits, best first."""

    matched_by: MatchedBy = Field(
        description="`similarity` where nothing had the words themselves, so that similar words were taken."
    )
    facets: list[FacetResponse] = Field(default_factory=list, description="On the first page, if asked for.")


class PutCategoryRequest(_Input):
    """The whole of a category."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=ONE_LINE)]
    parent: Identifier | None = None

    def details(self) -> CategoryDetails:
        """Return what the use cases take."""
        return CategoryDetails(name=self.name, parent=self.parent)


class CreateCategoryRequest(PutCategoryRequest):
    """A category and its code; also a row of an import."""

    code: Identifier = Field(examples=["armchairs"])


class CategoryResponse(BaseModel):
    """A category and where it lies."""

    code: str
    version: int = Field(description="Counts the changes from 1; the ETag of the resource.")
    name: str
    parent: str | None
    ancestors: list[str] = Field(description="Codes from the root down to the parent.")
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, category: Category) -> Self:
        """Shape a category."""
        return cls(
            code=category.code,
            version=category.version,
            name=category.details.name,
            parent=category.details.parent,
            ancestors=list(category.ancestors),
            created_at=category.created_at,
            changed_at=category.changed_at,
        )


class ImportResult(BulkResult):
    """What became of the rows; `accepted`, `unchanged` and `rejected` add up to all of them."""

    unchanged: int = Field(description="Rows that said what the catalog said already.")


def _shape(product: Product) -> dict[str, Any]:
    details = product.details
    return {
        "sku": product.sku,
        "version": product.version,
        "title": details.title,
        "description": details.description,
        "category": details.category,
        "price_minor": details.price_minor,
        "currency": details.currency,
        "attributes": dict(details.attributes),
        "is_listed": details.is_listed,
        "listed_at": product.listed_at,
        "created_at": product.created_at,
        "changed_at": product.changed_at,
    }


def _merged(attributes: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    if changes is None:
        return {}
    merged = {**attributes, **changes}
    return {name: value for name, value in merged.items() if value is not None}
