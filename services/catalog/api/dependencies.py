"""What the routes are handed: the catalog, and what the caller expects of its current state."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar, cast

from fastapi import Depends, Header
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.errors import Invalid
from libs.common.http.idempotency import KeyedWrite, StoredResponse, idempotent
from services.catalog.domain.expectation import Expectation
from services.catalog.handlers.ports import UnitOfWork
from services.catalog.handlers.queries import CatalogViews

Result = TypeVar("Result")

_ENTITY_TAGS: Final = re.compile(r'\s*(?:W/)?"[^"]*"\s*(?:,\s*(?:W/)?"[^"]*"\s*)*')
# Only strong tags can match; versions are what this service hands out as tags, and they fit a bigint.
_VERSION_TAG: Final = re.compile(r'(?<!W/)"([0-9]{1,18})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogAccess:
    """How routes reach the catalog: its views, and its use cases in one transaction each."""

    database: Database
    unit_of: Callable[[Transaction], UnitOfWork]
    views: CatalogViews
    clock: Clock

    async def write(self, use_case: Callable[[UnitOfWork], Awaitable[Result]]) -> Result:
        """Carry out a use case that may safely be sent twice."""

        async def work(transaction: Transaction) -> Result:
            return await use_case(self.unit_of(transaction))

        return await self.database.run(work)

    async def write_once(
        self, write: KeyedWrite, use_case: Callable[[UnitOfWork], Awaitable[StoredResponse]]
    ) -> StoredResponse:
        """Carry out a use case, or return the answer that was given when it was sent before."""

        async def work(transaction: Transaction) -> StoredResponse:
            return await idempotent(
                transaction,
                principal=write.principal,
                key=write.key,
                route=write.route,
                request_hash=write.request_hash,
                now=self.clock.now(),
                effect=lambda: use_case(self.unit_of(transaction)),
            )

        return await self.database.run(work)


def _catalog(request: Request) -> CatalogAccess:
    return cast("CatalogAccess", request.app.state.catalog)


def _expected(
    if_match: Annotated[str | None, Header(description="Change only this version: an ETag, or * for any.")] = None,
    if_none_match: Annotated[str | None, Header(description="* to create only, never to replace.")] = None,
) -> Expectation:
    if if_none_match is not None and if_none_match.strip() != "*":
        raise Invalid("A write takes no other If-None-Match than *.", field="If-None-Match")
    exists = False if if_none_match is not None else None
    if if_match is None:
        return Expectation(exists=exists)
    if if_match.strip() == "*":
        return Expectation(exists=True if exists is None else exists)
    return Expectation(exists=exists, versions=versions_of(if_match, field="If-Match"))


def versions_of(tags: str, *, field: str) -> frozenset[int]:
    """
    Read the versions that a list of entity tags names; tags of other making name none.

    :raises Invalid: if it is no such list.
    """
    if _ENTITY_TAGS.fullmatch(tags) is None:
        raise Invalid('Entity tags look like "3", or "3", "4".', field=field)
    return frozenset(map(int, _VERSION_TAG.findall(tags)))


def is_current(if_none_match: str | None, version: int) -> bool:
    """
    Answer whether the caller has this version already.

    :raises Invalid: if `if_none_match` is no list of entity tags.
    """
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    # Reads compare weakly: a cache in between may have weakened the tag.
    return version in versions_of(if_none_match.replace("W/", ""), field="If-None-Match")


def entity_tag(version: int) -> str:
    """Return the ETag of a version."""
    return f'"{version}"'


Catalog = Annotated[CatalogAccess, Depends(_catalog)]
Expected = Annotated[Expectation, Depends(_expected)]
IfNoneMatch = Annotated[
    str | None,
    Header(description="Answer 304 without a body if this is still the version."),
]
