"""Warehouses, and how near each is to where an order goes."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from libs.common.errors import NotFound
from libs.common.events.shapes import Destination

PRIORITY_DEFAULT: Final = 100
# What a parcel to another country counts where it is not known how far it goes.
ABROAD_KM: Final = 1_000.0
_EARTH_RADIUS_KM: Final = 6371.0

_Direction = tuple[float, float, float]


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
    place = _direction(latitude, longitude) if latitude is not None and longitude is not None else None
    # What comes first in these decides: it is how they are sorted, and codes are all different.
    ranked: list[tuple[float, int, str, float | None, bool]] = []
    for warehouse in warehouses:
        if not (warehouse.is_active and warehouse.ships_orders):
            continue
        is_abroad = warehouse.country != destination.country
        if place is None:
            distance = None
            remoteness = ABROAD_KM if is_abroad else 0.0
        else:
            there = _known_direction(warehouse.latitude, warehouse.longitude)
            distance = remoteness = round(_distance_km(place, there), 1)
        ranked.append((remoteness, warehouse.priority, warehouse.code, distance, is_abroad))
    ranked.sort()
    return tuple([RankedWarehouse(code, distance, priority, abroad) for _, priority, code, distance, abroad in ranked])


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
    """Return the great-circle distance of two places."""
    return _distance_km(_direction(latitude, longitude), _direction(other_latitude, other_longitude))


def _direction(latitude: float, longitude: float) -> _Direction:
    """Return where a place lies as seen from the middle of the earth, as a vector of length 1."""
    phi, theta = math.radians(latitude), math.radians(longitude)
    across = math.cos(phi)
    return across * math.cos(theta), across * math.sin(theta), math.sin(phi)


# Of the places of warehouses, which are asked for with every order.
_known_direction = lru_cache(maxsize=4096)(_direction)


def _distance_km(one: _Direction, other: _Direction) -> float:
    """Return the length of the arc over the straight line between two places, exact for near and far ones."""
    return 2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.dist(one, other) / 2))
