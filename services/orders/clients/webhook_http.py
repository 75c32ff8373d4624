"""
Carries webhooks over HTTP to addresses that strangers chose.

Every connection goes to an address that was resolved and checked for this very connection, so that a name that leads
elsewhere a moment later leads nowhere. Redirects are not followed, proxies not asked, bodies not read to their end.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import anyio
import httpcore

from libs.common.clock import Clock
from libs.common.deadline import within
from services.orders.domain.webhooks import Answer, UrlRefused, check_url, is_public_address

_CONNECT_TIMEOUT_SECONDS: Final = 5.0
_TOTAL_TIMEOUT_SECONDS: Final = 15.0
_RESOLVE_TIMEOUT_SECONDS: Final = 5.0
_RESPONSE_BYTES_MAX: Final = 16_384
_EXCERPT_CHARACTERS: Final = 500
_CONNECTIONS_MAX: Final = 64
_KEPT_SECONDS: Final = 15.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class AddressRefused(Exception):
    """A host leads to an address that no webhook may be sent to, or to none."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class AddressGuard:
    """Says where a host may lead: to public addresses only, all of them."""

    def __init__(self, *, is_insecure_allowed: bool = False, resolver: Resolve = resolve) -> None:
        """`is_insecure_allowed` lets http and loopback pass: for development."""
        self._is_insecure_allowed = is_insecure_allowed
        self._resolve = resolver

    async def check(self, url: str) -> None:
        """
        Check an address at its registration.

        :raises UrlRefused: if its form is wrong, or its host leads nowhere or to an address that is not public.
        """
        host = check_url(url, is_insecure_allowed=self._is_insecure_allowed)
        try:
            await self.addresses(host, 443)
        except AddressRefused as error:
            raise UrlRefused(str(error)) from None

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """
        Return the addresses that a host leads to now.

        :raises AddressRefused: if there is none, or one of them is not public.
        """
        try:
            found = await within(_RESOLVE_TIMEOUT_SECONDS, self._resolve(host, port))
        except (OSError, UnicodeError, TimeoutError):
            raise AddressRefused("Its host is not known.") from None
        if not found:
            raise AddressRefused("Its host is not known.")
        if not all(is_public_address(one, is_loopback_allowed=self._is_insecure_allowed) for one in found):
            raise AddressRefused("Its host leads to an address that is not public.")
        return found


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to checked addresses and to no others."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        error: Exception | None = None
        for address in await self._guard.addresses(host, port):
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
        raise error or httpcore.ConnectError

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the interface is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused(path)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class HttpWebhooks:
    """The transport; `async with` closes its connections."""

    def __init__(
        self,
        guard: AddressGuard,
        *,
        clock: Clock,
        ssl_context: ssl.SSLContext | None = None,
        timeout_seconds: float = _TOTAL_TIMEOUT_SECONDS,
    ) -> None:
        """Nothing connects yet; `ssl_context` trusts what the system trusts unless given."""
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or ssl.create_default_context(),
            max_connections=_CONNECTIONS_MAX,
            keepalive_expiry=_KEPT_SECONDS,
            network_backend=_GuardedBackend(guard),
        )

    async def __aenter__(self) -> Self:
        """Be ready."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a message (see `WebhookTransport.post`)."""
        started = self._clock.monotonic_seconds()
        try:
            # Not asyncio's, whose one cancellation is lost if it comes just as a connection is made.
            with anyio.fail_after(self._timeout_seconds):
                answer = await self._exchange(url, headers, body)
        except AddressRefused:
            answer = Answer(error="refused-address")
        except (TimeoutError, httpcore.TimeoutException):
            answer = Answer(error="timeout")
        except httpcore.ConnectError as error:
            answer = Answer(error="tls" if _is_tls(error) else "connection")
        except (httpcore.NetworkError, ssl.SSLError, OSError):
            answer = Answer(error="connection")
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol, ValueError):
            answer = Answer(error="protocol")
        seconds = self._clock.monotonic_seconds() - started
        return Answer(answer.status, answer.error, answer.excerpt, answer.retry_after, seconds)

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        extensions: dict[str, Any] = {"timeout": {"connect": _CONNECT_TIMEOUT_SECONDS, "pool": self._timeout_seconds}}
        fields = [
            (b"accept-encoding", b"identity"),
            *((name.encode(), text.encode()) for name, text in headers.items()),
        ]
        async with self._pool.stream("POST", url, headers=fields, content=body, extensions=extensions) as response:
            answered = {name.lower(): text for name, text in response.headers}
            beginning = await _beginning(response.aiter_stream())
            return Answer(
                status=response.status,
                excerpt=_printable(beginning),
                retry_after=_retry_after(answered.get(b"retry-after"), now=self._clock.now()),
            )


async def _beginning(stream: AsyncIterable[bytes]) -> bytes:
    """Read at most 16 kB: the connection of a longer body is closed, not drained."""
    content = b""
    async for chunk in stream:
        content += chunk
        if len(content) >= _RESPONSE_BYTES_MAX:
            break
    return content[:_RESPONSE_BYTES_MAX]


def _printable(content: bytes) -> str:
    text = content.decode(errors="replace")[:_EXCERPT_CHARACTERS]
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def _retry_after(field: bytes | None, *, now: datetime) -> timedelta | None:
    """Read seconds or an HTTP date (RFC 9110, 10.2.3); what is neither says nothing."""
    if field is None:
        return None
    text = field.decode(errors="replace").strip()
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        if text.isascii() and text.isdecimal():
            return timedelta(seconds=min(int(text[:9]), 10**8))
        moment = parsedate_to_datetime(text)
        return max(timedelta(0), moment.replace(tzinfo=moment.tzinfo or UTC) - now)
    return None


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
