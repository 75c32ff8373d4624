"""What inventory reads from its environment, beyond what every service reads."""

from decimal import Decimal
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, Json, model_validator
from pydantic_settings import SettingsConfigDict

from libs.common.http.fields import Currency
from libs.common.settings import Port, Seconds, ServiceSettings

# The costs of every warehouse that has none of its own.
ANY_WAREHOUSE: Final = "*"

# The policy of every channel that has none of its own.
ANY_CHANNEL: Final = "*"

Strategy = Literal["single-source-first", "fewest-splits", "nearest", "cheapest", "balance-cover", "weighted"]
_Weight = Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)]
_CostMinor = Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)]
HoldMode = Literal["all-or-nothing", "best-effort"]
_HoldSeconds = Annotated[int, Field(ge=1, le=366 * 24 * 3600)]
_Name = Annotated[str, Field(min_length=1, max_length=64)]


class _Weights(BaseModel):
    """Weights of which at least one counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _counts_anything(self) -> Self:
        if not any(self.model_dump().values()):
            message = "at least one weight is above 0"
            raise ValueError(message)
        return self


class AllocationWeights(_Weights):
    """How much each term counts in a weighted choice (see `strategies.Weights`)."""

    parcels: _Weight = 1.0
    distance: _Weight = 1.0
    cost: _Weight = 0.0
    cover: _Weight = 0.0
    priority: _Weight = 0.0


class AllocationCost(BaseModel):
    """What a parcel from a warehouse costs, in minor units: fixed, for each kilometre, and for each unit in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parcel_minor: _CostMinor = 0.0
    per_km_minor: _CostMinor = 0.0
    per_unit_minor: _CostMinor = 0.0


class AlternativesWeights(_Weights):
    """How much each part of likeness counts (see `alternatives.LikenessWeights`)."""

    category: _Weight = 3.0
    price: _Weight = 2.0
    attributes: _Weight = 2.0
    title: _Weight = 1.0
    availability: _Weight = 1.0


class HoldPolicySettings(BaseModel):
    """What a channel may hold before there is an order (see `holds.HoldPolicy`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ttl_seconds_default: _HoldSeconds = 15 * 60
    ttl_seconds_max: _HoldSeconds = 60 * 60
    lifetime_seconds_max: _HoldSeconds = 24 * 60 * 60
    units_per_sku_max: int = Field(default=1_000, ge=1, le=1_000_000_000)
    modes: frozenset[HoldMode] = Field(default=frozenset({"all-or-nothing", "best-effort"}), min_length=1)

    @model_validator(mode="after")
    def _lasts_longer_the_more_is_asked(self) -> Self:
        if not self.ttl_seconds_default <= self.ttl_seconds_max <= self.lifetime_seconds_max:
            message = "ttl_seconds_default, ttl_seconds_max and lifetime_seconds_max must not decrease in this order"
            raise ValueError(message)
        return self


class InventorySettings(ServiceSettings):
    """
    The settings of inventory: `INVENTORY_*`, then `QUAYSIDE_*`.

    Of each consumer group, a process runs `consumer_members`: while one waits for the database, another decides.

    Events whose business time is more than `event_age_years_max` ago are taken for mistakes; a replay of old data
    raises it. With `refuses_unknown_skus`, reports of SKUs that the catalog has never told of are mistakes too;
    without, a SKU is known from its first report on.

    The auditor goes over all levels every `audit_interval_seconds`; after each step of its slow round over the whole
    ledger it rests for `audit_rescan_rest_seconds`. Costs of what moved are brought up to date a step every
    `cost_interval_seconds`; the classes of SKUs every `class_interval_seconds`. Keeping stock for a year costs
    `holding_cost_yearly_rate` of its value; what neither sold nor came in for `dead_stock_days` is dead.

    `allocation_strategy` serves all channels but those that `allocation_strategy_by_channel` names. The costs of
    `allocation_costs` are by warehouse code; those of `*` are for all others.

    A count whose discrepancy is more than `count_limit_units`, `count_limit_share` of what was expected,
    or `count_limit_value_minor` at average cost waits for approval; by default none does.
    Each warehouse gets a list of up to `count_lines_per_day` SKUs a day to count, none if it is 0: those whose last
    count is `count_days_a` days ago, or `b`, or `c`, by their class.

    `hold_policies` are by channel, that of `*` for all others.

    Orders and storefronts are named up to `alternatives_max` SKUs instead of one that is short; none if it is 0, and
    the catalog is not followed for that. The other `alternatives_*` are those of `alternatives.AlternativesPolicy`.

    With `transfer_proposals`, moves between warehouses are proposed every `transfer_review_seconds`, from the demand of
    `transfer_demand_days`, so that each warehouse has `transfer_cover_days`; goods are `transfer_lead_days` on their
    way. A move costs `transfer_cost_minor`, and `transfer_unit_km_minor` for each unit and kilometre; a unit short
    costs `transfer_shortage_share` of its average cost, or `transfer_shortage_minor` where that is not known. Proposals
    whose units are worth less than `transfer_approve_below_minor` are approved at once; by default none is. What a
    person has cancelled is not proposed again for `transfer_declined_days`, unless much more is needed; other sources
    are.
    """

    model_config = SettingsConfigDict(env_prefix="INVENTORY_")

    port: Port = 8002
    worker_port: Port = 9002

    consumer_members: int = Field(default=2, ge=1, le=12)
    event_age_years_max: int = Field(default=10, ge=1, le=100)
    refuses_unknown_skus: bool = False
    audit_interval_seconds: Seconds = 10.0
    audit_rescan_rest_seconds: Seconds = 1.0
    cost_interval_seconds: Seconds = 1.0
    class_interval_seconds: Seconds = 3600.0
    holding_cost_yearly_rate: Decimal = Field(default=Decimal("0.25"), ge=0, le=10, max_digits=6)
    dead_stock_days: int = Field(default=90, ge=1, le=3660)

    allocation_strategy: Strategy = "single-source-first"
    allocation_strategy_by_channel: Json[dict[_Name, Strategy]] = Field(default_factory=dict, validate_default=False)
    allocation_weights: Json[AllocationWeights] = Field(default_factory=AllocationWeights, validate_default=False)
    allocation_costs: Json[dict[_Name, AllocationCost]] = Field(default_factory=dict, validate_default=False)

    count_limit_units: int | None = Field(default=None, ge=0)
    count_limit_share: float | None = Field(default=None, ge=0)
    count_limit_value_minor: int | None = Field(default=None, ge=0)
    count_lines_per_day: int = Field(default=20, ge=0, le=1_000)
    count_days_a: int = Field(default=30, ge=1, le=3_660)
    count_days_b: int = Field(default=90, ge=1, le=3_660)
    count_days_c: int = Field(default=180, ge=1, le=3_660)
    hold_policies: Json[dict[_Name, HoldPolicySettings]] = Field(default_factory=dict, validate_default=False)

    alternatives_max: int = Field(default=5, ge=0, le=20)
    alternatives_weights: Json[AlternativesWeights] = Field(default_factory=AlternativesWeights, validate_default=False)
    alternatives_price_ratio_max: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False)
    alternatives_essential_attributes: Json[frozenset[_Name]] = Field(
        default=frozenset({"size"}), max_length=50, validate_default=False
    )
    alternatives_comfortable_units: int = Field(default=10, ge=0, le=1_000_000)

    transfer_proposals: bool = True
    transfer_review_seconds: Seconds = 3_600.0
    transfer_demand_days: float = Field(default=28.0, ge=1, le=366)
    transfer_declined_days: float = Field(default=7.0, ge=0, le=366)
    transfer_lead_days: float = Field(default=3.0, ge=0, le=366)
    transfer_cover_days: float = Field(default=14.0, ge=0, le=366)
    transfer_cost_minor: _CostMinor = 1_000.0
    transfer_unit_km_minor: _CostMinor = 0.0
    transfer_shortage_share: float = Field(default=0.3, ge=0, le=100)
    transfer_shortage_minor: _CostMinor = 300.0
    transfer_currency: Currency = "GBP"
    transfer_approve_below_minor: int = Field(default=0, ge=0, le=10**15)

    @model_validator(mode="after")
    def _knows_the_costs_it_goes_by(self) -> Self:
        goes_by_cost = "cheapest" in (self.allocation_strategy, *self.allocation_strategy_by_channel.values())
        if goes_by_cost and not self.allocation_costs:
            message = "the strategy cheapest needs INVENTORY_ALLOCATION_COSTS"
            raise ValueError(message)
        return self
