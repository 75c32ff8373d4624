"""A whole replay against services that live in a dictionary."""

import json
from collections import Counter
from datetime import datetime, timedelta
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from rich.console import Console

from bench.replay.driver import Driver, Played
from bench.replay.facts import Trading
from bench.replay.progress import shown_steps
from bench.replay.settings import ReplaySettings
from bench.replay.shop import Shop
from bench.replay.taking_back import Outcome
from bench.replay.timeline import Script, write_script
from libs.common.clock import SystemClock

ORDERS = 60
# One request in so many is answered by a process that has just been killed.
FAULT_EVERY = 13


class Services:
    """Just enough of the five services: orders ship when they are first looked at."""

    def __init__(self) -> None:
        self.products: set[str] = set()
        self.warehouses: set[str] = set()
        self.stock: Counter[str] = Counter()
        self.stock_events: set[str] = set()
        self.views: list[dict[str, Any]] = []
        self.orders: dict[str, dict[str, Any]] = {}
        self.returned: Counter[str] = Counter()
        self._answers: dict[str, dict[str, Any]] = {}
        self._requests = count(1)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer, but now and then die before or after the effect."""
        number = next(self._requests)
        if number % FAULT_EVERY == 0:
            return httpx.Response(503)
        key = request.headers.get("Idempotency-Key") or request.method + request.url.path + request.content.decode()
        if request.method == "GET" or key not in self._answers:
            self._answers[key] = self._effect(request)
        if number % FAULT_EVERY == 1:
            return httpx.Response(503)
        return httpx.Response(200, json=self._answers[key])

    def _effect(self, request: httpx.Request) -> dict[str, Any]:
        body: dict[str, Any] = {}
        match request.method, *request.url.path.removeprefix("/v1/").split("/"):
            case ["PUT", "warehouses", warehouse]:
                self.warehouses.add(warehouse)
            case ["POST", what, *_] if request.headers["Content-Type"] == "application/x-ndjson":
                rows = [json.loads(line) for line in request.content.splitlines()]
                self._take_rows(what, rows)
                body = {"accepted": len(rows), "rejected": 0, "errors": []}
            case ["GET", "orders", order_id]:
                body = self.orders[order_id]
            case ["POST", "orders"]:
                body = self._place(json.loads(request.content))
            case ["POST", "orders", order_id, "cancellation"]:
                self.orders[order_id]["status"] = "cancelled"
                body = self.orders[order_id]
            case ["POST", "orders", order_id, "returns"]:
                body = {"id": f"return-of-{order_id}"}
            case ["POST", "returns", _, "receipt"]:
                for line in json.loads(request.content)["lines"]:
                    self.returned[line["sku"]] += line["quantity"]
            case other:
                pytest.fail(f"the replay asked for {other}")
        return body

    def _take_rows(self, what: str, rows: list[dict[str, Any]]) -> None:
        if what == "products":
            self.products |= {row["sku"] for row in rows}
        elif what == "behaviour-events":
            self.views.extend(rows)
        elif what == "stock-events":
            for row in rows:
                assert row["id"] not in self.stock_events
                self.stock_events.add(row["id"])
                self.stock[row["sku"]] += row["quantity"]

    def _place(self, body: dict[str, Any]) -> dict[str, Any]:
        order_id = f"order-{len(self.orders)}"
        self.orders[order_id] = {**body, "id": order_id, "status": "shipped", "shipments": [{"warehouse": "LON"}]}
        return self.orders[order_id]


@pytest.fixture
def settings(tmp_path: Path) -> ReplaySettings:
    for caller in ("storefront", "warehouse", "ops"):
        (tmp_path / caller).write_text(f"key-of-{caller}\n")
    nowhere = SecretStr("postgresql://nowhere")
    return ReplaySettings(
        quayside_keys_dir=tmp_path,
        catalog_database_url=nowhere,
        inventory_database_url=nowhere,
        orders_database_url=nowhere,
        recommender_database_url=nowhere,
        logistics_database_url=nowhere,
    )


@pytest.fixture(scope="session")
def short_script(sample: Trading) -> Script:
    return write_script(sample, dataset="sample", orders_max=ORDERS)


async def replay(script: Script, settings: ReplaySettings, services: Services) -> Played:
    console = Console(file=StringIO())
    transport = httpx.MockTransport(services.answer)
    with shown_steps(console) as steps:
        async with Shop(settings, dataset=script.dataset, transport=transport) as shop:
            return await Driver(script, shop, steps=steps, speed=0, clock=SystemClock()).play()


class TestPlay:
    async def test_sends_everything_once_though_requests_fail(
        self, short_script: Script, settings: ReplaySettings
    ) -> None:
        services = Services()

        played = await replay(short_script, settings, services)

        assert played.refusals == []
        assert played.retries > 0
        assert played.orders == len(services.orders) == ORDERS
        assert services.products == {product.sku for product in short_script.products}
        assert services.warehouses == {"LON", "MAN", "GLA", "RTM"}
        assert services.stock.total() == short_script.supply.units_supplied
        assert len(services.views) == len(short_script.views)
        assert services.returned.total() == short_script.matching.matched_units
        assert played.taken_back == {Outcome.RETURNED: len(short_script.matching.goods_back)}

    async def test_has_no_second_effect_when_it_is_played_again(
        self, short_script: Script, settings: ReplaySettings
    ) -> None:
        services = Services()
        await replay(short_script, settings, services)
        orders, returned = len(services.orders), services.returned.total()

        await replay(short_script, settings, services)

        assert len(services.orders) == orders
        assert services.returned.total() == returned

    async def test_keeps_the_order_of_event_time_between_hours(
        self, short_script: Script, settings: ReplaySettings
    ) -> None:
        services = Services()

        await replay(short_script, settings, services)

        hours = [hour_of(order["placed_at"]) for order in services.orders.values()]
        assert hours == sorted(hours)


def hour_of(moment: str) -> datetime:
    at = datetime.fromisoformat(moment)
    return at - timedelta(minutes=at.minute, seconds=at.second)
