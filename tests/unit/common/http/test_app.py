import asyncio
from collections.abc import AsyncIterator
from itertools import count
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from libs.common.http import middleware
from libs.common.http.app import UndeclaredRoutes, create_ops_app
from libs.common.http.auth import Principal, public, requires
from libs.common.http.health import Health
from libs.common.telemetry.metrics import http_request_duration_seconds
from libs.common.telemetry.tracing import current_correlation_id, current_traceparent
from tests.unit.common.http.conftest import OPERATOR, STOREFRONT, WAREHOUSE, AppFactory, ClientFactory


def orders_router() -> APIRouter:
    router = APIRouter(prefix="/v1/orders")

    @router.get("/{order_id}", dependencies=[requires("orders:read")])
    async def read_order(order_id: int) -> dict[str, int]:
        return {"id": order_id}

    @router.post("", status_code=201)
    async def place_order(principal: Annotated[Principal, requires("orders:write")]) -> dict[str, str]:
        return {"placed_by": principal.name}

    @router.get("/{order_id}/context", dependencies=[public()])
    async def show_context(order_id: int) -> dict[str, Any]:
        return {"id": order_id, "correlation": current_correlation_id(), "trace": current_traceparent()}

    @router.put("/{order_id}/note", dependencies=[public()])
    async def write_note(request: Request, order_id: int) -> dict[str, int]:
        return {"id": order_id, "bytes": len(await request.body())}

    @router.put("/{order_id}/scan", dependencies=[public()], max_body_size=10_000)
    async def upload_scan(request: Request, order_id: int) -> dict[str, int]:
        return {"id": order_id, "bytes": len(await request.body())}

    return router


def observed(route: str, status: str, method: str = "GET") -> float:
    family = http_request_duration_seconds.labels("orders", method, route, status)
    return float(family._sum.get())  # noqa: SLF001 - the client has no public reader of one value


class TestDeclarations:
    def test_refuse_to_start_with_a_route_that_nobody_decided_on(self, make_app: AppFactory) -> None:
        router = APIRouter(prefix="/v1/orders")

        @router.delete("/{order_id}")
        async def erase_order(order_id: int) -> None:
            del order_id

        with pytest.raises(UndeclaredRoutes, match=r"DELETE /v1/orders/\{order_id\}"):
            make_app(router)

    def test_refuse_a_plain_route_that_bypasses_them(self, make_app: AppFactory) -> None:
        router = APIRouter()
        router.routes.append(Route("/backdoor", lambda _: PlainTextResponse("open")))

        with pytest.raises(UndeclaredRoutes, match="/backdoor"):
            make_app(router)

    def test_of_a_router_hold_for_its_routes(self, make_app: AppFactory) -> None:
        router = APIRouter(dependencies=[requires("orders:read")])

        @router.get("/v1/orders")
        async def list_orders() -> None:
            return None

        make_app(router)


class TestAuthentication:
    async def test_without_a_key_is_refused(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await connect(make_app(orders_router()), key=None).get("/v1/orders/1")

        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("headers", [{"X-Api-Key": STOREFRONT}, {"Authorization": f"bearer {STOREFRONT}"}])
    async def test_takes_the_key_from_either_header(
        self, headers: dict[str, str], make_app: AppFactory, connect: ClientFactory
    ) -> None:
        response = await connect(make_app(orders_router()), key=None).get("/v1/orders/1", headers=headers)

        assert response.status_code == 200

    @pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer nonsense", ""])
    async def test_refuses_any_other_authorization(
        self, value: str, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        client = connect(make_app(orders_router()), key=None)

        assert (await client.get("/v1/orders/1", headers={"Authorization": value})).status_code == 401

    async def test_names_the_scope_that_a_key_lacks(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await connect(make_app(orders_router()), key=WAREHOUSE).get("/v1/orders/1")

        assert response.status_code == 403
        assert "orders:read" in response.json()["detail"]

    async def test_passes_the_caller_to_the_route(self, make_app: AppFactory, connect: ClientFactory) -> None:
        response = await connect(make_app(orders_router()), key=OPERATOR).post("/v1/orders")

        assert response.json() == {"placed_by": "operator"}

    @pytest.mark.parametrize(
        ("scopes", "allowed"),
        [({"*"}, True), ({"orders:*"}, True), ({"orders:read"}, True), ({"orders:write"}, False), (set(), False)],
    )
    def test_scopes_grant_what_they_cover(self, scopes: set[str], *, allowed: bool) -> None:
        assert Principal("p", frozenset(scopes)).allows("orders:read") is allowed


class TestRequestContext:
    async def test_keeps_the_callers_correlation_id(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router()))

        response = await client.get("/v1/orders/1/context", headers={"X-Correlation-Id": "checkout-17"})

        assert response.json()["correlation"] == "checkout-17"
        assert response.headers["x-correlation-id"] == "checkout-17"

    @pytest.mark.parametrize("value", [b"", b"a" * 129, b'x","admin":"true', b"h\xe4h"])
    async def test_replaces_one_that_would_not_be_safe_to_repeat(
        self, value: bytes, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        client = connect(make_app(orders_router()))

        response = await client.get("/v1/orders/1/context", headers={b"X-Correlation-Id": value})

        assert len(response.headers["x-correlation-id"]) == 36

    async def test_continues_the_callers_trace(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router()))

        response = await client.get("/v1/orders/1/context", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})

        assert response.json()["trace"].startswith(f"00-{'a' * 32}-")

    async def test_adds_headers_that_keep_browsers_safe(self, make_app: AppFactory, connect: ClientFactory) -> None:
        headers = (await connect(make_app(orders_router())).get("/v1/orders/1")).headers

        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]

    async def test_measures_by_the_routes_template(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router()))
        before = observed("/v1/orders/{order_id}", "200")

        await client.get("/v1/orders/1")

        assert observed("/v1/orders/{order_id}", "200") > before

    async def test_gives_unknown_addresses_one_label(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router()))
        before = observed("unmatched", "404")

        await client.get("/wp-admin/setup.php")

        assert observed("unmatched", "404") > before


class TestBodyLimits:
    async def test_refuse_a_body_that_says_it_is_too_large(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router(), request_body_bytes_max=1024))

        response = await client.put("/v1/orders/1/note", content=b"x" * 1025)

        assert response.status_code == 413
        assert response.headers["connection"] == "close"

    async def test_refuse_a_body_that_is_compressed(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router()))

        zipped, plain = [
            await client.put("/v1/orders/1/note", content=b"x", headers={"Content-Encoding": encoding})
            for encoding in ("GZip", "identity")
        ]

        assert (zipped.status_code, zipped.json()["code"]) == (415, "unsupported-media-type")
        assert zipped.headers["connection"] == "close"
        assert plain.json()["bytes"] == 1

    async def test_refuse_a_chunked_body_that_does_not_end(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router(), request_body_bytes_max=1024))

        response = await client.put("/v1/orders/1/note", content=finite(b"x" * 100, times=20))

        assert response.status_code == 413
        assert response.json()["code"] == "payload-too-large"

    async def test_accept_a_body_of_just_the_limit(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router(), request_body_bytes_max=1024))

        assert (await client.put("/v1/orders/1/note", content=b"x" * 1024)).json()["bytes"] == 1024

    async def test_are_wider_on_a_route_that_says_so(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router(), request_body_bytes_max=1024))

        accepted = await client.put("/v1/orders/1/scan", content=b"x" * 10_000)
        refused = await client.put("/v1/orders/1/scan", content=finite(b"x" * 1000, times=11))

        assert accepted.json()["bytes"] == 10_000
        assert refused.status_code == 413

    async def test_end_an_upload_that_takes_too_long(self, make_app: AppFactory) -> None:
        app = make_app(orders_router(), request_receive_timeout_seconds=0.05)

        response = await send_slowly(app, "/v1/orders/1/note")

        assert response["status"] == 408

    @pytest.mark.parametrize(("chunk_bytes", "status"), [(1_000_000, 200), (1_000, 408)])
    async def test_may_take_as_long_as_their_bytes_do(
        self,
        make_app: AppFactory,
        connect: ClientFactory,
        monkeypatch: pytest.MonkeyPatch,
        chunk_bytes: int,
        status: int,
    ) -> None:
        # Between two of its chunks six seconds pass: many times the limit in all.
        elapsed_seconds = count(0, 6)
        monkeypatch.setattr(middleware, "time", SimpleNamespace(perf_counter=lambda: next(elapsed_seconds)))
        app = make_app(orders_router(), request_receive_timeout_seconds=15, request_body_bytes_max=100_000_000)

        async def arriving() -> AsyncIterator[bytes]:
            for _ in range(20):
                await asyncio.sleep(0)
                yield b"x" * chunk_bytes

        response = await connect(app).put("/v1/orders/1/note", content=arriving())

        assert response.status_code == status


class TestDescriptionsOfBodies:
    """What is read otherwise than its headers say would be read as something else."""

    @pytest.mark.parametrize(
        ("headers", "status", "field"),
        [
            ([("Content-Encoding", "gzip")], 415, "Content-Encoding"),
            ([("Content-Type", "application/json; charset=latin-1")], 415, "Content-Type"),
            ([("Content-Type", 'application/x-ndjson;charset="UTF-16"')], 415, "Content-Type"),
            ([("Content-Type", "text/csv ; charset=windows-1252")], 415, "Content-Type"),
            ([("Content-Type", "application/json"), ("Content-Type", "text/csv")], 422, "Content-Type"),
            ([("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 422, "Idempotency-Key"),
        ],
    )
    async def test_that_are_not_true_are_refused(
        self,
        make_app: AppFactory,
        connect: ClientFactory,
        headers: list[tuple[str, str]],
        status: int,
        field: str,
    ) -> None:
        client = connect(make_app(orders_router()))

        answer = await client.put("/v1/orders/1/note", content=b"{}", headers=headers)

        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Encoding": "identity"},
            {"Content-Type": 'application/json; charset="UTF-8"'},
            {"Content-Type": "application/json; version=1"},
            {"Content-Type": "application/x-www-form-urlencoded; charset=gbk"},
        ],
    )
    async def test_that_are_true_or_not_ours_to_judge_pass(
        self, make_app: AppFactory, connect: ClientFactory, headers: dict[str, str]
    ) -> None:
        client = connect(make_app(orders_router()))

        assert (await client.put("/v1/orders/1/note", content=b"{}", headers=headers)).is_success


class TestBodiesOfStrangers:
    """Who may not call a route learns that, whatever was sent, and nothing of it is read."""

    @pytest.mark.parametrize(
        ("key", "status"), [(None, 401), ("unknown", 401), (WAREHOUSE, 403)], ids=["no key", "another", "no scope"]
    )
    @pytest.mark.parametrize("path", ["/v1/parcels", "/v1/parcels/1", "/v1/parcels/1/label", "/v1/parcels/answered"])
    @pytest.mark.parametrize("length", [b"2", b"2048", b"1000000000"], ids=["short", "long", "a gigabyte"])
    async def test_are_not_read(
        self, make_app: AppFactory, key: str | None, status: int, path: str, length: bytes
    ) -> None:
        app = make_app(parcels_router(), request_body_bytes_max=1024)
        headers = [(b"content-length", length), (b"content-type", b"application/json")]

        answer = await send_unreadable(app, path, [*headers, *_authorization(key)])

        assert answer["status"] == status

    @pytest.mark.parametrize("path", ["/v1/parcels", "/v1/parcels/1"])
    async def test_are_counted_once_against_a_share(
        self, make_app: AppFactory, connect: ClientFactory, path: str
    ) -> None:
        client = connect(make_app(parcels_router(), rate_limit_writes_per_second=2), key=STOREFRONT)

        first = await client.post(path, json={"weight": 1})
        second = await client.post(path, json={"weight": 1})

        assert [answer.status_code for answer in (first, second)] == [200, 200]
        assert [answer.headers["ratelimit"].split(";")[1] for answer in (first, second)] == ["r=3", "r=2"]

    async def test_of_open_routes_are_read(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router()), key=None)

        assert (await client.put("/v1/orders/1/note", content=b"12")).json()["bytes"] == 2


class Parcel(BaseModel):
    weight: int


def parcels_router() -> APIRouter:
    """Every way in which a body is read: by the table, by FastAPI, by the route; one of them takes large ones."""
    router = APIRouter(prefix="/v1/parcels", dependencies=[requires("orders:write")])

    @router.post("", max_body_size=4096)
    async def hand_over(parcel: Parcel) -> Parcel:
        return parcel

    @router.post("/answered")
    async def answer(parcel: Parcel) -> PlainTextResponse:
        return PlainTextResponse(str(parcel))

    @router.post("/{number}")
    async def change(number: int, parcel: Parcel) -> dict[str, int]:
        return {"number": number, "weight": parcel.weight}

    @router.post("/{number}/label")
    async def print_label(number: int, request: Request) -> dict[str, int]:
        return {"number": number, "bytes": len(await request.body())}

    return router


def _authorization(key: str | None) -> list[tuple[bytes, bytes]]:
    return [] if key is None else [(b"authorization", f"Bearer {key}".encode())]


async def send_unreadable(app: Any, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Send a body that nobody may ask for; return the start of the response."""
    started: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        pytest.fail("the body was read")

    async def send(message: dict[str, Any]) -> None:
        started.update(message if message["type"] == "http.response.start" else {})

    await app(_scope("POST", path, headers), receive, send)
    return started


async def finite(chunk: bytes, *, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield chunk


async def send_slowly(app: Any, path: str) -> dict[str, Any]:
    """Send a body of which every byte comes in time and the whole never; return the start of the response."""
    started: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        started.update(message if message["type"] == "http.response.start" else {})

    async with asyncio.timeout(60):
        await app(_scope("PUT", path, [(b"transfer-encoding", b"chunked")]), receive, send)
    return started


def _scope(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
    }


class TestLoadShedding:
    async def test_refuses_at_once_what_would_only_wait(self, make_app: AppFactory, connect: ClientFactory) -> None:
        entered, release = asyncio.Event(), asyncio.Event()
        router = APIRouter(dependencies=[public()])

        @router.get("/slow")
        async def be_slow() -> None:
            entered.set()
            await release.wait()

        client = connect(make_app(router, requests_in_flight_max=1))

        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.get("/slow"))
            await entered.wait()
            second = await client.get("/slow")
            probe = await client.get("/healthz")
            release.set()

        assert second.status_code == 503
        assert second.headers["retry-after"] == "1"
        assert probe.status_code == 200
        assert first.result().status_code == 200
        assert (await client.get("/slow")).status_code == 200

    async def test_frees_the_place_of_a_request_that_failed(self, make_app: AppFactory, connect: ClientFactory) -> None:
        router = APIRouter(dependencies=[public()])

        @router.get("/broken")
        async def break_down() -> None:
            raise ZeroDivisionError

        client = connect(make_app(router, requests_in_flight_max=1))

        assert [(await client.get("/broken")).status_code for _ in range(3)] == [500, 500, 500]


class TestRateLimit:
    async def test_is_told_with_every_answer(self, make_app: AppFactory, connect: ClientFactory) -> None:
        headers = (await connect(make_app(orders_router(), rate_limit_reads_per_second=5)).get("/v1/orders/1")).headers

        assert headers["ratelimit-policy"] == '"read";q=10;w=2'
        assert headers["ratelimit"] == '"read";r=9;t=1'

    async def test_is_429_when_used_up(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router(), rate_limit_reads_per_second=0.1))

        statuses = [(await client.get("/v1/orders/1")).status_code for _ in range(2)]
        response = await client.get("/v1/orders/1")

        assert statuses == [200, 429]
        assert response.json()["code"] == "rate-limited"
        assert 1 <= int(response.headers["retry-after"]) <= 10


class TestHealth:
    async def test_is_ready_when_every_check_passes(
        self, health: Health, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        health.add("database", passing)

        response = await connect(make_app(), key=None).get("/readyz")

        assert response.json() == {"status": "ready", "checks": {"database": "ok"}}

    async def test_names_the_checks_that_fail_and_not_their_secrets(
        self, health: Health, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        health.add("database", passing)
        health.add("broker", refusing)

        response = await connect(make_app(), key=None).get("/readyz")

        assert response.status_code == 503
        assert response.json()["errors"] == [{"field": "broker", "reason": "ConnectionRefusedError"}]
        assert "10.0.0.7" not in response.text

    async def test_is_alive_but_not_ready_while_stopping(
        self, health: Health, make_app: AppFactory, connect: ClientFactory
    ) -> None:
        client = connect(make_app(), key=None)

        health.stopping = True

        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200

    async def test_counts_a_check_that_says_no_as_failed(self, health: Health) -> None:
        health.add("consumer", saying_no)

        assert await health.failures() == {"consumer": "failed"}

    def test_has_one_check_of_a_name(self, health: Health) -> None:
        health.add("database", passing)

        with pytest.raises(ValueError, match="database"):
            health.add("database", passing)


async def passing() -> None:
    pass


async def refusing() -> None:
    raise ConnectionRefusedError("10.0.0.7 refused orders:hunter2")


async def saying_no() -> bool:
    return False


class TestOpsApp:
    async def test_shows_health_and_metrics_without_a_key(self, health: Health, connect: ClientFactory) -> None:
        client = connect(create_ops_app("orders", health), key=None)

        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert "http_request_duration_seconds" in (await client.get("/metrics")).text


class TestOpenApi:
    @pytest.fixture
    async def schema(self, make_app: AppFactory, connect: ClientFactory) -> dict[str, Any]:
        response = await connect(make_app(orders_router()), key=None).get("/openapi.json")
        schema: dict[str, Any] = response.json()
        return schema

    async def test_is_version_3_1(self, schema: dict[str, Any]) -> None:
        assert schema["openapi"].startswith("3.1")

    async def test_says_which_scopes_a_route_needs(self, schema: dict[str, Any]) -> None:
        operation = schema["paths"]["/v1/orders"]["post"]

        assert operation["x-required-scopes"] == ["orders:write"]
        assert {"bearer": []} in operation["security"]

    async def test_says_that_a_public_route_needs_no_key(self, schema: dict[str, Any]) -> None:
        assert "security" not in schema["paths"]["/v1/orders/{order_id}/context"]["get"]

    async def test_gives_every_error_one_form(self, schema: dict[str, Any]) -> None:
        responses = schema["paths"]["/v1/orders/{order_id}"]["get"]["responses"]

        assert set(responses) == {"200", "400", "401", "403", "404", "422", "429", "503"}
        for status in set(responses) - {"200"}:
            assert responses[status]["content"]["application/problem+json"]["schema"] == {
                "$ref": "#/components/schemas/Problem"
            }
        assert "HTTPValidationError" not in schema["components"]["schemas"]

    async def test_is_not_shown_in_production(self, make_app: AppFactory, connect: ClientFactory) -> None:
        client = connect(make_app(orders_router(), environment="production"), key=None)

        assert (await client.get("/openapi.json")).status_code == 404
        assert (await client.get("/docs")).status_code == 404
