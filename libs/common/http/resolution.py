"""
Resolves the parameters of a route with FastAPI's own functions.

What never changes is asked once and not for every request: which dependencies are coroutines, which of them have
anything to be read from headers or the query, which have scopes.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi._compat import get_missing_field_error
from fastapi.dependencies.utils import (
    _get_param_aliases,
    request_body_to_args,
    request_params_to_args,
)
from fastapi.exceptions import RequestValidationError
from fastapi.params import Form
from fastapi.routing import RouteContext
from pydantic_core import PydanticUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request

Resolve = Callable[[Request], Awaitable[dict[str, Any]]]

_UNSUPPORTED: Final = (
    "path_params",
    "cookie_params",
    "http_connection_param_name",
    "websocket_param_name",
    "response_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
    "own_oauth_scopes",
    "parent_oauth_scopes",
    "concurrency",
)
_JSON: Final = b"application/json"
_UNREADABLE: Final = "There was an error parsing the body"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    call: Callable[..., Any]
    name: str | None
    dependencies: Sequence["_Node"]
    query: list[Any]
    headers: list[Any]
    # The same as name, alias and field where each is one text or none; else empty.
    texts: Sequence[tuple[bytes, str, Any]]
    body: list[Any]
    request_name: str | None


def resolver_of(context: RouteContext) -> Resolve | None:
    """
    Return what resolves the arguments of a route's function, None if some are of kinds that are not known here.

    It raises what FastAPI raises. The body, if there is one, is JSON: see `has_plain_json`.
    """
    root = _node(context.dependant)
    if root is None or (context.body_field is not None and isinstance(context.body_field.field_info, Form)):
        return None
    is_embedded: bool = context._embed_body_fields  # noqa: SLF001 - as FastAPI's handler gets it
    reads_body = context.body_field is not None

    async def resolve(request: Request) -> dict[str, Any]:
        body = await _json_of(request) if reads_body else PydanticUndefined
        errors: list[Any] = []
        values = await _values(root, request, body, {}, errors, is_embedded=is_embedded)
        if errors:
            raise RequestValidationError(errors, body=None if body is PydanticUndefined else body)
        return values

    return resolve


def has_plain_json(request: Request) -> bool:
    """Tell whether the body is of the one media type that is read here."""
    return any(name == b"content-type" and value == _JSON for name, value in request.scope["headers"])


def _node(dependant: Any) -> _Node | None:
    if dependant.call is None or any(getattr(dependant, name) for name in _UNSUPPORTED) or not dependant.use_cache:
        return None
    if not _is_coroutine(dependant.call):
        return None
    dependencies = [_node(dependency) for dependency in dependant.dependencies]
    known = [one for one in dependencies if one is not None]
    if len(known) < len(dependencies):
        return None
    return _Node(
        call=dependant.call,
        name=dependant.name,
        dependencies=known,
        query=dependant.query_params,
        headers=dependant.header_params,
        texts=[(_alias_of(one).lower().encode("latin-1"), _alias_of(one), one) for one in dependant.header_params]
        if all(_is_text(one) for one in dependant.header_params)
        else (),
        body=dependant.body_params,
        request_name=dependant.request_param_name,
    )


def _is_coroutine(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


async def _values(
    node: _Node,
    request: Request,
    body: Any,
    solved: dict[Callable[..., Any], Any],
    errors: list[Any],
    *,
    is_embedded: bool,
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for dependency in node.dependencies:
        errors_before = len(errors)
        arguments = await _values(dependency, request, body, solved, errors, is_embedded=is_embedded)
        if len(errors) > errors_before:
            continue
        call = dependency.call
        if call not in solved:
            solved[call] = await call(**arguments)
        if dependency.name is not None:
            values[dependency.name] = solved[call]
    if node.query:
        found, wrong = request_params_to_args(node.query, request.query_params)
        values.update(found)
        errors.extend(wrong)
    if node.texts:
        _take_texts(node.texts, request, values, errors)
    elif node.headers:
        found, wrong = request_params_to_args(node.headers, request.headers)
        values.update(found)
        errors.extend(wrong)
    if node.body:
        found, wrong = await request_body_to_args(node.body, body, is_embedded)
        values.update(found)
        errors.extend(wrong)
    if node.request_name is not None:
        values[node.request_name] = request
    return values


def _is_text(field: Any) -> bool:
    """Tell whether a header is one text that may be missing only if nothing takes its place."""
    info = field.field_info
    is_empty = info.is_required() or (info.default is None and not info.validate_default)
    return info.annotation in {str, str | None} and len(_get_param_aliases(field)) == 1 and is_empty


def _alias_of(field: Any) -> str:
    return str(_get_param_aliases(field)[0][1])


def _take_texts(
    texts: Sequence[tuple[bytes, str, Any]], request: Request, values: dict[str, Any], errors: list[Any]
) -> None:
    """Do what `request_params_to_args` does, without asking each time what kind of parameters these are."""
    headers = request.scope["headers"]
    for key, alias, field in texts:
        text = next((value for name, value in headers if name == key), None)
        if text is not None:
            value, wrong = field.validate(text.decode("latin-1"), values, loc=("header", alias))
            if wrong:
                errors.extend(wrong)
            else:
                values[field.name] = value
        elif field.field_info.is_required():
            errors.append(get_missing_field_error(loc=("header", alias)))
        else:
            values[field.name] = None


async def _json_of(request: Request) -> Any:
    try:
        body = await request.body()
        if not body:
            return PydanticUndefined
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Whatever is not read at once is read again by what says where it is wrong, or that it is not.
            return json.loads(body)
    except json.JSONDecodeError as error:
        problem = {
            "type": "json_invalid",
            "loc": ("body", error.pos),
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": error.msg},
        }
        raise RequestValidationError([problem], body=error.doc) from error
    except HTTPException:
        raise
    except Exception as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST, detail=_UNREADABLE) from error
