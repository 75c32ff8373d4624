"""Creating, changing, listing and delisting products, one or many at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from libs.common.errors import DomainError
from services.catalog.domain.category import UnknownCategory
from services.catalog.domain.expectation import ANYTHING, Expectation
from services.catalog.domain.product import (
    Change,
    Product,
    ProductAlreadyExists,
    ProductDetails,
    ProductNotFound,
    change_between,
    event_of,
)
from services.catalog.handlers.ports import UnitOfWork


@dataclass(frozen=True, slots=True)
class Written:
    """A product before and after a use case; the same object twice if nothing changed."""

    before: Product | None
    after: Product

    @property
    def change(self) -> Change | None:
        """What changed, None if nothing did."""
        return None if self.before is self.after else change_between(self.before, self.after)


# Turns the product that exists, or None, into the one that should; raises a DomainError to refuse.
Decide: TypeAlias = Callable[[Product | None], Product]


async def create_product(*, sku: str, details: ProductDetails, unit: UnitOfWork) -> Written:
    """
    Bring a product into the catalog.

    :raises ProductAlreadyExists: if the SKU is taken.
    :raises UnknownCategory: if its category does not exist.
    """

    def decide(current: Product | None) -> Product:
        if current is not None:
            raise ProductAlreadyExists(sku)
        return Product.new(sku, details, unit.now)

    return await _write_one(sku, decide, unit)


async def put_product(*, sku: str, details: ProductDetails, expected: Expectation, unit: UnitOfWork) -> Written:
    """
    Make a product be as `details` say, whether or not it existed.

    :raises PreconditionFailed: if it is not as `expected`.
    :raises UnknownCategory: if its category does not exist.
    """
    return await _write_one(sku, _upsert(sku, details, expected, unit), unit)


async def patch_product(
    *,
    sku: str,
    change: Callable[[ProductDetails], ProductDetails],
    expected: Expectation,
    unit: UnitOfWork,
) -> Written:
    """
    Change some of a product's details.

    :raises ProductNotFound: if there is none.
    :raises PreconditionFailed: if it is not as `expected`.
    :raises UnknownCategory: if its new category does not exist.
    """

    def decide(current: Product | None) -> Product:
        if current is None:
            raise ProductNotFound(sku)
        expected.check(current.version)
        return current.with_details(change(current.details), unit.now)

    return await _write_one(sku, decide, unit)


async def delist_product(*, sku: str, expected: Expectation, unit: UnitOfWork) -> Written:
    """
    Stop selling a product; its history and its SKU stay.

    :raises ProductNotFound: if there is none.
    :raises PreconditionFailed: if it is not as `expected`.
    """

    def decide(current: Product | None) -> Product:
        if current is None:
            raise ProductNotFound(sku)
        expected.check(current.version)
        return current.delisted(unit.now)

    return await _write_one(sku, decide, unit)


async def put_products(
    *, details_by_sku: Mapping[str, ProductDetails], unit: UnitOfWork
) -> dict[str, Written | DomainError]:
    """Make many products be as their details say; return for each SKU what was written or why it was refused."""
    return await _write(
        {sku: _upsert(sku, details, ANYTHING, unit) for sku, details in details_by_sku.items()},
        unit,
    )


def _upsert(sku: str, details: ProductDetails, expected: Expectation, unit: UnitOfWork) -> Decide:
    def decide(current: Product | None) -> Product:
        expected.check(None if current is None else current.version)
        if current is None:
            return Product.new(sku, details, unit.now)
        return current.with_details(details, unit.now)

    return decide


async def _write_one(sku: str, decide: Decide, unit: UnitOfWork) -> Written:
    outcome = (await _write({sku: decide}, unit))[sku]
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


async def _write(decisions: Mapping[str, Decide], unit: UnitOfWork) -> dict[str, Written | DomainError]:
    """Lock, decide, write and publish; set-based, so that five hundred cost little more than one."""
    outcomes: dict[str, Written | DomainError] = {}
    pending = sorted(decisions)
    while pending:
        current = await unit.products.lock(pending)
        decided = {sku: _decide(decisions[sku], current.get(sku)) for sku in pending}
        paths = await _category_paths(decided, unit)
        decided = _refuse_unknown_categories(decided, paths)
        lost = await _store(decided, paths, unit)
        outcomes |= {sku: outcome for sku, outcome in decided.items() if sku not in lost}
        # Somebody else created these meanwhile: they exist now, and nothing ever deletes them.
        pending = sorted(lost)
    return outcomes


def _decide(decide: Decide, current: Product | None) -> Written | DomainError:
    try:
        return Written(current, decide(current))
    except DomainError as refusal:
        return refusal


async def _category_paths(
    decided: Mapping[str, Written | DomainError], unit: UnitOfWork
) -> Mapping[str, Sequence[str]]:
    named = {one.after.details.category for one in _changed(decided)} - {None}
    return await unit.categories.paths(sorted(filter(None, named))) if named else {}


def _refuse_unknown_categories(
    decided: Mapping[str, Written | DomainError], paths: Mapping[str, Sequence[str]]
) -> dict[str, Written | DomainError]:
    checked = dict(decided)
    for one in _changed(decided):
        category = one.after.details.category
        if category is not None and category not in paths:
            checked[one.after.sku] = UnknownCategory(category, field="category")
    return checked


async def _store(
    decided: Mapping[str, Written | DomainError], paths: Mapping[str, Sequence[str]], unit: UnitOfWork
) -> set[str]:
    """Store and publish what changed; return the SKUs of new products that somebody else created first."""
    written = _changed(decided)
    created = [one.after for one in written if one.before is None]
    updated = [one.after for one in written if one.before is not None]
    added = await unit.products.add(created) if created else set()
    if updated:
        await unit.products.update(updated)
    lost = {product.sku for product in created} - added
    for one in written:
        if one.after.sku not in lost:
            path = paths.get(one.after.details.category or "", ())
            event = event_of(one.before, one.after, category_path=path)
            unit.events.publish(event, version=one.after.version)
    return lost


def _changed(decided: Mapping[str, Written | DomainError]) -> Sequence[Written]:
    return [outcome for outcome in decided.values() if isinstance(outcome, Written) and outcome.change is not None]
