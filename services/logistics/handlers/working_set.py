"""The shipments that one transaction works on, in memory, and the events that it owes for them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from libs.common.events.base import Envelope, Event
from libs.common.events.outbox import Outbox
from services.logistics.domain.shipment import Shipment
from services.logistics.handlers.ports import Shipments


@dataclass(frozen=True, slots=True)
class _Owed:
    event: Event
    version: int
    cause: Envelope | None


class WorkingSet:
    """
    Changes collected over a whole batch and written in two statements.

    Every event gets the next version of its shipment. The shipments handed in must be locked, so that per
    shipment the order of versions is the order of commits.
    """

    def __init__(self, locked: Iterable[Shipment]) -> None:
        """Begin with shipments that exist."""
        self._shipments = {shipment.id: shipment for shipment in locked}
        self._by_order: dict[UUID, list[UUID]] = {}
        for shipment in self._shipments.values():
            self._by_order.setdefault(shipment.order_id, []).append(shipment.id)
        self._new: dict[UUID, None] = {}
        self._changed: dict[UUID, None] = {}
        self._owed: dict[UUID, list[_Owed]] = {}

    def get(self, shipment_id: UUID) -> Shipment | None:
        """Return a shipment in its present state, None if it does not exist."""
        return self._shipments.get(shipment_id)

    def of_order(self, order_id: UUID) -> Sequence[Shipment]:
        """Return the shipments of an order in their present state."""
        return [self._shipments[one] for one in self._by_order.get(order_id, ())]

    def add(self, shipment: Shipment, *events: Event, cause: Envelope | None) -> None:
        """Add a shipment that does not exist yet."""
        self._new[shipment.id] = None
        self._by_order.setdefault(shipment.order_id, []).append(shipment.id)
        self._record(shipment, events, cause)

    def change(self, shipment: Shipment, *events: Event, cause: Envelope | None = None) -> Shipment:
        """Replace a shipment by its next state and return it with its version."""
        if shipment.id not in self._new:
            self._changed[shipment.id] = None
        return self._record(shipment, events, cause)

    async def write(self, shipments: Shipments, outbox: Outbox) -> Collection[UUID]:
        """Store and publish everything; return the ids of the shipments that were new here and are not elsewhere."""
        added: Collection[UUID] = ()
        if self._new:
            added = await shipments.add([self._shipments[one] for one in self._new])
        if self._changed:
            await shipments.save([self._shipments[one] for one in self._changed])
        for shipment_id, owed in self._owed.items():
            if shipment_id in self._new and shipment_id not in added:
                # Another member of the group planned it a moment ago; its events are that member's.
                continue
            for one in owed:
                outbox.add(one.event, aggregate_version=one.version, cause=one.cause)
        return added

    def _record(self, shipment: Shipment, events: Sequence[Event], cause: Envelope | None) -> Shipment:
        owed = self._owed.setdefault(shipment.id, [])
        version = shipment.version
        for event in events:
            version += 1
            owed.append(_Owed(event, version, cause))
        shipment = replace(shipment, version=version)
        self._shipments[shipment.id] = shipment
        return shipment
