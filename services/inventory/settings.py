"""What inventory reads from its environment, beyond what every service reads."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.common.settings import Port, Seconds, ServiceSettings


class InventorySettings(ServiceSettings):
    """
    The settings of inventory: `INVENTORY_*`, then `QUAYSIDE_*`.

    Events whose business time is more than `event_age_years_max` ago are taken for mistakes; a replay of old data
    raises it.
    """

    model_config = SettingsConfigDict(env_prefix="INVENTORY_")

    port: Port = 8002
    worker_port: Port = 9002

    event_age_years_max: int = Field(default=10, ge=1, le=100)
    audit_interval_seconds: Seconds = 30.0
