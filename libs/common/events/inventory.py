"""Events that the inventory service publishes, and those that warehouses report to it."""

from datetime import date, datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from libs.common.events.base import Event, Topic
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from libs.common.events.topics import (
    INVENTORY_FACILITY,
    INVENTORY_RESERVATION,
    INVENTORY_STOCK,
    INVENTORY_TRANSFER,
    INVENTORY_WAREHOUSE,
)


class WarehouseReport(Event, frozen=True, kw_only=True):
    """
    Something that happened to the units of one SKU in one warehouse, as the warehouse saw it.

    `occurred_at` is the warehouse's time; `sequence`, if given, counts the reports of one warehouse from 1;
    `reference` is the warehouse's own document number; `lot` is the lot that the units belong to, where it is known.
    """

    topic: ClassVar[Topic] = INVENTORY_WAREHOUSE

    sku: str
    warehouse: str
    occurred_at: datetime
    sequence: int | None = None
    reference: str | None = None
    lot: str | None = None


class GoodsReceived(WarehouseReport, frozen=True, kw_only=True):
    """
    Units arrived from a supplier; `unit_cost_minor` is what one of them cost.

    `expires_on` is the last day on which the units of `lot` may be used.
    """

    type: ClassVar[str] = "goods.received"

    quantity: int
    unit_cost_minor: int | None = None
    currency: str | None = None
    expires_on: date | None = None


class GoodsExpected(WarehouseReport, frozen=True, kw_only=True):
    """
    A supplier's delivery is on its way: `quantity` units, for about `expected_at`.

    `reference` names it and is required: a later report with the same reference, SKU and warehouse replaces this one,
    with a quantity of 0 it calls it off, and goods received under the reference use it up.
    """

    type: ClassVar[str] = "goods.expected"

    quantity: int
    expected_at: datetime


class GoodsPicked(WarehouseReport, frozen=True, kw_only=True):
    """Units left the shelf, for an order if `order_id` is given."""

    type: ClassVar[str] = "goods.picked"

    quantity: int
    order_id: UUID | None = None


class GoodsAdjusted(WarehouseReport, frozen=True, kw_only=True):
    """The warehouse corrected its stock by `delta` units (not 0), for example for breakage."""

    type: ClassVar[str] = "goods.adjusted"

    delta: int
    reason: str


class GoodsWrittenOff(WarehouseReport, frozen=True, kw_only=True):
    """Units were taken out of stock for good and sold to nobody, for `reason`: expired, damaged, lost."""

    type: ClassVar[str] = "goods.written-off"

    quantity: int
    reason: str


class GoodsCounted(WarehouseReport, frozen=True, kw_only=True):
    """
    Somebody (`counted_by`) counted `counted` units on the shelf at `occurred_at`, of all lots together.

    `reason` explains what the count found, and `lot` where it found it. `reference` names the count list, if any.
    """

    type: ClassVar[str] = "goods.counted"

    counted: int
    reason: str | None = None
    counted_by: str | None = None


class TransferDispatched(WarehouseReport, frozen=True, kw_only=True):
    """Units left `warehouse` for `destination`, where they should be at `expected_at`."""

    type: ClassVar[str] = "transfer.dispatched"

    transfer_id: UUID
    destination: str
    quantity: int
    expected_at: datetime | None = None


class TransferReceived(WarehouseReport, frozen=True, kw_only=True):
    """Units of a transfer arrived in `warehouse`."""

    type: ClassVar[str] = "transfer.received"

    transfer_id: UUID
    quantity: int


class _FacilityState(Event, frozen=True, kw_only=True):
    # `kind` is warehouse or store. Orders are sent from where `ships_orders`, and collected at a collection point.
    topic: ClassVar[Topic] = INVENTORY_FACILITY

    warehouse: str
    name: str
    country: str
    latitude: float
    longitude: float
    is_active: bool = True
    kind: str = "warehouse"
    ships_orders: bool = True
    is_collection_point: bool = False


class WarehouseRegistered(_FacilityState, frozen=True, kw_only=True):
    """A warehouse joined the network."""

    type: ClassVar[str] = "warehouse.registered"


class WarehouseChanged(_FacilityState, frozen=True, kw_only=True):
    """A warehouse's name, place or state changed."""

    type: ClassVar[str] = "warehouse.changed"


class _ReservationEvent(Event, frozen=True, kw_only=True):
    topic: ClassVar[Topic] = INVENTORY_RESERVATION

    order_id: UUID


class StockReserved(_ReservationEvent, frozen=True, kw_only=True):
    """All units of the order are held for it."""

    type: ClassVar[str] = "stock.reserved"

    allocations: list[Allocation]
    decision_id: UUID


class StockBackordered(_ReservationEvent, frozen=True, kw_only=True):
    """Not all units are there; the order waits in line and will be reserved when goods arrive."""

    type: ClassVar[str] = "stock.backordered"

    shortages: list[Shortage]


class StockChanged(_ReservationEvent, frozen=True, kw_only=True):
    """
    The order waits for the units that an edit asked for, and no longer for those before.

    If it held what it wanted, `allocations` are all that is held for it now.
    """

    type: ClassVar[str] = "stock.changed"

    edit_id: UUID
    allocations: list[Allocation] = msgspec.field(default_factory=list)


class StockChangeRefused(_ReservationEvent, frozen=True, kw_only=True):
    """
    An edit changed nothing: the reservation is `held` or `released` by now, or `over-limit` for what waits.

    Of an order whose goods are held, `insufficient-stock` says that what it wants more is not free. `shortages` are
    of what it wants more.
    """

    type: ClassVar[str] = "stock.change-refused"

    edit_id: UUID
    reason: str
    shortages: list[Shortage] = msgspec.field(default_factory=list)


class StockPartlyReserved(_ReservationEvent, frozen=True, kw_only=True):
    """Some units of the order are held for it, all in `allocations`; it waits in line for what is `missing`."""

    type: ClassVar[str] = "stock.partly-reserved"

    allocations: list[Allocation]
    shortages: list[Shortage]
    missing: list[SkuQuantity] = msgspec.field(default_factory=list)


class StockHeld(_ReservationEvent, frozen=True, kw_only=True):
    """
    Units are held until `expires_at` for a cart, a marketplace or a till; no order stands behind them yet.

    `order_id` is the id of the hold; `allocations` is all that is held, `shortages` what was wanted besides. It comes
    again if units that were held turned out not to be there.
    """

    type: ClassVar[str] = "stock.held"

    channel: str
    allocations: list[Allocation]
    expires_at: datetime
    decision_id: UUID
    shortages: list[Shortage] = msgspec.field(default_factory=list)


class StockHoldExtended(_ReservationEvent, frozen=True, kw_only=True):
    """What is held stays held until `expires_at`."""

    type: ClassVar[str] = "stock.hold-extended"

    expires_at: datetime


class StockRejected(_ReservationEvent, frozen=True, kw_only=True):
    """
    Nothing was reserved and nothing waits.

    `reason` is `insufficient-stock`, `unknown-sku`, `backorder-limit` or `unknown-collection-point`.
    """

    type: ClassVar[str] = "stock.rejected"

    reason: str
    shortages: list[Shortage]


class StockReleased(_ReservationEvent, frozen=True, kw_only=True):
    """
    Nothing is held for the order, or by the hold, any more; `allocations` is what became free.

    Of a hold, `reason` is `released`, `expired`, `adopted` (an order took over what it wanted) or `not-there`.
    """

    type: ClassVar[str] = "stock.released"

    reason: str
    allocations: list[Allocation] = msgspec.field(default_factory=list)


class StockCommitted(_ReservationEvent, frozen=True, kw_only=True):
    """Held units left their warehouse for good."""

    type: ClassVar[str] = "stock.committed"

    warehouse: str
    lines: list[SkuQuantity]


class WarehouseLevel(msgspec.Struct, frozen=True, kw_only=True):
    """
    The stock of one SKU in one warehouse, in units.

    `withheld` of those on hand are not promised to anybody: what can be is on hand less reserved less withheld, and
    never below 0.
    """

    warehouse: str
    on_hand: int
    reserved: int
    in_transit: int = 0
    withheld: int = 0


class ExpectedArrival(msgspec.Struct, frozen=True, kw_only=True):
    """Units that should be in a warehouse at a time; `kind` is `purchase` or `transfer`."""

    warehouse: str
    at: datetime
    units: int
    kind: str


class StockLevelChanged(Event, frozen=True, kw_only=True):
    """
    The level of a SKU in every warehouse that has ever had it, and its next arrivals, the soonest first.

    A bundle is made of `components`: how many of it can be promised depends on their levels, not on its own.
    """

    type: ClassVar[str] = "stock.level-changed"
    topic: ClassVar[Topic] = INVENTORY_STOCK

    sku: str
    levels: list[WarehouseLevel]
    expected: list[ExpectedArrival] = msgspec.field(default_factory=list)
    components: list[SkuQuantity] = msgspec.field(default_factory=list)


class _TransferEvent(Event, frozen=True, kw_only=True):
    topic: ClassVar[Topic] = INVENTORY_TRANSFER

    transfer_id: UUID


class TransferProposed(_TransferEvent, frozen=True, kw_only=True):
    """
    Somebody or, if `is_automatic`, a rule wants units moved; said again when the proposal changes.

    `expected_at` is when they should arrive; `decision_id` names the record of an automatic proposal.
    """

    type: ClassVar[str] = "transfer.proposed"

    source: str
    destination: str
    lines: list[SkuQuantity]
    expected_at: datetime | None = None
    is_automatic: bool = False
    decision_id: UUID | None = None


class TransferApproved(_TransferEvent, frozen=True, kw_only=True):
    """The units are held at `source` until they leave."""

    type: ClassVar[str] = "transfer.approved"

    source: str
    destination: str
    lines: list[SkuQuantity]
    expected_at: datetime | None = None


class TransferCancelled(_TransferEvent, frozen=True, kw_only=True):
    """Nothing will be moved; nothing had left."""

    type: ClassVar[str] = "transfer.cancelled"

    reason: str


class TransferSettlement(msgspec.Struct, frozen=True, kw_only=True):
    """What closing a transfer settled of one SKU, in units: each is what was booked by closing, not before."""

    sku: str
    destination: str
    written_off: int = 0
    returned: int = 0
    found: int = 0


class TransferClosed(_TransferEvent, frozen=True, kw_only=True):
    """What left and what arrived differ, and the difference was booked."""

    type: ClassVar[str] = "transfer.closed"

    reason: str
    settlements: list[TransferSettlement]
