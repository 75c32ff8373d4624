"""Verdicts as decision records and as events."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from libs.common.decisions import Alternative, Decision
from libs.common.events.base import Event
from libs.common.events.inventory import (
    StockBackordered,
    StockHeld,
    StockPartlyReserved,
    StockRejected,
    StockReleased,
    StockReserved,
)
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from services.inventory.domain.queue import Verdict, terms_of
from services.inventory.domain.reservations import Reservation, ReservationStatus
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
        alternatives=_alternatives(verdict.choice.options),
        inputs=inputs,
    )


def announcement(verdict: Verdict, decision: Decision) -> tuple[str, Event]:
    """Return the outcome of a verdict in a word, and what is announced of it."""
    reservation = verdict.reservation
    order_id = reservation.order_id
    if reservation.is_hold:
        return _announcement_of_hold(verdict, decision)
    match reservation.status:
        case ReservationStatus.HELD:
            held = StockReserved(order_id=order_id, allocations=_held(verdict), decision_id=decision.id)
            return "reserved", held
        case ReservationStatus.REJECTED:
            return "rejected", StockRejected(
                order_id=order_id, reason=_why_rejected(verdict), shortages=list(verdict.shortages)
            )
        case _:
            outcome = "partly-reserved" if reservation.status is ReservationStatus.PARTLY_HELD else "backordered"
            return outcome, waiting(reservation, verdict.shortages)


def waiting(reservation: Reservation, shortages: Iterable[Shortage]) -> Event:
    """Announce that an order waits, for all or for a part."""
    order_id, missing = reservation.order_id, list(shortages)
    # Who takes no parts may have taken over some from a hold; it is all or nothing to whoever fulfils the order.
    if reservation.status is ReservationStatus.PARTLY_HELD and terms_of(reservation).takes_parts:
        return StockPartlyReserved(
            order_id=order_id,
            allocations=reservation.held(),
            shortages=missing,
            missing=[SkuQuantity(sku=sku, quantity=units) for sku, units in reservation.wanted.items()],
        )
    return StockBackordered(order_id=order_id, shortages=missing)


def _announcement_of_hold(verdict: Verdict, decision: Decision) -> tuple[str, Event]:
    hold, terms = verdict.reservation, terms_of(verdict.reservation)
    if terms.expires_at is None or not hold.is_live:
        return "released", StockReleased(order_id=hold.order_id, reason="not-there")
    return "held", StockHeld(
        order_id=hold.order_id,
        channel=terms.channel or "",
        allocations=hold.held(),
        shortages=list(verdict.shortages),
        expires_at=terms.expires_at,
        decision_id=decision.id,
    )


def _held(verdict: Verdict) -> list[Allocation]:
    """Return what a reservation holds: just what was chosen now, unless it took over some from a hold."""
    chosen, reservation = verdict.choice.allocations or (), verdict.reservation
    if verdict.is_first:
        return list(chosen)
    units = sum([line.quantity for line in reservation.lines.values()])
    if len(chosen) == len(reservation.lines) and sum([one.quantity for one in chosen]) == units:
        return list(chosen)
    return reservation.held()


def _why_rejected(verdict: Verdict) -> str:
    if verdict.is_over_limit:
        return "backorder-limit"
    if not verdict.is_collectable:
        return "unknown-collection-point"
    return "unknown-sku" if verdict.unknown_skus else "insufficient-stock"


def _chosen(verdict: Verdict) -> str:
    chosen = verdict.choice.allocations
    if chosen is not None:
        if verdict.is_first and len(chosen) == 1:
            return chosen[0].warehouse
        return "+".join(dict.fromkeys([one.warehouse for one in _held(verdict)]))
    if verdict.reservation.is_hold or verdict.reservation.status is ReservationStatus.REJECTED:
        return "refuse"
    return "backorder"


def _reason(verdict: Verdict, skus_wanted: int) -> str:
    if verdict.is_over_limit:
        return "It is short, and as many units as may be are waited for already."
    choice = verdict.choice
    if not verdict.is_collectable:
        return "Nothing can be collected where the order says."
    if choice.allocations is None:
        return f"{len(verdict.shortages)} of {skus_wanted} SKUs are short."
    return _reason_of_choice(verdict, skus_wanted)


def _reason_of_choice(verdict: Verdict, skus_wanted: int) -> str:
    if terms_of(verdict.reservation).collect_at is not None:
        return "The customer collects it there."
    if not verdict.choice.allocations:
        return "A hold had all of it."
    if verdict.shortages:
        return f"{len(verdict.shortages)} of {skus_wanted} SKUs are short; this is what there is."
    return _REASONS[verdict.choice.strategy]


# Choices among the same warehouses with the same units in them have the very same options.
@lru_cache(maxsize=16_384)
def _alternatives(options: tuple[Option, ...]) -> tuple[Alternative, ...]:
    return tuple(map(_alternative, options))


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
