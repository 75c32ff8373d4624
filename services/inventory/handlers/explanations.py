"""Verdicts as decision records and as events."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from libs.common.decisions import Alternative, Decision
from libs.common.events.inventory import StockBackordered, StockRejected, StockReserved
from libs.common.events.shapes import Shortage
from services.inventory.domain.allocation import RULE, Option
from services.inventory.domain.queue import Verdict, terms_of
from services.inventory.domain.reservations import ReservationStatus

# A record explains a choice; of an order with a thousand lines the first ones do.
_SHORTAGES_SHOWN_MAX = 20


def decision_of(verdict: Verdict, wanted: Mapping[str, int], decided_at: datetime) -> Decision:
    """Explain what was chosen for an order that wanted `wanted`."""
    terms = terms_of(verdict.reservation)
    return Decision(
        decision="allocate-stock",
        subject=f"order:{verdict.reservation.order_id}",
        chosen=_chosen(verdict),
        reason=_reason(verdict, len(wanted)),
        rule=RULE,
        decided_at=decided_at,
        alternatives=[_alternative(option, sum(wanted.values())) for option in verdict.choice.options],
        inputs={
            "country": terms.destination.country,
            "units": sum(wanted.values()),
            "skus": len(wanted),
            "is_split_allowed": terms.is_split_allowed,
            "on_shortage": terms.on_shortage,
            "shortages": _shown(verdict.shortages),
        },
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
        reason="unknown-sku" if verdict.unknown_skus else "insufficient-stock",
        shortages=list(verdict.shortages),
    )


def _chosen(verdict: Verdict) -> str:
    match verdict.reservation.status:
        case ReservationStatus.HELD:
            return "+".join(verdict.choice.warehouses)
        case ReservationStatus.REJECTED:
            return "refuse"
        case _:
            return "backorder"


def _reason(verdict: Verdict, skus_wanted: int) -> str:
    if verdict.choice.allocations is None:
        return f"{len(verdict.shortages)} of {skus_wanted} SKUs are short."
    parcels = len(verdict.choice.warehouses)
    if parcels == 1:
        return "It is the nearest warehouse that has everything; a lower score is nearer."
    return f"No warehouse has everything; no fewer than {parcels} do, and these are the nearest; lower is nearer."


def _alternative(option: Option, units_wanted: int) -> Alternative:
    details: dict[str, Any] = {"units": option.units, "of": units_wanted}
    return Alternative(option="+".join(option.warehouses), score=option.distance_km, details=details)


def _shown(shortages: Iterable[Shortage]) -> list[dict[str, Any]]:
    return [
        {"sku": one.sku, "requested": one.requested, "available": one.available}
        for one in tuple(shortages)[:_SHORTAGES_SHOWN_MAX]
    ]
