"""What the processes of the orders service read from their environment."""

from datetime import timedelta

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.common.money import MINOR_MAX
from libs.common.settings import ServiceSettings


class OrdersSettings(ServiceSettings):
    """The settings of the orders service; each is `ORDERS_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    # Orders above one of these wait for a person.
    review_amount_minor_max: int = Field(default=10_000_000, ge=0, le=MINOR_MAX)
    review_units_of_sku_max: int = Field(default=100_000, ge=0, le=MINOR_MAX)

    # A shop's history can be imported and replayed; an order from before that is a mistake in the sender's clock.
    event_age_years_max: int = Field(default=30, ge=1, le=100)

    review_deadline_days: float = Field(default=7, gt=0, le=365)
    stock_reply_deadline_seconds: float = Field(default=120, gt=0, le=86_400)
    backorder_deadline_days: float = Field(default=30, gt=0, le=3650)
    payment_deadline_seconds: float = Field(default=900, gt=0, le=604_800)
    dispatch_deadline_days: float = Field(default=7, gt=0, le=365)
    cancellation_deadline_seconds: float = Field(default=1800, gt=0, le=604_800)
    delivery_deadline_days: float = Field(default=30, gt=0, le=365)
    settlement_deadline_hours: float = Field(default=24, gt=0, le=8760)

    payment_executors: int = Field(default=2, ge=1, le=32)
    # How long the sandbox provider keeps silent about an authorisation with tok_late.
    sandbox_late_answer_seconds: float = Field(default=5, ge=0, le=86_400)

    follow_poll_seconds: float = Field(default=0.05, gt=0, le=5)

    # http and loopback are for development only: they let whoever may register webhooks call what listens here.
    webhook_insecure_allowed: bool = False
    webhook_poll_seconds: float = Field(default=0.2, gt=0, le=60)
    # How long the secret before the newest one signs too.
    webhook_secret_overlap_hours: float = Field(default=24, ge=0, le=24 * 30)
    webhook_log_days: float = Field(default=45, ge=31, le=3650)

    @property
    def event_age_max(self) -> timedelta:
        """How long ago an order may have been placed, or goods received."""
        return timedelta(days=365 * self.event_age_years_max)

    @property
    def webhook_secret_overlap(self) -> timedelta:
        """How long the secret before the newest one signs too."""
        return timedelta(hours=self.webhook_secret_overlap_hours)

    @property
    def webhook_log_age_max(self) -> timedelta:
        """How long deliveries are kept: longer than their topics, or an event that comes again would be sent again."""
        return timedelta(days=self.webhook_log_days)

    @property
    def late_answer_after(self) -> timedelta:
        """How long the sandbox provider keeps silent about a late authorisation."""
        return timedelta(seconds=self.sandbox_late_answer_seconds)
