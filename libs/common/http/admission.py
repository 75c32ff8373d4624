"""Who is let in, decided before anything is read of what they send."""

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import compile_path
from starlette.types import Scope

from libs.common.http.auth import Requirement

Requirements = tuple[Requirement, ...]

_NONE: Final[Requirements] = ()


class Admission:
    """What each route of an application asks of its callers, known without resolving the route's parameters."""

    def __init__(self, app: FastAPI) -> None:
        """Read the declarations of all routes that `app` has by now."""
        self._by_route: dict[int, Requirements] = {}
        self._by_path: list[tuple[re.Pattern[str], frozenset[str], Requirements]] = []
        for context in iter_route_contexts(app.routes):
            if isinstance(context.original_route, APIRoute) and context.path is not None:
                asked = tuple(_requirements(context.dependant))
                self._by_route[id(context.original_route)] = asked
                self._by_path.append((compile_path(context.path)[0], frozenset(context.methods or ()), asked))

    def check(self, scope: Scope) -> None:
        """
        Hold the caller against what the route of `scope` asks for, whether or not that route was found yet.

        :raises Unauthenticated: if no valid key was sent.
        :raises RateLimited: if the caller sent more than its share.
        :raises ScopeMissing: if the key lacks one of the scopes.
        """
        asked = self._by_route.get(id(scope.get("route")))
        for requirement in self._asked_by_path(scope) if asked is None else asked:
            requirement.admit(scope)

    def _asked_by_path(self, scope: Scope) -> Requirements:
        for path, methods, asked in self._by_path:
            if scope["method"] in methods and path.match(scope["path"]):
                return asked
        return _NONE


def _requirements(dependant: Any) -> Iterator[Requirement]:
    for dependency in dependant.dependencies:
        if isinstance(dependency.call, Requirement):
            yield dependency.call
        yield from _requirements(dependency)
