"""What the processes of logistics read from their environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.common.http.fields import Currency
from libs.common.settings import ServiceSettings


class LogisticsSettings(ServiceSettings):
    """Settings of logistics: `LOGISTICS_<NAME>`, or `QUAYSIDE_<NAME>` for those that all services share."""

    model_config = SettingsConfigDict(env_prefix="LOGISTICS_")

    port: int = Field(default=8005, ge=0, le=65535)
    worker_port: int = Field(default=9005, ge=0, le=65535)

    # The currency in which all carriers charge.
    currency: Currency = "GBP"
    # Business days from the day an order can be shipped.
    promise_days_domestic: int = Field(default=3, ge=1, le=60)
    promise_days_europe: int = Field(default=5, ge=1, le=60)
    promise_days_world: int = Field(default=8, ge=1, le=60)
    # Parcels that go this far or farther take the fastest service.
    far_km: int = Field(default=3000, ge=0, le=21_000)
    # No product has a weight yet: a unit stands for this much.
    unit_weight_grams: int = Field(default=250, ge=1, le=1_000_000)
    # Estimates that move by less are not published.
    eta_threshold_hours: float = Field(default=6.0, ge=0, le=720)

    simulator_seconds_per_day: float = Field(default=2.0, gt=0, le=86_400)
    simulator_late_ratio: float = Field(default=0.04, ge=0, le=1)
    simulator_failure_ratio: float = Field(default=0.0, ge=0, le=1)
