"""Verdicts as decision records and as events."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from libs.common.decisions import Alternative, Decision
from libs.common.events.inventory import StockBackordered, StockRejected, StockReserved
from libs.common.events.shapes import Shortage
from services.inventory.domain.queue import Verdict, terms_of
from services.inventory.domain.reservations import ReservationStatus
from services.inventory.domain.strategies import REASONS, Option

# A record explains a choice; of an order with a thousand lines the first ones do.
_SHORTAGES_SHOWN_MAX = 20
_REASONS: Final = {
    strategy: f"Of what has the whole order, it is {reason}. A lower score is better."
    for strategy, reason in REASONS.items()
}


def decision_of(verdict: Verdict, wanted: Mapping[str, int], decided_at: datetime) -> Decision:
    """Explain what was chosen for an order that wanted `wanted`."""
    terms = terms_of(verdict.reservation)
    inputs = {
        "country": terms.destination.country,
        "units": sum(wanted.values()),
        "skus": len(wanted),
        "is_split_allowed": terms.is_split_allowed,
        "on_shortage": terms.on_shortage,
        "shortages": _shown(verdict.shortages),
    }
    if terms.collect_at is not None:
        inputs["collect_at"] = terms.collect_at
    return Decision(
        decision="allocate-stock",
        subject=f"order:{verdict.reservation.order_id}",
        chosen=_chosen(verdict),
        reason=_reason(verdict, len(wanted)),
        rule=verdict.choice.rule,
        decided_at=decided_at,
        alternatives=[_alternative(option) for option in verdict.choice.options],
        inputs=inputs,
    )


def reserved(verdict: Verdict, decision: Decision) -> StockReserved:
    """Announce what is held for an order."""
    return StockReserved(
        order_id=verdict.reservation.order_id,
        allocations=list(verdict.choice.allocations or ()),
        decision_id=decision.id,
    )


def backordered(verdict: Verdict) -> StockBackordered:
    """Announce that an order waits."""
    return StockBackordered(order_id=verdict.reservation.order_id, shortages=list(verdict.shortages))


def rejected(verdict: Verdict) -> StockRejected:
    """Announce that nothing is held for an order and that it does not wait."""
    return StockRejected(
        order_id=verdict.reservation.order_id,
        reason=_why_rejected(verdict),
        shortages=list(verdict.shortages),
    )


def _why_rejected(verdict: Verdict) -> str:
    if verdict.is_over_limit:
        return "backorder-limit"
    if not verdict.is_collectable:
        return "unknown-collection-point"
    return "unknown-sku" if verdict.unknown_skus else "insufficient-stock"


def _chosen(verdict: Verdict) -> str:
    match verdict.reservation.status:
        case ReservationStatus.HELD:
            return "+".join(verdict.choice.warehouses)
        case ReservationStatus.REJECTED:
            return "refuse"
        case _:
            return "backorder"


def _reason(verdict: Verdict, skus_wanted: int) -> str:
    if verdict.is_over_limit:
        return "It is short, and as many units as may be are waited for already."
    choice = verdict.choice
    if not verdict.is_collectable:
        return "Nothing can be collected where the order says."
    if choice.allocations is None:
        return f"{len(verdict.shortages)} of {skus_wanted} SKUs are short."
    if terms_of(verdict.reservation).collect_at is not None:
        return "The customer collects it there."
    return _REASONS[choice.strategy]


def _alternative(option: Option) -> Alternative:
    """Show the score and the terms that were looked at; what could not have served the order has no score."""
    details: dict[str, Any] = {"units": option.units, "parcels": len(option.warehouses)}
    if option.distance_km is not None:
        details["distance_km"] = option.distance_km
    if option.split_lines:
        details["split_lines"] = option.split_lines
    if option.cost_minor is not None:
        details["cost_minor"] = option.cost_minor
    if option.cover_left is not None:
        details["cover_left"] = option.cover_left
    if option.priority is not None:
        details["priority"] = option.priority
    return Alternative(option="+".join(option.warehouses), score=option.score, details=details)


def _shown(shortages: Iterable[Shortage]) -> list[dict[str, Any]]:
    return [
        {"sku": one.sku, "requested": one.requested, "available": one.available}
        for one in tuple(shortages)[:_SHORTAGES_SHOWN_MAX]
    ]
