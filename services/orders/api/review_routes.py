"""Reviews: why an order was held, the queue of those that wait for a person, and whom the shop does not sell to."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from libs.common.decisions import Decision
from libs.common.decisions.storage import decisions_about
from libs.common.http.auth import requires
from libs.common.http.fields import Timestamp
from libs.common.http.idempotency import IdempotentWrite, KeyedWrite, StoredResponse
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from services.orders.api.backend import Backend, BackendOfApp
from services.orders.api.order_routes import found_order
from services.orders.api.schemas import OrderResponse, Reason
from services.orders.domain.review import Subject
from services.orders.domain.review_blocks import Block
from services.orders.handlers import review_blocks
from services.orders.handlers.ports import QueueFilter, Unit, WaitingReview
from services.orders.handlers.review import REVIEW_DECISION, Verdict, review_order

router = APIRouter(prefix="/v1", tags=["reviews"])

# A person's decisions come on top of that of the rules: far more than an order can have.
_DECISIONS_MAX: Final = 50
_NAMED = r"^[^\x00-\x1f\x7f]+$"
_ORDER: Final[dict[int | str, dict[str, Any]]] = {HTTPStatus.OK: {"model": OrderResponse}}


class VerdictRequest(BaseModel):
    """Why a person decides so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason


class BlockRequest(BaseModel):
    """Whom to block: by a value (a customer's id, an e-mail address, the SHA-256 of an address), or as in an order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: Subject
    value: str | None = Field(
        default=None,
        min_length=1,
        max_length=254,
        pattern=_NAMED,
        description="An e-mail address is kept as its SHA-256 alone.",
    )
    order_id: UUID | None = None
    reason: Reason
    expires_at: Timestamp | None = None


class WaitingReviewResponse(BaseModel):
    """A held order that waits for a person; `ship_by` is when it should leave, had it been approved at once."""

    model_config = ConfigDict(frozen=True)

    order_id: UUID
    customer_id: str
    channel: str
    currency: str
    total_minor: int
    country: str
    placed_at: datetime
    held_at: datetime
    waiting_seconds: float
    ship_by: datetime
    deadline_at: datetime = Field(description="Until when it waits.")
    escalated_at: datetime | None = None
    score: int
    reasons: tuple[str, ...]
    rules: str


class RuleFindingResponse(BaseModel):
    """What a rule measured; it counts if that is above its limit, and adds its score then."""

    rule: str
    measured: int
    limit: int
    counts: bool
    score: int


class ReviewDecisionResponse(BaseModel):
    """One decision about an order: of the rules, in their version `rules`, or of a person."""

    decision_id: UUID
    decided_at: datetime
    decided_by: str | None = Field(default=None, description="Who, if it was a person.")
    verdict: str
    reason: str
    rules: str
    score: int | None = None
    findings: list[RuleFindingResponse] = Field(default_factory=list)


class ReviewResponse(BaseModel):
    """Everything that was decided about an order before it went on, oldest first."""

    order_id: UUID
    items: list[ReviewDecisionResponse]


class BlockResponse(BaseModel):
    """A block; addresses are shown as their SHA-256."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: UUID
    subject: Subject
    value: str
    reason: str
    blocked_at: datetime
    blocked_by: str
    expires_at: datetime | None = None
    lifted_at: datetime | None = None
    lifted_by: str | None = None
    lifted_reason: str | None = None

    def render(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json(exclude_none=True).encode()


@router.get("/reviews", dependencies=[requires("orders:review")], response_model_exclude_none=True)
async def list_reviews(  # noqa: PLR0917 - the parameters of a route are its query string
    backend: BackendOfApp,
    reason: Annotated[str | None, Query(max_length=64, pattern=r"^[a-z][a-z0-9:./-]*$")] = None,
    customer_id: Annotated[str | None, Query(min_length=1, max_length=64, pattern=_NAMED)] = None,
    channel: Annotated[str | None, Query(min_length=1, max_length=64, pattern=_NAMED)] = None,
    is_escalated: Annotated[bool | None, Query()] = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[WaitingReviewResponse]:
    """List the orders that wait for a person, the one that should leave first at the front."""
    wanted = QueueFilter(
        reason=reason,
        customer_id=customer_id,
        channel=channel,
        is_escalated=is_escalated,
        after=Cursor.decode(cursor, tuple[datetime, UUID]) if cursor else None,
    )
    rows = await backend.run(lambda unit: unit.reviews.waiting(wanted, limit=limit + 1))
    now = backend.clock.now()
    return page_of(rows, limit=limit, key=lambda row: (row.ship_by, row.order_id), item=lambda row: _waiting(row, now))


@router.post("/reviews/{order_id}/approve", dependencies=[requires("orders:review")], responses=_ORDER)
async def approve(order_id: UUID, body: VerdictRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Approve an order that the rules held."""
    return await _decide(order_id, Verdict.APPROVE, body.reason, write, backend)


@router.post("/reviews/{order_id}/refuse", dependencies=[requires("orders:review")], responses=_ORDER)
async def refuse(order_id: UUID, body: VerdictRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Refuse an order that the rules held."""
    return await _decide(order_id, Verdict.REFUSE, body.reason, write, backend)


@router.get("/orders/{order_id}/review", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def explain(order_id: UUID, backend: BackendOfApp) -> ReviewResponse:
    """Say why an order was approved, held or refused: what each rule measured, and who decided."""
    await backend.run(lambda unit: found_order(order_id, unit))
    decisions: Sequence[Decision] = await backend.database.run(
        lambda transaction: decisions_about(transaction, subject=f"order:{order_id}", limit=_DECISIONS_MAX)
    )
    items = [_explained(one) for one in reversed(decisions) if one.decision == REVIEW_DECISION]
    return ReviewResponse(order_id=order_id, items=items)


@router.post(
    "/review-blocks",
    status_code=HTTPStatus.CREATED,
    dependencies=[requires("orders:block")],
    responses={
        HTTPStatus.CREATED: {"model": BlockResponse},
        HTTPStatus.NOT_FOUND: {"description": "There is no order of this id."},
    },
)
async def add_block(body: BlockRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Block a customer, an address or an e-mail address from the next order on."""
    if body.subject is Subject.CUSTOMER and body.value is not None:
        backend.erased.check(body.value)

    async def effect(unit: Unit) -> StoredResponse:
        made = await review_blocks.block(
            body.subject,
            named=body.value,
            order_id=body.order_id,
            reason=body.reason,
            by=write.principal,
            expires_at=body.expires_at,
            unit=unit,
            now=backend.clock.now(),
        )
        return StoredResponse(HTTPStatus.CREATED, _block(made).render())

    return (await backend.write(write, effect)).response()


@router.get("/review-blocks", dependencies=[requires("orders:review")], response_model_exclude_none=True)
async def list_blocks(
    backend: BackendOfApp,
    subject: Subject | None = None,
    is_active: Annotated[bool | None, Query()] = None,
    limit: PageLimit = PAGE_LIMIT_DEFAULT,
    cursor: PageCursor = None,
) -> Page[BlockResponse]:
    """List blocks, newest first, those that were lifted too."""
    before_id = Cursor.decode(cursor, tuple[UUID])[0] if cursor else None
    rows = await backend.run(
        lambda unit: unit.blocks.page(
            subject=subject, is_active=is_active, before_id=before_id, now=backend.clock.now(), limit=limit + 1
        )
    )
    return page_of(rows, limit=limit, key=lambda row: (row.id,), item=_block)


@router.post(
    "/review-blocks/{block_id}/lift",
    dependencies=[requires("orders:block")],
    responses={HTTPStatus.OK: {"model": BlockResponse}},
)
async def lift_block(block_id: UUID, body: VerdictRequest, write: IdempotentWrite, backend: BackendOfApp) -> Response:
    """Lift a block; who did, and why, is kept."""

    async def effect(unit: Unit) -> StoredResponse:
        lifted = await unit.blocks.lift(block_id, by=write.principal, reason=body.reason, now=backend.clock.now())
        return StoredResponse(HTTPStatus.OK, _block(lifted).render())

    return (await backend.write(write, effect)).response()


async def _decide(order_id: UUID, verdict: Verdict, reason: str, write: KeyedWrite, backend: Backend) -> Response:
    async def effect(unit: Unit) -> StoredResponse:
        await review_order(
            order_id,
            verdict=verdict,
            reason=reason,
            reviewer=write.principal,
            unit=unit,
            policy=backend.policy,
            now=backend.clock.now(),
        )
        return StoredResponse(HTTPStatus.OK, OrderResponse.of(await found_order(order_id, unit)).render())

    return (await backend.write(write, effect)).response()


def _waiting(row: WaitingReview, now: datetime) -> WaitingReviewResponse:
    return WaitingReviewResponse(**asdict(row), waiting_seconds=(now - row.held_at).total_seconds())


def _explained(decision: Decision) -> ReviewDecisionResponse:
    score = decision.alternatives[0].score if decision.alternatives else None
    findings = [
        RuleFindingResponse(
            rule=rule,
            measured=found["measured"],
            limit=found["limit"],
            counts=found["measured"] > found["limit"],
            score=found.get("score", 0),
        )
        for rule, found in decision.inputs.items()
        if isinstance(found, dict)
    ]
    return ReviewDecisionResponse(
        decision_id=decision.id,
        decided_at=decision.decided_at,
        decided_by=decision.inputs.get("reviewer"),
        verdict=decision.chosen,
        reason=decision.reason,
        rules=decision.rule,
        score=None if score is None else int(score),
        # What counted comes first, the most important at the front.
        findings=sorted(findings, key=lambda one: (not one.counts, -one.score, one.rule)),
    )


def _block(block: Block) -> BlockResponse:
    return BlockResponse.model_validate(block)
