"""Where customers and warehouses are: ISO codes and rough coordinates."""

from dataclasses import dataclass
from functools import cache
from math import asin, cos, radians, sin, sqrt

from bench.replay.draws import draw


@dataclass(frozen=True, slots=True)
class Place:
    """A country (ISO 3166-1 alpha-2) and, roughly, its capital."""

    country: str
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class WarehouseSite:
    """A warehouse of the replay; synthetic, because the data set has none."""

    code: str
    name: str
    country: str
    latitude: float
    longitude: float


WAREHOUSES = (
    WarehouseSite("LON", "London (synthetic)", "GB", 51.51, -0.13),
    WarehouseSite("MAN", "Manchester (synthetic)", "GB", 53.48, -2.24),
    WarehouseSite("GLA", "Glasgow (synthetic)", "GB", 55.86, -4.25),
    WarehouseSite("RTM", "Rotterdam (synthetic)", "NL", 51.92, 4.48),
)

# The names are the data set's. Three of them are no country and were placed so:
# the Channel Islands on Jersey, the larger of them; "European Community" in Brussels, its seat;
# "Unspecified" at the shop's home, where nine of ten orders go.
COUNTRIES = {
    "Australia": Place("AU", -35.3, 149.1),
    "Austria": Place("AT", 48.2, 16.4),
    "Bahrain": Place("BH", 26.2, 50.6),
    "Belgium": Place("BE", 50.8, 4.4),
    "Brazil": Place("BR", -15.8, -47.9),
    "Canada": Place("CA", 45.4, -75.7),
    "Channel Islands": Place("JE", 49.2, -2.1),
    "Cyprus": Place("CY", 35.2, 33.4),
    "Czech Republic": Place("CZ", 50.1, 14.4),
    "Denmark": Place("DK", 55.7, 12.6),
    "EIRE": Place("IE", 53.3, -6.3),
    "European Community": Place("BE", 50.8, 4.4),
    "Finland": Place("FI", 60.2, 24.9),
    "France": Place("FR", 48.9, 2.4),
    "Germany": Place("DE", 52.5, 13.4),
    "Greece": Place("GR", 38.0, 23.7),
    "Hong Kong": Place("HK", 22.3, 114.2),
    "Iceland": Place("IS", 64.1, -21.9),
    "Israel": Place("IL", 31.8, 35.2),
    "Italy": Place("IT", 41.9, 12.5),
    "Japan": Place("JP", 35.7, 139.7),
    "Lebanon": Place("LB", 33.9, 35.5),
    "Lithuania": Place("LT", 54.7, 25.3),
    "Malta": Place("MT", 35.9, 14.5),
    "Netherlands": Place("NL", 52.4, 4.9),
    "Norway": Place("NO", 59.9, 10.8),
    "Poland": Place("PL", 52.2, 21.0),
    "Portugal": Place("PT", 38.7, -9.1),
    "RSA": Place("ZA", -25.7, 28.2),
    "Saudi Arabia": Place("SA", 24.7, 46.7),
    "Singapore": Place("SG", 1.3, 103.8),
    "Spain": Place("ES", 40.4, -3.7),
    "Sweden": Place("SE", 59.3, 18.1),
    "Switzerland": Place("CH", 46.9, 7.4),
    "USA": Place("US", 38.9, -77.0),
    "United Arab Emirates": Place("AE", 24.5, 54.4),
    "United Kingdom": Place("GB", 51.5, -0.1),
    "Unspecified": Place("GB", 51.5, -0.1),
}

_HOME = "GB"
# Nine of ten orders stay in the country, and the data set does not say where: each customer is given one of these
# places, so that more than one of the warehouses has something to do.
_HOME_PLACES = ((0.55, Place(_HOME, 51.5, -0.1)), (0.30, Place(_HOME, 53.5, -2.2)), (0.15, Place(_HOME, 55.9, -4.3)))


def destination(*, country: str, customer: str) -> Place:
    """Return where an order goes: the capital of its country; within the United Kingdom a derived place."""
    place = COUNTRIES[country]
    if place.country != _HOME:
        return place
    drawn = draw("home", customer)
    for share, home_place in _HOME_PLACES:
        if drawn < share:
            return home_place
        drawn -= share
    return place


@cache
def nearest_warehouse(place: Place) -> str:
    """Return the code of the warehouse that is nearest as the crow flies."""
    return min(WAREHOUSES, key=lambda site: _distance(place, site)).code


def _distance(place: Place, site: WarehouseSite) -> float:
    """Return the great-circle distance in radians (haversine formula)."""
    north = radians(site.latitude - place.latitude)
    east = radians(site.longitude - place.longitude)
    across = cos(radians(place.latitude)) * cos(radians(site.latitude)) * sin(east / 2) ** 2
    return 2 * asin(sqrt(sin(north / 2) ** 2 + across))
