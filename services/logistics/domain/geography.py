"""Where things are, how far apart, and which zone of a rate table that makes."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_EARTH_RADIUS_KM: Final = 6371.0088

# ISO 3166-1 alpha-2 codes that carriers price as Europe: the continent with its islands and Cyprus.
EUROPE: Final = frozenset(
    [
        "AD",
        "AL",
        "AT",
        "AX",
        "BA",
        "BE",
        "BG",
        "BY",
        "CH",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FO",
        "FR",
        "GB",
        "GG",
        "GI",
        "GR",
        "HR",
        "HU",
        "IE",
        "IM",
        "IS",
        "IT",
        "JE",
        "LI",
        "LT",
        "LU",
        "LV",
        "MC",
        "MD",
        "ME",
        "MK",
        "MT",
        "NL",
        "NO",
        "PL",
        "PT",
        "RO",
        "RS",
        "SE",
        "SI",
        "SJ",
        "SK",
        "SM",
        "UA",
        "VA",
        "XK",
    ]
)


class Zone(StrEnum):
    """How far a parcel travels, by the countries that it leaves and reaches."""

    DOMESTIC = "domestic"
    EUROPE = "europe"
    WORLD = "world"


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A point on the earth, in degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Site:
    """A country (ISO 3166-1 alpha-2) and, where known, a point in it."""

    country: str
    coordinates: Coordinates | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facility:
    """A warehouse's site as inventory told it; `version` orders what it told."""

    warehouse: str
    site: Site
    version: int


def coordinates_of(latitude: float | None, longitude: float | None) -> Coordinates | None:
    """Return a point if both of its coordinates are known."""
    if latitude is None or longitude is None:
        return None
    return Coordinates(latitude, longitude)


def distance_km(start: Coordinates, end: Coordinates) -> float:
    """Return the great-circle distance in kilometres (haversine)."""
    start_latitude, end_latitude = math.radians(start.latitude), math.radians(end.latitude)
    half_latitude = (end_latitude - start_latitude) / 2
    half_longitude = math.radians(end.longitude - start.longitude) / 2
    haversine = (
        math.sin(half_latitude) ** 2 + math.cos(start_latitude) * math.cos(end_latitude) * math.sin(half_longitude) ** 2
    )
    # Rounding may carry antipodes a hair above 1, where asin is not defined.
    return 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))


def distance_between(origin: Site | None, destination: Site) -> float | None:
    """Return the distance in kilometres, None while either point is unknown."""
    if origin is None or origin.coordinates is None or destination.coordinates is None:
        return None
    return distance_km(origin.coordinates, destination.coordinates)


def zone_between(origin: Site | None, destination: Site) -> Zone:
    """Return the zone of a parcel; from an unknown origin it is the widest one, which promises least."""
    if origin is None:
        return Zone.WORLD
    if origin.country == destination.country:
        return Zone.DOMESTIC
    if origin.country in EUROPE and destination.country in EUROPE:
        return Zone.EUROPE
    return Zone.WORLD


def point_between(start: Coordinates, end: Coordinates, share: float) -> Coordinates:
    """Return the point after `share` (0 to 1) of the great circle, rounded to one decimal."""
    angle = distance_km(start, end) / _EARTH_RADIUS_KM
    if math.sin(angle) < 1e-9:  # noqa: PLR2004 - the same point, or antipodes: every way is a great circle
        return start if share < 0.5 else end  # noqa: PLR2004
    start_weight = math.sin((1 - share) * angle) / math.sin(angle)
    end_weight = math.sin(share * angle) / math.sin(angle)
    x, y, z = (start_weight * one + end_weight * other for one, other in zip(_vector(start), _vector(end), strict=True))
    return Coordinates(
        round(math.degrees(math.atan2(z, math.hypot(x, y))), 1),
        round(math.degrees(math.atan2(y, x)), 1),
    )


def _vector(point: Coordinates) -> tuple[float, float, float]:
    latitude, longitude = math.radians(point.latitude), math.radians(point.longitude)
    return (
        math.cos(latitude) * math.cos(longitude),
        math.cos(latitude) * math.sin(longitude),
        math.sin(latitude),
    )
