"""
Which carrier takes a parcel.

The cheapest service that keeps the delivery promise; far parcels take the fastest one, because there a slow
service costs weeks, not days. If none keeps the promise, the fastest one comes closest to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.logistics.domain.calendar import add_business_days, delivery_time, shipping_day
from services.logistics.domain.carriers import Carrier, CarrierService, Rate
from services.logistics.domain.geography import Site, Zone, distance_between, zone_between

RULE: Final = "cheapest-in-promise-far-fastest/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """
    What the shop promises and how it weighs parcels.

    `promise_days` are business days from the day an order can be shipped. Parcels that travel `far_km` or more
    are far; where the distance is unknown, those that leave the continent are.
    """

    promise_days: Mapping[Zone, int]
    far_km: int
    unit_weight_grams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Consignment:
    """A parcel to be sent; `origin` is None while its warehouse is not known here."""

    origin: Site | None
    destination: Site
    units: int
    ready_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one service that goes there would do for a parcel."""

    carrier: str
    service: str
    currency: str
    rate: Rate
    cost_minor: int
    estimated_delivery_at: datetime
    keeps_promise: bool

    @property
    def option(self) -> str:
        """Return how decisions name this offer."""
        return f"{self.carrier}/{self.service}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The offer that was taken, None if no carrier goes there, and all that could be said about the others."""

    chosen: Offer | None
    reason: str
    offers: Sequence[Offer]
    not_serving: Sequence[str]
    zone: Zone
    distance_km: float | None
    weight_grams: int
    promised_at: datetime
    is_far: bool


def choose_carrier(consignment: Consignment, carriers: Sequence[Carrier], policy: Policy) -> Choice:
    """Choose for one parcel: the same input always gives the same choice, whatever the order of `carriers`."""
    zone = zone_between(consignment.origin, consignment.destination)
    distance = distance_between(consignment.origin, consignment.destination)
    weight_grams = consignment.units * policy.unit_weight_grams
    promised_at = _promise(consignment.ready_at, policy.promise_days[zone])
    offers = []
    not_serving = []
    for carrier, service in _active_services(carriers):
        rate = service.rate_for(zone, distance)
        if rate is None:
            not_serving.append(f"{carrier.carrier}/{service.service}")
            continue
        expected_at = delivery_time(
            add_business_days(shipping_day(consignment.ready_at, service.cut_off), rate.transit_days)
        )
        offers.append(
            Offer(
                carrier=carrier.carrier,
                service=service.service,
                currency=carrier.currency,
                rate=rate,
                cost_minor=rate.cost_minor(weight_grams),
                estimated_delivery_at=expected_at,
                keeps_promise=expected_at <= promised_at,
            )
        )
    is_far = _is_far(consignment, zone, distance, policy)
    chosen, reason = _pick(offers, is_far=is_far)
    return Choice(
        chosen=chosen,
        reason=reason,
        offers=sorted(offers, key=_by_cost),
        not_serving=sorted(not_serving),
        zone=zone,
        distance_km=distance,
        weight_grams=weight_grams,
        promised_at=promised_at,
        is_far=is_far,
    )


def _active_services(carriers: Sequence[Carrier]) -> Sequence[tuple[Carrier, CarrierService]]:
    return [(carrier, service) for carrier in carriers if carrier.is_active for service in carrier.services]


def _is_far(consignment: Consignment, zone: Zone, distance: float | None, policy: Policy) -> bool:
    if distance is not None:
        return distance >= policy.far_km
    # Without an origin the zone says nothing about the way.
    return consignment.origin is not None and zone is Zone.WORLD


def _promise(ready: datetime, promise_days: int) -> datetime:
    first_day = add_business_days(ready.date(), 0)
    return delivery_time(add_business_days(first_day, promise_days))


def _pick(offers: Sequence[Offer], *, is_far: bool) -> tuple[Offer | None, str]:
    if not offers:
        return None, "no carrier goes there"
    if is_far:
        return min(offers, key=_by_time), "fastest, because the parcel goes far"
    on_time = [offer for offer in offers if offer.keeps_promise]
    if not on_time:
        return min(offers, key=_by_time), "fastest, because none keeps the delivery promise"
    return min(on_time, key=_by_cost), "cheapest that keeps the delivery promise"


def _by_cost(offer: Offer) -> tuple[int, datetime, str]:
    return offer.cost_minor, offer.estimated_delivery_at, offer.option


def _by_time(offer: Offer) -> tuple[datetime, int, str]:
    return offer.estimated_delivery_at, offer.cost_minor, offer.option
