import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from pydantic import SecretStr

from libs.common.events.inventory import StockLevelChanged, WarehouseLevel
from libs.common.http.health import Health
from services.inventory.bootstrap.api import build_app, use_cases_of
from services.inventory.handlers.availability import Availability
from services.inventory.settings import InventorySettings
from tests.integration.inventory.conftest import KEYS
from tests.integration.inventory.shop import Shop
from tests.support.kafka import envelope_of
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR


class Stream:
    """An open stream: the status it began with, and what comes."""

    def __init__(self) -> None:
        self.status = 0
        self._parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self._parts.put_nowait(message["body"])

    async def event(self) -> dict[str, Any]:
        """Return the data of the next event."""
        async with asyncio.timeout(60):
            while not (part := await self._parts.get()).startswith(b"id: "):
                pass
        [data] = [line for line in part.split(b"\n") if line.startswith(b"data: ")]
        shown: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
        return shown


@asynccontextmanager
async def stream(app: FastAPI, *skus: str, **headers: str) -> AsyncIterator[Stream]:
    sent = {"authorization": "Bearer storefront", **headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/availability/stream",
        "raw_path": b"/v1/availability/stream",
        "query_string": urlencode([("sku", sku) for sku in skus]).encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    opened = Stream()
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async with asyncio.TaskGroup() as group:
        group.create_task(app(scope, receive, opened.send))
        try:
            yield opened
        finally:
            gone.set()


def app_of(shop: Shop, copy: Availability) -> FastAPI:
    settings = InventorySettings(database_url=SecretStr("postgresql://nobody@127.0.0.1/none"))
    return build_app(settings, use_cases_of(settings, shop.adapters, copy), Health(), authenticator=KEYS)


def a_level(sku: str, on_hand: int) -> StockLevelChanged:
    return StockLevelChanged(sku=sku, levels=[WarehouseLevel(warehouse="LON", on_hand=on_hand, reserved=0)])


class TestStream:
    async def test_tells_the_state_and_then_what_changes(self, shop: Shop) -> None:
        copy = Availability()
        copy.apply(envelope_of(a_level(ARMCHAIR, 5), aggregate_version=1))

        async with stream(app_of(shop, copy), ARMCHAIR, MIRROR) as opened:
            first = await opened.event()
            for version in range(1, 50):
                copy.apply(envelope_of(a_level(MIRROR, version), aggregate_version=version))
                copy.apply(envelope_of(a_level(LAMP, version), aggregate_version=version))
            second = await opened.event()

        assert opened.status == 200
        assert [(one["sku"], one["available"]) for one in first["items"]] == [(ARMCHAIR, 5), (MIRROR, 0)]
        assert [(one["sku"], one["available"]) for one in second["items"]] == [(MIRROR, 49)]

    async def test_begins_again_with_the_state_when_it_is_resumed(self, shop: Shop) -> None:
        copy = Availability()
        copy.apply(envelope_of(a_level(ARMCHAIR, 5), aggregate_version=1))

        async with stream(app_of(shop, copy), ARMCHAIR, **{"last-event-id": "2024-06-01T12:00:00+00:00"}) as opened:
            first = await opened.event()

        assert [one["available"] for one in first["items"]] == [5]

    async def test_watches_nothing_any_more_once_its_reader_has_left(self, shop: Shop) -> None:
        copy = Availability()
        async with stream(app_of(shop, copy), ARMCHAIR) as opened:
            await opened.event()
            assert copy.watches == 1

        assert copy.watches == 0

    async def test_is_refused_before_it_begins(self, shop: Shop) -> None:
        async with stream(app_of(shop, Availability())) as asked_wrongly:
            pass
        async with stream(app_of(shop, Availability()), ARMCHAIR, authorization="Bearer warehouse") as without_scope:
            pass

        assert (asked_wrongly.status, without_scope.status) == (422, 403)
