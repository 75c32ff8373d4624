"""Shipments as callers send and get them."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from libs.common.http.fields import BOTH_COORDINATES_OR_NONE, Label, Latitude, Longitude, Timestamp, check_coordinates
from libs.common.http.ndjson import BulkResult
from services.logistics.domain.geography import Coordinates, coordinates_of
from services.logistics.domain.shipment import Scan, Shipment, Status, Step
from services.logistics.handlers.movements import Movement

TrackingNumber = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,100}$")]


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Point(_Input):
    model_config = ConfigDict(json_schema_extra=BOTH_COORDINATES_OR_NONE)

    latitude: Latitude | None = None
    longitude: Longitude | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        check_coordinates(self.latitude, self.longitude)
        return self

    @property
    def coordinates(self) -> Coordinates | None:
        """The point, if one was given."""
        return coordinates_of(self.latitude, self.longitude)


class DispatchRequest(_Input):
    """The parcel left its warehouse."""

    dispatched_at: Timestamp | None = Field(default=None, description="Business time; now if absent.")
    tracking_number: TrackingNumber | None = Field(
        default=None, description="The carrier's number; one is made up if absent."
    )


class ScanRequest(_Point):
    """The carrier saw the parcel."""

    scanned_at: Timestamp | None = Field(default=None, description="Business time; now if absent.")
    place: Label = Field(description="A depot or a town, never a person or an address.")


class DeliveryRequest(_Input):
    """The parcel arrived."""

    delivered_at: Timestamp | None = Field(default=None, description="Business time; now if absent.")


class FailureRequest(_Input):
    """The parcel could not be delivered."""

    failed_at: Timestamp | None = Field(default=None, description="Business time; now if absent.")
    reason: Label = Field(description="Why, without personal data.")


class ShipmentEventRow(_Point):
    """One row of a bulk report. Time and place say whether two rows are the same, so the time is required."""

    shipment_id: UUID
    type: Step
    occurred_at: Timestamp
    tracking_number: TrackingNumber | None = None
    place: Label | None = None
    reason: Label | None = None

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        if self.type is Step.SCANNED and self.place is None:
            message = "a scan needs a place"
            raise ValueError(message)
        if self.type is Step.FAILED and self.reason is None:
            message = "a failure needs a reason"
            raise ValueError(message)
        return self

    def movement(self) -> Movement:
        """Return it as the use case takes it."""
        return Movement(
            shipment_id=self.shipment_id,
            step=self.type,
            at=self.occurred_at,
            tracking_number=self.tracking_number,
            place=self.place or "",
            coordinates=self.coordinates,
            reason=self.reason or "",
        )


class ShipmentEventsResult(BulkResult):
    """The answer to a bulk report; sent again, its rows are duplicates and change nothing."""

    duplicates: int


class LineModel(BaseModel):
    """Units of one SKU."""

    sku: str
    quantity: int


class PointModel(BaseModel):
    """A country and, where known, a point in it."""

    country: str
    latitude: float | None = None
    longitude: float | None = None


class ScanResponse(BaseModel):
    """Where and when the carrier saw the parcel."""

    scanned_at: datetime
    place: str
    latitude: float | None = None
    longitude: float | None = None

    @classmethod
    def of(cls, scan: Scan) -> Self:
        """Shape a scan."""
        point = scan.coordinates
        return cls(
            scanned_at=scan.scanned_at,
            place=scan.place,
            latitude=point.latitude if point else None,
            longitude=point.longitude if point else None,
        )


class ShipmentResponse(BaseModel):
    """A parcel; all times but `planned_at` and `cancelled_at` are business times."""

    id: UUID
    order_id: UUID
    version: int
    status: Status
    warehouse: str
    lines: list[LineModel]
    destination: PointModel
    carrier: str
    carrier_service: str
    cost_minor: int
    currency: str
    tracking_number: str | None = None
    decision_id: UUID
    planned_at: datetime
    promised_at: datetime
    estimated_delivery_at: datetime
    dispatched_at: datetime | None = None
    last_scanned_at: datetime | None = None
    delivered_at: datetime | None = None
    failed_at: datetime | None = None
    cancelled_at: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(cls, shipment: Shipment) -> Self:
        """Shape a shipment."""
        return cls(**_fields(shipment))


class TrackedShipmentResponse(ShipmentResponse):
    """A parcel with everything its carrier saw of it, oldest first."""

    scans: list[ScanResponse]

    @classmethod
    def tracked(cls, shipment: Shipment, scans: list[ScanResponse]) -> Self:
        """Shape a shipment with its scans."""
        return cls(**_fields(shipment), scans=scans)


def _fields(shipment: Shipment) -> dict[str, Any]:
    point = shipment.destination.coordinates
    return {
        "id": shipment.id,
        "order_id": shipment.order_id,
        "version": shipment.version,
        "status": shipment.status,
        "warehouse": shipment.warehouse,
        "lines": [LineModel(sku=line.sku, quantity=line.quantity) for line in shipment.lines],
        "destination": PointModel(
            country=shipment.destination.country,
            latitude=point.latitude if point else None,
            longitude=point.longitude if point else None,
        ),
        "carrier": shipment.carrier,
        "carrier_service": shipment.carrier_service,
        "cost_minor": shipment.cost_minor,
        "currency": shipment.currency,
        "tracking_number": shipment.tracking_number,
        "decision_id": shipment.decision_id,
        "planned_at": shipment.planned_at,
        "promised_at": shipment.promised_at,
        "estimated_delivery_at": shipment.estimated_delivery_at,
        "dispatched_at": shipment.dispatched_at,
        "last_scanned_at": shipment.last_scanned_at,
        "delivered_at": shipment.delivered_at,
        "failed_at": shipment.failed_at,
        "cancelled_at": shipment.cancelled_at,
        "reason": shipment.reason,
    }
