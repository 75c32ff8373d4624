from collections.abc import AsyncIterator

import httpx
import pytest

from libs.common.http.auth import FixedKeys, Principal
from libs.common.pacing import WorkPace
from services.inventory.bootstrap import SERVICE, auditor
from tests.integration.inventory.shop import Shop, open_api
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import FreshDatabase, emptied_database

KEYS = FixedKeys(
    {
        "warehouse": Principal(
            "warehouse",
            frozenset({"stock:write", "stock:read", "stock:manage", "reservations:read", "reservations:write"}),
        ),
        "storefront": Principal("storefront", frozenset({"availability:read"})),
        "web": Principal("web", frozenset({"reservations:write"})),
        "till": Principal("till", frozenset({"reservations:write"})),
        "ops": Principal("ops", frozenset({"*"})),
    }
)


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with emptied_database(infrastructure, SERVICE.name, SERVICE.migrations) as database:
        yield database


@pytest.fixture
async def shop(database: FreshDatabase) -> Shop:
    return await Shop.open(database)


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(shop, KEYS, caller="warehouse") as client:
        yield client


@pytest.fixture
def restless_auditor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no look rest for 19 times as long as it took, which on a busy machine is seconds."""
    monkeypatch.setattr(auditor, "_AUDIT_PACE", WorkPace())
