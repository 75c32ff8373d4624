"""
Refuses query parameters that a route does not have.

Left out of account, `?from=2026-01-01` would be answered with another period than was asked for, and nobody would know.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import FastAPI
from fastapi._compat import field_annotation_is_sequence
from fastapi.dependencies.utils import _get_param_aliases, get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.errors import DomainError
from libs.common.http.auth import declared_scopes
from libs.common.http.problems import ProblemError, domain_problem, problem_response

# What other APIs call what is meant; the nearest spelling would lead astray.
_MEANT: Final[Mapping[str, tuple[str, ...]]] = {
    "after": ("cursor", "since"),
    "before": ("until",),
    "end": ("until",),
    "from": ("since",),
    "next": ("cursor",),
    "offset": ("cursor",),
    "page": ("cursor",),
    "page_size": ("limit",),
    "per_page": ("limit",),
    "query": ("q",),
    "search": ("q",),
    "size": ("limit",),
    "start": ("since",),
    "state": ("status",),
    "to": ("until",),
}
_ERRORS_MAX: Final = 10
_NAME_LENGTH_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class _Known:
    """The parameters of a route: all of them, and those that may be sent several times."""

    route: APIRoute
    names: frozenset[str]
    lists: frozenset[str]
    # The same as they are sent, unless somebody escapes letters that need no escape.
    raw_names: frozenset[bytes]
    raw_lists: frozenset[bytes]

    def errors(self, query: bytes) -> list[ProblemError]:
        """Return what is wrong with a query: names that are not known, and the same name twice."""
        parts = query.split(b"&")
        sent = {part.partition(b"=")[0] for part in parts}
        if sent <= self.raw_names and (len(sent) == len(parts) or sent <= self.raw_lists):
            return []
        return list(self._errors([name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]))

    def _errors(self, sent: Sequence[str]) -> Iterator[ProblemError]:
        counts = Counter(sent)
        wrong = [name for name in counts if name not in self.names or (counts[name] > 1 and name not in self.lists)]
        for name in wrong[:_ERRORS_MAX]:
            reason = "It may be given once" if name in self.names else self._unknown(name)
            yield ProblemError(field=name[:_NAME_LENGTH_MAX] or "query", reason=f"{reason} (query)")

    def _unknown(self, name: str) -> str:
        if not self.names:
            return "There is no such parameter; this route has none"
        likely = [one for one in _MEANT.get(name.lower(), ()) if one in self.names] or get_close_matches(
            name[:_NAME_LENGTH_MAX], sorted(self.names), n=1, cutoff=0.7
        )
        if likely:
            return f"There is no such parameter; did you mean {likely[0]}?"
        return f"There is no such parameter; there are {', '.join(sorted(self.names))}"


class QueryGuard:
    """Refuses what a route would not read of a query, after the caller was let in."""

    def __init__(self, app: ASGIApp, *, routes: FastAPI, check_caller: Callable[[Scope], None]) -> None:
        """
        Guard those of `routes` that need a key: what is open is called by others, who add to an address what they like.

        `check_caller` raises a `DomainError` if a route is not open to the caller.
        """
        self._app = app
        self._check_caller = check_caller
        self._by_path: dict[tuple[str, str], _Known] = {}
        self._by_pattern: list[tuple[re.Pattern[str], frozenset[str], _Known | None]] = []
        for context in iter_route_contexts(routes.routes):
            if context.path is None:
                continue
            known = _known(context) if isinstance(context.original_route, APIRoute) else None
            methods = frozenset(context.methods or ())
            if known is not None and "{" not in context.path:
                for method in methods:
                    self._by_path.setdefault((method, context.path), known)
            self._by_pattern.append((compile_path(context.path)[0], methods, known))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and scope["query_string"]:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        known = self._by_path.get((scope["method"], scope["path"])) or self._matching(scope)
        errors = known.errors(scope["query_string"]) if known is not None else []
        if known is None or not errors:
            return None
        scope["route"] = known.route
        try:
            self._check_caller(scope)
        except DomainError as error:
            return domain_problem(error, instance=scope["path"])
        return problem_response(
            status=HTTPStatus.UNPROCESSABLE_ENTITY, code="invalid-request", instance=scope["path"], errors=errors
        )

    def _matching(self, scope: Scope) -> _Known | None:
        for pattern, methods, known in self._by_pattern:
            if scope["method"] in methods and pattern.match(scope["path"]):
                return known
        return None


def _known(context: RouteContext) -> _Known | None:
    """Return the parameters of a route, None if it needs no key."""
    dependant = context.dependant
    if not any(scopes is not None for scopes in declared_scopes(dependant)):
        return None
    is_list = {
        alias: field_annotation_is_sequence(field.field_info.annotation)
        for field in get_flat_params(dependant)
        if getattr(field.field_info, "in_", None) is ParamTypes.query
        for _, alias in _get_param_aliases(field)
    }
    route: Any = context.original_route
    # What a route reads by itself it declares for the documentation.
    for parameter in (route.openapi_extra or {}).get("parameters", ()):
        if parameter["in"] == "query":
            is_list[parameter["name"]] = parameter["schema"].get("type") == "array"
    names = frozenset(is_list)
    lists = frozenset(name for name in names if is_list[name])
    return _Known(
        route=route,
        names=names,
        lists=lists,
        raw_names=frozenset(name.encode() for name in names),
        raw_lists=frozenset(name.encode() for name in lists),
    )
