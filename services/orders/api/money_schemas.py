"""What goes over HTTP about orders' money and what people decide about it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from libs.common.money import MINOR_MAX
from services.orders.api.schemas import Reason
from services.orders.domain.ledger import Account, Fact
from services.orders.domain.order import OrderStatus
from services.orders.handlers.actions import Action
from services.orders.handlers.ledger import BookedTransfer
from services.orders.handlers.settlement import SettlementLine, SettlementState

_ABOUT_A_PARCEL = frozenset({Action.REFUND_PARCEL, Action.RESHIP})


class ActionRequest(BaseModel):
    """What an operator decides, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    reason: Reason
    shipment_id: UUID | None = Field(default=None, description="The parcel that is given up.")
    refund_minor: int | None = Field(
        default=None, ge=0, le=MINOR_MAX, strict=True, description="The price of the parcel's goods, unless given."
    )

    @model_validator(mode="after")
    def _names_a_parcel_where_one_is_meant(self) -> Self:
        if (self.shipment_id is not None) != (self.action in _ABOUT_A_PARCEL):
            message = "refund-parcel and reship name a parcel in shipment_id, and nothing else does"
            raise ValueError(message)
        if self.refund_minor is not None and self.action is not Action.REFUND_PARCEL:
            message = "only refund-parcel takes refund_minor"
            raise ValueError(message)
        return self


class ActionResponse(BaseModel):
    """What an operator has decided."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: UUID
    order_id: UUID
    action: Action
    reason: str
    shipment_id: UUID | None
    refund_minor: int | None
    replacement_order_id: UUID | None
    status_before: OrderStatus
    status_after: OrderStatus
    acted_at: datetime
    acted_by: str = Field(validation_alias="principal")


class ActionsResponse(BaseModel):
    """An order's actions, oldest first."""

    items: list[ActionResponse]


class EntryResponse(BaseModel):
    """One side of a fact: above zero is debited, below zero credited."""

    booked_at: datetime
    fact: Fact
    step_id: UUID
    account: Account
    amount_minor: int


class LedgerResponse(BaseModel):
    """An order's entries; `sum_minor` is always 0."""

    order_id: UUID
    currency: str
    entries: list[EntryResponse]
    balances: dict[Account, int]
    sum_minor: int

    @classmethod
    def of(cls, order_id: UUID, currency: str, transfers: Sequence[BookedTransfer]) -> Self:
        """Show a ledger."""
        entries = []
        balances: dict[Account, int] = {}
        for one in transfers:
            for account, amount in ((one.debit, one.amount_minor), (one.credit, -one.amount_minor)):
                balances[account] = balances.get(account, 0) + amount
                entries.append(
                    EntryResponse(
                        booked_at=one.booked_at,
                        fact=one.fact,
                        step_id=one.step_id,
                        account=account,
                        amount_minor=amount,
                    )
                )
        return cls(
            order_id=order_id,
            currency=currency,
            entries=entries,
            balances=balances,
            sum_minor=sum(entry.amount_minor for entry in entries),
        )


class SettlementLineResponse(BaseModel):
    """An order and its charge that do not agree, or one without the other; amounts in minor units."""

    status: SettlementState
    provider: str
    reference: str | None
    order_id: UUID | None
    currency: str
    captured_minor: int | None
    refunded_minor: int | None
    held_minor: int | None
    provider_captured_minor: int | None
    provider_refunded_minor: int | None
    provider_held_minor: int | None
    ledger_drift_minor: int
    drift_minor: int

    @classmethod
    def of(cls, line: SettlementLine) -> Self:
        """Show a line."""
        order, charge = line.order, line.charge
        return cls(
            status=line.state,
            provider=line.provider,
            reference=line.reference,
            order_id=None if order is None else order.order_id,
            currency=line.currency,
            captured_minor=None if order is None else order.captured_minor,
            refunded_minor=None if order is None else order.refunded_minor,
            held_minor=None if order is None else order.held_minor,
            provider_captured_minor=None if charge is None else charge.captured_minor,
            provider_refunded_minor=None if charge is None else charge.refunded_minor,
            provider_held_minor=None if charge is None else charge.held_minor,
            ledger_drift_minor=0 if order is None else order.ledger_drift_minor,
            drift_minor=line.drift_minor,
        )


class SettlementTotals(BaseModel):
    """What one currency adds up to with one provider, in minor units."""

    provider: str
    currency: str
    orders: int = 0
    captured_minor: int = 0
    refunded_minor: int = 0
    held_minor: int = 0
    provider_captured_minor: int = 0
    provider_refunded_minor: int = 0
    provider_held_minor: int = 0
    drift_minor: int = 0


class SettlementReportResponse(BaseModel):
    """A period as both sides see it; `lines` are only those that do not agree, as many as there is room for."""

    since: datetime
    until: datetime
    statuses: dict[SettlementState, int] = Field(description="How many lines there are of each status.")
    totals: list[SettlementTotals]
    lines: list[SettlementLineResponse]
    has_more_lines: bool
