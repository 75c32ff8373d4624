"""What goes over HTTP; neither events nor rows look like this by more than coincidence."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from libs.common.http.fields import (
    BOTH_COORDINATES_OR_NONE,
    Currency,
    Latitude,
    Longitude,
    Timestamp,
    check_coordinates,
)
from libs.common.money import MINOR_MAX
from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase, TaxRounding
from services.orders.domain.findings import Consequence, FindingKind
from services.orders.domain.order import DERIVED_CHANNELS, OrderStatus
from services.orders.domain.returns import Disposition, Grade, ReasonCode, Return, ReturnStatus
from services.orders.domain.shortage import SHOWN
from services.orders.handlers.queries import OrderView, TimelineEntry

_LINES_MAX = 2_000
_QUANTITY_MAX = 1_000_000
_UNIT_PRICE_MINOR_MAX = 10**12
_CHARGES_MAX = 50
_RATE_PPM_MAX = 10_000_000
_CODE = r"^[^\x00-\x1f\x7f]+$"

Sku = Annotated[str, Field(min_length=1, max_length=64, pattern=_CODE, examples=["CRUNCHY-ARMCHAIR"])]
Quantity = Annotated[int, Field(ge=1, le=_QUANTITY_MAX, strict=True)]
LineNumber = Annotated[int, Field(ge=1, le=_LINES_MAX, strict=True)]
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=_CODE)]
StoreCode = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Reason = Annotated[
    str,
    Field(min_length=1, max_length=200, pattern=_CODE, description="A short reason; it is published, so no names."),
]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class LineRequest(_Request):
    """Units of a SKU at the price that the customer accepted."""

    sku: Sku
    quantity: Quantity
    unit_price_minor: int = Field(ge=0, le=_UNIT_PRICE_MINOR_MAX, strict=True)


class ShipToRequest(_Request):
    """Where the parcel goes. Only country and coordinates, rounded, ever leave this service."""

    model_config = ConfigDict(json_schema_extra=BOTH_COORDINATES_OR_NONE)

    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.", examples=["GB"])
    name: str | None = Field(default=None, max_length=200)
    address_lines: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=5)
    city: str | None = Field(default=None, max_length=200)
    postal_code: str | None = Field(default=None, max_length=20)
    latitude: Latitude | None = None
    longitude: Longitude | None = None

    @model_validator(mode="after")
    def _has_both_coordinates_or_none(self) -> Self:
        check_coordinates(self.latitude, self.longitude)
        return self


PaymentToken = Annotated[str, Field(min_length=1, max_length=255, pattern=_CODE, examples=["tok_ok"])]


class PaymentRequest(_Request):
    """How the customer pays: the provider's token, never a card."""

    token: PaymentToken
    method: str = Field(default="card", pattern=r"^[a-z][a-z0-9-]{0,31}$", description="One that the shop takes.")
    billing_country: str | None = Field(
        default=None, pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2; for the review alone."
    )


class DiscountRequest(_Request):
    """What a promotion takes off; it is shared by the lines that it is for, all if none are named."""

    code: Code
    amount_minor: int = Field(ge=0, le=MINOR_MAX, strict=True)
    lines: list[LineNumber] = Field(default_factory=list, max_length=_LINES_MAX)

    def charge(self) -> Charge:
        """Return it as the order has it."""
        return Charge(kind=ChargeKind.DISCOUNT, code=self.code, amount_minor=self.amount_minor, lines=tuple(self.lines))


class ShippingRequest(_Request):
    """What sending costs, taxes that its price does not include left out."""

    method: Code
    amount_minor: int = Field(ge=0, le=MINOR_MAX, strict=True)

    def charge(self) -> Charge:
        """Return it as the order has it."""
        return Charge(kind=ChargeKind.SHIPPING, code=self.method, amount_minor=self.amount_minor)


class TaxRequest(_Request):
    """A tax on goods, on shipping, or on both, after discounts."""

    jurisdiction: str = Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$", description="ISO 3166.", examples=["GB", "US-NY"])
    category: Code = "standard"
    rate_ppm: int = Field(ge=0, le=_RATE_PPM_MAX, strict=True, description="In millionths: 200,000 is 20 %.")
    is_inclusive: bool = Field(strict=True, description="Whether prices include it; it adds nothing to the total then.")
    amount_minor: int = Field(ge=0, le=MINOR_MAX, strict=True)
    base: TaxBase = TaxBase.GOODS
    lines: list[LineNumber] = Field(
        default_factory=list,
        max_length=_LINES_MAX,
        description="The lines it is on; all if there are none.",
    )
    rounding: TaxRounding = Field(
        default=TaxRounding.ORDER, description="Half up: for each line and for shipping, or once for the order."
    )

    def charge(self) -> Charge:
        """Return it as the order has it."""
        tax = Tax(
            jurisdiction=self.jurisdiction,
            rate_ppm=self.rate_ppm,
            is_inclusive=self.is_inclusive,
            base=self.base,
            rounding=self.rounding,
        )
        return Charge(
            kind=ChargeKind.TAX, code=self.category, amount_minor=self.amount_minor, lines=tuple(self.lines), tax=tax
        )


class PlaceOrderRequest(_Request):
    """A basket that a customer confirmed."""

    customer_id: Code
    channel: Code = "web"
    email_hash: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="SHA-256 of the customer's e-mail address in lower case; for the review alone, and not kept.",
    )
    reference: Code | None = Field(default=None, description="The order's number in the caller's system.")
    currency: Currency
    lines: list[LineRequest] = Field(min_length=1, max_length=_LINES_MAX)
    discounts: list[DiscountRequest] = Field(default_factory=list, max_length=_CHARGES_MAX)
    shipping: list[ShippingRequest] = Field(default_factory=list, max_length=_CHARGES_MAX)
    taxes: list[TaxRequest] = Field(default_factory=list, max_length=_CHARGES_MAX)
    total_minor: int | None = Field(
        default=None,
        ge=0,
        le=MINOR_MAX,
        strict=True,
        description="Refused unless it is lines - discounts + shipping + taxes that prices do not include.",
    )
    ship_to: ShipToRequest
    payment: PaymentRequest
    placed_at: Timestamp | None = Field(default=None, description="Now, unless the order is imported.")
    on_shortage: Literal["cancel", "split", "wait", "backorder", "partial", "refuse"] | None = Field(
        default=None,
        description="What becomes of it if units are short: it is refused (`cancel`), what there is goes ahead and the "
        "rest follows (`split`), or all of it waits, for days (`wait`) or as long as goods may take (`backorder`). By "
        "default what the shop does in its channel. `refuse` and `partial` are older names of `cancel` and `split`.",
    )
    is_split_allowed: bool = Field(default=True, strict=True)
    hold_id: UUID | None = Field(default=None, description="What inventory holds for it already; it takes that over.")
    collect_at: StoreCode | None = Field(default=None, description="The store where the customer collects the order.")

    @field_validator("channel")
    @classmethod
    def _is_a_place_to_buy(cls, channel: str) -> str:
        if channel in DERIVED_CHANNELS:
            message = f"{channel} is kept for orders that come of others"
            raise ValueError(message)
        return channel


class WaitingRequest(_Request):
    """Why an order waits on."""

    reason: Reason = "customer-waits"


class CancellationRequest(_Request):
    """Why an order is called off."""

    reason: Reason


class ReturnLineRequest(_Request):
    """Units that come back."""

    sku: Sku
    quantity: Quantity


class RequestReturnRequest(_Request):
    """What comes back, and why."""

    reason: Reason
    reason_code: ReasonCode = ReasonCode.OTHER
    lines: list[ReturnLineRequest] = Field(min_length=1, max_length=_LINES_MAX)
    exchange_for: list[LineRequest] = Field(
        default_factory=list,
        max_length=_LINES_MAX,
        description="What is wanted instead of money, at its present price.",
    )
    payment_token: PaymentToken | None = Field(
        default=None, description="What is paid with if that costs more than what comes back."
    )

    @field_validator("lines")
    @classmethod
    def _names_each_sku_once(cls, lines: list[ReturnLineRequest]) -> list[ReturnLineRequest]:
        _check_distinct(line.sku for line in lines)
        return lines


class ReceiptLineRequest(_Request):
    """Units that a warehouse found, and how many of them can be sold again."""

    sku: Sku
    quantity: int = Field(ge=0, le=_QUANTITY_MAX, strict=True)
    restock_quantity: int = Field(ge=0, le=_QUANTITY_MAX, strict=True)


class ReceiptRequest(_Request):
    """A returned parcel as the warehouse counted it; what is not listed did not come."""

    warehouse: Code
    lines: list[ReceiptLineRequest] = Field(min_length=1, max_length=_LINES_MAX)
    received_at: Timestamp | None = None

    @field_validator("lines")
    @classmethod
    def _are_plausible(cls, lines: list[ReceiptLineRequest]) -> list[ReceiptLineRequest]:
        _check_distinct(line.sku for line in lines)
        if any(line.restock_quantity > line.quantity for line in lines):
            message = "restock_quantity cannot be above quantity"
            raise ValueError(message)
        return lines


class LabelRequest(_Request):
    """The label that a customer sends goods back with, as a carrier made it."""

    carrier: Code
    reference: Code


class ArrivedLineRequest(_Request):
    """Units that a warehouse found in a returned parcel."""

    sku: Sku
    quantity: int = Field(ge=0, le=_QUANTITY_MAX, strict=True)


class ArrivalRequest(_Request):
    """A returned parcel as the warehouse counted it, to be inspected later; what is not listed did not come."""

    warehouse: Code
    lines: list[ArrivedLineRequest] = Field(min_length=1, max_length=_LINES_MAX)
    received_at: Timestamp | None = None

    @field_validator("lines")
    @classmethod
    def _names_each_sku_once(cls, lines: list[ArrivedLineRequest]) -> list[ArrivedLineRequest]:
        _check_distinct(line.sku for line in lines)
        return lines


class InspectedLineRequest(_Request):
    """The state of units that came back; units of a SKU that differ are lines of their own."""

    sku: Sku
    quantity: Quantity
    grade: Grade
    disposition: Disposition
    refund_percent: int = Field(default=100, ge=0, le=100, strict=True)


class InspectionRequest(_Request):
    """What was found of all units that arrived."""

    lines: list[InspectedLineRequest] = Field(max_length=_LINES_MAX)


class LineResponse(_Response):
    """A line of an order."""

    line: int
    sku: str
    quantity: int
    unit_price_minor: int
    returned_quantity: int
    charged_minor: int | None = Field(
        default=None, description="What it bears of the total, if there are discounts, shipping or taxes."
    )


class ChargeResponse(_Response):
    """A discount, shipping or a tax; the code is the promotion's, the method's or the tax category's."""

    kind: ChargeKind
    code: str
    amount_minor: int
    lines: list[int] | None = None
    jurisdiction: str | None = None
    rate_ppm: int | None = None
    is_inclusive: bool | None = None
    base: TaxBase | None = None
    rounding: TaxRounding | None = None

    @classmethod
    def of(cls, charge: Charge) -> "ChargeResponse":
        """Shape a charge."""
        tax = charge.tax
        return cls(
            kind=charge.kind,
            code=charge.code,
            amount_minor=charge.amount_minor,
            lines=list(charge.lines) or None,
            jurisdiction=None if tax is None else tax.jurisdiction,
            rate_ppm=None if tax is None else tax.rate_ppm,
            is_inclusive=None if tax is None else tax.is_inclusive,
            base=None if tax is None else tax.base,
            rounding=None if tax is None else tax.rounding,
        )


class FindingResponse(_Response):
    """Something about an order that is not as the shop has it; without a line it concerns the whole order."""

    kind: FindingKind
    consequence: Consequence = Field(description="What the channel's policy made of it.")
    line: int | None = None
    sku: str | None = None
    code: str | None = Field(default=None, description="The promotion or the tax category that it is about.")
    expected_minor: int | None = Field(default=None, description="Missing where the shop knows no amount.")
    offered_minor: int


class PaymentResponse(_Response):
    """What the payment provider has done so far, in minor units."""

    authorised_minor: int
    captured_minor: int
    refunded_minor: int
    voided_minor: int = Field(description="Authorised, and let go of without being captured.")


class ShipmentResponse(_Response):
    """A parcel of an order."""

    shipment_id: UUID
    warehouse: str | None
    status: str


class LinkedOrderResponse(_Response):
    """An order that came of this one: its remainder, a replacement, or what goods were exchanged for."""

    order_id: UUID
    channel: str


class AlternativeResponse(_Response):
    """A SKU that could be had instead, with the price that the catalog asked and the units that were free then."""

    sku: str
    price_minor: int
    currency: str
    available: int
    score: float = Field(description="How good an alternative it is, between 0 and 1.")
    reason: str


class ShortageResponse(_Response):
    """A SKU of which there was too little, and what could be had instead, the best first."""

    sku: str
    requested: int
    available: int
    expected_at: datetime | None = Field(default=None, description="When the rest of it should be there.")
    alternatives: list[AlternativeResponse]


class OrderResponse(_Response):
    """An order; `version` counts its published events."""

    id: UUID
    version: int
    status: OrderStatus
    status_reason: str | None = None
    deadline_at: datetime | None = Field(default=None, description="Until when the present stage may last.")
    customer_id: str
    channel: str
    reference: str | None = None
    currency: str
    total_minor: int
    lines: list[LineResponse]
    placed_at: datetime
    received_at: datetime
    payment: PaymentResponse
    shipments: list[ShipmentResponse]
    charges: list[ChargeResponse] | None = None
    findings: list[FindingResponse] | None = None
    on_shortage: str
    expected_at: datetime | None = Field(
        default=None, description="When the goods that it waits for should be there, if that is known."
    )
    shortages: list[ShortageResponse] | None = Field(
        default=None, description="What it was refused or waits for, as it was then."
    )
    origin_id: UUID | None = Field(default=None, description="The order that this one comes of.")
    linked_orders: list[LinkedOrderResponse] = Field(default_factory=list)

    @classmethod
    def of(cls, view: OrderView) -> "OrderResponse":
        """Shape an order."""
        return cls(
            id=view.id,
            version=view.version,
            status=view.status,
            status_reason=view.status_reason,
            deadline_at=view.deadline_at,
            customer_id=view.customer_id,
            channel=view.channel,
            reference=view.reference,
            currency=view.currency,
            total_minor=view.total_minor,
            lines=[LineResponse.model_validate(line) for line in view.lines],
            placed_at=view.placed_at,
            received_at=view.received_at,
            payment=PaymentResponse.model_validate(view),
            shipments=[ShipmentResponse.model_validate(parcel) for parcel in view.shipments],
            charges=[ChargeResponse.of(one) for one in view.charges] or None,
            findings=[FindingResponse.model_validate(one) for one in view.findings] or None,
            on_shortage=SHOWN[view.on_shortage],
            expected_at=view.expected_at,
            shortages=[ShortageResponse.model_validate(one) for one in view.shortages] or None,
            origin_id=view.origin_id,
            linked_orders=[LinkedOrderResponse.model_validate(one) for one in view.linked_orders],
        )

    def render(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json(exclude_none=True).encode()


class StageResponse(_Response):
    """A stage that an order entered; `cause_id` is the event that led there, where there is one."""

    sequence: int
    stage: OrderStatus
    entered_at: datetime
    cause: str
    cause_id: UUID | None = None
    detail: str | None = None
    shortages: list[ShortageResponse] | None = None

    @classmethod
    def of(cls, entry: TimelineEntry) -> "StageResponse":
        """Shape a line of the timeline."""
        return cls(
            sequence=entry.sequence,
            stage=entry.stage,
            entered_at=entry.entered_at,
            cause=entry.cause,
            cause_id=entry.cause_id,
            detail=entry.detail,
            shortages=[ShortageResponse.model_validate(one) for one in entry.shortages] or None,
        )


class TimelineResponse(_Response):
    """An order's way so far."""

    items: list[StageResponse]
    next_cursor: None = None


class ReturnLineResponse(_Response):
    """Units of one order line that come back."""

    line: int
    sku: str
    quantity: int
    unit_price_minor: int
    received_quantity: int
    restocked_quantity: int
    written_off_quantity: int
    refund_minor: int | None = None


class ReturnResponse(_Response):
    """A return; `refund_minor` is what goes back in money, `exchange_due_minor` what an exchange costs beyond that."""

    id: UUID
    order_id: UUID
    status: ReturnStatus
    reason: str
    currency: str
    refund_minor: int
    lines: list[ReturnLineResponse]
    warehouse: str | None = None
    requested_at: datetime
    received_at: datetime | None = None
    reason_code: ReasonCode
    label_carrier: str | None = None
    label_reference: str | None = None
    inspected_at: datetime | None = None
    inspected_by: str | None = None
    exchange_order_id: UUID | None = None
    exchange_due_minor: int = 0

    @classmethod
    def of(cls, one: Return) -> "ReturnResponse":
        """Shape a return."""
        return cls.model_validate(one)

    def render(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json(exclude_none=True).encode()


class ReturnsResponse(_Response):
    """An order's returns, oldest first."""

    items: list[ReturnResponse]
    next_cursor: None = None


def _check_distinct(skus: Iterable[str]) -> None:
    seen = set[str]()
    for sku in skus:
        if sku in seen:
            message = f"{sku} is named twice; add up its units"
            raise ValueError(message)
        seen.add(sku)
