"""What is held for an order, and what it still waits for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from libs.common.errors import NotFound
from libs.common.events.shapes import Allocation, Destination


class ReservationStatus(StrEnum):
    """
    Where a reservation stands.

    `waiting` holds nothing. `released` is final: an order that was called off before it was reserved is released
    at once, so that asking to reserve it later changes nothing.
    """

    HELD = "held"
    WAITING = "waiting"
    REJECTED = "rejected"
    RELEASED = "released"
    COMMITTED = "committed"


OnShortage = Literal["backorder", "refuse"]


class ReservationNotFound(NotFound):
    """Nothing was ever reserved, backordered or released for this order."""

    code = "reservation-not-found"


@dataclass(slots=True)
class ReservedLine:
    """Units of one SKU in one warehouse: `committed` of them have left it, the rest is held."""

    quantity: int
    committed: int = 0

    @property
    def held(self) -> int:
        """Units that are held now."""
        return self.quantity - self.committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What the order asked for besides its units; `approved_at` is its place in the queue.

    `channel` is where it was placed; orders from before channels were kept have none. An order that is collected
    is served by the store `collect_at` alone.
    """

    approved_at: datetime
    destination: Destination
    on_shortage: OnShortage = "backorder"
    is_split_allowed: bool = True
    channel: str | None = None
    collect_at: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Reservation:
    """
    The reservation of one order; `version` counts its published events.

    `lines` are by (SKU, warehouse); `wanted` is what a waiting order waits for, by SKU. Whoever changes a
    reservation has locked the stock of all its SKUs.
    """

    order_id: UUID
    status: ReservationStatus
    version: int = 0
    terms: Terms | None = None
    lines: dict[tuple[str, str], ReservedLine] = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)
    is_new: bool = False
    changed_lines: set[tuple[str, str]] = field(default_factory=set)

    @property
    def skus(self) -> set[str]:
        """The SKUs that this reservation holds, held or waits for."""
        return {sku for sku, _ in self.lines} | set(self.wanted)

    def held(self) -> list[Allocation]:
        """Return what is held now."""
        return [
            Allocation(warehouse=warehouse, sku=sku, quantity=line.held)
            for (sku, warehouse), line in self.lines.items()
            if line.held
        ]

    def hold(self, allocations: Iterable[Allocation]) -> None:
        """Hold what the order wants."""
        for one in allocations:
            key = (one.sku, one.warehouse)
            line = self.lines.get(key)
            if line is None:
                line = self.lines[key] = ReservedLine(0)
            line.quantity += one.quantity
            self.changed_lines.add(key)
        self.wanted = {}
        self.status = ReservationStatus.HELD

    def wait(self, wanted: Mapping[str, int]) -> None:
        """Wait in line, holding nothing."""
        self.wanted = dict(wanted)
        self.status = ReservationStatus.WAITING

    def reject(self) -> None:
        """Neither hold nor wait."""
        self.status = ReservationStatus.REJECTED

    def release(self) -> list[Allocation]:
        """Let everything go that has not left; return it."""
        freed = self._let_go()
        self.wanted = {}
        self.status = ReservationStatus.RELEASED
        return freed

    def unreserve(self) -> list[Allocation]:
        """Give back what is held because it is not there any more, and wait for it again; return it."""
        freed = self._let_go()
        wanted: dict[str, int] = {}
        for one in freed:
            wanted[one.sku] = wanted.get(one.sku, 0) + one.quantity
        self.wait(wanted)
        return freed

    def ship(self, sku: str, warehouse: str, quantity: int) -> list[Allocation]:
        """
        Note that `quantity` units left `warehouse` for the order; return what is held no more because of that.

        If more left than is held there, the order has those units all the same: it wants that many less of
        what it waits for, or of what other warehouses hold for it.
        """
        key = (sku, warehouse)
        line = self.lines.setdefault(key, ReservedLine(0))
        from_here = min(quantity, line.held)
        freed = [Allocation(warehouse=warehouse, sku=sku, quantity=from_here)] if from_here else []
        excess = quantity - from_here
        line.quantity += excess
        line.committed += quantity
        self.changed_lines.add(key)
        if excess and self.wanted.get(sku):
            waived = min(excess, self.wanted[sku])
            self.wanted[sku] -= waived
            excess -= waived
            if not self.wanted[sku]:
                del self.wanted[sku]
        if excess:
            freed += self._let_go_elsewhere(sku, excess)
        self._settle()
        return freed

    def _let_go(self) -> list[Allocation]:
        freed = self.held()
        for one in freed:
            key = (one.sku, one.warehouse)
            self.lines[key].quantity = self.lines[key].committed
            self.changed_lines.add(key)
        return freed

    def _let_go_elsewhere(self, sku: str, units: int) -> list[Allocation]:
        freed = []
        for (line_sku, warehouse), line in self.lines.items():
            given = min(units, line.held) if line_sku == sku else 0
            if given:
                line.quantity -= given
                units -= given
                self.changed_lines.add((sku, warehouse))
                freed.append(Allocation(warehouse=warehouse, sku=sku, quantity=given))
        return freed

    def _settle(self) -> None:
        is_open = self.status in {ReservationStatus.HELD, ReservationStatus.WAITING}
        if is_open and not self.wanted and not any(line.held for line in self.lines.values()):
            self.status = ReservationStatus.COMMITTED
