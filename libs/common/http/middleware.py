"""
What happens to every request before and after its route, as plain ASGI.

Not Starlette's BaseHTTPMiddleware: it runs the route in another task, which breaks context variables and cancels
database calls half way when a client leaves.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from prometheus_client import Histogram
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.errors import DomainError, Invalid, Unavailable
from libs.common.failpoints import Failpoint, failpoints
from libs.common.http.error_handlers import RejectedBody, internal_problem
from libs.common.http.pagination import serving_list
from libs.common.http.problems import PayloadTooLarge, RequestTimeout, UnsupportedMediaType, domain_problem
from libs.common.http.unsafe_text import UnstorableText, check_json_text
from libs.common.ids import new_id
from libs.common.telemetry import metrics
from libs.common.telemetry.logs import get_logger
from libs.common.telemetry.tracing import (
    bind_correlation_id,
    http_request_span,
    unbind_correlation_id,
)

# What answers probes must answer under load too, and needs no body.
OPERATIONAL_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# A route that holds its response open calls this scope entry, so as not to count against the cap.
LEAVE_IN_FLIGHT: Final = "quayside.leave_in_flight"

_DOCS_PATHS: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_CLIENT_LEFT: Final = "499"
# What a body has to come in at, in the long run: half a megabit a second.
_BYTES_PER_SECOND_MIN: Final = 64 * 1024
# Not `application/x-ndjson`, which is read line by line and checked there.
_JSON: Final = re.compile(rb"[/+]json\s*(;|$)")
# What is read as UTF-8 whatever it says that it is.
_TEXT: Final = re.compile(rb"[/+](json|x-ndjson|ndjson|jsonl|csv)\s*;")
_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*"?([^\s;"]*)')
_CHARSETS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii"})
# Of two of these, each reader may take another one.
_SINGLE_HEADERS: Final = frozenset({b"content-type", b"content-encoding", b"idempotency-key"})
_CORRELATION_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BodyAllowance:
    """A route that accepts larger bodies than the others."""

    path: re.Pattern[str]
    methods: frozenset[str]
    bytes_max: int


class RequestContext:
    """Binds the ids of a request, answers what nobody anticipated, measures, and completes the headers."""

    def __init__(self, app: ASGIApp, *, service: str, template_of: Callable[[Scope], str]) -> None:
        """`template_of` names the route that served a scope, such as `/v1/orders/{order_id}`."""
        self._app = app
        self._service = service
        self._template_of = template_of
        self._durations: dict[tuple[str, str, str], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received_id, traceparent = _identifiers(scope)
        correlation_id = received_id or str(new_id())
        token = bind_correlation_id(correlation_id)
        status = _CLIENT_LEFT
        started_at = time.perf_counter()

        async def send_completed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
                _complete_headers(message, scope, correlation_id)
            await send(message)

        try:
            with serving_list(scope["path"]), http_request_span(scope["method"], traceparent) as span:
                try:
                    await self._app(scope, receive, send_completed)
                except Exception as error:
                    response = internal_problem(Request(scope), error)
                    if status != _CLIENT_LEFT:
                        # The response has begun; the server can only break the connection.
                        raise
                    await response(scope, receive, send_completed)
                finally:
                    route = self._template_of(scope)
                    self._observe(scope["method"], route, status, time.perf_counter() - started_at)
                    if span is not None:
                        span.set_attributes({"http.route": route, "http.response.status_code": int(status)})
        finally:
            unbind_correlation_id(token)

    def _observe(self, method: str, route: str, status: str, seconds: float) -> None:
        key = (method if method in _METHODS else "OTHER", route, status)
        duration = self._durations.get(key)
        if duration is None:
            duration = metrics.http_request_duration_seconds.labels(self._service, *key)
            self._durations[key] = duration
        duration.observe(seconds)


class LoadShedding:
    """Refuses at once what would only wait: with too many requests in flight all of them become slow."""

    def __init__(self, app: ASGIApp, *, service: str, in_flight_max: int) -> None:
        """Allow `in_flight_max` requests at a time; probes always pass."""
        self._app = app
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._gauge = metrics.http_requests_in_flight.labels(service)
        self._shed = metrics.http_requests_shed_total.labels(service)
        self._gauge.set_function(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or scope["path"] in OPERATIONAL_PATHS:
            await self._app(scope, receive, send)
            return
        if self._in_flight >= self._in_flight_max:
            self._shed.inc()
            await _refuse(Unavailable("Too many requests are being served now."), scope, receive, send)
            return
        self._in_flight += 1
        is_counted = True

        def leave() -> None:
            nonlocal is_counted
            if is_counted:
                is_counted = False
                self._in_flight -= 1

        scope[LEAVE_IN_FLIGHT] = leave
        try:
            await self._app(scope, receive, send)
        finally:
            leave()


class MeetsFailpoints:
    """Stands where tests make an API die: wired in only when they asked for it."""

    def __init__(self, app: ASGIApp, *, service: str) -> None:
        """`service` is told to the failpoints."""
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; only writes meet what comes before the answer."""
        if scope["type"] != "http" or scope["path"] in OPERATIONAL_PATHS:
            await self._app(scope, receive, send)
            return

        async def send_after_failpoint(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < HTTPStatus.BAD_REQUEST:
                await failpoints.reach(Failpoint.API_BEFORE_ANSWER, self._service, scope["path"])
            await send(message)

        await failpoints.reach(Failpoint.API_BEFORE_HANDLING, self._service, scope["path"])
        await self._app(scope, receive, send_after_failpoint if scope["method"] in _WRITES else send)


class BodyGuard:
    """
    Reads a body for whom the route is open, and for nobody else.

    Bounds its size and the time it takes to arrive, however it is sent, and its dangerous text.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        check_caller: Callable[[Scope], None],
        bytes_max: int,
        receive_timeout_seconds: float,
        allowances: Sequence[BodyAllowance] = (),
    ) -> None:
        """
        Accept `bytes_max` on every route, and more on those with an allowance.

        `check_caller` raises a `DomainError` if a route is not open to the caller; it is asked before a body is read.
        `receive_timeout_seconds` is the total time spent waiting for the client, beyond what its bytes take at the
        slowest line that is served; the time that a route takes between two chunks of a stream is its own.
        """
        self._app = app
        self._check_caller = check_caller
        self._bytes_max = bytes_max
        self._receive_timeout_seconds = receive_timeout_seconds
        self._allowances = tuple(allowances)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, repeated = _body_headers(scope)
        if b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"]:
            await _refuse(UnstorableText("The address holds a NUL character.", field="url"), scope, receive, send)
            return
        if not headers:
            await self._app(scope, receive, send)
            return
        misdescribed = _misdescribed(headers, repeated)
        if misdescribed is not None:
            await _refuse(self._refusal(scope) or misdescribed, scope, receive, send, closes=True)
            return
        content_length = headers.get(b"content-length", b"")
        bytes_max = self._bytes_max_of(scope)
        if content_length.isdigit() and int(content_length) > bytes_max:
            await _refuse(self._refusal(scope) or _too_large(bytes_max), scope, receive, send, closes=True)
            return
        body = _GuardedBody(
            receive,
            check_caller=lambda: self._check_caller(scope),
            bytes_max=bytes_max,
            patience_seconds_max=self._receive_timeout_seconds,
            is_json=_JSON.search(headers.get(b"content-type", b"")) is not None,
        )
        await self._app(scope, body.receive, send)

    def _refusal(self, scope: Scope) -> DomainError | None:
        try:
            self._check_caller(scope)
        except DomainError as error:
            return error
        return None

    def _bytes_max_of(self, scope: Scope) -> int:
        for allowance in self._allowances:
            if scope["method"] in allowance.methods and allowance.path.match(scope["path"]):
                return allowance.bytes_max
        return self._bytes_max


class _GuardedBody:
    """The body of one request while it arrives."""

    def __init__(
        self,
        receive: Receive,
        *,
        check_caller: Callable[[], None],
        bytes_max: int,
        patience_seconds_max: float,
        is_json: bool,
    ) -> None:
        self._receive = receive
        self._check_caller = check_caller
        self._is_begun = False
        self._bytes_max = bytes_max
        self._patience_seconds = self._patience_seconds_max = patience_seconds_max
        self._is_json = is_json
        self._bytes = 0
        self._chunks: list[bytes] = []
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:
            return await self._receive()
        if not self._is_begun:
            self._begin()
        started_at = time.perf_counter()
        try:
            async with asyncio.timeout(self._patience_seconds):
                message = await self._receive()
        except TimeoutError:
            raise RejectedBody(RequestTimeout("The body did not arrive within the time allowed.")) from None
        waited_seconds = time.perf_counter() - started_at
        if message["type"] != "http.request":
            return message
        chunk: bytes = message.get("body", b"")
        # A large body takes its time; a trickle does not earn what it takes.
        earned_seconds = len(chunk) / _BYTES_PER_SECOND_MIN
        self._patience_seconds = min(
            self._patience_seconds - waited_seconds + earned_seconds, self._patience_seconds_max
        )
        self._bytes += len(chunk)
        if self._bytes > self._bytes_max:
            raise RejectedBody(_too_large(self._bytes_max))
        self._is_complete = not message.get("more_body", False)
        if self._is_json:
            self._chunks.append(chunk)
            if self._is_complete:
                self._check()
        return message

    def _begin(self) -> None:
        try:
            self._check_caller()
        except DomainError as error:
            raise RejectedBody(error) from None
        self._is_begun = True

    def _check(self) -> None:
        try:
            check_json_text(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))
        except DomainError as error:
            raise RejectedBody(error) from None
        finally:
            self._chunks.clear()


def _too_large(bytes_max: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"This route accepts bodies of up to {bytes_max} bytes.")


async def _refuse(error: DomainError, scope: Scope, receive: Receive, send: Send, *, closes: bool = False) -> None:
    response: Response = domain_problem(error, instance=scope["path"])
    if closes:
        # The rest of the body is not read, so the connection cannot serve another request.
        response.headers["connection"] = "close"
    await response(scope, receive, send)


def _identifiers(scope: Scope) -> tuple[str | None, str | None]:
    correlation_id = traceparent = None
    for name, value in scope["headers"]:
        if name == b"x-correlation-id":
            text = str(value, "latin-1")
            # It goes into logs, events and a response header; whatever else was sent is replaced.
            correlation_id = text if _CORRELATION_ID.fullmatch(text) else None
        elif name == b"traceparent":
            traceparent = str(value, "latin-1")
    return correlation_id, traceparent


def _body_headers(scope: Scope) -> tuple[Mapping[bytes, bytes], bytes | None]:
    """Return the headers that describe a body, none for a request without one, and a name that is there twice."""
    found: dict[bytes, bytes] = {}
    repeated = None
    has_body = False
    for name, value in scope["headers"]:
        if name in {b"content-length", b"transfer-encoding"}:
            has_body = has_body or value != b"0"
            found[name] = value
        elif name in _SINGLE_HEADERS:
            if name in found:
                repeated = name
            found[name] = value.lower()
    return (found if has_body else {}), repeated


def _misdescribed(headers: Mapping[bytes, bytes], repeated: bytes | None) -> DomainError | None:
    """Say what is wrong with the headers of a body: what is not read as they say would be read as something else."""
    if repeated is not None:
        name = repeated.decode("ascii").title()
        return Invalid(f"There are two headers {name}.", field=name)
    # Read as it came, a compressed upload would be a million rows of nonsense.
    if headers.get(b"content-encoding", b"") not in {b"", b"identity"}:
        return UnsupportedMediaType("Send the body without a Content-Encoding.", field="Content-Encoding")
    content_type = headers.get(b"content-type", b"")
    if b"charset" in content_type and _TEXT.search(content_type):
        charset = _CHARSET.search(content_type)
        if charset is not None and charset[1] not in _CHARSETS:
            return UnsupportedMediaType("The body is read as UTF-8, whatever is said.", field="Content-Type")
    return None


def _complete_headers(message: Message, scope: Scope, correlation_id: str) -> None:
    headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    headers.append((b"x-correlation-id", correlation_id.encode()))
    if scope["path"] not in _DOCS_PATHS:
        headers.extend(_SECURITY_HEADERS)
    if not any(name == b"cache-control" for name, _ in headers):
        headers.append((b"cache-control", b"no-store"))
    state: Any = scope.get("state")
    limit: tuple[str, str] | None = state.get("rate_limit") if state else None
    if limit is not None:
        policy, remaining = limit
        headers.append((b"ratelimit-policy", policy.encode()))
        headers.append((b"ratelimit", remaining.encode()))
    message["headers"] = headers
