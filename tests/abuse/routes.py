"""Every route of every service, as its composition root mounts it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import SecretStr

from libs.common.http.auth import declared_scopes
from libs.common.http.keys import issue_key
from libs.common.runtime import HttpServer, Service
from services.catalog.bootstrap import SERVICE as CATALOG
from services.inventory.bootstrap import SERVICE as INVENTORY
from services.logistics.bootstrap import SERVICE as LOGISTICS
from services.orders.bootstrap import SERVICE as ORDERS
from services.recommender.bootstrap import SERVICE as RECOMMENDER

# The id of nothing and nobody; a foreign id is answered like it.
STRANGER: Final = "01890000-0000-7000-8000-000000000000"

SERVICES: tuple[Service[Any], ...] = (CATALOG, INVENTORY, ORDERS, RECOMMENDER, LOGISTICS)


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """One method of one path, and the scopes that it says it needs; None if it says that it needs no key."""

    service: str
    method: str
    path: str
    scopes: frozenset[str] | None

    @property
    def name(self) -> str:
        return f"{self.method} {self.service}{self.path}"


@cache
def applications() -> dict[str, FastAPI]:
    """Build every service's application from its composition root; nothing connects."""
    with TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        issue_key(keys, name="nobody", scopes=())
        return {service.name: _application(service, keys) for service in SERVICES}


@cache
def every_route() -> tuple[Route, ...]:
    """Return what can be called, whether or not the OpenAPI document lists it."""
    return tuple(route for name, app in applications().items() for route in _routes(name, app))


def every_scope() -> frozenset[str]:
    """Return the scopes that some route asks for."""
    return frozenset(scope for route in every_route() for scope in route.scopes or ())


def address_of(route: Route) -> str:
    """Return an address of the route at which there is nothing: its ids are nobody's."""
    parts = [STRANGER if part.endswith("_id}") else part for part in route.path.split("/")]
    return "/".join("nothing" if part.startswith("{") else part for part in parts)


def _application(service: Service[Any], keys: Path) -> FastAPI:
    settings = service.settings(
        database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"), api_keys_file=keys, environment="abuse"
    )
    process = service.build(settings, frozenset({"api"}))
    [app] = [one.app for one in process.components if isinstance(one, HttpServer)]
    assert isinstance(app, FastAPI)
    return app


def _routes(service: str, app: FastAPI) -> Iterator[Route]:
    for context in iter_route_contexts(app.routes):
        assert context.path is not None
        declared = list(declared_scopes(context.dependant)) if isinstance(context.original_route, APIRoute) else [None]
        demanded = [scopes for scopes in declared if scopes is not None]
        scopes = frozenset(scope for some in demanded for scope in some) if demanded else None
        for method in sorted((context.methods or set()) - {"HEAD"}):
            yield Route(service, method, context.path, scopes)
