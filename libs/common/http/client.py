"""Outbound HTTP: every call has a timeout, and only calls that may be repeated are."""

import asyncio
import random
from typing import Final

import httpx

from libs.common.telemetry.tracing import current_correlation_id, current_traceparent

TIMEOUT_SECONDS: Final = 10.0
CONNECT_TIMEOUT_SECONDS: Final = 2.0
CONNECTIONS_MAX: Final = 100
ATTEMPTS_MAX: Final = 3
_BACKOFF_SECONDS: Final = 0.1
_BACKOFF_SECONDS_MAX: Final = 2.0

_IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_RETRIED_STATUSES: Final = frozenset({429, 502, 503, 504})

# Jitter needs no secrecy.
_random = random.Random()  # noqa: S311


def create_client(
    *,
    base_url: str = "",
    timeout_seconds: float = TIMEOUT_SECONDS,
    connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
    attempts_max: int = ATTEMPTS_MAX,
    headers: dict[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """
    Make a client for one third party; close it with the process.

    Redirects are not followed, and proxy variables of the environment are not read: a call goes where it says. A POST
    or PATCH is repeated only if it carries an `Idempotency-Key`.
    """
    limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
    return httpx.AsyncClient(
        base_url=base_url,
        headers=headers,
        timeout=httpx.Timeout(timeout_seconds, connect=connect_timeout_seconds),
        transport=RetryingTransport(transport or httpx.AsyncHTTPTransport(limits=limits), attempts_max=attempts_max),
        event_hooks={"request": [_add_context]},
        follow_redirects=False,
        trust_env=False,
    )


class RetryingTransport(httpx.AsyncBaseTransport):
    """Repeats calls that may be repeated when the failure may pass, a bounded number of times, with jitter."""

    def __init__(self, transport: httpx.AsyncBaseTransport, *, attempts_max: int = ATTEMPTS_MAX) -> None:
        """Send through `transport`, `attempts_max` times at most."""
        self._transport = transport
        self._attempts_max = attempts_max

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and again if that is safe and may help."""
        attempts_max = self._attempts_max if _may_repeat(request) else 1
        for attempt in range(1, attempts_max):
            wait_seconds = _backoff_seconds(attempt)
            try:
                response = await self._transport.handle_async_request(request)
            except httpx.TransportError:
                pass
            else:
                if response.status_code not in _RETRIED_STATUSES:
                    return response
                asked_seconds = _retry_after_seconds(response)
                if asked_seconds > _BACKOFF_SECONDS_MAX:
                    # It asks for longer than a caller should wait inside one call.
                    return response
                wait_seconds = max(wait_seconds, asked_seconds)
                await response.aclose()
            await asyncio.sleep(wait_seconds)
        return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _may_repeat(request: httpx.Request) -> bool:
    is_idempotent = request.method in _IDEMPOTENT_METHODS or "idempotency-key" in request.headers
    # The body of a stream has gone when it is needed again.
    return is_idempotent and isinstance(request.stream, httpx.ByteStream)


def _backoff_seconds(attempt: int) -> float:
    ceiling: float = min(_BACKOFF_SECONDS_MAX, _BACKOFF_SECONDS * 2**attempt)
    return _random.uniform(ceiling / 2, ceiling)


def _retry_after_seconds(response: httpx.Response) -> float:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 0.0


async def _add_context(request: httpx.Request) -> None:
    traceparent = current_traceparent()
    if traceparent is not None:
        request.headers.setdefault("traceparent", traceparent)
    correlation_id = current_correlation_id()
    if correlation_id is not None:
        request.headers.setdefault("x-correlation-id", correlation_id)
