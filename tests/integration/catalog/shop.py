"""The catalog's application on a test's database, and what it wrote there."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import httpx

from libs.common.clock import FixedClock
from libs.common.db import Transaction
from libs.common.events.base import Envelope, EventReader
from libs.common.events.registry import EVENTS
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from libs.common.outbox.writer import records_of
from services.catalog.api.dependencies import CatalogAccess
from services.catalog.bootstrap import build_app
from services.catalog.handlers.ports import UnitOfWork
from services.catalog.settings import CatalogSettings
from tests.support.postgres import FreshDatabase

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)

_SCOPES = {
    "editor": frozenset({"catalog:read", "catalog:write"}),
    "reader": frozenset({"catalog:read"}),
    "stranger": frozenset({"orders:read"}),
}


class Shop:
    """One shop's catalog: `http` calls it as an editor."""

    def __init__(self, database: FreshDatabase) -> None:
        self.database = database
        self.clock = FixedClock(NOON)
        keys = FixedKeys({name: Principal(name, scopes) for name, scopes in _SCOPES.items()})
        self.app = build_app(
            CatalogSettings.model_validate({"database_url": database.url}),
            database,
            Health(clock=self.clock),
            clock=self.clock,
            authenticator=keys,
        )
        self.http = self.as_("editor")

    @classmethod
    @asynccontextmanager
    async def open(cls, database: FreshDatabase) -> AsyncIterator[Self]:
        shop = cls(database)
        async with shop.http:
            yield shop

    def unit_of(self, transaction: Transaction) -> UnitOfWork:
        catalog: CatalogAccess = self.app.state.catalog
        return catalog.unit_of(transaction)

    def as_(self, caller: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://catalog",
            headers={"Authorization": f"Bearer {caller}"},
        )

    async def create(self, sku: str, **details: Any) -> httpx.Response:
        body = {"sku": sku, "title": "A thing", "price_minor": 1999, "currency": "GBP", **details}
        return await self.http.post("/v1/products", json=body, headers={"Idempotency-Key": str(uuid4())})

    async def put_category(self, code: str, name: str, parent: str | None = None) -> httpx.Response:
        return await self.http.put(f"/v1/categories/{code}", json={"name": name, "parent": parent})

    async def import_rows(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return await self.import_lines("\n".join(map(json.dumps, rows)))

    async def import_lines(self, content: str, *, media_type: str = "application/x-ndjson") -> dict[str, Any]:
        answer = await self.http.post(
            "/v1/products/import", content=content.encode(), headers={"Content-Type": media_type}
        )
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    async def found(self, query: str, **parameters: Any) -> list[str]:
        answer = await self.http.get("/v1/search", params={"q": query, **parameters})
        assert answer.status_code == 200, answer.text
        return [item["sku"] for item in answer.json()["items"]]

    async def events(self) -> list[Envelope]:
        """Return what waits in the outbox, in the order in which it will be published."""
        reader = EventReader(EVENTS.values())
        async with self.database.transaction() as transaction:
            driver = await transaction.driver()
            rows = await driver.fetch("SELECT topic, key, headers, value FROM outbox_events ORDER BY id")
        return [reader.decode(record.value, record.headers) for row in rows for record in records_of(*row)]

    async def told(self) -> list[tuple[str, str, int | None]]:
        """Return SKU, type and version of what waits in the outbox."""
        return [(one.event.subject, one.event.type, one.aggregate_version) for one in await self.events()]
