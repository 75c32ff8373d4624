"""An application to send requests to, and clients that send them without a network."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import SecretStr

from libs.common.errors import DomainError
from libs.common.http.app import create_app
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from libs.common.settings import ServiceSettings

STOREFRONT = "storefront-key"
WAREHOUSE = "warehouse-key"
OPERATOR = "operator-key"

KEYS = FixedKeys(
    {
        STOREFRONT: Principal("storefront", frozenset({"orders:write", "orders:read"})),
        WAREHOUSE: Principal("warehouse", frozenset({"stock:*"})),
        OPERATOR: Principal("operator", frozenset({"*"})),
    }
)

AppFactory = Callable[..., FastAPI]
ClientFactory = Callable[..., httpx.AsyncClient]


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def make_app(health: Health) -> AppFactory:
    def make(
        *routers: APIRouter, status_by_error: dict[type[DomainError], int] | None = None, **settings: Any
    ) -> FastAPI:
        return create_app(
            service="orders",
            title="Orders",
            description="Takes orders.",
            settings=ServiceSettings(database_url=SecretStr("postgresql://127.0.0.1/orders"), **settings),
            routers=routers,
            status_by_error=status_by_error or {},
            health=health,
            authenticator=KEYS,
        )

    return make


@pytest.fixture
async def connect() -> AsyncIterator[ClientFactory]:
    clients: list[httpx.AsyncClient] = []

    def open_client(app: Any, *, key: str | None = OPERATOR) -> httpx.AsyncClient:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        transport = httpx.ASGITransport(app)
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://orders", headers=headers))
        return clients[-1]

    yield open_client
    for client in clients:
        await client.aclose()
