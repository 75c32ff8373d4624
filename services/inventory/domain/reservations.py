"""What is held for an order, and what it still waits for."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal
from uuid import UUID

import msgspec

from libs.common.errors import NotFound
from libs.common.events.shapes import Allocation, Destination
from services.inventory.domain.bundles import Compositions


class ReservationStatus(StrEnum):
    """
    Where a reservation stands.

    `waiting` holds nothing, `partly-held` holds something and waits for the rest. `released` is final: an order
    that was called off before it was reserved is released at once, so that asking to reserve it later changes
    nothing.
    """

    HELD = "held"
    PARTLY_HELD = "partly-held"
    WAITING = "waiting"
    REJECTED = "rejected"
    RELEASED = "released"
    COMMITTED = "committed"

    # That of an enumeration is computed in Python; this one is looked up several times for each order.
    __hash__ = str.__hash__


LIVE: Final = frozenset({ReservationStatus.HELD, ReservationStatus.PARTLY_HELD, ReservationStatus.WAITING})

# What becomes of an order that cannot be served whole: it waits holding nothing, is refused, or holds what there is
# and waits for the rest. A hold of best effort has what there is, and does not wait.
OnShortage = Literal["backorder", "refuse", "partial", "best-effort"]


class ReservationNotFound(NotFound):
    """Nothing was ever reserved, backordered or released for this order."""

    code = "reservation-not-found"


class ReservedLine(msgspec.Struct):
    """Units of one SKU in one warehouse: `committed` of them have left it, the rest is held."""

    quantity: int
    committed: int = 0

    @property
    def held(self) -> int:
        """Units that are held now."""
        return self.quantity - self.committed


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the order asked for besides its units; `approved_at` is its place in the queue.

    `channel` is where it was placed; orders from before channels were kept have none. An order that is collected
    is served by the store `collect_at` alone. A hold, which no order stands behind yet, lasts until `expires_at`;
    `approved_at` is when it began.
    """

    approved_at: datetime
    destination: Destination
    on_shortage: OnShortage = "backorder"
    is_split_allowed: bool = True
    channel: str | None = None
    collect_at: str | None = None
    expires_at: datetime | None = None

    @property
    def takes_parts(self) -> bool:
        """Whether a part of what is wanted is better than nothing."""
        return self.on_shortage in {"partial", "best-effort"}

    @property
    def may_wait(self) -> bool:
        """Whether what is short is waited for."""
        return self.on_shortage in {"backorder", "partial"}


class Reservation(msgspec.Struct, kw_only=True, eq=False):
    """
    The reservation of one order, or a hold; `version` counts its published events.

    `lines` are by (SKU, warehouse); `wanted` is what it waits for, by SKU; `bundles` say what was made of which
    SKUs when it was asked for. Whoever changes a reservation has locked the stock of all its SKUs.
    """

    order_id: UUID
    status: ReservationStatus
    version: int = 0
    terms: Terms | None = None
    lines: dict[tuple[str, str], ReservedLine] = msgspec.field(default_factory=dict)
    wanted: dict[str, int] = msgspec.field(default_factory=dict)
    bundles: Compositions = msgspec.field(default_factory=dict)
    is_new: bool = False
    has_new_terms: bool = False
    changed_lines: set[tuple[str, str]] = msgspec.field(default_factory=set)

    @property
    def is_hold(self) -> bool:
        """Whether it is, or was, a hold that no order has taken over."""
        return self.terms is not None and self.terms.expires_at is not None

    @property
    def is_live(self) -> bool:
        """Whether it holds something or waits."""
        return self.status in LIVE

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

    @property
    def has_shipped(self) -> bool:
        """Whether any of it has left."""
        return any(line.committed for line in self.lines.values())

    def held_by_sku(self) -> dict[str, int]:
        """Return how many units are held now."""
        units: dict[str, int] = {}
        for (sku, _), line in self.lines.items():
            units[sku] = units.get(sku, 0) + line.held
        return units

    def hold_no_more_than(self, wanted: Mapping[str, int]) -> list[Allocation]:
        """Let go of what is held beyond `wanted` (by SKU), where least is held, to save parcels; return it."""
        held: dict[str, int] = {}
        for (_, warehouse), line in self.lines.items():
            held[warehouse] = held.get(warehouse, 0) + line.held
        surplus = {sku: units - wanted.get(sku, 0) for sku, units in self.held_by_sku().items()}
        freed = []
        for sku, warehouse in sorted(self.lines, key=lambda key: (held[key[1]], key[1], key[0])):
            line = self.lines[sku, warehouse]
            given = min(line.held, max(0, surplus[sku]))
            if given:
                line.quantity -= given
                surplus[sku] -= given
                self.changed_lines.add((sku, warehouse))
                freed.append(Allocation(warehouse=warehouse, sku=sku, quantity=given))
        self._settle()
        return freed

    def hold(self, allocations: Iterable[Allocation]) -> None:
        """Hold units that the order wants."""
        lines, wanted, changed = self.lines, self.wanted, self.changed_lines
        for one in allocations:
            sku, quantity = one.sku, one.quantity
            key = (sku, one.warehouse)
            line = lines.get(key)
            if line is None:
                lines[key] = ReservedLine(quantity)
            else:
                line.quantity += quantity
            changed.add(key)
            if wanted.get(sku) == quantity:
                del wanted[sku]
            else:
                self._waive(sku, quantity)
        self._settle()

    def reject(self) -> list[Allocation]:
        """Neither hold nor wait; return what was held."""
        freed = self.release()
        self.status = ReservationStatus.REJECTED
        return freed

    def forget_rest(self) -> None:
        """Do not want any longer what is not held."""
        self.wanted = {}
        self._settle()

    def release(self) -> list[Allocation]:
        """Let everything go that has not left; return it."""
        freed = self._let_go()
        self.wanted = {}
        self.status = ReservationStatus.RELEASED
        return freed

    def unreserve(self, sku: str, warehouse: str, units: int) -> list[Allocation]:
        """
        Give back units that are not there any more, and want them again; return what is held no more.

        Who takes parts gives back those units, others everything, because they hold all or nothing.
        """
        if self.terms is not None and (self.terms.takes_parts or self.is_hold):
            line = self.lines[sku, warehouse]
            given = min(units, line.held)
            line.quantity -= given
            self.changed_lines.add((sku, warehouse))
            freed = [Allocation(warehouse=warehouse, sku=sku, quantity=given)]
        else:
            freed = self._let_go()
        for one in freed:
            self.wanted[one.sku] = self.wanted.get(one.sku, 0) + one.quantity
        self._settle()
        return freed

    def hand_over(self, wanted: Mapping[str, int], *, collect_at: str | None) -> list[Allocation]:
        """Let go of what another reservation wants, as far as it is held, and there if it is collected; return it."""
        missing = dict(wanted)
        given = []
        for (sku, warehouse), line in self.lines.items():
            units = min(line.held, missing.get(sku, 0)) if collect_at in {None, warehouse} else 0
            if units:
                line.quantity -= units
                missing[sku] -= units
                self.changed_lines.add((sku, warehouse))
                given.append(Allocation(warehouse=warehouse, sku=sku, quantity=units))
        return given

    def part_with(self, wanted: Mapping[str, int], keeps: Mapping[tuple[str, str], int]) -> list[Allocation]:
        """
        Leave to another order what it wants: first what is waited for, then what is held beyond what this one `keeps`.

        `keeps` is by (SKU, warehouse); what has left is of it. Return what was held and is the other's now.
        """
        given = []
        for sku, units in wanted.items():
            missing = units - self._waive(sku, units)
            for (line_sku, warehouse), line in self.lines.items():
                if line_sku != sku:
                    continue
                kept = max(0, keeps.get((sku, warehouse), 0) - line.committed)
                taken = min(missing, line.held - kept)
                if taken > 0:
                    line.quantity -= taken
                    missing -= taken
                    self.changed_lines.add((sku, warehouse))
                    given.append(Allocation(warehouse=warehouse, sku=sku, quantity=taken))
        self._settle()
        return given

    def become_order(self, terms: Terms, wanted: Mapping[str, int]) -> list[Allocation]:
        """Turn a hold into the reservation of the order of the same id; return what that does not want."""
        kept = self.hand_over(wanted, collect_at=terms.collect_at)
        surplus = self._let_go()
        self.terms, self.has_new_terms = terms, True
        self.wanted, self.status = dict(wanted), ReservationStatus.WAITING
        self.hold(kept)
        return surplus

    def bury(self) -> None:
        """Be as if the order had been called off before it asked: nothing is ever held for it again."""
        self.terms, self.has_new_terms = None, True

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
        excess -= self._waive(sku, excess)
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

    def _waive(self, sku: str, units: int) -> int:
        """Want up to `units` fewer; return how many fewer."""
        wanted = self.wanted.get(sku, 0)
        if wanted <= units:
            self.wanted.pop(sku, None)
            return wanted
        self.wanted[sku] = wanted - units
        return units

    def _settle(self) -> None:
        if self.status not in LIVE:
            return
        holds = False
        for line in self.lines.values():
            if line.quantity > line.committed:
                holds = True
                break
        if self.wanted:
            self.status = ReservationStatus.PARTLY_HELD if holds else ReservationStatus.WAITING
        elif holds:
            self.status = ReservationStatus.HELD
        elif any(line.committed for line in self.lines.values()):
            self.status = ReservationStatus.COMMITTED
        else:
            self.status = ReservationStatus.RELEASED
