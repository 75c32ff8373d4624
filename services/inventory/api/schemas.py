"""What inventory takes and answers over HTTP."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from libs.common.http.fields import Latitude, Longitude
from libs.common.http.ndjson import BulkResult
from services.inventory.domain.counts import CountStatus
from services.inventory.domain.plausibility import TEXT_CHARACTERS_MAX
from services.inventory.domain.warehouses import PRIORITY_DEFAULT

WAREHOUSE_CODE = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class PutWarehouseRequest(BaseModel):
    """A warehouse as it should be."""

    # A misspelt field is a mistake to be told of, and "5" is no number.
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)
    country: str = Field(pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    latitude: Latitude
    longitude: Longitude
    priority: int = Field(
        default=PRIORITY_DEFAULT, ge=0, le=10_000, description="Of two equally near, the smaller serves first."
    )
    is_active: bool = Field(default=True, description="Whether stock here is promised to orders.")
    kind: Literal["warehouse", "store"] = "warehouse"
    ships_orders: bool = Field(default=True, description="Whether orders are sent from here.")
    is_collection_point: bool = Field(default=False, description="Whether customers collect orders here.")


class WarehouseResponse(BaseModel):
    """A warehouse as it is."""

    warehouse: str
    version: int
    name: str
    country: str
    latitude: float
    longitude: float
    priority: int
    is_active: bool
    kind: Literal["warehouse", "store"]
    ships_orders: bool
    is_collection_point: bool


class StockEventResponse(BaseModel):
    """What became of an event."""

    id: UUID
    status: Literal["applied", "duplicate"]


class StockEventsResponse(BulkResult):
    """What became of the rows of an upload; `accepted` are those that were new."""

    duplicates: int


class LevelResponse(BaseModel):
    """The units of a SKU in one warehouse."""

    warehouse: str
    on_hand: int
    reserved: int
    available: int = Field(description="On hand, less reserved, less withheld.")
    withheld: int = Field(description="On hand, but promised to nobody new: the safety stock, and what is blocked.")
    blocked: int = Field(description="On hand, and not to be sold: expired, or too soon to be.")
    in_transit: int = Field(description="On their way here.")
    shortfall: int = Field(description="Reported gone without ever having been reported as arrived.")
    counted_at: datetime | None = Field(description="When somebody last counted.")


class StockResponse(BaseModel):
    """The units of a SKU in every warehouse that ever had it."""

    sku: str
    version: int
    on_hand: int
    reserved: int
    available: int
    levels: list[LevelResponse]


class MovementResponse(BaseModel):
    """One line of the ledger."""

    id: int
    event_id: UUID
    leg: int
    kind: str
    sku: str
    warehouse: str
    delta_on_hand: int
    occurred_at: datetime
    recorded_at: datetime
    reference: str | None
    reason: str | None
    order_id: UUID | None
    transfer_id: UUID | None
    unit_cost_minor: int | None
    currency: str | None
    lot: str | None


class DecideCountRequest(BaseModel):
    """Why a count is believed or not."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)


class HeldCountResponse(BaseModel):
    """A count that was too far off the ledger to be believed at once, and what became of it."""

    id: UUID = Field(description="The id of its event.")
    sku: str
    warehouse: str
    counted_at: datetime
    counted: int
    expected: int = Field(description="What the ledger said was there at that time, when the count came in.")
    discrepancy: int
    value_minor: int | None = Field(description="The discrepancy at average cost, where that is known.")
    currency: str | None
    reference: str | None
    reason: str | None
    counted_by: str | None
    lot: str | None
    held_because: str
    held_at: datetime
    status: CountStatus
    decided_at: datetime | None
    decided_by: str | None
    decision_reason: str | None
    booked_units: int | None = Field(description="What was booked on approval, with all that had come in by then.")


class ReservedLineResponse(BaseModel):
    """Units of an order in one warehouse; those not committed are held."""

    sku: str
    warehouse: str
    quantity: int
    committed: int


class WantedLineResponse(BaseModel):
    """Units that an order waits for."""

    sku: str
    quantity: int


class ReservationResponse(BaseModel):
    """What is held for an order or as a hold, and what it waits for."""

    reservation_id: UUID = Field(description="The order's id, or that of the hold.")
    version: int
    status: Literal["held", "partly-held", "waiting", "rejected", "released", "committed"]
    approved_at: datetime | None
    lines: list[ReservedLineResponse]
    waiting_for: list[WantedLineResponse]


class WarehouseAvailabilityResponse(BaseModel):
    """Units that can be promised from one warehouse."""

    warehouse: str
    available: int


class RestockResponse(BaseModel):
    """The next arrival that is expected."""

    at: datetime
    units: int
    kind: Literal["purchase", "transfer"]


class SkuAvailabilityResponse(BaseModel):
    """Units of a SKU that can be promised now."""

    sku: str
    available: int = Field(description="What can be sent: without the stores that ship no orders.")
    warehouses: list[WarehouseAvailabilityResponse]
    restock: RestockResponse | None


class AvailabilityResponse(BaseModel):
    """What can be promised; `as_of` is the time of the newest change that is in it."""

    as_of: datetime
    items: list[SkuAvailabilityResponse]
