"""Choosing a carrier, with the record of why."""

from datetime import datetime
from uuid import UUID

from libs.common.decisions import Alternative, Decision
from services.logistics.domain.carriers import RateTable
from services.logistics.domain.choice import RULE, Choice, Consignment, Offer, Policy, choose_carrier

UNASSIGNED = "unassigned"
# What the customer fetches in the store: it leaves when the store hands it out, and no carrier is asked or paid.
COLLECTION = "collection"
IN_STORE = "in-store"


def choose_with_reason(
    *,
    shipment_id: UUID,
    warehouse: str,
    consignment: Consignment,
    rate_table: RateTable,
    policy: Policy,
    now: datetime,
) -> tuple[Choice, Decision]:
    """Choose a carrier for a shipment and write down all that could have been chosen, by cost in minor units."""
    choice = choose_carrier(consignment, rate_table.carriers, policy)
    decision = Decision(
        decision="choose-carrier",
        subject=f"shipment:{shipment_id}",
        chosen=choice.chosen.option if choice.chosen else UNASSIGNED,
        reason=choice.reason,
        rule=f"{RULE};rates/{rate_table.version}",
        decided_at=now,
        alternatives=[
            *(_alternative(offer) for offer in choice.offers),
            *(Alternative(option=option, details={"excluded": "does not go there"}) for option in choice.not_serving),
        ],
        inputs={
            "warehouse": warehouse,
            "is_warehouse_known": consignment.origin is not None,
            "country": consignment.destination.country,
            "zone": choice.zone,
            "distance_km": None if choice.distance_km is None else round(choice.distance_km),
            "is_far": choice.is_far,
            "units": consignment.units,
            "weight_grams": choice.weight_grams,
            "ready_at": consignment.ready_at,
            "promised_at": choice.promised_at,
        },
    )
    return choice, decision


def collected_with_reason(*, shipment_id: UUID, warehouse: str, units: int, now: datetime) -> Decision:
    """Write down why a shipment has no carrier: the customer collects it."""
    return Decision(
        decision="choose-carrier",
        subject=f"shipment:{shipment_id}",
        chosen=f"{COLLECTION}/{IN_STORE}",
        reason="The customer collects the order in the store.",
        rule="collection/1",
        decided_at=now,
        inputs={"warehouse": warehouse, "units": units},
    )


def _alternative(offer: Offer) -> Alternative:
    return Alternative(
        option=offer.option,
        score=offer.cost_minor,
        details={
            "currency": offer.currency,
            "transit_days": offer.rate.transit_days,
            "estimated_delivery_at": offer.estimated_delivery_at,
            "keeps_promise": offer.keeps_promise,
        },
    )
