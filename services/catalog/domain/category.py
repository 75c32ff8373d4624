"""The tree of categories: what may be put where, and what follows from it for the categories below."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from libs.common.errors import Conflict, DomainError, Invalid, NotFound

DEPTH_MAX = 16


class CategoryNotFound(NotFound):
    """The catalog has no category with this code."""

    code: ClassVar[str] = "category-not-found"

    def __init__(self, category: str) -> None:
        """Name the category."""
        super().__init__(f"There is no category {category}.")


class CategoryAlreadyExists(Conflict):
    """A category was to be created under a code that is taken; PUT changes it."""

    code: ClassVar[str] = "category-already-exists"

    def __init__(self, category: str) -> None:
        """Name the category."""
        super().__init__(f"There is a category {category} already.", field="code")


class UnknownCategory(Invalid):
    """A product or a category was to be put under a category that does not exist."""

    code: ClassVar[str] = "unknown-category"

    def __init__(self, category: str, *, field: str) -> None:
        """Name the category and the field that names it."""
        super().__init__(f"There is no category {category}.", field=field)


class CategoryCycle(Invalid):
    """A category would be its own ancestor."""

    code: ClassVar[str] = "category-cycle"

    def __init__(self, category: str) -> None:
        """Name the category."""
        super().__init__(f"The category {category} would lie below itself.", field="parent")


class CategoryTooDeep(Invalid):
    """A category would lie deeper than the tree may grow."""

    code: ClassVar[str] = "category-too-deep"

    def __init__(self) -> None:
        """Name the limit."""
        super().__init__(f"Categories may lie {DEPTH_MAX} levels deep.", field="parent")


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryDetails:
    """Everything about a category that its shop decides."""

    name: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Category:
    """A category and its place: `ancestors` are codes from the root down, `path_name` their names and its own."""

    code: str
    version: int
    details: CategoryDetails
    ancestors: tuple[str, ...]
    path_name: str
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class TreePlan:
    """What becomes of a set of wanted categories."""

    # Categories to write: the wanted ones that differ, and those below them whose path follows.
    written: dict[str, Category] = field(default_factory=dict)
    refused: dict[str, DomainError] = field(default_factory=dict)


def plan_tree(current: Mapping[str, Category], wanted: Mapping[str, CategoryDetails], now: datetime) -> TreePlan:
    """
    Put `wanted` into the tree `current`, both by code; the order of `wanted` does not matter.

    What cannot be placed is refused and the rest is placed without it, until the whole is a tree.
    """
    standing = {code: category.details for code, category in current.items()}
    changed = {code: details for code, details in wanted.items() if standing.get(code) != details}
    refused: dict[str, DomainError] = {}
    while True:
        accepted = {code: details for code, details in changed.items() if code not in refused}
        merged = standing | accepted
        newly_refused = dict(_refusals(merged, accepted))
        if not newly_refused:
            return TreePlan(dict(_changes(current, merged, now)), refused)
        refused |= newly_refused


def _refusals(
    merged: Mapping[str, CategoryDetails], accepted: Mapping[str, CategoryDetails]
) -> Iterator[tuple[str, DomainError]]:
    for code, details in merged.items():
        if details.parent is not None and details.parent not in merged:
            yield code, UnknownCategory(details.parent, field="parent")
            continue
        path = _path(merged, code)
        top = merged[path[-1]].parent
        if top == code:
            # What stood before was a tree, so only wanted ones can have closed the circle.
            if code in accepted:
                yield code, CategoryCycle(code)
        elif top not in path and len(path) > DEPTH_MAX:
            # A category that stood before is too deep because a wanted one above it was to be moved.
            yield next(one for one in path if one in accepted), CategoryTooDeep()


def _path(merged: Mapping[str, CategoryDetails], code: str) -> list[str]:
    """Return `code` and what lies above it, nearest first, cut off at a circle and just beyond the depth allowed."""
    path = [code]
    parent = merged[code].parent
    while parent is not None and parent in merged and parent not in path and len(path) <= DEPTH_MAX:
        path.append(parent)
        parent = merged[parent].parent
    return path


def _changes(
    current: Mapping[str, Category], merged: Mapping[str, CategoryDetails], now: datetime
) -> Iterator[tuple[str, Category]]:
    for code, details in merged.items():
        path = _path(merged, code)[::-1]
        ancestors = tuple(path[:-1])
        path_name = " ".join(merged[one].name for one in path)
        before = current.get(code)
        if before is None:
            yield (
                code,
                Category(
                    code=code,
                    version=1,
                    details=details,
                    ancestors=ancestors,
                    path_name=path_name,
                    created_at=now,
                    changed_at=now,
                ),
            )
            continue
        after = replace(before, details=details, ancestors=ancestors, path_name=path_name)
        if details != before.details:
            after = replace(after, version=before.version + 1, changed_at=now)
        if after != before:
            yield code, after
