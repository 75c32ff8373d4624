"""Creating, renaming and moving categories, one or many at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.errors import DomainError
from services.catalog.domain.category import (
    Category,
    CategoryAlreadyExists,
    CategoryDetails,
    plan_tree,
)
from services.catalog.domain.expectation import Expectation
from services.catalog.handlers.ports import UnitOfWork


@dataclass(frozen=True, slots=True)
class PutCategory:
    """A category before and after a use case; equal if nothing changed."""

    before: Category | None
    after: Category


async def create_category(*, code: str, details: CategoryDetails, unit: UnitOfWork) -> Category:
    """
    Add a category to the tree.

    :raises CategoryAlreadyExists: if the code is taken.
    :raises UnknownCategory: if its parent does not exist.
    :raises CategoryTooDeep: if its parent lies as deep as categories may.
    """
    tree = await unit.categories.lock_tree()
    if code in tree:
        raise CategoryAlreadyExists(code)
    return await _place(tree, code, details, unit)


async def put_category(*, code: str, details: CategoryDetails, expected: Expectation, unit: UnitOfWork) -> PutCategory:
    """
    Make a category be as `details` say, with all that lies below it.

    :raises PreconditionFailed: if it is not as `expected`.
    :raises UnknownCategory: if its parent does not exist.
    :raises CategoryCycle: if its parent lies below it.
    :raises CategoryTooDeep: if it, or one below it, would lie deeper than categories may.
    """
    tree = await unit.categories.lock_tree()
    before = tree.get(code)
    expected.check(None if before is None else before.version)
    return PutCategory(before, await _place(tree, code, details, unit))


async def put_categories(
    *, details_by_code: Mapping[str, CategoryDetails], unit: UnitOfWork
) -> dict[str, PutCategory | DomainError]:
    """Make many categories be as their details say, parents in any order; tell of each what became of it."""
    tree = await unit.categories.lock_tree()
    plan = plan_tree(tree, details_by_code, unit.now)
    if plan.written:
        await unit.categories.save(list(plan.written.values()))
    after = tree | plan.written
    return {code: plan.refused.get(code) or PutCategory(tree.get(code), after[code]) for code in details_by_code}


async def _place(tree: Mapping[str, Category], code: str, details: CategoryDetails, unit: UnitOfWork) -> Category:
    plan = plan_tree(tree, {code: details}, unit.now)
    if code in plan.refused:
        raise plan.refused[code]
    if plan.written:
        await unit.categories.save(list(plan.written.values()))
    return plan.written.get(code) or tree[code]
