"""
Confirmed orders become shipments; cancelled ones lose them.

The rules, given that all events of an order come in order on one key:

- The id of a shipment follows from its order and warehouse, and an order that has shipments is not planned again:
  the first confirmation stands, however often it is replayed.
- A cancellation stops all shipments of its order or none: all of them are locked first, and one that has left
  means that the order goes on. So does a recall, for an order that is edited; its next confirmation, which has the
  number of its plan, is planned once, if nothing of the plans before it is under way.
- A cancellation that finds no shipments came before its confirmation, which happens only when the confirmation was
  set aside as a dead letter and replayed later. The order is marked, and its shipments are planned and called off
  in one step, so that whoever waits for the cancellation still gets its answer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final
from uuid import UUID

from libs.common.decisions import Decision
from libs.common.errors import Invalid
from libs.common.events.base import Envelope
from libs.common.events.logistics import ShipmentCancelled, ShipmentPlanned
from libs.common.events.orders import (
    OrderCancellationRequested,
    OrderConfirmed,
    OrderRecallRequested,
    OrderReconfirmed,
)
from libs.common.events.shapes import SkuQuantity
from services.logistics.domain.calendar import COLLECTION_DAYS, add_business_days, delivery_time, ready_at
from services.logistics.domain.carriers import RateTable
from services.logistics.domain.choice import Consignment, Policy
from services.logistics.domain.geography import Site, coordinates_of
from services.logistics.domain.shipment import Line, Shipment, Status, shipment_id
from services.logistics.handlers.choosing import (
    COLLECTION,
    IN_STORE,
    UNASSIGNED,
    choose_with_reason,
    collected_with_reason,
)
from services.logistics.handlers.ports import Desk
from services.logistics.handlers.working_set import WorkingSet

_RECALLED: Final = "edited"


class NothingToShip(Invalid):
    """A confirmed order has no allocations, or one of no units."""

    code: ClassVar[str] = "nothing-to-ship"


@dataclass(slots=True)
class PlanningFacts:
    """What a batch came to, for the metrics."""

    carriers_chosen: Counter[tuple[str, str]] = field(default_factory=Counter)
    cancellations: Counter[str] = field(default_factory=Counter)
    shipments_cancelled: int = 0


async def plan_and_cancel(batch: Sequence[Envelope], *, desk: Desk, policy: Policy, now: datetime) -> PlanningFacts:
    """
    Apply a batch of confirmations and cancellation requests, in order.

    :raises NothingToShip: if a confirmed order has nothing to ship; the whole batch is then undone.
    """
    order_ids = {
        envelope.event.order_id
        for envelope in batch
        if isinstance(envelope.event, OrderConfirmed | OrderCancellationRequested | OrderRecallRequested)
    }
    codes = {
        allocation.warehouse
        for envelope in batch
        if isinstance(envelope.event, OrderConfirmed)
        for allocation in envelope.event.allocations
    }
    facts = PlanningFacts()
    working_set = WorkingSet(await desk.shipments.lock_of_orders(order_ids))
    marked = dict(await desk.tombstones.find(order_ids))
    planner = _Planner(
        rate_table=await desk.rates.current(),
        sites=await desk.warehouses.find(codes),
        policy=policy,
        now=now,
    )
    newly_marked: dict[UUID, str] = {}
    for envelope in batch:
        match envelope.event:
            case OrderConfirmed(order_id=order_id) as order if _is_to_be_planned(order, working_set):
                is_first = not working_set.of_order(order_id)
                planner.plan(order, envelope, working_set)
                if is_first and order_id in marked:
                    cancelled = _cancel_all(working_set, order_id, marked[order_id], envelope, now)
                    facts.shipments_cancelled += cancelled
            case OrderCancellationRequested(order_id=order_id) | OrderRecallRequested(order_id=order_id) as request:
                reason = request.reason if isinstance(request, OrderCancellationRequested) else _RECALLED
                is_old = isinstance(request, OrderRecallRequested) and _is_planned_anew(request, working_set)
                outcome, cancelled = (
                    ("repeated", 0) if is_old else _cancel(order_id, reason, envelope, working_set, now)
                )
                facts.cancellations[outcome] += 1
                facts.shipments_cancelled += cancelled
                if outcome == "no-shipments" and order_id not in marked:
                    newly_marked[order_id] = marked[order_id] = reason
            case _:
                # A confirmation of an order that has its shipments: the plan stands.
                pass
    if newly_marked:
        await desk.tombstones.add(newly_marked)
    added = await working_set.write(desk.shipments, desk.outbox)
    for shipment, decision in planner.decided:
        if shipment.id in added:
            desk.decisions.add(decision)
            facts.carriers_chosen[shipment.carrier, shipment.carrier_service] += 1
    return facts


@dataclass(slots=True, kw_only=True)
class _Planner:
    rate_table: RateTable
    sites: Mapping[str, Site]
    policy: Policy
    now: datetime
    decided: list[tuple[Shipment, Decision]] = field(default_factory=list)

    def plan(self, order: OrderConfirmed, cause: Envelope, working_set: WorkingSet) -> None:
        lines_by_warehouse: dict[str, Counter[str]] = {}
        for allocation in order.allocations:
            if allocation.quantity <= 0:
                raise NothingToShip("An allocation must have at least one unit.", field="allocations")
            counted = lines_by_warehouse.setdefault(allocation.warehouse, Counter())
            counted[allocation.sku] += allocation.quantity
        if not lines_by_warehouse:
            raise NothingToShip("A confirmed order must have allocations.", field="allocations")
        for warehouse, counted in sorted(lines_by_warehouse.items()):
            lines = [Line(sku=sku, quantity=quantity) for sku, quantity in counted.items()]
            plan_one = self._plan_collection if warehouse == order.collect_at else self._plan_one
            shipment, decision = plan_one(order, warehouse, lines)
            self.decided.append((shipment, decision))
            working_set.add(shipment, _planned(shipment), cause=cause)

    def _plan_one(self, order: OrderConfirmed, warehouse: str, lines: Sequence[Line]) -> tuple[Shipment, Decision]:
        consignment = Consignment(
            origin=self.sites.get(warehouse),
            destination=Site(
                order.destination.country.upper(),
                coordinates_of(order.destination.latitude, order.destination.longitude),
            ),
            units=sum(line.quantity for line in lines),
            ready_at=ready_at(placed_at=order.placed_at, confirmed_at=order.confirmed_at),
        )
        own_id = shipment_id(order.order_id, warehouse, _plan_of(order))
        choice, decision = choose_with_reason(
            shipment_id=own_id,
            warehouse=warehouse,
            consignment=consignment,
            rate_table=self.rate_table,
            policy=self.policy,
            now=self.now,
        )
        offer = choice.chosen
        shipment = Shipment(
            id=own_id,
            order_id=order.order_id,
            warehouse=warehouse,
            origin=consignment.origin,
            destination=consignment.destination,
            lines=lines,
            carrier=offer.carrier if offer else UNASSIGNED,
            carrier_service=offer.service if offer else UNASSIGNED,
            cost_minor=offer.cost_minor if offer else 0,
            currency=offer.currency if offer else order.currency,
            transit_days=offer.rate.transit_days if offer else self.policy.promise_days[choice.zone],
            decision_id=decision.id,
            planned_at=self.now,
            ready_at=consignment.ready_at,
            promised_at=choice.promised_at,
            estimated_delivery_at=offer.estimated_delivery_at if offer else choice.promised_at,
            plan=_plan_of(order),
        )
        return shipment, decision

    def _plan_collection(
        self, order: OrderConfirmed, warehouse: str, lines: Sequence[Line]
    ) -> tuple[Shipment, Decision]:
        origin = self.sites.get(warehouse)
        own_id = shipment_id(order.order_id, warehouse, _plan_of(order))
        ready = ready_at(placed_at=order.placed_at, confirmed_at=order.confirmed_at)
        decision = collected_with_reason(
            shipment_id=own_id, warehouse=warehouse, units=sum(line.quantity for line in lines), now=self.now
        )
        # To be picked by the end of the next business day: the store's own people do it, beside their customers.
        promised_at = delivery_time(add_business_days(ready.date(), COLLECTION_DAYS))
        shipment = Shipment(
            id=own_id,
            order_id=order.order_id,
            warehouse=warehouse,
            origin=origin,
            destination=origin or Site(order.destination.country.upper(), None),
            lines=lines,
            carrier=COLLECTION,
            carrier_service=IN_STORE,
            cost_minor=0,
            currency=order.currency,
            transit_days=0,
            decision_id=decision.id,
            planned_at=self.now,
            ready_at=ready,
            promised_at=promised_at,
            estimated_delivery_at=promised_at,
            plan=_plan_of(order),
        )
        return shipment, decision


def _plan_of(order: OrderConfirmed) -> int:
    return order.plan if isinstance(order, OrderReconfirmed) else 0


def _is_to_be_planned(order: OrderConfirmed, working_set: WorkingSet) -> bool:
    """Tell whether this is news: what is planned stands, and so does what may yet leave."""
    plan = _plan_of(order)
    return all(one.plan < plan and one.status is Status.CANCELLED for one in working_set.of_order(order.order_id))


def _is_planned_anew(recall: OrderRecallRequested, working_set: WorkingSet) -> bool:
    """Tell whether what was recalled is stopped and planned again, so that this is an old request."""
    return any(one.plan >= recall.before_plan for one in working_set.of_order(recall.order_id))


def _cancel(order_id: UUID, reason: str, cause: Envelope, working_set: WorkingSet, now: datetime) -> tuple[str, int]:
    """Stop all shipments of an order or none; return what came of it and how many were stopped."""
    shipments = [one for one in working_set.of_order(order_id) if one.status is not Status.CANCELLED]
    if not shipments and working_set.of_order(order_id):
        return "repeated", 0
    if not shipments:
        return "no-shipments", 0
    if any(shipment.status is not Status.PLANNED for shipment in shipments):
        return "too-late", 0
    return "cancelled", _cancel_all(working_set, order_id, reason, cause, now)


def _cancel_all(working_set: WorkingSet, order_id: UUID, reason: str, cause: Envelope, now: datetime) -> int:
    shipments = [one for one in working_set.of_order(order_id) if one.status is not Status.CANCELLED]
    for shipment in shipments:
        event = ShipmentCancelled(shipment_id=shipment.id, order_id=shipment.order_id, reason=reason)
        working_set.change(shipment.cancel(at=now, reason=reason), event, cause=cause)
    return len(shipments)


def _planned(shipment: Shipment) -> ShipmentPlanned:
    return ShipmentPlanned(
        shipment_id=shipment.id,
        order_id=shipment.order_id,
        warehouse=shipment.warehouse,
        lines=[SkuQuantity(sku=line.sku, quantity=line.quantity) for line in shipment.lines],
        carrier=shipment.carrier,
        carrier_service=shipment.carrier_service,
        cost_minor=shipment.cost_minor,
        currency=shipment.currency,
        estimated_delivery_at=shipment.estimated_delivery_at,
        decision_id=shipment.decision_id,
    )
