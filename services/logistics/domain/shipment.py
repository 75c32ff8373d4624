"""A parcel from planned to delivered: its states and the only ways between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias
from uuid import UUID

from libs.common.errors import Conflict, Invalid
from libs.common.ids import named_id
from services.logistics.domain.geography import Coordinates, Site

_SHIPMENT_IDS: Final = UUID("6f1c9f6e-2f0b-5e0e-9a53-0d9c3c1f7a51")


class Status(StrEnum):
    """Where a shipment is on its way."""

    PLANNED = "planned"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more can happen to it."""
        return self not in {Status.PLANNED, Status.DISPATCHED}


class Step(StrEnum):
    """What can happen to a shipment."""

    DISPATCHED = "dispatched"
    SCANNED = "scanned"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ShipmentNotDispatched(Conflict):
    """The shipment has not left its warehouse yet."""

    code: ClassVar[str] = "shipment-not-dispatched"


class ShipmentAlreadyDispatched(Conflict):
    """The shipment has left its warehouse."""

    code: ClassVar[str] = "shipment-already-dispatched"


class ShipmentAlreadyDelivered(Conflict):
    """The shipment has arrived; nothing more can happen to it."""

    code: ClassVar[str] = "shipment-already-delivered"


class ShipmentAlreadyFailed(Conflict):
    """The shipment could not be delivered; nothing more can happen to it."""

    code: ClassVar[str] = "shipment-already-failed"


class ShipmentAlreadyCancelled(Conflict):
    """The shipment was called off; nothing more can happen to it."""

    code: ClassVar[str] = "shipment-already-cancelled"


class ImplausibleTime(Invalid):
    """A business time lies before the shipment's own, or in the future."""

    code: ClassVar[str] = "implausible-time"


Refusal: TypeAlias = type[Conflict]

_ALL_STEPS: Final = tuple(Step)

# Total: every step in every state is either a state or a named refusal.
TRANSITIONS: Final[Mapping[tuple[Status, Step], Status | Refusal]] = {
    (Status.PLANNED, Step.DISPATCHED): Status.DISPATCHED,
    (Status.PLANNED, Step.SCANNED): ShipmentNotDispatched,
    (Status.PLANNED, Step.DELIVERED): ShipmentNotDispatched,
    (Status.PLANNED, Step.FAILED): ShipmentNotDispatched,
    (Status.PLANNED, Step.CANCELLED): Status.CANCELLED,
    (Status.DISPATCHED, Step.DISPATCHED): ShipmentAlreadyDispatched,
    (Status.DISPATCHED, Step.SCANNED): Status.DISPATCHED,
    (Status.DISPATCHED, Step.DELIVERED): Status.DELIVERED,
    (Status.DISPATCHED, Step.FAILED): Status.FAILED,
    (Status.DISPATCHED, Step.CANCELLED): ShipmentAlreadyDispatched,
    **{(Status.DELIVERED, step): ShipmentAlreadyDelivered for step in _ALL_STEPS},
    **{(Status.FAILED, step): ShipmentAlreadyFailed for step in _ALL_STEPS},
    **{(Status.CANCELLED, step): ShipmentAlreadyCancelled for step in _ALL_STEPS},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Units of one SKU in a shipment."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Where the carrier saw a shipment; place and time together identify it."""

    shipment_id: UUID
    scanned_at: datetime
    place: str
    coordinates: Coordinates | None = None

    @property
    def identity(self) -> tuple[UUID, datetime, str]:
        """Return what makes two reports the same scan."""
        return self.shipment_id, self.scanned_at, self.place


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """
    What one warehouse sends for one order.

    All times but `planned_at` are business times. `ready_at` is when the order could be shipped, `promised_at`
    when the shop promised it to arrive, `version` the `aggregate_version` of its last event. `plan` is that of the
    confirmation that it was planned for.
    """

    id: UUID
    order_id: UUID
    warehouse: str
    origin: Site | None
    destination: Site
    lines: Sequence[Line]
    carrier: str
    carrier_service: str
    cost_minor: int
    currency: str
    transit_days: int
    decision_id: UUID
    planned_at: datetime
    ready_at: datetime
    promised_at: datetime
    estimated_delivery_at: datetime
    status: Status = Status.PLANNED
    version: int = 0
    tracking_number: str | None = None
    dispatched_at: datetime | None = None
    last_scanned_at: datetime | None = None
    delivered_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    reason: str | None = None
    plan: int = 0

    @property
    def is_late(self) -> bool:
        """Tell whether it arrived after the promise."""
        return self.delivered_at is not None and self.delivered_at > self.promised_at

    def dispatch(self, *, at: datetime, tracking_number: str | None) -> "Shipment":
        """
        Let it leave its warehouse.

        :raises Conflict: one of this module's, if it is not planned.
        """
        return replace(
            self,
            status=self._after(Step.DISPATCHED),
            dispatched_at=at,
            tracking_number=tracking_number or f"{self.carrier}-{self.id.hex[:12]}".upper(),
        )

    def scan(self, *, at: datetime) -> "Shipment":
        """
        Note that the carrier saw it; an older scan than the last one changes nothing but the list of scans.

        :raises Conflict: one of this module's, if it is not on its way.
        :raises ImplausibleTime: if it was seen before it left.
        """
        status = self._after(Step.SCANNED)
        self._must_have_left_by(at, field="scanned_at")
        latest = at if self.last_scanned_at is None else max(at, self.last_scanned_at)
        return replace(self, status=status, last_scanned_at=latest)

    def deliver(self, *, at: datetime) -> "Shipment":
        """
        Let it arrive.

        :raises Conflict: one of this module's, if it is not on its way.
        :raises ImplausibleTime: if it arrived before it left.
        """
        status = self._after(Step.DELIVERED)
        self._must_have_left_by(at, field="delivered_at")
        return replace(self, status=status, delivered_at=at)

    def fail(self, *, at: datetime, reason: str) -> "Shipment":
        """
        Give up delivering it.

        :raises Conflict: one of this module's, if it is not on its way.
        :raises ImplausibleTime: if that was before it left.
        """
        status = self._after(Step.FAILED)
        self._must_have_left_by(at, field="failed_at")
        return replace(self, status=status, failed_at=at, reason=reason)

    def cancel(self, *, at: datetime, reason: str) -> "Shipment":
        """
        Call it off before it leaves.

        :raises Conflict: one of this module's, if it is not planned.
        """
        return replace(self, status=self._after(Step.CANCELLED), cancelled_at=at, reason=reason)

    def _after(self, step: Step) -> Status:
        outcome = TRANSITIONS[self.status, step]
        if isinstance(outcome, Status):
            return outcome
        raise outcome(f"The shipment is {self.status}; it cannot be {step}.")

    def _must_have_left_by(self, moment: datetime, *, field: str) -> None:
        if self.dispatched_at is not None and moment < self.dispatched_at:
            raise ImplausibleTime(
                f"The shipment left its warehouse later, at {self.dispatched_at.isoformat()}.",
                field=field,
            )


def shipment_id(order_id: UUID, warehouse: str, plan: int = 0) -> UUID:
    """Return the id of what `warehouse` sends for an order: always the same, so that no replay plans it twice."""
    return named_id(_SHIPMENT_IDS, f"{order_id}/{warehouse}/{plan}" if plan else f"{order_id}/{warehouse}")
