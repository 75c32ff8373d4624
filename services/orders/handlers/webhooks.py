"""Keeping the endpoints of webhooks, queueing what each is to hear, and delivering it."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol, TypeVar
from uuid import UUID

from libs.common.clock import Clock
from libs.common.events.base import Envelope
from libs.common.ids import new_id
from libs.common.telemetry.logs import get_logger
from services.orders import metrics
from services.orders.domain.webhooks import (
    Answer,
    DeliveryNotFound,
    DeliveryPending,
    DeliveryStatus,
    Endpoint,
    EndpointStatus,
    TooManyWebhooks,
    Verdict,
    WebhookNotFound,
    check_event_types,
    in_sequence,
    judge,
    matches,
    new_secret,
    payload_of,
    sign,
)

Result = TypeVar("Result")

ENDPOINTS_MAX: Final = 100
REPLAY_MAX: Final = 10_000
# Longer than the longest attempt, so that a delivery is never sent twice at the same time.
_LEASE: Final = timedelta(seconds=60)
_IN_FLIGHT_MAX: Final = 64
# One slow receiver must leave room for the others.
_IN_FLIGHT_OF_ENDPOINT_MAX: Final = 16
_USER_AGENT: Final = "Quayside-Webhooks/1"

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A message for one endpoint; messages about one order leave in the order in which they are added."""

    endpoint_id: UUID
    event_id: UUID
    order_id: UUID
    type: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this process may attempt until its lease ends; `attempts` counts this one."""

    id: UUID
    event_id: UUID
    order_id: UUID
    type: str
    payload: bytes
    attempts: int
    created_at: datetime
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """A delivery as it is shown."""

    id: UUID
    position: int
    event_id: UUID
    order_id: UUID
    type: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    due_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt of a delivery."""

    attempt: int
    attempted_at: datetime
    status: int | None
    error: str | None
    duration_seconds: float
    excerpt: str


class Webhooks(Protocol):
    """The endpoints and what is on its way to them."""

    async def add(self, endpoint: Endpoint) -> None:
        """Store a new endpoint."""
        ...

    async def count(self) -> int:
        """Return how many endpoints there are; nobody else adds one until the transaction ends."""
        ...

    async def save(self, endpoint: Endpoint) -> None:
        """Store what became of a locked endpoint."""
        ...

    async def find(self, endpoint_id: UUID) -> Endpoint | None:
        """Return an endpoint."""
        ...

    async def lock(self, endpoint_ids: Collection[UUID]) -> Mapping[UUID, Endpoint]:
        """Return those that exist, locked in the order of their ids."""
        ...

    async def lock_active(self) -> Sequence[Endpoint]:
        """Return those that are sent to, locked in the order of their ids."""
        ...

    async def endpoints(self) -> Sequence[Endpoint]:
        """Return all endpoints, oldest first."""
        ...

    async def enqueue(self, deliveries: Sequence[NewDelivery], *, now: datetime) -> int:
        """Add what is not there yet; the endpoints are locked. Return how many were added."""
        ...

    async def claim(
        self, *, now: datetime, leased_until: datetime, limit: int, of_endpoint_max: int, busy: Mapping[UUID, int]
    ) -> Sequence[ClaimedDelivery]:
        """Take due deliveries that nobody has, of each endpoint at most `of_endpoint_max` less those `busy`."""
        ...

    async def conclude(
        self, delivery: ClaimedDelivery, answer: Answer, verdict: Verdict, *, now: datetime, attempted_at: datetime
    ) -> bool:
        """Note an attempt, and what becomes of its delivery if it is still ours; its endpoint is locked."""
        ...

    async def deliveries(
        self, endpoint_id: UUID, *, status: DeliveryStatus | None, before: int | None, limit: int
    ) -> Sequence[DeliveryView]:
        """Return deliveries, newest first."""
        ...

    async def delivery(self, endpoint_id: UUID, delivery_id: UUID) -> DeliveryView | None:
        """Return a delivery."""
        ...

    async def attempts(self, delivery_id: UUID) -> Sequence[AttemptView]:
        """Return the attempts of a delivery, oldest first."""
        ...

    async def replay(self, endpoint_id: UUID, delivery_ids: Sequence[UUID], *, now: datetime) -> int:
        """Begin again with deliveries that are not pending; the endpoint is locked. Return how many."""
        ...

    async def failed_since(self, endpoint_id: UUID, since: datetime, *, limit: int) -> Sequence[UUID]:
        """Return failed deliveries of events queued since then, oldest first."""
        ...


class WebhookUnits(Protocol):
    """Opens transactions."""

    async def run(self, work: Callable[[Webhooks], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        ...


class WebhookTransport(Protocol):
    """What carries a message to a receiver."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send it; whatever goes wrong is an `Answer`, never an exception."""
        ...


# The endpoints


async def register_endpoint(
    *,
    url: str,
    description: str,
    event_types: Sequence[str],
    webhooks: Webhooks,
    now: datetime,
) -> Endpoint:
    """
    Store a new endpoint, whose address was checked before, with a fresh secret.

    :raises UnknownEventType: if one can match nothing.
    :raises TooManyWebhooks: if there are a hundred already.
    """
    check_event_types(event_types)
    if await webhooks.count() >= ENDPOINTS_MAX:
        raise TooManyWebhooks(f"There may be {ENDPOINTS_MAX} webhooks.")
    endpoint = Endpoint(
        id=new_id(),
        url=url,
        description=description,
        event_types=tuple(dict.fromkeys(event_types)),
        status=EndpointStatus.ACTIVE,
        secret=new_secret(),
        created_at=now,
    )
    await webhooks.add(endpoint)
    return endpoint


async def find_endpoint(endpoint_id: UUID, *, webhooks: Webhooks) -> Endpoint:
    """
    Return an endpoint.

    :raises WebhookNotFound: if there is none with this id.
    """
    endpoint = await webhooks.find(endpoint_id)
    if endpoint is None:
        raise WebhookNotFound(endpoint_id)
    return endpoint


async def set_endpoint_status(
    endpoint_id: UUID, *, status: EndpointStatus, webhooks: Webhooks, now: datetime
) -> Endpoint:
    """
    Enable or disable an endpoint.

    :raises WebhookNotFound: if there is none with this id.
    """
    endpoint = await _locked(endpoint_id, webhooks)
    if endpoint.status is status:
        return endpoint
    is_disabled = status is EndpointStatus.DISABLED
    changed = replace(
        endpoint,
        status=status,
        disabled_reason="operator" if is_disabled else None,
        disabled_at=now if is_disabled else None,
        resume_at=None,
    )
    await webhooks.save(changed)
    return changed


async def rotate_secret(endpoint_id: UUID, *, overlap: timedelta, webhooks: Webhooks, now: datetime) -> Endpoint:
    """
    Give an endpoint a new secret; the one before signs too for `overlap`.

    :raises WebhookNotFound: if there is none with this id.
    """
    endpoint = await _locked(endpoint_id, webhooks)
    changed = replace(
        endpoint, secret=new_secret(), previous_secret=endpoint.secret, previous_secret_expires_at=now + overlap
    )
    await webhooks.save(changed)
    return changed


async def replay_delivery(endpoint_id: UUID, delivery_id: UUID, *, webhooks: Webhooks, now: datetime) -> DeliveryView:
    """
    Send a delivery again, as a new row of attempts under the same webhook-id.

    :raises WebhookNotFound: if there is no such endpoint.
    :raises DeliveryNotFound: if it has no such delivery.
    :raises DeliveryPending: if it is still being tried.
    """
    await _locked(endpoint_id, webhooks)
    delivery = await webhooks.delivery(endpoint_id, delivery_id)
    if delivery is None:
        raise DeliveryNotFound(delivery_id)
    if delivery.status is DeliveryStatus.PENDING:
        raise DeliveryPending(delivery_id)
    await webhooks.replay(endpoint_id, [delivery_id], now=now)
    again = await webhooks.delivery(endpoint_id, delivery_id)
    if again is None:
        raise DeliveryNotFound(delivery_id)
    return again


async def replay_failed(endpoint_id: UUID, *, since: datetime, webhooks: Webhooks, now: datetime) -> int:
    """
    Send again what failed since then, the oldest first, up to ten thousand; return how many.

    :raises WebhookNotFound: if there is no such endpoint.
    """
    await _locked(endpoint_id, webhooks)
    failed = await webhooks.failed_since(endpoint_id, since, limit=REPLAY_MAX)
    return await webhooks.replay(endpoint_id, failed, now=now) if failed else 0


async def _locked(endpoint_id: UUID, webhooks: Webhooks) -> Endpoint:
    endpoint = (await webhooks.lock([endpoint_id])).get(endpoint_id)
    if endpoint is None:
        raise WebhookNotFound(endpoint_id)
    return endpoint


# What they are to hear


async def enqueue_events(events: Sequence[Envelope], *, webhooks: Webhooks, now: datetime) -> int:
    """Queue each event for every endpoint that wants it and was there when it happened; return how many rows."""
    endpoints = await webhooks.lock_active()
    if not endpoints:
        return 0
    deliveries: list[NewDelivery] = []
    for envelope in in_sequence(events):
        wanting = [
            endpoint
            for endpoint in endpoints
            if matches(endpoint.event_types, envelope.event.type) and envelope.time >= endpoint.created_at
        ]
        if wanting:
            payload = payload_of(envelope)
            order_id: UUID = getattr(envelope.event, "order_id")  # noqa: B009 - all events of these topics have one
            deliveries.extend(
                NewDelivery(
                    endpoint_id=endpoint.id,
                    event_id=envelope.id,
                    order_id=order_id,
                    type=envelope.event.type,
                    payload=payload,
                )
                for endpoint in wanting
            )
    return await webhooks.enqueue(deliveries, now=now) if deliveries else 0


# Delivering


class WebhookDispatcher:
    """
    Delivers what is due; any number may run, each delivery belongs to one for as long as its lease lasts.

    A delivery that fails holds back later ones of its order to its endpoint, and nothing else: each endpoint has its
    own share of the calls that are under way.
    """

    def __init__(
        self,
        units: WebhookUnits,
        transport: WebhookTransport,
        *,
        clock: Clock,
        poll_seconds: float,
        is_transient: Callable[[BaseException], bool],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is sent before `run` or `deliver_due`; `is_transient` tells faults that pass by themselves."""
        self._units = units
        self._transport = transport
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._is_transient = is_transient
        self._jitter = jitter
        self._busy: Counter[UUID] = Counter()
        self._is_freed = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then finish what is under way."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                self._is_freed.clear()
                claimed = await self._claim_when_possible()
                for delivery in claimed:
                    group.create_task(self._deliver(delivery))
                if not claimed or self._busy.total() >= _IN_FLIGHT_MAX:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._poll_seconds):
                            await self._is_freed.wait()

    async def deliver_due(self) -> int:
        """Attempt everything that is due now, and what that makes due; return how many attempts were made."""
        attempted = 0
        while claimed := await self._claim():
            async with asyncio.TaskGroup() as group:
                for delivery in claimed:
                    group.create_task(self._deliver(delivery))
            attempted += len(claimed)
        return attempted

    async def _claim_when_possible(self) -> Sequence[ClaimedDelivery]:
        try:
            return await self._claim()
        except Exception as error:
            if not self._is_transient(error):
                raise
            log.warning("webhooks.interrupted", error=repr(error))
            return ()

    async def _claim(self) -> Sequence[ClaimedDelivery]:
        now = self._clock.now()
        limit = _IN_FLIGHT_MAX - self._busy.total()
        busy = dict(self._busy)
        claimed = await self._units.run(
            lambda webhooks: webhooks.claim(
                now=now, leased_until=now + _LEASE, limit=limit, of_endpoint_max=_IN_FLIGHT_OF_ENDPOINT_MAX, busy=busy
            )
        )
        self._busy.update(one.endpoint.id for one in claimed)
        return claimed

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        endpoint = delivery.endpoint
        try:
            attempted_at = self._clock.now()
            headers = {
                "content-type": "application/json",
                "user-agent": _USER_AGENT,
                **sign(
                    endpoint.secrets_at(attempted_at),
                    message_id=str(delivery.event_id),
                    sent_at=attempted_at,
                    body=delivery.payload,
                ),
            }
            answer = await self._transport.post(endpoint.url, headers=headers, body=delivery.payload)
            await self._units.run(lambda webhooks: self._conclude(delivery, answer, attempted_at, webhooks))
        except Exception as error:
            # Not noted: the lease ends and it is sent again under the same id, which is what ids are for.
            if not self._is_transient(error):
                raise
            log.warning("webhooks.interrupted", error=repr(error))
        finally:
            self._busy[endpoint.id] -= 1
            if not self._busy[endpoint.id]:
                del self._busy[endpoint.id]
            self._is_freed.set()

    async def _conclude(
        self, delivery: ClaimedDelivery, answer: Answer, attempted_at: datetime, webhooks: Webhooks
    ) -> None:
        now = self._clock.now()
        verdict = judge(answer, attempts=delivery.attempts, now=now, random=self._jitter)
        endpoint = (await webhooks.lock([delivery.endpoint.id]))[delivery.endpoint.id]
        if not await webhooks.conclude(delivery, answer, verdict, now=now, attempted_at=attempted_at):
            return
        changed = _endpoint_after(endpoint, delivery, verdict, now=now)
        if changed != endpoint:
            await webhooks.save(changed)
        metrics.orders_webhook_attempts_total.labels(_outcome(answer)).inc()
        if verdict.status is not DeliveryStatus.PENDING:
            metrics.orders_webhook_deliveries_total.labels(verdict.status).inc()
        if changed.status is not endpoint.status:
            metrics.orders_webhook_endpoints_disabled_total.labels(changed.disabled_reason or "").inc()
            log.error("webhook.disabled", endpoint=str(endpoint.id), reason=changed.disabled_reason)


def _endpoint_after(endpoint: Endpoint, delivery: ClaimedDelivery, verdict: Verdict, *, now: datetime) -> Endpoint:
    if verdict.status is DeliveryStatus.DELIVERED:
        # To the minute: most successes need not write the endpoint's row.
        seen = endpoint.last_succeeded_at
        is_news = seen is None or now - seen >= timedelta(minutes=1)
        return replace(endpoint, last_succeeded_at=now, resume_at=None) if is_news or endpoint.resume_at else endpoint
    if endpoint.status is EndpointStatus.DISABLED:
        return endpoint
    reason = verdict.disable
    heard = endpoint.last_succeeded_at
    if reason is None and verdict.status is DeliveryStatus.FAILED and (heard is None or heard < delivery.created_at):
        # Days of attempts without a single success: nobody is there.
        reason = "unreachable"
    if reason is not None:
        return replace(endpoint, status=EndpointStatus.DISABLED, disabled_reason=reason, disabled_at=now)
    if verdict.resume_at is not None:
        return replace(endpoint, resume_at=max(verdict.resume_at, endpoint.resume_at or verdict.resume_at))
    return endpoint


def _outcome(answer: Answer) -> str:
    if answer.is_success:
        return "delivered"
    if answer.status is None:
        return answer.error or "protocol"
    return f"{answer.status // 100}xx"
