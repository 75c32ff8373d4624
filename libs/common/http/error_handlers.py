"""Turns every exception that leaves a route into a problem, and nothing else leaves the process."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final, cast

import asyncpg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from libs.common.db import count_transient, is_transient
from libs.common.errors import DomainError
from libs.common.http.problems import (
    PROBLEM_ERRORS_MAX,
    STATUS_BY_ERROR,
    ProblemError,
    description_of,
    domain_problem,
    problem_response,
    registered_problems,
)
from libs.common.telemetry.logs import get_logger

_log = get_logger(__name__)

_CODES: Final = {
    400: "bad-request",
    404: "route-not-found",
    405: "method-not-allowed",
    413: "payload-too-large",
}
_DATABASE_RETRY_AFTER_SECONDS: Final = 2
_REASON_LENGTH_MAX: Final = 200


class RejectedBody(HTTPException):
    """
    A body refused while it was being received.

    It carries a domain error through FastAPI, which lets only this type of exception out of its own reading of the
    body and would report any other as "There was an error parsing the body".
    """

    def __init__(self, error: DomainError) -> None:
        """Carry `error`, which becomes the answer."""
        super().__init__(HTTPStatus.BAD_REQUEST, detail=error.detail)
        self.error = error


def install_problem_handlers(
    app: FastAPI, status_by_error: Mapping[type[DomainError], int], *, service: str = ""
) -> None:
    """
    Answer every error of `app` with a problem, and describe them under `/problems`.

    `status_by_error` is the service's own table; it adds to and overrides the statuses of the general kinds.
    """
    statuses = {**STATUS_BY_ERROR, **status_by_error}

    async def on_domain_error(request: Request, error: Exception) -> Response:
        refusal = cast("DomainError", error)
        return domain_problem(refusal, status_by_error=statuses, instance=request.url.path)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        if isinstance(error, RejectedBody):
            return domain_problem(error.error, status_by_error=statuses, instance=request.url.path)
        return _http_problem(request, cast("HTTPException", error))

    app.add_exception_handler(DomainError, on_domain_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(ClientDisconnect, _on_client_disconnect)
    for database_error in (
        SQLAlchemyError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
        TimeoutError,
    ):
        app.add_exception_handler(database_error, _on_database_error)
    _add_problem_routes(app, statuses, service)


def internal_problem(request: Request, error: Exception) -> Response:
    """Log an error nobody anticipated, with its traceback, and say nothing of it to the caller."""
    _log.error("http.unhandled_error", path=request.url.path, method=request.method, exc_info=error)
    return problem_response(
        status=HTTPStatus.INTERNAL_SERVER_ERROR,
        code="internal-error",
        detail="The request failed for a reason that was logged under this trace id.",
        instance=request.url.path,
    )


def _http_problem(request: Request, error: HTTPException) -> Response:
    if isinstance(error.__cause__, ClientDisconnect):
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(sorted(_methods_of(request)))}
    code = _CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "-"))
    return problem_response(
        status=error.status_code,
        code=code,
        # Whoever raised it without words left the status's own, which say nothing more.
        detail=description_of(code) if error.detail == HTTPStatus(error.status_code).phrase else error.detail,
        instance=request.url.path,
        headers=headers,
    )


def _methods_of(request: Request) -> set[str]:
    """Return all methods of an address: the framework names those of the first route that it finds."""
    path = request.scope["path"]
    return {
        method
        for context in iter_route_contexts(request.app.routes)
        if context.path is not None and _pattern(context.path).match(path)
        for method in context.methods or ()
    }


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return compile_path(path)[0]


async def _on_client_disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody reads this answer; it exists so that a client that left is not logged as our failure.
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    problems: Sequence[Any] = cast("RequestValidationError", error).errors()
    if problems and problems[0]["type"] == "json_invalid":
        return _malformed_json(request, cast("RequestValidationError", error), problems[0])
    more = len(problems) - PROBLEM_ERRORS_MAX
    return problem_response(
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        code="invalid-request",
        detail=f"The request has {len(problems)} errors; the last {more} are left out." if more > 0 else None,
        instance=request.url.path,
        errors=[_explain(problem) for problem in problems[:PROBLEM_ERRORS_MAX]],
    )


def _malformed_json(request: Request, error: RequestValidationError, problem: Mapping[str, Any]) -> Response:
    cause = error.__cause__
    reason = problem["ctx"]["error"]
    position = (
        f"line {cause.lineno}, column {cause.colno} (character {cause.pos})"
        if isinstance(cause, json.JSONDecodeError)
        else f"character {problem['loc'][-1]}"
    )
    return problem_response(
        status=HTTPStatus.BAD_REQUEST,
        code="malformed-json",
        detail=f"The body is not JSON: {reason} at {position}.",
        instance=request.url.path,
    )


def _explain(problem: Mapping[str, Any]) -> ProblemError:
    """Name the field and the reason, never the value, which may be secret or personal."""
    place, *path = problem["loc"]
    reason = str(problem["msg"])
    if problem["type"] == "union_tag_invalid":
        # The one message of pydantic's that repeats what was sent.
        reason = f"Input should be one of {problem['ctx']['expected_tags']}"
    reason = reason[:_REASON_LENGTH_MAX]
    field = ".".join(str(part) for part in path) or str(place)
    if place != "body":
        return ProblemError(field=field, reason=f"{reason} ({place})")
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    return ProblemError(pointer=pointer, field=field, reason=reason)


async def _on_database_error(request: Request, error: Exception) -> Response:
    if is_transient(error):
        count_transient(error, place="http")
        _log.warning("http.database_unavailable", path=request.url.path, error=type(error).__name__)
        return problem_response(
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            code="unavailable",
            detail="A system this service depends on does not answer now; send it again under the same key.",
            instance=request.url.path,
            retry_after_seconds=_DATABASE_RETRY_AFTER_SECONDS,
        )
    if _is_bad_value(error):
        # The schema let through what the database cannot hold: the caller's mistake to correct, ours to catch earlier.
        _log.error("http.value_refused_by_database", path=request.url.path, exc_info=error)
        return problem_response(
            status=HTTPStatus.UNPROCESSABLE_ENTITY,
            code="invalid-value",
            detail="A value is outside the range that can be stored.",
            instance=request.url.path,
        )
    return internal_problem(request, error)


def _is_bad_value(error: BaseException | None) -> bool:
    if isinstance(error, DBAPIError):
        return error.orig is not None and _is_bad_value(error.orig.__cause__)
    return isinstance(error, asyncpg.DataError)


def _add_problem_routes(app: FastAPI, statuses: Mapping[type[DomainError], int], service: str) -> None:
    async def list_problems(_request: Request) -> Response:
        return JSONResponse({"problems": registered_problems(service, statuses)})

    async def show_problem(request: Request) -> Response:
        code = request.path_params["code"]
        for problem in registered_problems(service, statuses):
            if problem["code"] == code:
                return JSONResponse(problem)
        return problem_response(status=HTTPStatus.NOT_FOUND, code="not-found", detail="There is no such problem.")

    app.add_route("/problems", list_problems, include_in_schema=False)
    app.add_route("/problems/{code}", show_problem, include_in_schema=False)
