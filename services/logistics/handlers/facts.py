"""Counting business facts; called once their transaction has committed."""

from collections.abc import Iterable
from datetime import timedelta

from services.logistics import metrics
from services.logistics.domain.shipment import Status, Step
from services.logistics.handlers.movements import Moved
from services.logistics.handlers.planning import PlanningFacts


def count_planning(facts: PlanningFacts) -> None:
    """Count what came of a batch of orders."""
    for (carrier, service), shipments in facts.carriers_chosen.items():
        metrics.carrier_choices_total.labels(carrier, service).inc(shipments)
        metrics.shipments_total.labels(Status.PLANNED).inc(shipments)
    metrics.shipments_total.labels(Status.CANCELLED).inc(facts.shipments_cancelled)
    for outcome, requests in facts.cancellations.items():
        metrics.cancellations_total.labels(outcome).inc(requests)


def count_movements(movements: Iterable[Moved]) -> None:
    """Count what happened to shipments; repeated reports count for nothing."""
    for moved in movements:
        if moved.is_repeated:
            continue
        if moved.step is Step.SCANNED:
            metrics.scans_total.inc()
        else:
            metrics.shipments_total.labels(moved.step).inc()
        if moved.step is Step.DELIVERED:
            _count_delivery(moved)
        if moved.estimate_changed_by is not None:
            is_later = moved.estimate_changed_by > timedelta(0)
            metrics.eta_changes_total.labels("later" if is_later else "earlier").inc()


def _count_delivery(moved: Moved) -> None:
    shipment = moved.shipment
    metrics.deliveries_total.labels("late" if shipment.is_late else "on-time").inc()
    if shipment.delivered_at is not None and shipment.dispatched_at is not None:
        days = (shipment.delivered_at - shipment.dispatched_at) / timedelta(days=1)
        metrics.transit_days.labels(shipment.carrier).observe(days)
