"""Builds the HTTP application of a service, and the small one of processes that have no API."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, compile_path
from starlette.types import Scope

from libs.common.errors import DomainError
from libs.common.failpoints import failpoints
from libs.common.http.admission import Admission
from libs.common.http.auth import Authenticator, declared_scopes
from libs.common.http.error_handlers import install_problem_handlers
from libs.common.http.health import Health
from libs.common.http.keys import KeyStore
from libs.common.http.known_queries import QueryGuard
from libs.common.http.limits import RateLimiter
from libs.common.http.middleware import BodyAllowance, BodyGuard, LoadShedding, MeetsFailpoints, RequestContext
from libs.common.http.problems import PROBLEM_MEDIA_TYPE, Problem, ProblemError, problem_response
from libs.common.http.routing import install_route_table
from libs.common.http.server import PortUnavailable, serve
from libs.common.http.slashes import EncodedSlashes
from libs.common.settings import ServiceSettings
from libs.common.telemetry.metrics import UNMATCHED_ROUTE, metrics_response

__all__ = ["Health", "PortUnavailable", "create_app", "create_ops_app", "serve"]

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]

# Of a status that a route declares with a description alone.
_JSON_CONTENT: Final = frozenset({"application/json"})
_PROBLEM_CONTENT: Final = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
# What a route may answer beyond what it declares itself, by what it takes. A 500 is nowhere: it is a fault.
_STATUSES_OF_ALL: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE}
)
_STATUSES_BEHIND_A_KEY: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
_STATUSES_WITH_A_BODY: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
)
_DESCRIPTIONS: Final = {
    HTTPStatus.BAD_REQUEST: "The request cannot be read.",
    HTTPStatus.UNAUTHORIZED: "No valid key was sent.",
    HTTPStatus.FORBIDDEN: "The key lacks a scope.",
    HTTPStatus.NOT_FOUND: "There is nothing under this address.",
    HTTPStatus.REQUEST_TIMEOUT: "The body did not arrive in time.",
    HTTPStatus.CONFLICT: "What is there now does not allow it.",
    HTTPStatus.PRECONDITION_FAILED: "It was changed since it was read.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than this route accepts.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not of a type that this route reads.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is not valid.",
    HTTPStatus.TOO_MANY_REQUESTS: "The key has sent more than its share.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too much is being served, or something this needs does not answer.",
}
_SECURITY_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer <key>"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


class UndeclaredRoutes(Exception):
    """Routes say neither `requires(…)` nor `public()`; nobody decided who may call them."""


def create_app(
    *,
    service: str,
    title: str,
    description: str,
    settings: ServiceSettings,
    routers: Sequence[APIRouter],
    status_by_error: Mapping[type[DomainError], int],
    health: Health,
    lifespan: Lifespan | None = None,
    authenticator: Authenticator | None = None,
) -> FastAPI:
    """
    Build the application of a service.

    Keys come from `settings.api_keys_file` unless an `authenticator` is passed. A route accepts a larger body than
    `settings.request_body_bytes_max` by its own `max_body_size=`, the parameter of FastAPI's route decorators.

    :raises UndeclaredRoutes: if a route carries neither `requires(…)` nor `public()`.
    :raises KeyFileUnreadable: if the keys cannot be read.
    """
    shows_docs = settings.shows_api_docs
    app = FastAPI(
        title=title,
        description=description,
        version=settings.version,
        lifespan=lifespan,
        docs_url="/docs" if shows_docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if shows_docs else None,
        # Spans, metrics and logs are ours; those of the framework would double them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        generate_unique_id_function=_operation_id,
    )
    for router in routers:
        app.include_router(router)
    _check_declarations(app)
    app.state.health = health
    app.state.authenticator = authenticator or KeyStore(settings.api_keys_file)
    app.state.rate_limiter = RateLimiter(
        {"read": settings.rate_limit_reads_per_second, "write": settings.rate_limit_writes_per_second}
    )
    templates = _RouteTemplates(app)
    install_problem_handlers(app, status_by_error, service=service)
    app.router.routes.extend(_operational_routes(health))
    templates.add(app)
    install_route_table(app)
    app.user_middleware[:] = _middleware(app, service, settings, templates)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def create_ops_app(service: str, health: Health) -> Starlette:
    """Build the application of a process without an API: health and metrics."""
    app = Starlette(routes=_operational_routes(health))
    app.state.health = health
    app.user_middleware[:] = [Middleware(RequestContext, service=service, template_of=_path_of_endpoint)]
    return app


def _middleware(
    app: FastAPI, service: str, settings: ServiceSettings, templates: "_RouteTemplates"
) -> list[Middleware]:
    check_caller = Admission(app).check
    # The first is the outermost: what sheds load is measured, what reads a body has been let in.
    return [
        Middleware(EncodedSlashes),
        Middleware(RequestContext, service=service, template_of=templates.template_of),
        Middleware(LoadShedding, service=service, in_flight_max=settings.requests_in_flight_max),
        Middleware(
            BodyGuard,
            check_caller=check_caller,
            bytes_max=settings.request_body_bytes_max,
            receive_timeout_seconds=settings.request_receive_timeout_seconds,
            allowances=_allowances(app),
        ),
        Middleware(QueryGuard, routes=app, check_caller=check_caller),
        *([Middleware(MeetsFailpoints, service=service)] if failpoints.armed else []),
    ]


class _RouteTemplates:
    """Names the route of a served request by its template, so that metrics have no ids in their labels."""

    def __init__(self, app: FastAPI) -> None:
        self._paths: dict[int, str] = {}
        self.add(app)

    def add(self, app: FastAPI) -> None:
        for context in iter_route_contexts(app.routes):
            if context.path is not None:
                self._paths[id(context.original_route)] = context.path
                self._paths[id(context.endpoint)] = context.path

    def template_of(self, scope: Scope) -> str:
        # FastAPI's own entry lacks the prefixes of the routers it was included by.
        path = self._paths.get(id(scope.get("route"))) or self._paths.get(id(scope.get("endpoint")))
        return path or UNMATCHED_ROUTE


def _path_of_endpoint(scope: Scope) -> str:
    # The operational routes have no parameters, so that the path of a served one is its template.
    return scope["path"] if "endpoint" in scope else UNMATCHED_ROUTE


def _operation_id(route: APIRoute) -> str:
    return route.name


def _check_declarations(app: FastAPI) -> None:
    own_routes = {"/docs", "/docs/oauth2-redirect", "/openapi.json"}
    undeclared = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            if not list(declared_scopes(context.dependant)):
                undeclared.append(f"{'/'.join(sorted(context.methods or ()))} {context.path}")
        elif context.path not in own_routes:
            undeclared.append(f"{context.path} (not an API route)")
    if undeclared:
        raise UndeclaredRoutes(f"neither requires(…) nor public(): {', '.join(undeclared)}")


def _allowances(app: FastAPI) -> list[BodyAllowance]:
    found = []
    for context in iter_route_contexts(app.routes):
        bytes_max = getattr(context.original_route, "max_body_size", None)
        if bytes_max is not None and context.path is not None:
            pattern: re.Pattern[str] = compile_path(context.path)[0]
            found.append(BodyAllowance(pattern, frozenset(context.methods or ()), bytes_max))
    return found


def _operational_routes(health: Health) -> list[Route]:
    async def is_alive(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def is_ready(request: Request) -> Response:
        failures = await health.failures()
        if health.stopping:
            failures = {"process": "stopping"}
        if failures:
            return problem_response(
                status=HTTPStatus.SERVICE_UNAVAILABLE,
                code="not-ready",
                instance=request.url.path,
                errors=[ProblemError(field=name, reason=reason) for name, reason in failures.items()],
                retry_after_seconds=1,
            )
        return JSONResponse({"status": "ready", "checks": dict.fromkeys(health.names, "ok")})

    async def show_metrics(_request: Request) -> Response:
        return metrics_response()

    return [
        Route("/healthz", is_alive),
        Route("/readyz", is_ready),
        Route("/metrics", show_metrics),
    ]


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API, with who may call what and the one form that every error has."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    schema = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version=app.openapi_version,
        description=app.description,
        routes=app.routes,
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for replaced in ("HTTPValidationError", "ValidationError"):
        schemas.pop(replaced, None)
    definition = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(definition.pop("$defs"))
    schemas["Problem"] = definition
    components["securitySchemes"] = _SECURITY_SCHEMES
    _close_objects(schema)
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute) and context.path in schema["paths"]:
            for method in context.methods or ():
                operation = schema["paths"][context.path].get(method.lower())
                if operation is not None:
                    _describe(operation, list(declared_scopes(context.dependant)), method=method)
    app.openapi_schema = schema
    return schema


def _close_objects(schema: Any) -> None:
    """Say what is true of objects whose keys have a pattern: other keys are refused, not taken as they are."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            _close_objects(part)
    elif isinstance(schema, list):
        for part in schema:
            _close_objects(part)


def _describe(operation: dict[str, Any], declarations: Sequence[tuple[str, ...] | None], *, method: str) -> None:
    responses = operation.setdefault("responses", {})
    for parameter in operation.get("parameters", ()):
        _leave_out_null(parameter["schema"])
    for status, response in responses.items():
        if int(status) >= HTTPStatus.BAD_REQUEST and "application/json" in response.get("content", _JSON_CONTENT):
            response["content"] = _PROBLEM_CONTENT
    if any(parameter["name"] == "format" for parameter in operation.get("parameters", ())):
        responses["200"]["content"].setdefault("text/csv", {"schema": {"type": "string"}})
    if any(declared is not None for declared in declarations):
        operation["security"] = [{"bearer": []}, {"apiKey": []}]
        operation["x-required-scopes"] = sorted(
            {scope for declared in declarations if declared is not None for scope in declared}
        )
    if method == "GET" and any(one["name"].lower() == "if-none-match" for one in operation.get("parameters", ())):
        responses.setdefault("304", {"description": "It is still as the caller has it."})
    responses.pop("422", None)
    for status in sorted(_statuses_of(operation, method)):
        responses.setdefault(str(int(status)), {"description": _DESCRIPTIONS[status], "content": _PROBLEM_CONTENT})


def _leave_out_null(schema: dict[str, Any]) -> None:
    """Say what is true of parameters: they are there or not, and never null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del schema["anyOf"]
        schema.update(kinds[0])


def _statuses_of(operation: Mapping[str, Any], method: str) -> set[HTTPStatus]:
    parameters = operation.get("parameters", ())
    statuses = {*_STATUSES_OF_ALL}
    if "security" in operation:
        statuses |= _STATUSES_BEHIND_A_KEY
    if "requestBody" in operation:
        statuses |= _STATUSES_WITH_A_BODY
    if any(parameter["in"] == "path" for parameter in parameters):
        statuses.add(HTTPStatus.NOT_FOUND)
    if method != "GET":
        statuses.add(HTTPStatus.CONFLICT)
        if any(parameter["name"].lower() in {"if-match", "if-none-match"} for parameter in parameters):
            statuses.add(HTTPStatus.PRECONDITION_FAILED)
    return statuses
