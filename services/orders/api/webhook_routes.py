"""Webhooks: who is told of orders, what was delivered to them, and telling again."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, Self, cast
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.http.auth import requires
from libs.common.http.fields import Timestamp
from libs.common.http.idempotency import IdempotentWrite, KeyedWrite, StoredResponse, write_once
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from libs.common.sealing import Seal
from services.orders.domain.webhooks import EVENT_TYPES, DeliveryNotFound, DeliveryStatus, Endpoint, EndpointStatus
from services.orders.handlers.webhooks import (
    AttemptView,
    DeliveryView,
    Webhooks,
    find_endpoint,
    register_endpoint,
    replay_delivery,
    replay_failed,
    rotate_secret,
    set_endpoint_status,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_READ: Final = requires("webhooks:read")
_WRITE: Final = requires("webhooks:write")
_PLAIN = r"^[^\x00-\x1f\x7f]*$"
_Position = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDesk:
    """What the routes work with; `check_url` refuses addresses that must not be called, `seal` is for what is kept."""

    database: Database
    seal: Seal
    bind: Callable[[Transaction], Webhooks]
    check_url: Callable[[str], Awaitable[None]]
    secret_overlap: timedelta
    clock: Clock

    async def read(self, work: Callable[[Webhooks], Awaitable[Any]]) -> Any:
        """Run `work` in one transaction."""
        return await self.database.run(lambda transaction: work(self.bind(transaction)))

    async def write(self, write: KeyedWrite, effect: Callable[[Webhooks], Awaitable[StoredResponse]]) -> Response:
        """Run `effect` in one transaction, once for each key."""

        async def sealed(transaction: Transaction) -> StoredResponse:
            # It is kept for whoever asks again, and may hold a secret.
            answer = await effect(self.bind(transaction))
            return replace(answer, body=self.seal.seal(answer.body.decode()).encode())

        kept = await write_once(self.database, write, sealed, now=self.clock.now())
        return replace(kept, body=self.seal.open(kept.body.decode()).encode()).response()


def _desk_of(request: Request) -> WebhookDesk:
    return cast("WebhookDesk", request.app.state.webhooks)


Desk = Annotated[WebhookDesk, Depends(_desk_of)]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class RegisterWebhookRequest(_Request):
    """Where to send which events."""

    url: str = Field(min_length=1, max_length=2_048, examples=["https://shop.example/quayside"])
    event_types: list[Annotated[str, Field(max_length=64, json_schema_extra={"enum": EVENT_TYPES})]] = Field(
        default=["*"], min_length=1, max_length=50, description="Types, all of a kind, or all."
    )
    description: str = Field(default="", max_length=200, pattern=_PLAIN)


class ChangeWebhookRequest(_Request):
    """Whether the endpoint is sent to; what waits for a disabled one is sent once it is active again."""

    status: EndpointStatus


class ReplayRequest(_Request):
    """Which failed deliveries to send again."""

    since: Timestamp


class WebhookResponse(_Response):
    """An endpoint; its secret is shown only when it is made."""

    id: UUID
    url: str
    description: str
    event_types: list[str]
    status: EndpointStatus
    created_at: datetime
    disabled_reason: Literal["operator", "gone", "unreachable"] | None = None
    disabled_at: datetime | None = None
    resume_at: datetime | None = Field(default=None, description="The receiver asked not to be called before.")
    last_succeeded_at: datetime | None = None
    previous_secret_expires_at: datetime | None = None

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """Show an endpoint without its secrets."""
        return cls.model_validate(endpoint)


class WebhookWithSecretResponse(WebhookResponse):
    """An endpoint with the secret that its messages are signed with from now on."""

    secret: str


class DeliveryResponse(_Response):
    """A message on its way to an endpoint; `due_at` is absent while an earlier one about the same order is pending."""

    id: UUID
    event_id: UUID = Field(description="The `webhook-id` of every attempt.")
    order_id: UUID
    type: str
    status: DeliveryStatus
    attempts: int
    created_at: datetime
    due_at: datetime | None = None
    delivered_at: datetime | None = None
    last_status: int | None = None
    last_error: str | None = None

    @classmethod
    def of(cls, view: DeliveryView) -> Self:
        """Show a delivery."""
        return cls.model_validate(view)


class AttemptResponse(_Response):
    """One attempt, and how the receiver's answer began."""

    attempt: int
    attempted_at: datetime
    status: int | None = None
    error: str | None = None
    duration_seconds: float
    excerpt: str

    @classmethod
    def of(cls, view: AttemptView) -> Self:
        """Show an attempt."""
        return cls.model_validate(view)


class DeliveryLogResponse(DeliveryResponse):
    """A message with all its attempts, the first first."""

    log: list[AttemptResponse]


class WebhookListResponse(BaseModel):
    """Every endpoint, the oldest first."""

    items: list[WebhookResponse]


class ReplayResponse(BaseModel):
    """How many deliveries begin again; if it is the most there can be at once, ask again."""

    replayed: int


_CREATED: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.CREATED: {"model": WebhookWithSecretResponse}}


def _rendered(status: HTTPStatus, model: BaseModel) -> StoredResponse:
    return StoredResponse(status, model.model_dump_json(exclude_none=True).encode())


def _with_secret(endpoint: Endpoint) -> WebhookWithSecretResponse:
    return WebhookWithSecretResponse(**WebhookResponse.of(endpoint).model_dump(), secret=endpoint.secret)


@router.post("", status_code=HTTPStatus.CREATED, dependencies=[_WRITE], responses=_CREATED)
async def register_webhook(body: RegisterWebhookRequest, write: IdempotentWrite, desk: Desk) -> Response:
    """Register an endpoint. The answer holds its secret, which is not shown again."""
    # Before the transaction: asking for addresses takes its time.
    await desk.check_url(body.url)

    async def effect(webhooks: Webhooks) -> StoredResponse:
        endpoint = await register_endpoint(
            url=body.url,
            description=body.description,
            event_types=body.event_types,
            webhooks=webhooks,
            now=desk.clock.now(),
        )
        return _rendered(HTTPStatus.CREATED, _with_secret(endpoint))

    return await desk.write(write, effect)


@router.get("", dependencies=[_READ], response_model_exclude_none=True)
async def list_webhooks(desk: Desk) -> WebhookListResponse:
    """List the endpoints."""
    endpoints = await desk.read(lambda webhooks: webhooks.endpoints())
    return WebhookListResponse(items=[WebhookResponse.of(endpoint) for endpoint in endpoints])


@router.get("/{webhook_id}", dependencies=[_READ], response_model_exclude_none=True)
async def get_webhook(webhook_id: UUID, desk: Desk) -> WebhookResponse:
    """Show an endpoint."""
    return WebhookResponse.of(await desk.read(lambda webhooks: find_endpoint(webhook_id, webhooks=webhooks)))


@router.patch("/{webhook_id}", dependencies=[_WRITE], responses={HTTPStatus.OK: {"model": WebhookResponse}})
async def change_webhook(webhook_id: UUID, body: ChangeWebhookRequest, write: IdempotentWrite, desk: Desk) -> Response:
    """Disable an endpoint, or enable it again."""

    async def effect(webhooks: Webhooks) -> StoredResponse:
        endpoint = await set_endpoint_status(webhook_id, status=body.status, webhooks=webhooks, now=desk.clock.now())
        return _rendered(HTTPStatus.OK, WebhookResponse.of(endpoint))

    return await desk.write(write, effect)


@router.post("/{webhook_id}/secret", status_code=HTTPStatus.CREATED, dependencies=[_WRITE], responses=_CREATED)
async def rotate_webhook_secret(webhook_id: UUID, write: IdempotentWrite, desk: Desk) -> Response:
    """Give an endpoint a new secret; messages are signed with both until the old one expires."""

    async def effect(webhooks: Webhooks) -> StoredResponse:
        endpoint = await rotate_secret(webhook_id, overlap=desk.secret_overlap, webhooks=webhooks, now=desk.clock.now())
        return _rendered(HTTPStatus.CREATED, _with_secret(endpoint))

    return await desk.write(write, effect)


@router.get("/{webhook_id}/deliveries", dependencies=[_READ], response_model_exclude_none=True)
async def list_deliveries(
    webhook_id: UUID,
    desk: Desk,
    status: DeliveryStatus | None = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[DeliveryResponse]:
    """List what was, is or could not be delivered to an endpoint, newest first."""
    before = Cursor.decode(cursor, tuple[_Position])[0] if cursor else None

    async def work(webhooks: Webhooks) -> Sequence[DeliveryView]:
        await find_endpoint(webhook_id, webhooks=webhooks)
        return await webhooks.deliveries(webhook_id, status=status, before=before, limit=limit + 1)

    return page_of(await desk.read(work), limit=limit, key=lambda view: (view.position,), item=DeliveryResponse.of)


@router.get("/{webhook_id}/deliveries/{delivery_id}", dependencies=[_READ], response_model_exclude_none=True)
async def get_delivery(webhook_id: UUID, delivery_id: UUID, desk: Desk) -> DeliveryLogResponse:
    """Show a delivery with every attempt."""

    async def work(webhooks: Webhooks) -> tuple[DeliveryView, Sequence[AttemptView]]:
        view = await webhooks.delivery(webhook_id, delivery_id)
        if view is None:
            raise DeliveryNotFound(delivery_id)
        return view, await webhooks.attempts(delivery_id)

    view, attempts = await desk.read(work)
    return DeliveryLogResponse(
        **DeliveryResponse.of(view).model_dump(), log=[AttemptResponse.of(attempt) for attempt in attempts]
    )


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[_WRITE],
    responses={HTTPStatus.ACCEPTED: {"model": DeliveryResponse}},
)
async def replay_one(webhook_id: UUID, delivery_id: UUID, write: IdempotentWrite, desk: Desk) -> Response:
    """Send a delivery again, whether it failed or not, under the same `webhook-id`."""

    async def effect(webhooks: Webhooks) -> StoredResponse:
        view = await replay_delivery(webhook_id, delivery_id, webhooks=webhooks, now=desk.clock.now())
        return _rendered(HTTPStatus.ACCEPTED, DeliveryResponse.of(view))

    return await desk.write(write, effect)


@router.post(
    "/{webhook_id}/replay",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[_WRITE],
    responses={HTTPStatus.ACCEPTED: {"model": ReplayResponse}},
)
async def replay_all_failed(webhook_id: UUID, body: ReplayRequest, write: IdempotentWrite, desk: Desk) -> Response:
    """Send everything again that failed since a time, up to ten thousand."""

    async def effect(webhooks: Webhooks) -> StoredResponse:
        replayed = await replay_failed(webhook_id, since=body.since, webhooks=webhooks, now=desk.clock.now())
        return _rendered(HTTPStatus.ACCEPTED, ReplayResponse(replayed=replayed))

    return await desk.write(write, effect)
