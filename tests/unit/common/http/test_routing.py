"""The table answers as FastAPI's own routing does, which stays behind it for comparison."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from libs.common.errors import Conflict
from libs.common.http.auth import Principal, public, requires
from libs.common.http.idempotency import IdempotentWrite
from libs.common.http.routing import RouteTable
from tests.unit.common.http.conftest import STOREFRONT, WAREHOUSE, AppFactory, ClientFactory


class Line(BaseModel):
    """What is booked."""

    model_config = ConfigDict(extra="forbid")

    sku: str
    units: Annotated[int, Field(ge=1, strict=True)]
    price: float = 0.0


class Taken(Conflict):
    """It is taken."""

    code = "taken"


def stock_router() -> APIRouter:  # noqa: C901 - many routes, none of which does much
    router = APIRouter(prefix="/v1", dependencies=[requires("stock:write")])

    @router.get("/early/{rest:path}")
    async def catch(rest: str) -> Response:
        return PlainTextResponse(f"caught {rest}")

    @router.get("/early/static")
    async def never_reached() -> Response:
        return PlainTextResponse("the later of two routes")

    @router.post("/stock", status_code=201, dependencies=[requires("stock:write")])
    async def book(request: Request) -> Response:
        return PlainTextResponse(f"{request.state.principal.name} {len(await request.body())}", status_code=201)

    @router.get("/stock")
    async def show() -> Response:
        return PlainTextResponse("stock")

    @router.get("/late/static")
    async def first() -> Response:
        return PlainTextResponse("the earlier of two routes")

    @router.get("/late/static")
    async def second() -> Response:
        return PlainTextResponse("the later of two routes")

    @router.get("/late/{name}")
    async def named(name: str) -> Response:
        return PlainTextResponse(f"named {name}")

    @router.get("/me")
    async def me(principal: Annotated[Principal, requires("stock:write")]) -> Response:
        return PlainTextResponse(principal.name)

    @router.get("/page")
    async def page(limit: Annotated[int, Query(ge=1)] = 10) -> dict[str, int]:
        return {"limit": limit}

    @router.get("/depends")
    async def depends(agent: Annotated[str, Depends(_agent)]) -> Response:
        return PlainTextResponse(agent)

    @router.post("/fails/{how}", include_in_schema=False)
    async def fails_with_parameter(how: str) -> Response:
        raise _FAILURES[how]

    for how, failure in _FAILURES.items():
        router.add_api_route(f"/fails-{how}", _failing(failure), methods=["GET"], name=f"fails_{how}")
    return router


async def _agent(request: Request) -> str:
    request.state.asked = getattr(request.state, "asked", 0) + 1
    return request.headers["user-agent"]


async def _shelf(agent: Annotated[str, Depends(_agent)], shelf: Annotated[int, Query()] = 0) -> str:
    return f"{agent} {shelf}"


def lines_router() -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.post("/lines", status_code=201, dependencies=[requires("stock:write")])
    async def book(
        line: Line, write: IdempotentWrite, prefer: Annotated[str | None, Header(max_length=9)] = None
    ) -> Response:
        return PlainTextResponse(f"{line!r} {write.principal} {write.key} {write.request_hash.hex()} {prefer}")

    @router.post("/embedded", dependencies=[public()])
    async def two_parts(line: Line, units: Annotated[int, Body()]) -> Response:
        return PlainTextResponse(f"{line!r} {units}")

    @router.get("/nested", dependencies=[public()])
    async def nested(
        request: Request, shelf: Annotated[str, Depends(_shelf)], agent: Annotated[str, Depends(_agent)]
    ) -> Response:
        return PlainTextResponse(f"{shelf} {agent} {request.state.asked}")

    return router


_FAILURES: dict[str, Exception] = {
    "domain": Taken("It is taken."),
    "http": HTTPException(418, detail="short and stout"),
    "validation": RequestValidationError([{"type": "missing", "loc": ("body", "sku"), "msg": "Field required"}]),
    "crash": ZeroDivisionError(),
    "database": TimeoutError(),
}


def _failing(failure: Exception) -> Any:
    async def fail() -> Response:
        raise failure

    return fail


def open_router() -> APIRouter:
    router = APIRouter()

    @router.get("/open", dependencies=[public()])
    async def show() -> Response:
        return PlainTextResponse("open")

    return router


def table_of(app: FastAPI) -> RouteTable:
    table = app.router.middleware_stack
    assert isinstance(table, RouteTable)
    return table


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """Return all of an answer that does not differ from request to request."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-correlation-id", "ratelimit"}}
    content: object = answer.text
    if content and headers.get("content-type") == "application/problem+json":
        content = {name: value for name, value in answer.json().items() if name not in {"trace_id", "correlation_id"}}
    return answer.status_code, headers, content


REQUESTS = [
    ("GET", "/v1/stock"),
    ("POST", "/v1/stock"),
    ("HEAD", "/v1/stock"),
    ("PUT", "/v1/stock"),
    ("OPTIONS", "/v1/stock"),
    ("GET", "/v1/stock/"),
    ("GET", "/v1//stock"),
    ("GET", "/v1/early/static"),
    ("GET", "/v1/late/static"),
    ("GET", "/v1/late/other"),
    ("GET", "/v1/me"),
    ("GET", "/v1/page?limit=5"),
    ("GET", "/v1/page?limit=0"),
    ("GET", "/v1/depends"),
    *(("GET", f"/v1/fails-{how}") for how in _FAILURES),
    ("POST", "/v1/fails/domain"),
    ("GET", "/open"),
    ("GET", "/nowhere"),
    ("GET", "/healthz"),
    ("GET", "/problems"),
]


LINE = b'{"sku": "CHAIR", "units": 2, "price": 1}'
BODIES = [
    *(LINE, b"", b"null", b"[]", b"{}", b"[" * 100_000, b"{not json", b'{"sku": "CHAIR", "units": 2} {}', b"\xff\xfe{"),
    *(b'{"sku": "CHAIR", "units": %b}' % units for units in (b"0", b"2.0", b'"2"', b"1e2", b"9" * 400, b"true")),
    *(b'{"sku": "CHAIR", "units": 2, "price": %b}' % price for price in (b"1e400", b"-0.0", b"NaN", b'"1.5"', b"{}")),
    *('{"sku": "CHAIR", "units": 2}'.encode(encoding) for encoding in ("utf-16", "utf-8-sig", "latin-1")),
    *('{"sku": "STÜHLE", "units": 2}'.encode(encoding) for encoding in ("utf-8", "latin-1")),
    *(b'{"sku": "A", "sku": "B", "units": 1}', b'{"sku": "\\ud800", "units": 1}', b'{"line": %b, "units": 3}' % LINE),
]
HEADERS: list[dict[str, str]] = [
    *({"Idempotency-Key": "k-1"}, {"Idempotency-Key": "k-1", "Prefer": "wait=5"}, {}, {"Idempotency-Key": "a b"}),
    {"Idempotency-Key": "k-1", "Prefer": "wait=5, and more"},
    *(
        {"Idempotency-Key": "k-1", "Content-Type": media}
        for media in ("application/json; charset=utf-8", "text/plain", "")
    ),
]


@pytest.mark.parametrize("path", ["/v1/lines", "/v1/embedded"])
async def test_resolves_as_fastapi_does(make_app: AppFactory, connect: ClientFactory, path: str) -> None:
    with_table, without = (make_app(lines_router()) for _ in range(2))
    without.router.middleware_stack = without.router.app
    clients = [connect(app) for app in (with_table, without)]
    requests = [(body, {"Content-Type": "application/json"} | HEADERS[0]) for body in BODIES]
    requests += [(body, {"Content-Type": "application/json"} | headers) for body in BODIES[:5] for headers in HEADERS]

    for body, headers in requests:
        mine, fastapis = [await client.post(path, content=body, headers=headers) for client in clients]

        assert told(mine) == told(fastapis), f"{body[:99]!r} {headers}"


async def test_resolves_without_fastapi(
    make_app: AppFactory, connect: ClientFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(make_app(lines_router()))
    monkeypatch.setattr("fastapi.routing.solve_dependencies", None)

    booked = await client.post(
        "/v1/lines", content=LINE, headers={"Content-Type": "application/json", "Idempotency-Key": "k-1"}
    )
    nested = await client.get("/v1/nested?shelf=7", headers={"User-Agent": "tests"})

    assert booked.text.startswith("Line(sku='CHAIR', units=2, price=1.0) operator k-1 ")
    # What two depend on is asked once.
    assert nested.text == "tests 7 tests 1"


@pytest.mark.parametrize("key", [WAREHOUSE, STOREFRONT, "unknown-key", None])
async def test_answers_as_fastapi_does(make_app: AppFactory, connect: ClientFactory, key: str | None) -> None:
    with_table, without = (make_app(stock_router(), open_router()) for _ in range(2))
    without.router.middleware_stack = without.router.app
    clients = [connect(app, key=key) for app in (with_table, without)]

    for method, path in REQUESTS:
        body = b"{}" if method == "POST" else None
        mine, fastapis = [await client.request(method, path, content=body) for client in clients]

        assert told(mine) == told(fastapis), f"{method} {path}"


async def test_counts_a_request_once_though_router_and_route_require_the_same(
    make_app: AppFactory, connect: ClientFactory
) -> None:
    client = connect(make_app(stock_router(), rate_limit_writes_per_second=5))

    assert (await client.post("/v1/stock")).headers["ratelimit"] == '"write";r=9;t=1'


async def test_calls_without_fastapi_what_has_nothing_to_be_resolved(
    make_app: AppFactory, connect: ClientFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(stock_router(), open_router())
    client = connect(app)
    served = await client.get("/v1/stock")

    async def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(table_of(app), "_fallback", refuse)
    monkeypatch.setattr("fastapi.routing.solve_dependencies", refuse)

    assert [(await client.get(path)).status_code for path in ("/v1/stock", "/open")] == [served.status_code] * 2


async def test_heeds_dependencies_that_are_overridden(make_app: AppFactory, connect: ClientFactory) -> None:
    app = make_app(stock_router())
    client = connect(app, key=None)
    assert (await client.get("/v1/stock")).status_code == 401

    app.dependency_overrides[requires("stock:write").dependency] = lambda: None

    assert (await client.get("/v1/stock")).status_code == 200


async def test_serves_routes_that_were_added_later(make_app: AppFactory, connect: ClientFactory) -> None:
    app = make_app(stock_router())
    client = connect(app)
    assert (await client.get("/open")).status_code == 404

    app.include_router(open_router())

    assert (await client.get("/open")).text == "open"


async def test_tells_a_slash_in_a_part_from_the_end_of_it(make_app: AppFactory, connect: ClientFactory) -> None:
    router = APIRouter(prefix="/v1", dependencies=[requires("stock:write")])

    @router.get("/stock/{sku}")
    async def show(sku: str) -> str:
        return f"stock of {sku}"

    @router.get("/stock/{sku}/lots")
    async def list_lots(sku: str) -> str:
        return f"lots of {sku}"

    client = connect(make_app(router))

    assert (await client.get("/v1/stock/AC%2FDC-1")).json() == "stock of AC/DC-1"
    assert (await client.get("/v1/stock/a%2flots%2Fb/lots")).json() == "lots of a/lots/b"
    assert (await client.get("/v1/stock/50%252F%20%D1%88%26%2F")).json() == "stock of 50%2F ш&/"
    assert (await client.get("/v1/stock/a/lots/b")).status_code == 404
