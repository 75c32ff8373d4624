"""
Finds a route by looking it up, and calls it directly where it answers by itself.

FastAPI tries the routes of one router after the other, twice, and resolves the parameters of a route and of its
dependencies for every request. With the routes of a whole service that is most of what a short request costs.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.http.auth import Public, Requirement
from libs.common.http.resolution import Resolve, has_plain_json, resolver_of

Endpoint = Callable[..., Awaitable[Response]]
Check = Callable[[Request], Awaitable[object]]

_PARAMETERS: Final = ("path_params", "query_params", "header_params", "cookie_params", "body_params")


class _Entry(NamedTuple):
    app: ASGIApp
    route: APIRoute
    endpoint: Callable[..., Any]


class _Pattern(NamedTuple):
    path: re.Pattern[str]
    methods: frozenset[str] | None


class RouteTable:
    """
    The routes of an application whose paths have no parameters, by method and path; the others are FastAPI's to find.

    A route that answers with a `Response` is called without FastAPI's resolution: at once if its function takes nothing
    or the request alone, and depends on nothing but `requires(…)` or `public()`, else with what `resolution` resolves.
    Any other is called as FastAPI calls it.
    """

    def __init__(self, app: FastAPI, fallback: ASGIApp) -> None:
        """`fallback` serves what is not in the table; the table is made at the first request."""
        self._app = app
        self._fallback = fallback
        self._entries: dict[tuple[str, str], _Entry] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        entry = None
        if scope["type"] == "http" and not scope.get("root_path") and not self._app.dependency_overrides:
            if self._entries is None:
                self._entries = dict(_entries(self._app))
            entry = self._entries.get((scope["method"], scope["path"]))
        if entry is None:
            await self._fallback(scope, receive, send)
            return
        scope["route"] = entry.route
        scope["endpoint"] = entry.endpoint
        scope["path_params"] = {}
        await entry.app(scope, receive, send)


def install_route_table(app: FastAPI) -> None:
    """Put a table before the routes of `app`."""
    app.router.middleware_stack = RouteTable(app, app.router.middleware_stack)


def _entries(app: FastAPI) -> Iterator[tuple[tuple[str, str], _Entry]]:
    # The first that matches serves, as in FastAPI: what an earlier route would catch is left to it.
    earlier: list[_Pattern] = []
    for context in iter_route_contexts(app.routes):
        path = context.path
        if path is None or not isinstance(context.original_route, Route):
            # A mounted application may serve anything from here on.
            return
        methods = frozenset(context.methods) if context.methods else None
        entry = _entry(context) if "{" not in path else None
        for method in methods or ():
            is_caught = any(one.path.match(path) for one in earlier if one.methods is None or method in one.methods)
            if entry is not None and not is_caught:
                yield (method, path), entry
        earlier.append(_Pattern(compile_path(path)[0], methods))


def _entry(context: RouteContext) -> _Entry | None:
    route, endpoint = context.original_route, context.endpoint
    app: ASGIApp | None = context.app if isinstance(route, APIRoute) else None
    if not isinstance(route, APIRoute) or endpoint is None or app is None:
        return None
    if not _answers_by_itself(context):
        return _Entry(app, route, endpoint)
    checks = _checks_of(context)
    if checks is not None:
        return _Entry(_direct(endpoint, checks, context.dependant.request_param_name), route, endpoint)
    resolve = resolver_of(context)
    if resolve is not None:
        return _Entry(_resolved(endpoint, resolve, app, reads_body=context.body_field is not None), route, endpoint)
    return _Entry(app, route, endpoint)


def _answers_by_itself(context: RouteContext) -> bool:
    answer = inspect.signature(context.dependant.call).return_annotation
    return inspect.isclass(answer) and issubclass(answer, Response) and inspect.iscoroutinefunction(context.endpoint)


def _checks_of(context: RouteContext) -> list[Check] | None:
    """Return what has to pass before the function of a route is called, None if there is more to resolve."""
    dependant = context.dependant
    if not _takes_request_alone(dependant):
        return None
    checks: list[Check] = []
    for dependency in dependant.dependencies:
        if dependency.name is not None or not isinstance(dependency.call, Requirement | Public):
            return None
        # As in FastAPI, what a router and its route both ask for is asked once.
        if isinstance(dependency.call, Requirement) and dependency.call not in checks:
            checks.append(dependency.call)
    return checks


def _takes_request_alone(dependant: Any) -> bool:
    others = (
        dependant.http_connection_param_name,
        dependant.websocket_param_name,
        dependant.response_param_name,
        dependant.background_tasks_param_name,
        dependant.security_scopes_param_name,
    )
    return not any(getattr(dependant, name) for name in _PARAMETERS) and not any(others)


def _direct(endpoint: Endpoint, checks: list[Check], request_name: str | None) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        for check in checks:
            await check(request)
        response = await (endpoint(**{request_name: request}) if request_name else endpoint())
        await response(scope, receive, send)

    return serve


def _resolved(endpoint: Endpoint, resolve: Resolve, app: ASGIApp, *, reads_body: bool) -> ASGIApp:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        if reads_body and not has_plain_json(request):
            await app(scope, receive, send)
            return
        response = await endpoint(**await resolve(request))
        await response(scope, receive, send)

    return serve
