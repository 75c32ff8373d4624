"""Carriers, what they offer and what they charge."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import time

from services.logistics.domain.geography import Zone

GRAMS_PER_KG = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """
    What a service takes for a zone, in minor units of its carrier's currency.

    `distance_km_max` narrows the rate to parcels known to travel no further; None is the zone's general rate.
    `transit_days` are business days from collection to delivery.
    """

    zone: Zone
    base_minor: int
    per_kg_minor: int
    transit_days: int
    distance_km_max: int | None = None

    def cost_minor(self, weight_grams: int) -> int:
        """Return the price of one parcel, rounded up to a whole minor unit."""
        return self.base_minor + math.ceil(self.per_kg_minor * weight_grams / GRAMS_PER_KG)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierService:
    """One product of a carrier; parcels that are ready by `cut_off` (UTC) are collected the same business day."""

    service: str
    name: str
    cut_off: time
    rates: tuple[Rate, ...]

    def rate_for(self, zone: Zone, distance_km: float | None) -> Rate | None:
        """
        Return the narrowest rate that covers a parcel, None if the service does not go there.

        An unknown distance is covered by a zone's general rate only.
        """
        covering = [
            rate
            for rate in self.rates
            if rate.zone == zone
            and (rate.distance_km_max is None or (distance_km is not None and distance_km <= rate.distance_km_max))
        ]
        return min(covering, key=_reach, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """Somebody who moves parcels; `version` counts the changes of what it offers."""

    carrier: str
    name: str
    currency: str
    services: tuple[CarrierService, ...]
    is_active: bool = True
    version: int = 1

    def in_order(self) -> "Carrier":
        """Return it with services and rates in a fixed order, so that equal offers compare equal."""
        services = (
            replace(service, rates=tuple(sorted(service.rates, key=_zone_and_reach))) for service in self.services
        )
        return replace(self, services=tuple(sorted(services, key=lambda service: service.service)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTable:
    """All carriers at one moment; `version` counts the changes of any of them."""

    version: int
    carriers: Sequence[Carrier]


def _reach(rate: Rate) -> float:
    return math.inf if rate.distance_km_max is None else rate.distance_km_max


def _zone_and_reach(rate: Rate) -> tuple[str, float]:
    return rate.zone, _reach(rate)
