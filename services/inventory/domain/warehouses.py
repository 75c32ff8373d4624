"""Warehouses, and how near each is to where an order goes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from libs.common.errors import NotFound
from libs.common.events.shapes import Destination

PRIORITY_DEFAULT: Final = 100
# What a parcel to another country counts where it is not known how far it goes.
ABROAD_KM: Final = 1_000.0
_EARTH_RADIUS_KM: Final = 6371.0


class WarehouseNotFound(NotFound):
    """No warehouse was registered under this code."""

    code = "warehouse-not-found"


class WarehouseKind(StrEnum):
    """What a place that holds stock is besides."""

    WAREHOUSE = "warehouse"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Warehouse:
    """
    A place that holds stock: a warehouse, or a store that customers walk into.

    Of two that are equally near, the one with the smaller `priority` serves first. An inactive warehouse keeps
    its stock and what is held there, but nothing more is promised from it. One that ships no orders serves only
    those that are collected there, if it is a collection point. `version` counts its changes.
    """

    code: str
    name: str
    country: str
    latitude: float
    longitude: float
    priority: int = PRIORITY_DEFAULT
    is_active: bool = True
    kind: WarehouseKind = WarehouseKind.WAREHOUSE
    ships_orders: bool = True
    is_collection_point: bool = False
    version: int = 0


class RankedWarehouse(NamedTuple):
    """A warehouse in the order of preference for one destination; `distance_km` is None where it is unknown."""

    code: str
    distance_km: float | None
    priority: int = PRIORITY_DEFAULT
    is_abroad: bool = False

    @property
    def remoteness_km(self) -> float:
        """How far it is; where that is unknown, a warehouse in the same country is near and another one is not."""
        if self.distance_km is not None:
            return self.distance_km
        return ABROAD_KM if self.is_abroad else 0.0


def rank(warehouses: Iterable[Warehouse], destination: Destination) -> Sequence[RankedWarehouse]:
    """
    Order the active warehouses that ship orders by preference for `destination`.

    The nearest comes first; where the destination's coordinates are unknown, those in its country do. Then
    `priority` decides, then the code, so that the same input always gives the same order.
    """
    latitude, longitude = destination.latitude, destination.longitude
    ranked: list[tuple[tuple[float, int, str], RankedWarehouse]] = []
    for warehouse in warehouses:
        if not (warehouse.is_active and warehouse.ships_orders):
            continue
        if latitude is None or longitude is None:
            distance = None
        else:
            distance = round(distance_km(latitude, longitude, warehouse.latitude, warehouse.longitude), 1)
        is_abroad = warehouse.country != destination.country
        one = RankedWarehouse(warehouse.code, distance, warehouse.priority, is_abroad)
        ranked.append(((one.remoteness_km, warehouse.priority, warehouse.code), one))
    ranked.sort(key=lambda pair: pair[0])
    return tuple(one for _, one in ranked)


def only_at(warehouses: Iterable[Warehouse], code: str) -> Sequence[RankedWarehouse]:
    """Return the one warehouse that can serve what is collected there; none while it is closed."""
    return tuple(
        RankedWarehouse(one.code, 0.0, one.priority)
        for one in warehouses
        if one.code == code and one.is_active and one.is_collection_point
    )


def is_collection_point(warehouses: Iterable[Warehouse], code: str) -> bool:
    """Tell whether orders are collected at `code` at all, be it closed or not."""
    return any(one.code == code and one.is_collection_point for one in warehouses)


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Return the great-circle distance of two places (haversine)."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_chord = (
        math.sin((other_phi - phi) / 2) ** 2
        + math.cos(phi) * math.cos(other_phi) * math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half_chord)))
