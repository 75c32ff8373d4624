"""Adds routes to a service that is not changed otherwise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from fastapi import APIRouter, FastAPI

from libs.common.runtime import HttpServer, Process, Service
from libs.common.settings import ServiceSettings

Settings = TypeVar("Settings", bound=ServiceSettings)

PATH: Final = "/v1/bench/constant"
BODY: Final = b'{"status":"ok"}'


class NoApplication(Exception):
    """The service serves no HTTP application that a route could be added to."""


def with_routes(service: Service[Settings], router: APIRouter) -> Service[Settings]:
    """Return the service with further routes in its API."""
    build: Callable[[Settings, frozenset[str]], Process] = service.build

    def build_with_routes(settings: Settings, roles: frozenset[str]) -> Process:
        process = build(settings, roles)
        servers = [one for one in process.components if isinstance(one, HttpServer)]
        applications = [server.app for server in servers if isinstance(server.app, FastAPI)]
        if not applications:
            raise NoApplication(service.name)
        for app in applications:
            app.include_router(router)
        return process

    return replace(service, build=build_with_routes)
