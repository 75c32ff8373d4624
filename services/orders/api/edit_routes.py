"""What customers change about an order that is placed."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, Self
from uuid import UUID

from fastapi import APIRouter, Header
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from starlette.responses import Response

from libs.common.events.shapes import Destination
from libs.common.http.auth import requires
from libs.common.http.idempotency import IdempotentWrite, StoredResponse
from services.orders.api.backend import BackendOfApp
from services.orders.api.order_routes import coarse, found_order
from services.orders.api.schemas import (
    ChargeResponse,
    LineRequest,
    OrderResponse,
    PaymentToken,
    Reason,
    ShipToRequest,
    ShortageResponse,
    TaxRequest,
)
from services.orders.domain.charges import Charge
from services.orders.domain.edits import AddedLine, Edit, EditStatus, LineQuantity
from services.orders.domain.order import Address
from services.orders.handlers.edits import EditRequest, edit_order
from services.orders.handlers.ports import Unit

router = APIRouter(prefix="/v1", tags=["orders"])

_LINES_MAX: Final = 2_000
_TAXES_MAX: Final = 50
_ORDER: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.OK: {"model": OrderResponse},
    HTTPStatus.ACCEPTED: {"model": OrderResponse, "description": "Others were asked first."},
}

IfMatch = Annotated[
    str,
    Header(
        max_length=40,
        pattern=r'^"[0-9]{1,18}"$',
        description="The ETag of the order as it was shown: if it has changed since, nothing is edited (412).",
    ),
]


class LineQuantityRequest(BaseModel):
    """How many units a line is to have; 0 removes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: int = Field(ge=1, le=1_000_000, strict=True)
    quantity: int = Field(ge=0, le=1_000_000, strict=True)


class EditOrderRequest(BaseModel):
    """What is to be different: quantities of lines, lines that are added, the address within the country."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: Reason
    lines: list[LineQuantityRequest] = Field(default_factory=list, max_length=_LINES_MAX)
    add: list[LineRequest] = Field(default_factory=list, max_length=_LINES_MAX)
    ship_to: ShipToRequest | None = None
    payment_token: PaymentToken | None = Field(
        default=None,
        description="Of what the provider is asked with for what the order costs more, once it is paid for.",
    )

    taxes: list[TaxRequest] | None = Field(
        default=None,
        max_length=_TAXES_MAX,
        description="All taxes of the edited order, instead of those that it has; without, each is computed anew by its"
        " own rate. Lines that are added are those after the last, in their order.",
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.lines and not self.add and self.ship_to is None:
            message = "name lines, lines to add, or an address"
            raise ValueError(message)
        if self.taxes is not None and not self.lines and not self.add:
            message = "taxes are stated with lines"
            raise ValueError(message)
        numbers = [one.line for one in self.lines]
        if len(set(numbers)) < len(numbers):
            message = "a line is named twice"
            raise ValueError(message)
        return self


class EditedLineResponse(BaseModel):
    """A line as it was, or is."""

    model_config = ConfigDict(from_attributes=True)

    line: int
    sku: str
    quantity: int
    unit_price_minor: int


def _charges(charges: tuple[Charge, ...] | None) -> list[ChargeResponse] | None:
    return None if charges is None else [ChargeResponse.of(one) for one in charges]


class EditResponse(BaseModel):
    """An edit and who made it; of an address only that it changed."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    edited_at: datetime
    edited_by: str = Field(validation_alias="principal")
    reason: str
    lines_before: list[EditedLineResponse]
    lines_after: list[EditedLineResponse]
    total_before_minor: int
    total_after_minor: int
    is_address_changed: bool
    status: EditStatus
    refusal: str | None = None
    shortages: list[ShortageResponse] | None = Field(
        default=None, description="What was missing of what was wanted more, and what could be had instead."
    )
    charges_after: Annotated[list[ChargeResponse] | None, BeforeValidator(_charges)] = Field(
        default=None, description="Discounts, shipping and taxes of the edited order, if it has any."
    )

    @classmethod
    def of(cls, edit: Edit) -> Self:
        """Shape an edit."""
        return cls.model_validate(edit)


class EditListResponse(BaseModel):
    """All edits of an order, oldest first."""

    items: list[EditResponse]


@router.post("/orders/{order_id}/edits", dependencies=[requires("orders:write")], responses=_ORDER)
async def edit(
    order_id: UUID, body: EditOrderRequest, write: IdempotentWrite, backend: BackendOfApp, if_match: IfMatch
) -> Response:
    """
    Change an order: its lines and its address, until a parcel has left.

    Lines of an order that waits for goods, or has them, are not ours alone to change: others are asked first (202).
    """
    request = EditRequest(
        revision=int(if_match.strip('"')),
        principal=write.principal,
        reason=body.reason,
        quantities=[LineQuantity(line=one.line, quantity=one.quantity) for one in body.lines],
        added=[
            AddedLine(sku=one.sku, quantity=one.quantity, unit_price_minor=one.unit_price_minor) for one in body.add
        ],
        address=None if body.ship_to is None else _address(body.ship_to),
        destination=None if body.ship_to is None else _destination(body.ship_to),
        payment_token=body.payment_token,
        taxes=None if body.taxes is None else [one.charge() for one in body.taxes],
    )

    async def effect(unit: Unit) -> StoredResponse:
        made = await edit_order(
            order_id,
            request,
            unit=unit,
            reviewing=backend.reviewing,
            price_check=backend.price_check,
            policy=backend.policy,
            now=backend.clock.now(),
        )
        code = HTTPStatus.ACCEPTED if made.status is EditStatus.REQUESTED else HTTPStatus.OK
        return StoredResponse(code, OrderResponse.of(await found_order(order_id, unit)).render())

    return (await backend.write(write, effect)).response()


@router.get("/orders/{order_id}/edits", dependencies=[requires("orders:read")], response_model_exclude_none=True)
async def list_edits(order_id: UUID, backend: BackendOfApp) -> EditListResponse:
    """Say what was changed about an order, by whom and why."""

    async def read(unit: Unit) -> EditListResponse:
        await found_order(order_id, unit)
        return EditListResponse(items=[EditResponse.of(one) for one in await unit.edits.of_order(order_id)])

    return await backend.run(read)


def _address(ship_to: ShipToRequest) -> Address:
    return Address(
        name=ship_to.name,
        address_lines=tuple(ship_to.address_lines),
        city=ship_to.city,
        postal_code=ship_to.postal_code,
    )


def _destination(ship_to: ShipToRequest) -> Destination:
    return Destination(country=ship_to.country, latitude=coarse(ship_to.latitude), longitude=coarse(ship_to.longitude))
