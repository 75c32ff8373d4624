"""What the routes are handed: the catalog, and what the caller expects of its current state."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Header
from pydantic import WithJsonSchema
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.http.entity_tags import IfMatch, matches_any, versions_of
from libs.common.http.idempotency import KeyedWrite, StoredResponse, write_once
from services.catalog.domain.expectation import Expectation
from services.catalog.handlers.ports import UnitOfWork
from services.catalog.handlers.queries import CatalogViews

Result = TypeVar("Result")

_CreateOnly = Annotated[
    str | None,
    Header(alias="If-None-Match", description="* to create only, never to replace.", pattern=r"^\s*\*\s*$"),
    WithJsonSchema({"type": "string", "enum": ["*"]}),
]


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
        return await write_once(
            self.database, write, lambda transaction: use_case(self.unit_of(transaction)), now=self.clock.now()
        )


def _catalog(request: Request) -> CatalogAccess:
    return cast("CatalogAccess", request.app.state.catalog)


def _expected(if_match: IfMatch = None, if_none_match: _CreateOnly = None) -> Expectation:
    exists = False if if_none_match is not None else None
    if if_match is None:
        return Expectation(exists=exists)
    if matches_any(if_match):
        return Expectation(exists=True if exists is None else exists)
    return Expectation(exists=exists, versions=versions_of(if_match))


Catalog = Annotated[CatalogAccess, Depends(_catalog)]
Expected = Annotated[Expectation, Depends(_expected)]
