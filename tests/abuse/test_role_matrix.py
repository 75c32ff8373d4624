"""Who may call what: every key on every route (F58, F59)."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import pytest
from starlette.routing import compile_path

from deploy.local.keys import SCOPES
from tests.abuse.effort import Effort
from tests.abuse.routes import Route, address_of, every_route, every_scope
from tests.abuse.site import Site

# What needs no key: probes and metrics, the meaning of problems, and what its sender signs.
OPEN_TO_ALL: Final = frozenset(
    f"GET {path}" for path in ("/healthz", "/readyz", "/metrics", "/problems", "/problems/{code}")
) | {"POST /v1/payment-webhooks/{provider}"}

# What a role may change. A route that changes something belongs to a role only if it is listed here: whoever adds one
# decides, and does not find out later, who may call it. Operators may change everything.
MAY_CHANGE: Final[Mapping[str, frozenset[str]]] = {
    "storefront": frozenset(
        {
            "POST inventory/v1/reservations",
            "POST inventory/v1/reservations/{reservation_id}/commit",
            "POST inventory/v1/reservations/{reservation_id}/extend",
            "POST inventory/v1/reservations/{reservation_id}/release",
            "POST orders/v1/orders",
            "POST orders/v1/orders/import",
            "POST orders/v1/orders/{order_id}/cancellation",
            "POST orders/v1/orders/{order_id}/edits",
            "POST orders/v1/orders/{order_id}/returns",
            "POST orders/v1/orders/{order_id}/waiting",
            "POST orders/v1/returns/{return_id}/label",
            "PUT orders/v1/customers/{customer_id}/contact",
            "DELETE orders/v1/customers/{customer_id}/contact",
            "POST recommender/v1/behaviour-events",
        }
    ),
    "warehouse": frozenset(
        {
            "POST inventory/v1/stock-events",
            "POST inventory/v1/count-lists",
            "POST inventory/v1/count-lists/{list_id}/cancel",
            "POST inventory/v1/transfers/{transfer_id}/dispatch",
            "POST inventory/v1/transfers/{transfer_id}/receive",
            "POST logistics/v1/shipment-events",
            "POST logistics/v1/shipments/{shipment_id}/delivery",
            "POST logistics/v1/shipments/{shipment_id}/dispatch",
            "POST logistics/v1/shipments/{shipment_id}/failure",
            "POST logistics/v1/shipments/{shipment_id}/scans",
            "POST orders/v1/returns/{return_id}/arrival",
            "POST orders/v1/returns/{return_id}/inspection",
            "POST orders/v1/returns/{return_id}/receipt",
        }
    ),
}
# What a role must not see, whatever scopes are invented: what goods cost, who the customers are, who is told what.
MUST_NOT_READ: Final[Mapping[str, tuple[str, ...]]] = {
    "storefront": ("/reports/", "/contact", "/webhooks", "/audit", "/stock", "/transfers"),
    "warehouse": ("orders/v1/orders", "/reports/", "/contact", "/webhooks", "/audit"),
}


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent to a route."""

    content: bytes
    media_type: str


IN_FLIGHT_MAX: Final = 16
DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

# What routes refuse of who may call them, for its syntax, its text or its type.
UNWELCOME_BODIES: Final[Mapping[str, Body]] = {
    "not JSON": Body(b"{", "application/json"),
    "NUL": Body(b'{"a": "\\u0000"}', "application/json"),
    "an empty object": Body(b"{}", "application/json"),
    "rows that are none": Body(b"[\n]\n", "application/x-ndjson"),
    "of no known type": Body(b"\x00\xff", "image/png"),
}

GUARDED: Final = [route for route in every_route() if route.scopes is not None]


class TestDeclarations:
    def test_only_what_is_listed_needs_no_key(self) -> None:
        undefended = {f"{route.method} {route.path}" for route in every_route() if route.scopes is None}

        assert undefended == OPEN_TO_ALL

    def test_every_other_route_asks_for_one_scope(self) -> None:
        assert [route.name for route in GUARDED if len(route.scopes or ()) != 1] == []

    @pytest.mark.parametrize("role", MAY_CHANGE)
    def test_a_role_may_change_what_is_listed_and_nothing_else(self, role: str) -> None:
        allowed = {route.name for route in GUARDED if route.method != "GET" and _covers(SCOPES[role], route)}

        assert allowed == MAY_CHANGE[role]

    @pytest.mark.parametrize("role", MUST_NOT_READ)
    def test_a_role_sees_nothing_that_is_not_its_business(self, role: str) -> None:
        seen = [route.name for route in GUARDED if route.method == "GET" and _covers(SCOPES[role], route)]

        assert seen
        assert [name for name in seen if any(part in name for part in MUST_NOT_READ[role])] == []

    @pytest.mark.parametrize("role", ["storefront", "warehouse"])
    def test_a_role_has_no_scope_that_nothing_asks_for(self, role: str) -> None:
        assert set(SCOPES[role]) <= every_scope()


class TestKeys:
    async def test_without_a_key_nothing_opens(self, site: Site) -> None:
        statuses = await _statuses(site, dict.fromkeys(GUARDED))

        assert _unless(statuses, {HTTPStatus.UNAUTHORIZED}) == {}

    async def test_a_worthless_key_opens_nothing(self, site: Site, effort: Effort) -> None:
        routes = GUARDED if effort.is_thorough else _one_of_each_service()
        for kind, key in site.keys.worthless.items():
            statuses = await _statuses(site, dict.fromkeys(routes, key))

            assert _unless(statuses, {HTTPStatus.UNAUTHORIZED}) == {}, kind

    async def test_a_key_without_scopes_opens_nothing(self, site: Site) -> None:
        statuses = await _statuses(site, dict.fromkeys(GUARDED, site.keys.powerless))

        assert _unless(statuses, {HTTPStatus.FORBIDDEN}) == {}

    @pytest.mark.parametrize("body", UNWELCOME_BODIES)
    async def test_whatever_is_sent_who_may_not_call_learns_just_that(self, site: Site, body: str) -> None:
        """A body is neither judged nor read for a stranger, nor for a caller without the scope."""
        sent = UNWELCOME_BODIES[body]

        strangers = await _statuses(site, dict.fromkeys(GUARDED), sent)
        powerless = await _statuses(site, dict.fromkeys(GUARDED, site.keys.powerless), sent)

        assert _unless(strangers, {HTTPStatus.UNAUTHORIZED}) == {}
        assert _unless(powerless, {HTTPStatus.FORBIDDEN}) == {}

    async def test_all_scopes_but_the_one_asked_for_open_nothing(self, site: Site) -> None:
        statuses = await _statuses(site, {route: site.keys.without[_scope(route)] for route in GUARDED})

        assert _unless(statuses, {HTTPStatus.FORBIDDEN}) == {}

    async def test_the_scope_asked_for_opens_its_routes(self, site: Site) -> None:
        statuses = await _statuses(site, {route: site.keys.only[_scope(route)] for route in GUARDED})

        assert _opened(statuses) == {route.name for route in GUARDED}

    async def test_a_scope_opens_no_other_routes(self, site: Site, effort: Effort) -> None:
        for scope, key in site.keys.only.items():
            others = [route for route in GUARDED if _scope(route) != scope]
            statuses = await _statuses(site, dict.fromkeys(others if effort.is_thorough else others[::20], key))

            assert _opened(statuses) == set(), scope

    @pytest.mark.parametrize("role", SCOPES)
    async def test_a_role_opens_what_its_scopes_allow_and_nothing_else(self, site: Site, role: str) -> None:
        statuses = await _statuses(site, dict.fromkeys(GUARDED, site.keys.roles[role]))

        assert _opened(statuses) == {route.name for route in GUARDED if _covers(SCOPES[role], route)}

    async def test_a_key_works_in_the_header_of_its_own_too(self, site: Site) -> None:
        for header in ({"X-Api-Key": site.keys.ops}, {"Authorization": f"bearer {site.keys.ops}"}):
            async with site.services["orders"].client() as client:
                assert (await client.get("/v1/orders", headers=header)).status_code == 200

    @pytest.mark.parametrize(
        "header",
        [
            {"Authorization": "Basic b3BzOm9wcw=="},
            {"Authorization": "Bearer"},
            {"Authorization": "{key}"},
            {"X-Api-Key": ""},
            {"X-Api-Key": "{key}x"},
            {"X-Api-Key": "{key} {key}"},
            {"Cookie": "X-Api-Key={key}"},
        ],
        ids=str,
    )
    async def test_a_key_in_another_form_is_none(self, site: Site, header: dict[str, str]) -> None:
        sent = {name: value.replace("{key}", site.keys.ops) for name, value in header.items()}
        async with site.services["orders"].client() as client:
            by_header = await client.get("/v1/orders", headers=sent)
            by_query = await client.get("/v1/orders", params={"api_key": site.keys.ops, "key": site.keys.ops})

        assert (by_header.status_code, by_query.status_code) == (401, 401)
        assert by_header.headers["WWW-Authenticate"] == "Bearer"


class TestOtherMethods:
    async def test_are_refused_on_every_path(self, site: Site) -> None:
        methods = ("GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "OPTIONS", "PROPFIND")
        paths = {(route.service, route.path) for route in every_route()}
        others = [
            Route(service, method, path, None)
            for service, path in sorted(paths)
            for method in methods
            if not _serves(service, method, path)
        ]

        statuses = await _statuses(site, dict.fromkeys(others, site.keys.ops))

        assert _unless(statuses, {HTTPStatus.METHOD_NOT_ALLOWED}) == {}


class TestDocumentation:
    @pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
    async def test_of_the_api_is_not_shown_outside_a_local_stack(self, site: Site, path: str) -> None:
        for service in site.services.values():
            async with service.client(site.keys.ops) as client:
                assert (await client.get(path)).status_code == 404


class TestForeignIds:
    async def test_the_same_idempotency_key_of_another_caller_is_another_key(self, site: Site) -> None:
        """Nobody is given an answer that was made for somebody else by guessing the key it was made under."""
        body = {"sku": "BOLA-1", "title": "Mine", "price_minor": 100, "currency": "GBP"}
        async with site.services["catalog"].client() as client:
            answers = [
                await client.post(
                    "/v1/products", json=body, headers={"Authorization": f"Bearer {key}", "Idempotency-Key": "guessed"}
                )
                for key in (site.keys.ops, site.keys.only["catalog:write"], site.keys.ops)
            ]

        assert [answer.status_code for answer in answers] == [201, 409, 201]
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, None, "true"]

    async def test_an_unknown_id_is_not_found_and_says_no_more_than_that(self, site: Site) -> None:
        by_id = [route for route in GUARDED if route.method == "GET" and route.path.endswith("_id}")]

        statuses = await _statuses(site, dict.fromkeys(by_id, site.keys.ops))

        assert by_id
        assert _unless(statuses, {HTTPStatus.NOT_FOUND}) == {}


def _serves(service: str, method: str, path: str) -> bool:
    """Tell whether some route answers; `/v1/products/import` is also the address of a product called import."""
    return any(
        (route.service, route.method) == (service, method) and compile_path(route.path)[0].match(path)
        for route in every_route()
    )


def _scope(route: Route) -> str:
    """Return the scope that a route asks for: none asks for several."""
    [scope] = route.scopes or frozenset()
    return scope


def _one_of_each_service() -> list[Route]:
    return list({route.service: route for route in GUARDED}.values())


def _covers(scopes: Iterable[str], route: Route) -> bool:
    return "*" in scopes or (route.scopes or frozenset()) <= set(scopes)


async def _statuses(site: Site, keys: Mapping[Route, str | None], body: Body | None = None) -> dict[Route, int]:
    """Call each route with its key, an id that is nobody's and `body`; return how each was answered."""
    places = asyncio.Semaphore(IN_FLIGHT_MAX)
    clients = {name: service.client() for name, service in site.services.items()}

    async def call(route: Route, key: str | None) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        if body is not None:
            headers["Content-Type"] = body.media_type
        request = clients[route.service].build_request(
            route.method, address_of(route), headers=headers, content=body.content if body is not None else None
        )
        async with places:
            # Streams do not end by themselves: the head is enough.
            answer = await clients[route.service].send(request, stream=True)
            await answer.aclose()
        return answer.status_code

    try:
        async with asyncio.TaskGroup() as group:
            tasks = {route: group.create_task(call(route, key)) for route, key in keys.items()}
    finally:
        for client in clients.values():
            await client.aclose()
    return {route: task.result() for route, task in tasks.items()}


def _opened(statuses: Mapping[Route, int]) -> set[str]:
    broken = {route.name: status for route, status in statuses.items() if status >= 500}
    assert broken == {}
    return {route.name for route, status in statuses.items() if status not in DENIED}


def _unless(statuses: Mapping[Route, int], expected: set[HTTPStatus]) -> dict[str, int]:
    return {route.name: status for route, status in statuses.items() if status not in expected}
