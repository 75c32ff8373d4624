"""RFC 9457 problem details: the one form in which every service says no over HTTP."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from libs.common.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from libs.common.telemetry.tracing import current_trace_id

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
# A payload with ten thousand wrong lines is explained well enough by the first twenty.
PROBLEM_ERRORS_MAX: Final = 20


class ProblemError(BaseModel):
    """One thing wrong with one part of the input."""

    model_config = ConfigDict(frozen=True)

    pointer: str | None = Field(default=None, description="JSON pointer into the request body.")
    row: int | None = Field(default=None, description="Row of a bulk upload, from 1.")
    field: str | None = Field(default=None, description="Name of the field, header or parameter.")
    reason: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """Problem details as of RFC 9457; `code` is stable and meant for programs, `detail` for people."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["/problems/order-not-found"])
    title: str = Field(examples=["Order not found"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str | None = None
    instance: str | None = None
    code: str = Field(examples=["order-not-found"])
    errors: list[ProblemError] = Field(default_factory=list, max_length=PROBLEM_ERRORS_MAX)
    trace_id: str | None = Field(default=None, description="Quote it when asking for help.")
    retryable: bool = Field(description="Whether the same request may succeed later, unchanged.")


class Unauthenticated(DomainError):
    """The request carries no key, or one that is not valid now."""

    code: ClassVar[str] = "unauthenticated"


class ScopeMissing(Forbidden):
    """The key is valid but was not issued for this."""

    code: ClassVar[str] = "scope-missing"


class RateLimited(DomainError):
    """The caller sends more than its share; wait as long as `Retry-After` says."""

    code: ClassVar[str] = "rate-limited"

    def __init__(self, detail: str, *, retry_after_seconds: int, headers: Mapping[str, str]) -> None:
        """`headers` are the RateLimit fields of the response."""
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds
        self.headers = dict(headers)


class PayloadTooLarge(DomainError):
    """The request's body is larger than this route accepts."""

    code: ClassVar[str] = "payload-too-large"
    # The rest of the body is not read, so the connection cannot serve another request.
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class RequestTimeout(DomainError):
    """The request's body did not arrive in time."""

    code: ClassVar[str] = "request-timeout"
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class UnsupportedMediaType(DomainError):
    """The body's content type is not one this route reads."""

    code: ClassVar[str] = "unsupported-media-type"


class MalformedJson(DomainError):
    """The body is not JSON."""

    code: ClassVar[str] = "malformed-json"


# Ordered from general to special only for the reader: the lookup goes by the error's own class hierarchy.
STATUS_BY_ERROR: Final[Mapping[type[DomainError], int]] = {
    DomainError: HTTPStatus.BAD_REQUEST,
    MalformedJson: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    RequestTimeout: HTTPStatus.REQUEST_TIMEOUT,
    Conflict: HTTPStatus.CONFLICT,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    PayloadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Invalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

_ABBREVIATIONS: Final = {"json": "JSON", "sku": "SKU", "url": "URL"}
# Problems that no domain error stands for.
_OTHER_PROBLEMS: Final = (
    ("bad-request", 400, "The request cannot be read."),
    ("route-not-found", 404, "There is no such address."),
    ("method-not-allowed", 405, "The address exists but not with this method."),
    ("invalid-request", 422, "The request lacks a field or has a wrong one; `errors` names each."),
    ("invalid-value", 422, "A value is outside the range that can be stored."),
    ("internal-error", 500, "The request failed for a reason that was logged under its trace id."),
    ("not-ready", 503, "The process cannot serve now; `errors` names the checks that failed."),
)
_RETRYABLE_STATUSES: Final = frozenset({408, 429, 503})
_UNAVAILABLE_RETRY_AFTER_SECONDS: Final = 1


def status_of(error: type[DomainError], status_by_error: Mapping[type[DomainError], int]) -> int:
    """Return the status of the nearest class in the error's hierarchy that has one."""
    for ancestor in error.__mro__:
        if ancestor in status_by_error:
            return int(status_by_error[ancestor])
    return HTTPStatus.BAD_REQUEST


def problem_response(
    *,
    status: int,
    code: str,
    detail: str | None = None,
    instance: str | None = None,
    errors: Sequence[ProblemError] = (),
    retry_after_seconds: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Render a problem; everything that answers with an error status goes through here."""
    problem = Problem(
        type=f"/problems/{code}",
        title=title_of(code),
        status=status,
        detail=detail,
        instance=instance,
        code=code,
        errors=list(errors[:PROBLEM_ERRORS_MAX]),
        trace_id=current_trace_id(),
        retryable=status in _RETRYABLE_STATUSES or retry_after_seconds is not None,
    )
    response = Response(
        problem.model_dump_json(exclude_none=True, exclude_defaults=True),
        status_code=status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=dict(headers or {}),
    )
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def domain_problem(
    error: DomainError,
    *,
    status_by_error: Mapping[type[DomainError], int] = STATUS_BY_ERROR,
    instance: str | None = None,
) -> Response:
    """Render an anticipated refusal."""
    status = status_of(type(error), status_by_error)
    retry_after: int | None = getattr(error, "retry_after_seconds", None)
    if retry_after is None and status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after = _UNAVAILABLE_RETRY_AFTER_SECONDS
    headers: dict[str, str] = dict(getattr(error, "headers", {}))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(
        status=status,
        code=error.code,
        detail=error.detail,
        instance=instance,
        errors=_errors_of(error),
        retry_after_seconds=retry_after,
        headers=headers,
    )


def title_of(code: str) -> str:
    """Return a code in words: `order-not-found` is "Order not found"."""
    first, *others = (_ABBREVIATIONS.get(word, word) for word in code.split("-"))
    return " ".join((first[0].upper() + first[1:], *others))


def description_of(code: str) -> str | None:
    """Return what a problem means that no domain error stands for."""
    return next((description for known, _, description in _OTHER_PROBLEMS if known == code), None)


def registered_problems(service: str, status_by_error: Mapping[type[DomainError], int]) -> list[dict[str, Any]]:
    """
    List every problem a service can answer with.

    Found through the classes themselves, so that a new domain error is documented by being defined. In a process
    that runs several services, the other services' errors are left out.
    """
    found = {code: _entry(code, status, description) for code, status, description in _OTHER_PROBLEMS}
    pending: list[type[DomainError]] = [DomainError]
    while pending:
        error = pending.pop()
        pending.extend(error.__subclasses__())
        package = error.__module__.split(".")
        is_another_service = package[0] == "services" and package[1:2] != [service]
        if is_another_service or "code" not in vars(error):
            continue
        description = " ".join((error.__doc__ or "").partition("\n\n")[0].split())
        found[error.code] = _entry(error.code, status_of(error, status_by_error), description)
    return [found[code] for code in sorted(found)]


def _entry(code: str, status: int, description: str) -> dict[str, Any]:
    return {
        "type": f"/problems/{code}",
        "code": code,
        "title": title_of(code),
        "status": status,
        "description": description,
    }


def _errors_of(error: DomainError) -> list[ProblemError]:
    if error.field is None:
        return []
    is_pointer = error.field.startswith("/")
    return [
        ProblemError(
            pointer=error.field if is_pointer else None,
            field=error.field.strip("/").replace("/", ".") if is_pointer else error.field,
            reason=error.detail,
        )
    ]
