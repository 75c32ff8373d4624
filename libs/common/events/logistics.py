"""Events that the logistics service publishes."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from libs.common.events.base import Event, Topic
from libs.common.events.shapes import SkuQuantity
from libs.common.events.topics import LOGISTICS_SHIPMENT


class _ShipmentEvent(Event, frozen=True, kw_only=True):
    topic: ClassVar[Topic] = LOGISTICS_SHIPMENT

    shipment_id: UUID
    order_id: UUID


class ShipmentPlanned(_ShipmentEvent, frozen=True, kw_only=True):
    """A parcel was planned from one warehouse with a chosen carrier."""

    type: ClassVar[str] = "shipment.planned"

    warehouse: str
    lines: list[SkuQuantity]
    carrier: str
    carrier_service: str
    cost_minor: int
    currency: str
    estimated_delivery_at: datetime
    decision_id: UUID


class ShipmentDispatched(_ShipmentEvent, frozen=True, kw_only=True):
    """The parcel left its warehouse with the carrier."""

    type: ClassVar[str] = "shipment.dispatched"

    warehouse: str
    lines: list[SkuQuantity]
    dispatched_at: datetime
    tracking_number: str


class ShipmentScanned(_ShipmentEvent, frozen=True, kw_only=True):
    """The carrier saw the parcel somewhere."""

    type: ClassVar[str] = "shipment.scanned"

    scanned_at: datetime
    place: str
    latitude: float | None = None
    longitude: float | None = None


class ShipmentEtaChanged(_ShipmentEvent, frozen=True, kw_only=True):
    """The parcel is expected at another time than before."""

    type: ClassVar[str] = "shipment.eta-changed"

    estimated_delivery_at: datetime
    previous_estimated_delivery_at: datetime


class ShipmentDelivered(_ShipmentEvent, frozen=True, kw_only=True):
    """The parcel arrived."""

    type: ClassVar[str] = "shipment.delivered"

    delivered_at: datetime


class ShipmentFailed(_ShipmentEvent, frozen=True, kw_only=True):
    """The parcel could not be delivered."""

    type: ClassVar[str] = "shipment.failed"

    failed_at: datetime
    reason: str


class ShipmentCancelled(_ShipmentEvent, frozen=True, kw_only=True):
    """The parcel was called off before it left its warehouse."""

    type: ClassVar[str] = "shipment.cancelled"

    reason: str
