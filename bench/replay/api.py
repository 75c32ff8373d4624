"""HTTP as a patient caller speaks it: what may pass by itself is tried again, the rest is shown."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import httpx

from libs.common.clock import Clock, SystemClock

# A process of the stack may be killed and take a while to come back; a stack that is gone for
# longer is not coming back.
PATIENCE_SECONDS = 120.0
_TIMEOUT_SECONDS = 30.0
_RETRY_SECONDS_MIN = 0.05
_RETRY_SECONDS_MAX = 2.0
_CONNECTIONS_MAX = 64
_DETAIL_CHARACTERS_MAX = 300
_RETRIED = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer."""

    status: int
    body: Any


class Refused(Exception):
    """The service said no, and would say so again."""

    def __init__(self, *, request: str, status: int, code: str, detail: str) -> None:
        """`code` is the problem's stable code, or empty if the answer was no problem document."""
        super().__init__(f"{request}: {status} {code} {detail}".rstrip())
        self.status = status
        self.code = code


class Unreachable(Exception):
    """The service did not answer for as long as the replay is patient."""


class Api:
    """One service, called with one key."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Nothing connects before the first request."""
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=_TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=_CONNECTIONS_MAX, max_keepalive_connections=_CONNECTIONS_MAX),
            transport=transport,
            # The services are on this machine or named outright; a proxy of the shell is not meant.
            trust_env=False,
        )
        self._clock = clock or SystemClock()
        self._patience_seconds = patience_seconds
        self.retries = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> Answer:
        """Read; see `send` for what it raises."""
        return await self.send("GET", path)

    async def put(self, path: str, *, body: Mapping[str, Any]) -> Answer:
        """Create or replace; see `send` for what it raises."""
        return await self.send("PUT", path, json=body)

    async def post(self, path: str, *, body: Mapping[str, Any], idempotency_key: str) -> Answer:
        """Cause an effect once, however often it is sent; see `send` for what it raises."""
        return await self.send("POST", path, json=body, headers={"Idempotency-Key": idempotency_key})

    async def post_ndjson(self, path: str, *, content: bytes) -> Answer:
        """Send rows that identify themselves; see `send` for what it raises."""
        headers = {"Content-Type": "application/x-ndjson"}
        return await self.send("POST", path, content=content, headers=headers)

    async def send(self, method: str, path: str, **request: Any) -> Answer:
        """
        Send until there is an answer.

        :raises Refused: if the answer is no.
        :raises Unreachable: if there is none for too long.
        """
        gives_up_at = self._clock.monotonic_seconds() + self._patience_seconds
        delay_seconds = _RETRY_SECONDS_MIN
        while True:
            try:
                response = await self._client.request(method, path, **request)
            except httpx.TransportError as error:
                reason = repr(error)
            else:
                if response.is_success:
                    return Answer(response.status_code, response.json() if response.content else {})
                refusal = _refusal(response)
                if refusal is not None:
                    raise refusal
                reason = f"answered {response.status_code}"
            if self._clock.monotonic_seconds() >= gives_up_at:
                raise Unreachable(f"{method} {self._client.base_url.join(path)}: {reason}")
            self.retries += 1
            await asyncio.sleep(delay_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            delay_seconds = min(delay_seconds * 2, _RETRY_SECONDS_MAX)


def _refusal(response: httpx.Response) -> Refused | None:
    """Return what to raise, or None if the same request may succeed later."""
    problem = _problem(response)
    if response.status_code in _RETRIED or problem.get("retryable") is True:
        return None
    details = [str(problem.get("detail") or response.text), *map(str, problem.get("errors", ()))]
    return Refused(
        request=f"{response.request.method} {response.request.url}",
        status=response.status_code,
        code=str(problem.get("code", "")),
        detail="; ".join(details)[:_DETAIL_CHARACTERS_MAX],
    )


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
