"""
When a parcel arrives, re-estimated whenever the carrier sees it.

The baseline takes the carrier at its word: of the transit days of the chosen rate, the share of the way that is
still ahead remains. Where a scan has no place on the map it can only prove the estimate wrong, never better it:
a parcel that is still on its way after the estimate is expected on the next business day.
"""

import math
from datetime import UTC, datetime, timedelta

from services.logistics.domain.calendar import add_business_days, delivery_time
from services.logistics.domain.geography import Coordinates, distance_km
from services.logistics.domain.shipment import Shipment


def estimate_at_dispatch(shipment: Shipment) -> datetime:
    """Return the arrival of a shipment that left at its `dispatched_at`: all transit days are ahead."""
    left_at = shipment.dispatched_at or shipment.ready_at
    day = left_at.astimezone(UTC).date()
    return delivery_time(add_business_days(day, shipment.transit_days))


def estimate_at_scan(shipment: Shipment, *, scanned_at: datetime, seen: Coordinates | None) -> datetime:
    """Return the arrival of a shipment seen at `scanned_at`, never before that."""
    remaining = remaining_share(shipment, seen)
    if remaining is None:
        return max(shipment.estimated_delivery_at, _next_round(scanned_at, business_days=0))
    return _next_round(scanned_at, business_days=math.ceil(shipment.transit_days * remaining))


def remaining_share(shipment: Shipment, seen: Coordinates | None) -> float | None:
    """Return which share (0 to 1) of the way is ahead of a shipment, None where the map does not say."""
    destination = shipment.destination.coordinates
    origin = shipment.origin.coordinates if shipment.origin else None
    if seen is None or origin is None or destination is None:
        return None
    whole_km = distance_km(origin, destination)
    if whole_km == 0:
        return None
    return min(1.0, distance_km(seen, destination) / whole_km)


def has_moved(before: datetime, after: datetime, *, threshold: timedelta) -> bool:
    """Tell whether two estimates differ by enough to be worth telling anybody."""
    return abs(after - before) > threshold


def _next_round(moment: datetime, *, business_days: int) -> datetime:
    day = moment.astimezone(UTC).date()
    arrival = delivery_time(add_business_days(day, business_days))
    return arrival if arrival >= moment else delivery_time(add_business_days(day, 1))
