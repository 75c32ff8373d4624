"""What the use cases need from outside."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from libs.common.decisions import DecisionLog
from libs.common.events.outbox import Outbox
from services.logistics.domain.carriers import Carrier, RateTable
from services.logistics.domain.geography import Facility, Site
from services.logistics.domain.shipment import Scan, Shipment, Status


class Shipments(Protocol):
    """The shipments; everything that locks does so in the order of their ids."""

    async def lock(self, shipment_ids: Collection[UUID]) -> Sequence[Shipment]:
        """Return those that exist, locked until the transaction ends."""
        ...

    async def lock_of_orders(self, order_ids: Collection[UUID]) -> Sequence[Shipment]:
        """Return all shipments of the orders, locked until the transaction ends."""
        ...

    async def add(self, shipments: Sequence[Shipment]) -> Collection[UUID]:
        """Add new shipments and return the ids of those that were not there yet."""
        ...

    async def save(self, shipments: Sequence[Shipment]) -> None:
        """Store the new state of locked shipments."""
        ...

    async def scans_known(self, shipment_ids: Collection[UUID]) -> Collection[tuple[UUID, datetime, str]]:
        """Return the identities of the scans recorded for locked shipments."""
        ...

    async def add_scans(self, scans: Sequence[Scan]) -> None:
        """Record scans that are not known yet."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedShipment:
    """A shipment with everything its carrier saw of it, oldest first."""

    shipment: Shipment
    scans: Sequence[Scan]


class ShipmentViews(Protocol):
    """Reads that lock nothing."""

    async def find(self, shipment_id: UUID) -> TrackedShipment | None:
        """Return one shipment with its scans."""
        ...

    async def version(self, shipment_id: UUID) -> int | None:
        """Return the version of one shipment, None if it does not exist."""
        ...

    async def page(
        self,
        *,
        order_id: UUID | None,
        status: Status | None,
        before: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[Shipment]:
        """Return the shipments planned before `before`, newest first, at most `limit`."""
        ...

    async def live(self) -> Mapping[Status, int]:
        """Return how many shipments are planned and how many are on their way."""
        ...


class CancellationTombstones(Protocol):
    """Orders whose cancellation was requested before they had any shipment, with the reason."""

    async def find(self, order_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return those of `order_ids` that are marked."""
        ...

    async def add(self, reasons: Mapping[UUID, str]) -> None:
        """Mark orders."""
        ...


class Rates(Protocol):
    """The rate table."""

    async def current(self) -> RateTable:
        """Return all carriers as of one moment."""
        ...

    async def lock(self) -> int:
        """Return the table's version, locked: changes of rates happen one after the other."""
        ...

    async def put(self, carrier: Carrier, *, table_version: int, now: datetime) -> None:
        """Store a carrier whole, as of a version of the table."""
        ...


class Warehouses(Protocol):
    """Where the warehouses are, as inventory tells it."""

    async def put(self, facilities: Sequence[Facility]) -> None:
        """Store facilities, one for each warehouse, unless a later version of it is known."""
        ...

    async def find(self, warehouses: Collection[str]) -> Mapping[str, Site]:
        """Return the sites of those that are known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything that use cases work with, bound to one transaction."""

    shipments: Shipments
    views: ShipmentViews
    tombstones: CancellationTombstones
    rates: Rates
    warehouses: Warehouses
    decisions: DecisionLog
    outbox: Outbox
