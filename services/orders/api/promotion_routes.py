"""Promotions that orders' discounts are held against."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from libs.common.http.auth import Principal, requires
from libs.common.http.fields import Currency, Timestamp
from libs.common.http.pagination import PAGE_LIMIT_DEFAULT, Cursor, Page, PageCursor, PageLimit, page_of
from libs.common.money import MINOR_MAX
from services.orders.api.backend import BackendOfApp
from services.orders.api.schemas import Sku
from services.orders.domain.promotions import (
    Promotion,
    PromotionChange,
    PromotionKind,
    PromotionNotFound,
)
from services.orders.handlers.ports import Unit

router = APIRouter(prefix="/v1", tags=["promotions"])

_PPM: Final = 1_000_000
_SKUS_MAX: Final = 10_000
_USES_MAX: Final = 1_000_000_000
_CHANGES_MAX: Final = 200

PromotionCode = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f/]+$")]


class PromotionRequest(BaseModel):
    """What is taken off, of which SKUs (all if none are named), and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: PromotionKind
    rate_ppm: int | None = Field(
        default=None, ge=1, le=_PPM, strict=True, description="Of a percentage, in millionths: 100,000 is 10 %."
    )
    amount_minor: int | None = Field(default=None, ge=1, le=MINOR_MAX, strict=True, description="Of an amount.")
    currency: Currency | None = Field(default=None, description="Of the amount, the minimum and the budget.")
    skus: list[Sku] = Field(default_factory=list, max_length=_SKUS_MAX)
    minimum_minor: int = Field(
        default=0, ge=0, le=MINOR_MAX, strict=True, description="What the goods that it is for must cost together."
    )
    valid_from: Timestamp
    valid_to: Timestamp | None = Field(default=None, description="Excluded; it ends with a past one.")
    uses_max: int | None = Field(
        default=None, ge=1, le=_USES_MAX, strict=True, description="How many orders may use it, of all customers."
    )
    uses_per_customer_max: int | None = Field(
        default=None, ge=1, le=_USES_MAX, strict=True, description="How many orders of one customer may use it."
    )
    budget_minor: int | None = Field(
        default=None, ge=1, le=MINOR_MAX, strict=True, description="How much it may take off altogether."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        has_rate, has_amount = self.rate_ppm is not None, self.amount_minor is not None
        if (has_rate, has_amount) != ((True, False) if self.kind is PromotionKind.PERCENT else (False, True)):
            message = "a percentage has rate_ppm and no amount_minor, an amount the reverse"
            raise ValueError(message)
        if self.currency is None and (has_amount or self.minimum_minor or self.budget_minor is not None):
            message = "an amount, a minimum and a budget need a currency"
            raise ValueError(message)
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            message = "valid_to must be after valid_from"
            raise ValueError(message)
        return self

    def promotion(self, code: str) -> Promotion:
        """Return the promotion; the order of its SKUs says nothing."""
        return Promotion(
            code=code,
            kind=self.kind,
            rate_ppm=self.rate_ppm,
            amount_minor=self.amount_minor,
            currency=self.currency,
            skus=tuple(sorted(set(self.skus))),
            minimum_minor=self.minimum_minor,
            valid_from=self.valid_from,
            valid_to=self.valid_to,
            uses_max=self.uses_max,
            uses_per_customer_max=self.uses_per_customer_max,
            budget_minor=self.budget_minor,
        )


class PromotionResponse(BaseModel):
    """A promotion."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    code: str
    kind: PromotionKind
    rate_ppm: int | None = None
    amount_minor: int | None = None
    currency: str | None = None
    skus: list[str]
    minimum_minor: int
    valid_from: datetime
    valid_to: datetime | None = None
    uses_max: int | None = None
    uses_per_customer_max: int | None = None
    budget_minor: int | None = None

    @classmethod
    def of(cls, promotion: Promotion) -> "PromotionResponse":
        """Shape a promotion."""
        return cls.model_validate(promotion)


class PromotionChangeResponse(BaseModel):
    """A version of a promotion, and who made it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    version: int
    changed_at: datetime
    changed_by: str = Field(validation_alias="principal")
    promotion: PromotionResponse


class PromotionDetailsResponse(PromotionResponse):
    """A promotion with its versions, the latest first, and what there is left of it if it has limits."""

    used: int | None = Field(default=None, description="Orders that use it, without those that ended unpaid.")
    remaining: int | None = Field(default=None, description="How many more may; missing if any number may.")
    spent_minor: int | None = Field(default=None, description="What these orders take off by it.")
    budget_remaining_minor: int | None = None
    changes: list[PromotionChangeResponse]


_PUT: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK: {"model": PromotionDetailsResponse},
    HTTPStatus.CREATED: {"model": PromotionDetailsResponse},
}


@router.put("/promotions/{code}", dependencies=[requires("promotions:write")], responses=_PUT)
async def put_promotion(
    code: PromotionCode, body: PromotionRequest, request: Request, backend: BackendOfApp
) -> Response:
    """
    Make a promotion be so, whether or not it existed; the same again changes nothing.

    Every version is kept with who made it. To end a promotion, give it a `valid_to` that has passed.
    """
    principal: Principal = request.state.principal

    async def effect(unit: Unit) -> tuple[int | None, PromotionDetailsResponse]:
        version = await unit.promotions.put(body.promotion(code), principal=principal.name, now=backend.clock.now())
        return version, await _details(code, unit)

    version, details = await backend.run(effect)
    return Response(
        details.model_dump_json(exclude_none=True),
        status_code=HTTPStatus.CREATED if version == 1 else HTTPStatus.OK,
        media_type="application/json",
    )


@router.get("/promotions/{code}", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def get_promotion(code: PromotionCode, backend: BackendOfApp) -> PromotionDetailsResponse:
    """Show a promotion with its last two hundred versions."""
    return await backend.run(lambda unit: _details(code, unit))


@router.get("/promotions", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def list_promotions(
    backend: BackendOfApp, limit: PageLimit = PAGE_LIMIT_DEFAULT, cursor: PageCursor = None
) -> Page[PromotionResponse]:
    """List promotions by their codes."""
    after = Cursor.decode(cursor, tuple[str])[0] if cursor else None
    found: Sequence[Promotion] = await backend.run(lambda unit: unit.promotions.page(after=after, limit=limit + 1))
    return page_of(found, limit=limit, key=lambda one: (one.code,), item=PromotionResponse.of)


def _left(limit: int | None, used: int) -> int | None:
    """Return what is left of a limit, which may be lowered below what was used."""
    return None if limit is None else max(0, limit - used)


async def _details(code: str, unit: Unit) -> PromotionDetailsResponse:
    allowance = await unit.promotions.allowance_of(code)
    if allowance is None:
        raise PromotionNotFound(code)
    found = allowance.promotion
    changes: Sequence[PromotionChange] = await unit.promotions.changes_of(code, limit=_CHANGES_MAX)
    return PromotionDetailsResponse(
        **PromotionResponse.of(found).model_dump(),
        used=allowance.used if found.is_limited else None,
        remaining=_left(found.uses_max, allowance.used),
        spent_minor=allowance.spent_minor if found.is_limited else None,
        budget_remaining_minor=_left(found.budget_minor, allowance.spent_minor),
        changes=[PromotionChangeResponse.model_validate(one) for one in changes],
    )
