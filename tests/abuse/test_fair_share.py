"""Nobody gets more than a fair share by pretending to be several (F62)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import APIRouter
from pydantic import SecretStr

from libs.common.clock import FixedClock
from libs.common.http.app import create_app
from libs.common.http.auth import FixedKeys, Principal, requires
from libs.common.http.health import Health
from libs.common.http.limits import RateLimiter
from libs.common.settings import ServiceSettings

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BURST = 4
# Two keys of one caller, as while a key is rotated.
KEYS = FixedKeys({name: Principal("storefront", frozenset({"orders:read"})) for name in ("old-key", "new-key")})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    router = APIRouter(dependencies=[requires("orders:read")])

    @router.get("/v1/orders")
    async def answer() -> str:
        return "orders"

    app = create_app(
        service="orders",
        title="Orders",
        description="Takes orders.",
        settings=ServiceSettings(database_url=SecretStr("postgresql://127.0.0.1/orders")),
        routers=[router],
        status_by_error={},
        health=Health(),
        authenticator=KEYS,
    )
    app.state.rate_limiter = RateLimiter({"read": BURST / 2}, clock=FixedClock(NOON))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://orders") as client:
        yield client


class TestShare:
    @pytest.mark.parametrize(
        "header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "User-Agent"]
    )
    async def test_is_the_callers_whatever_address_it_claims(self, client: httpx.AsyncClient, header: str) -> None:
        statuses = [
            (
                await client.get(
                    "/v1/orders", headers={"Authorization": "Bearer old-key", header: f"for=10.0.0.{number}"}
                )
            ).status_code
            for number in range(BURST + 2)
        ]

        assert statuses == [200] * BURST + [429] * 2

    async def test_is_not_doubled_by_a_second_key(self, client: httpx.AsyncClient) -> None:
        for number in range(BURST):
            key = ("old-key", "new-key")[number % 2]
            assert (await client.get("/v1/orders", headers={"X-Api-Key": key})).status_code == 200

        refused = await client.get("/v1/orders", headers={"X-Api-Key": "new-key"})

        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
