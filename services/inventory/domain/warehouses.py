"""Warehouses, and how near each is to where an order goes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from libs.common.errors import NotFound
from libs.common.events.shapes import Destination

PRIORITY_DEFAULT: Final = 100
_EARTH_RADIUS_KM: Final = 6371.0


class WarehouseNotFound(NotFound):
    """No warehouse was registered under this code."""

    code = "warehouse-not-found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    """
    A place that holds stock.

    Of two that are equally near, the one with the smaller `priority` serves first. An inactive warehouse keeps
    its stock and what is held there, but nothing more is promised from it. `version` counts its changes.
    """

    code: str
    name: str
    country: str
    latitude: float
    longitude: float
    priority: int = PRIORITY_DEFAULT
    is_active: bool = True
    version: int = 0


class RankedWarehouse(NamedTuple):
    """A warehouse in the order of preference for one destination; `distance_km` is None where it is unknown."""

    code: str
    distance_km: float | None


def rank(warehouses: Iterable[Warehouse], destination: Destination) -> Sequence[RankedWarehouse]:
    """
    Order the active warehouses by preference for `destination`.

    The nearest comes first; where the destination's coordinates are unknown, those in its country do. Then
    `priority` decides, then the code, so that the same input always gives the same order.
    """
    latitude, longitude = destination.latitude, destination.longitude
    ranked: list[tuple[tuple[float, int, str], RankedWarehouse]] = []
    for warehouse in warehouses:
        if not warehouse.is_active:
            continue
        if latitude is None or longitude is None:
            distance = None
            remoteness = 0.0 if warehouse.country == destination.country else 1.0
        else:
            distance = remoteness = round(distance_km(latitude, longitude, warehouse.latitude, warehouse.longitude), 1)
        key = (remoteness, warehouse.priority, warehouse.code)
        ranked.append((key, RankedWarehouse(warehouse.code, distance)))
    ranked.sort(key=lambda pair: pair[0])
    return tuple(one for _, one in ranked)


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the great-circle distance of two places (haversine)."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_chord = (
        math.sin((other_phi - phi) / 2) ** 2
        + math.cos(phi) * math.cos(other_phi) * math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half_chord)))
