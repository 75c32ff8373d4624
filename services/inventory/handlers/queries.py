"""What can be read, as it is read: rows, not aggregates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from libs.common.errors import NotFound
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.domain.warehouses import Warehouse


class StockNotFound(NotFound):
    """No warehouse has ever reported anything about this SKU."""

    code = "stock-not-found"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelView:
    """A level as it is now, in units."""

    warehouse: str
    on_hand: int
    reserved: int
    available: int
    withheld: int
    blocked: int
    in_transit: int
    shortfall: int
    counted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StockView:
    """The levels of a SKU."""

    sku: str
    version: int
    levels: Sequence[LevelView]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovementView:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedLineView:
    """Units of an order in one warehouse."""

    sku: str
    warehouse: str
    quantity: int
    committed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationView:
    """A reservation as it is now."""

    order_id: UUID
    version: int
    status: str
    approved_at: datetime | None
    lines: Sequence[ReservedLineView]
    wanted: Sequence[tuple[str, int]]


class InventoryViews(Protocol):
    """The reads, in one transaction."""

    async def stock(self, sku: str) -> StockView | None:
        """Return the levels of a SKU, None if it never had any."""
        ...

    async def components(self, sku: str) -> Mapping[str, int]:
        """Return what a bundle is made of, nothing if it is none."""
        ...

    async def policy(self, sku: str) -> StockPolicy | None:
        """Return the policy of a SKU, None if it was never heard of."""
        ...

    async def movements(self, sku: str, *, before: tuple[datetime, int] | None, limit: int) -> list[MovementView]:
        """Return the ledger of a SKU, latest first, before the (time, id) given."""
        ...

    async def reservation(self, order_id: UUID) -> ReservationView | None:
        """Return an order's reservation, None if it has none."""
        ...

    async def warehouses(self, *, after: str, limit: int) -> list[Warehouse]:
        """Return warehouses in the order of their codes, behind `after`."""
        ...

    async def warehouse(self, code: str) -> Warehouse | None:
        """Return one warehouse."""
        ...
