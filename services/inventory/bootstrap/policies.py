"""What the settings mean in the terms of the domain."""

from datetime import timedelta

from services.inventory.domain.alternatives import AlternativesPolicy, LikenessWeights
from services.inventory.domain.classes import AbcClass
from services.inventory.domain.count_lists import Schedule
from services.inventory.domain.holds import DEFAULT_HOLD_POLICY, HoldPolicies, HoldPolicy
from services.inventory.domain.rebalancing import RebalancingPolicy
from services.inventory.domain.strategies import AllocationPolicy, ShippingCost, Strategy, Weights
from services.inventory.settings import ANY_CHANNEL, ANY_WAREHOUSE, InventorySettings


def alternatives_policy_of(settings: InventorySettings) -> AlternativesPolicy:
    """Return what is offered instead of what is short."""
    return AlternativesPolicy(
        alternatives_max=settings.alternatives_max,
        weights=LikenessWeights(**settings.alternatives_weights.model_dump()),
        price_ratio_max=settings.alternatives_price_ratio_max,
        essential_attributes=frozenset(name.casefold() for name in settings.alternatives_essential_attributes),
        comfortable_units=settings.alternatives_comfortable_units,
    )


def allocation_policy_of(settings: InventorySettings) -> AllocationPolicy:
    """Return how orders are allocated, by channel."""
    costs = {code: ShippingCost(**cost.model_dump()) for code, cost in settings.allocation_costs.items()}
    by_channel = settings.allocation_strategy_by_channel
    return AllocationPolicy(
        strategy=Strategy(settings.allocation_strategy),
        strategy_by_channel={channel: Strategy(strategy) for channel, strategy in by_channel.items()},
        weights=Weights(**settings.allocation_weights.model_dump()),
        cost=costs.pop(ANY_WAREHOUSE, ShippingCost()),
        costs=costs,
    )


def hold_policies_of(settings: InventorySettings) -> HoldPolicies:
    """Return what each channel may hold before there is an order."""
    policies = {channel: HoldPolicy(**dict(policy)) for channel, policy in settings.hold_policies.items()}
    return HoldPolicies(policies, policies.get(ANY_CHANNEL, DEFAULT_HOLD_POLICY))


def count_schedule_of(settings: InventorySettings) -> Schedule:
    """Return how often each class is counted."""
    return Schedule(
        days={
            AbcClass.A: settings.count_days_a,
            AbcClass.B: settings.count_days_b,
            AbcClass.C: settings.count_days_c,
        }
    )


def rebalancing_policy_of(settings: InventorySettings) -> RebalancingPolicy:
    """Return what moves and shortages cost."""
    return RebalancingPolicy(
        lead_days=settings.transfer_lead_days,
        review_days=timedelta(seconds=settings.transfer_review_seconds) / timedelta(days=1),
        cover_days=settings.transfer_cover_days,
        transfer_minor=settings.transfer_cost_minor,
        unit_km_minor=settings.transfer_unit_km_minor,
        shortage_share=settings.transfer_shortage_share,
        shortage_minor=settings.transfer_shortage_minor,
        currency=settings.transfer_currency,
    )
