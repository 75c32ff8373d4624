"""Webhooks by Standard Webhooks 1.0.0: what is sent to whom, how it is signed, and when it is tried again."""

import base64
import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import ClassVar, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from libs.common.errors import Conflict, Invalid, NotFound
from libs.common.events.base import Envelope, Event
from libs.common.events.registry import EVENTS
from libs.common.events.topics import ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN
from services.orders.domain.reminders import REMINDER_TYPE

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of secrets, not one
_SECRET_BYTES: Final = 32

# When each attempt is made after the one before failed; each wait is lengthened by up to a tenth.
RETRY_SCHEDULE: Final = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
_JITTER_MAX: Final = 0.1
# A receiver may ask for patience, not for oblivion.
RETRY_AFTER_MAX: Final = timedelta(hours=24)
PAYLOAD_BYTES_MAX: Final = 20_000
_URL_LENGTH_MAX: Final = 2_048
_SCALARS: Final = (str, int, float, bool, datetime, UUID)
# Of lists, those that a receiver acts upon at once: what an order is short of, and what it could have instead.
_TOLD_LISTS: Final = frozenset({"shortages"})
# Ids of customers are not secret, but a receiver that needs one asks for the order.
_PRIVATE_FIELDS: Final = frozenset({"customer_id"})
# Throttled by the receiver as a whole, not because of this message.
_THROTTLED: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)

# What may be told of: everything that this service publishes about an order, and reminders.
TOLD_TOPICS: Final = (ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN)
TOLD: Final[tuple[type[Event], ...]] = tuple(event for event in EVENTS.values() if event.topic in TOLD_TOPICS)
_TYPES: Final = sorted({REMINDER_TYPE, *(event.type for event in TOLD)})
# What an endpoint may ask for: everything, all of a kind, or single types.
EVENT_TYPES: Final = ("*", *sorted({f"{one.partition('.')[0]}.*" for one in _TYPES}), *_TYPES)

# Networks that stand for others, or for nothing that a receiver could be.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class EndpointStatus(StrEnum):
    """Whether an endpoint is sent to; what waits for a disabled one waits until it is enabled again."""

    ACTIVE = "active"
    DISABLED = "disabled"


class DeliveryStatus(StrEnum):
    """Where a delivery is; a failed one is out of attempts until somebody replays it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookNotFound(NotFound):
    """There is no webhook endpoint with this id."""

    code: ClassVar[str] = "webhook-not-found"

    def __init__(self, endpoint_id: UUID) -> None:
        """Name the endpoint."""
        super().__init__(f"There is no webhook {endpoint_id}.")


class DeliveryNotFound(NotFound):
    """The endpoint has no delivery with this id."""

    code: ClassVar[str] = "webhook-delivery-not-found"

    def __init__(self, delivery_id: UUID) -> None:
        """Name the delivery."""
        super().__init__(f"This webhook has no delivery {delivery_id}.")


class DeliveryPending(Conflict):
    """The delivery is still being tried, so there is nothing to replay."""

    code: ClassVar[str] = "webhook-delivery-pending"

    def __init__(self, delivery_id: UUID) -> None:
        """Name the delivery."""
        super().__init__(f"Delivery {delivery_id} is still being tried.")


class TooManyWebhooks(Conflict):
    """Each endpoint costs a row for each event; there is a limit to how many there may be."""

    code: ClassVar[str] = "too-many-webhooks"


class UrlRefused(Invalid):
    """The address is none that a webhook may be sent to."""

    code: ClassVar[str] = "webhook-url-refused"

    def __init__(self, detail: str) -> None:
        """Say why."""
        super().__init__(detail, field="/url")


class UnknownEventType(Invalid):
    """No event has this type, nor begins like this pattern."""

    code: ClassVar[str] = "unknown-event-type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """
    Where webhooks are sent.

    `event_types` are types or patterns like `order.*`; `previous_secret` signs too until it expires. Until `resume_at`
    the receiver asked not to be called.
    """

    id: UUID
    url: str
    description: str
    event_types: tuple[str, ...]
    status: EndpointStatus
    secret: str
    created_at: datetime
    previous_secret: str | None = None
    previous_secret_expires_at: datetime | None = None
    disabled_reason: str | None = None
    disabled_at: datetime | None = None
    resume_at: datetime | None = None
    last_succeeded_at: datetime | None = None

    def secrets_at(self, now: datetime) -> tuple[str, ...]:
        """Return the secrets to sign with, the current one first."""
        expires_at = self.previous_secret_expires_at
        if self.previous_secret is None or expires_at is None or expires_at <= now:
            return (self.secret,)
        return (self.secret, self.previous_secret)


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a receiver answered: a status and the beginning of its body, or the error that kept it from answering.

    `error` is one of a closed set: timeout, connection, tls, refused-address, protocol.
    """

    status: int | None = None
    error: str | None = None
    excerpt: str = ""
    retry_after: timedelta | None = None
    duration_seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether the receiver has taken the message: 2xx and nothing else."""
        return self.status is not None and HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What becomes of a delivery after an attempt.

    `due_at` is set while it is pending; `resume_at` is set if the whole endpoint is to be left alone until then;
    `disable` says why the endpoint must not be called again.
    """

    status: DeliveryStatus
    due_at: datetime | None = None
    resume_at: datetime | None = None
    disable: str | None = None


def judge(answer: Answer, *, attempts: int, now: datetime, random: Callable[[], float]) -> Verdict:
    """Decide after attempt number `attempts`; `random` is uniform in [0, 1)."""
    if answer.is_success:
        return Verdict(DeliveryStatus.DELIVERED)
    if answer.status == HTTPStatus.GONE:
        return Verdict(DeliveryStatus.FAILED, disable="gone")
    resume_at = None
    if answer.status in _THROTTLED and answer.retry_after is not None:
        resume_at = now + min(answer.retry_after, RETRY_AFTER_MAX)
    if attempts >= len(RETRY_SCHEDULE):
        return Verdict(DeliveryStatus.FAILED, resume_at=resume_at)
    due_at = now + RETRY_SCHEDULE[attempts] * (1 + _JITTER_MAX * random())
    if resume_at is not None:
        due_at = max(due_at, resume_at)
    return Verdict(DeliveryStatus.PENDING, due_at=due_at, resume_at=resume_at)


def new_secret() -> str:
    """Return a fresh signing secret: `whsec_` and 32 random bytes in base64."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign(signing_secrets: Sequence[str], *, message_id: str, sent_at: datetime, body: bytes) -> dict[str, str]:
    """
    Return the three headers of a message (Standard Webhooks 1.0.0, symmetric signatures).

    The signature is over `id.timestamp.body`, one for each secret, so that receivers can change secrets in peace.
    """
    timestamp = str(int(sent_at.timestamp()))
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    signatures = [
        hmac.digest(base64.b64decode(secret.removeprefix(SECRET_PREFIX)), content, hashlib.sha256)
        for secret in signing_secrets
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(signature).decode()}" for signature in signatures),
    }


def in_sequence(envelopes: Sequence[Envelope]) -> list[Envelope]:
    """
    Return events in the order in which they happened, whichever topics they were read from first.

    Those of one topic and key stay in the order of the topic, also if the clocks of those who wrote them differ.
    """
    latest: dict[tuple[str, str], tuple[datetime, UUID]] = {}
    moments = []
    for envelope in envelopes:
        lane = (envelope.event.topic.name, envelope.event.key)
        moment = max(latest.get(lane, (envelope.time, envelope.id)), (envelope.time, envelope.id))
        latest[lane] = moment
        moments.append(moment)
    return [envelopes[place] for place in sorted(range(len(envelopes)), key=moments.__getitem__)]


def payload_of(envelope: Envelope) -> bytes:
    """
    Return a thin payload: the event's type, its time and its plain fields, and what it is short of.

    Other lists, addresses and ids of customers are left out: a receiver that needs more asks for the order.
    """
    event = envelope.event
    fields = {
        name: value
        for name in event.__struct_fields__
        if name not in _PRIVATE_FIELDS
        and (isinstance(value := getattr(event, name), _SCALARS) or (value and name in _TOLD_LISTS))
    }
    payload = _encode(event.type, envelope.time, fields)
    if len(payload) > PAYLOAD_BYTES_MAX:
        ids = {name: value for name, value in fields.items() if isinstance(value, UUID)}
        payload = _encode(event.type, envelope.time, ids)
    return payload


def _encode(event_type: str, occurred_at: datetime, data: Mapping[str, object]) -> bytes:
    return msgspec.json.encode({"type": event_type, "timestamp": occurred_at, "data": data})


def matches(patterns: Sequence[str], event_type: str) -> bool:
    """Tell whether an endpoint with these patterns wants an event."""
    return any(
        event_type.startswith(pattern[:-1]) if pattern.endswith("*") else event_type == pattern for pattern in patterns
    )


def check_event_types(event_types: Sequence[str]) -> None:
    """
    Refuse what nothing can match.

    :raises UnknownEventType: naming the first.
    """
    for position, event_type in enumerate(event_types):
        if event_type not in EVENT_TYPES:
            raise UnknownEventType(
                f"There is no such event type; known are {', '.join(EVENT_TYPES)}.",
                field=f"/event_types/{position}",
            )


def check_url(url: str, *, is_insecure_allowed: bool) -> str:
    """
    Check the form of an address and return its host; where the host leads is for the resolver to say.

    :raises UrlRefused: unless it is https to a host, without credentials or fragment.
    """
    if len(url) > _URL_LENGTH_MAX or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise UrlRefused(f"It must be ASCII without spaces, at most {_URL_LENGTH_MAX} characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UrlRefused("It is not a URL.") from None
    if parts.scheme != "https" and not (is_insecure_allowed and parts.scheme == "http"):
        raise UrlRefused("It must begin with https://.")
    if not host or host.endswith(".") or "\\" in url or port == 0:
        raise UrlRefused("It must name a host.")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise UrlRefused("It must not hold credentials.")
    if parts.fragment:
        raise UrlRefused("It must not have a fragment.")
    return host


def is_public_address(text: str, *, is_loopback_allowed: bool = False) -> bool:
    """
    Tell whether an address is one of the public internet.

    Private, loopback, link-local (and with it the metadata services of clouds), shared, multicast, reserved and
    documentation networks are not, nor any of them in the clothes of IPv6: mapped, 6to4, Teredo, NAT64.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            address = inner
        elif address.sixtofour is not None or address.teredo is not None:
            return False
    if is_loopback_allowed and address.is_loopback:
        return True
    return address.is_global and not address.is_multicast
