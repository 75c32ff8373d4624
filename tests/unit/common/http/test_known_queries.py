"""A parameter that a route does not have is refused by its name, never left out of account."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Query
from starlette.requests import Request

from libs.common.http.auth import public, requires
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, PageLimit
from libs.common.http.period import Since, Until
from tests.unit.common.http.conftest import STOREFRONT, AppFactory, ClientFactory

REPORT = "/v1/reports/sales"


@pytest.fixture
def client(make_app: AppFactory, connect: ClientFactory) -> httpx.AsyncClient:
    return connect(make_app(*routers()))


def routers() -> tuple[APIRouter, APIRouter]:
    guarded = APIRouter(prefix="/v1", dependencies=[requires("stock:read")])
    opened = APIRouter(prefix="/v1", dependencies=[public()])

    @guarded.get("/reports/{name}")
    async def report(
        name: str,
        exclude: Annotated[list[str], Query(default_factory=list)],
        since: Since = None,
        until: Until = None,
        limit: PageLimit = PAGE_LIMIT_DEFAULT,
    ) -> list[Any]:
        return [name, exclude, since, until, limit]

    declared = [{"name": "sku", "in": "query", "schema": {"type": "array"}}]

    @guarded.get("/stock", openapi_extra={"parameters": declared})
    async def stock(request: Request) -> list[str]:
        return request.query_params.getlist("sku")

    @guarded.post("/stock")
    async def book() -> None:
        pass

    @opened.post("/notices")
    async def take_notice() -> None:
        pass

    return guarded, opened


async def reasons(client: httpx.AsyncClient, address: str, *, method: str = "GET") -> dict[str, str]:
    answer = await client.request(method, address)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
    return {error["field"]: error["reason"] for error in answer.json()["errors"]}


class TestUnknownParameters:
    @pytest.mark.parametrize(
        ("sent", "meant"),
        [("from", "since"), ("TO", "until"), ("page_size", "limit"), ("untill", "until"), ("Limit", "limit")],
    )
    async def test_are_refused_with_what_may_be_meant(self, client: httpx.AsyncClient, sent: str, meant: str) -> None:
        assert await reasons(client, f"{REPORT}?{sent}=2026-03-02") == {
            sent: f"There is no such parameter; did you mean {meant}? (query)"
        }

    @pytest.mark.parametrize("sent", ["weather", "weather=fine", "%77eather=", "weather=&limit=5"])
    async def test_are_refused_however_they_are_written(self, client: httpx.AsyncClient, sent: str) -> None:
        assert await reasons(client, f"{REPORT}?{sent}") == {
            "weather": "There is no such parameter; there are exclude, limit, since, until (query)"
        }

    async def test_are_refused_where_there_are_none(self, client: httpx.AsyncClient) -> None:
        assert await reasons(client, "/v1/stock?dry_run=true", method="POST") == {
            "dry_run": "There is no such parameter; this route has none (query)"
        }

    async def test_are_all_named_but_not_without_an_end(self, client: httpx.AsyncClient) -> None:
        few = await reasons(client, f"{REPORT}?a=1&b=2&limit=5")
        many = await reasons(client, REPORT + "?" + "&".join(f"{'a' * 50}{number}" for number in range(1_000)))

        assert set(few) == {"a", "b"}
        assert all(len(name) <= 40 for name in many)
        assert len(many) <= 10

    async def test_are_nothing_that_strangers_learn_of(self, make_app: AppFactory, connect: ClientFactory) -> None:
        app = make_app(*routers())

        assert (await connect(app, key=None).get(f"{REPORT}?weather=fine")).status_code == 401
        assert (await connect(app, key=STOREFRONT).get(f"{REPORT}?weather=fine")).status_code == 403

    async def test_are_the_business_of_those_who_call_open_routes(self, client: httpx.AsyncClient) -> None:
        for method, path in (("POST", "/v1/notices"), ("GET", "/healthz"), ("GET", "/metrics")):
            assert (await client.request(method, f"{path}?utm_source=mail")).status_code == 200

    async def test_are_not_what_is_wrong_with_an_unknown_address(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/nothing?weather=fine")).status_code == 404
        assert (await client.put(f"{REPORT}?weather=fine")).status_code == 405


class TestRepeatedParameters:
    async def test_are_refused_unless_they_are_lists(self, client: httpx.AsyncClient) -> None:
        assert await reasons(client, f"{REPORT}?limit=5&limit=6") == {"limit": "It may be given once (query)"}
        assert (await client.get(f"{REPORT}?exclude=A&exclude=B&limit=5")).json()[1] == ["A", "B"]

    async def test_may_be_those_that_a_route_reads_by_itself(self, client: httpx.AsyncClient) -> None:
        assert (await client.get("/v1/stock?sku=A&sku=%42")).json() == ["A", "B"]
        assert set(await reasons(client, "/v1/stock?sku=A&skus=B")) == {"skus"}
