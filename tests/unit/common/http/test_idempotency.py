"""What names a keyed write; its effect on a database is tested where there is one."""

from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from libs.common.http.auth import public, requires
from libs.common.http.idempotency import IdempotentWrite
from tests.unit.common.http.conftest import STOREFRONT, AppFactory, ClientFactory


@pytest.fixture
def client(make_app: AppFactory, connect: ClientFactory) -> httpx.AsyncClient:
    router = APIRouter()

    @router.post("/v1/orders", dependencies=[requires("orders:write")])
    @router.post("/v1/orders/{order_id}/cancellation", dependencies=[requires("orders:write")])
    async def write_something(
        write: IdempotentWrite,
        body: dict[str, Any],
        dry_run: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    ) -> dict[str, str]:
        del body, dry_run
        return {
            "principal": write.principal,
            "key": write.key,
            "route": write.route,
            "hash": write.request_hash.hex(),
        }

    @router.post("/v1/anonymous", dependencies=[public()])
    async def write_without_a_caller(write: IdempotentWrite) -> str:
        return write.key

    return connect(make_app(router), key=STOREFRONT)


async def post(client: httpx.AsyncClient, path: str, body: dict[str, Any], *, key: str = "k-1") -> dict[str, str]:
    response = await client.post(path, json=body, headers={"Idempotency-Key": key})
    answer: dict[str, str] = response.json()
    return answer


class TestKeyedWrite:
    async def test_is_named_by_caller_key_and_route(self, client: httpx.AsyncClient) -> None:
        write = await post(client, "/v1/orders/7/cancellation", {})

        assert write["principal"] == "storefront"
        assert write["key"] == "k-1"
        assert write["route"] == "POST /v1/orders/7/cancellation"

    async def test_has_the_same_hash_for_the_same_request(self, client: httpx.AsyncClient) -> None:
        first = await post(client, "/v1/orders", {"sku": "LAMP"}, key="k-1")
        second = await post(client, "/v1/orders", {"sku": "LAMP"}, key="k-2")

        assert first["hash"] == second["hash"]

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/orders", {"sku": "MIRROR"}),
            ("/v1/orders?dry_run=true", {"sku": "LAMP"}),
            ("/v1/orders/7/cancellation", {"sku": "LAMP"}),
        ],
    )
    async def test_has_another_hash_for_another_request(
        self, path: str, body: dict[str, Any], client: httpx.AsyncClient
    ) -> None:
        first = await post(client, "/v1/orders", {"sku": "LAMP"})

        assert (await post(client, path, body))["hash"] != first["hash"]

    async def test_must_have_a_key(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/orders", json={})

        assert response.status_code == 422
        assert response.json()["errors"] == [{"field": "Idempotency-Key", "reason": "Field required (header)"}]

    @pytest.mark.parametrize("key", [b"", b"a b", b"a" * 256, b"\xe4", b"a\tb"])
    async def test_refuses_a_key_that_is_not_visible_ascii(self, key: bytes, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/orders", json={}, headers={b"Idempotency-Key": key})

        assert response.status_code == 422

    async def test_needs_a_caller(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/anonymous", headers={"Idempotency-Key": "k-1"})

        assert response.status_code == 500
