"""What the processes of the orders service read from their environment."""

from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from libs.common.money import MINOR_MAX
from libs.common.settings import PersonalDataSettings

_URL: Final = r"^https?://[\x21-\x7e]+$"

OnShortage = Literal["cancel", "split", "wait", "backorder"]
ChannelName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
PaymentMethod = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
_EMAIL: Final = r"^[!-?A-~]+@[!-?A-~]+\.[!-?A-~]+$"
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class ReminderRuleSetting(BaseModel):
    """One reminder; the hours count from what happened, before ship-by, or after the promise (see `Condition`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    condition: Literal[
        "payment-pending", "review-waiting", "ship-by-near", "late", "return-not-sent", "parcel-not-stopped"
    ]
    audience: Literal["operator", "customer"]
    after_hours: float = Field(ge=0, le=24 * 365)
    channels: tuple[Literal["email", "webhook", "log"], ...] = Field(default=("email", "webhook"), min_length=1)
    heeds_quiet_hours: bool = True


class PricePolicySetting(BaseModel):
    """
    What follows from what the shop did not agree to: see `PricePolicy`.

    `on_unknown` is about what the catalog does not sell, `on_limit` about promotions that are used up, `on_mismatch`
    about all other prices, discounts and taxes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_mismatch: Literal["ignore", "accept", "hold", "refuse"] = "accept"
    on_unknown: Literal["ignore", "accept", "hold", "refuse"] = "ignore"
    on_limit: Literal["ignore", "accept", "hold", "refuse"] = "refuse"


_REMINDER_RULES: Final = (
    ReminderRuleSetting(name="payment-pending", condition="payment-pending", audience="customer", after_hours=0.1),
    ReminderRuleSetting(
        name="review-waiting",
        condition="review-waiting",
        audience="operator",
        after_hours=4,
        channels=("email", "webhook", "log"),
    ),
    ReminderRuleSetting(
        name="ship-by-near",
        condition="ship-by-near",
        audience="operator",
        after_hours=6,
        channels=("email", "webhook", "log"),
        heeds_quiet_hours=False,
    ),
    ReminderRuleSetting(
        name="late", condition="late", audience="operator", after_hours=0, channels=("email", "webhook", "log")
    ),
    ReminderRuleSetting(name="late-customer", condition="late", audience="customer", after_hours=12),
    ReminderRuleSetting(name="return-not-sent", condition="return-not-sent", audience="customer", after_hours=7 * 24),
    # The sooner its carrier is asked, the sooner it turns back.
    ReminderRuleSetting(
        name="parcel-not-stopped",
        condition="parcel-not-stopped",
        audience="operator",
        after_hours=0,
        channels=("email", "webhook", "log"),
        heeds_quiet_hours=False,
    ),
)


class OrdersSettings(PersonalDataSettings):
    """The settings of the orders service; each is `ORDERS_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="ORDERS_")

    # The rules as TOML; without a file there are the block list and the two limits below, above which a person decides.
    review_rules_file: Path | None = None
    review_amount_minor_max: int = Field(default=10_000_000, ge=0, le=MINOR_MAX)
    review_units_of_sku_max: int = Field(default=100_000, ge=0, le=MINOR_MAX)

    # What becomes of orders whose prices are not the catalog's, and for which channels something else does. A cart may
    # be as old as the grace.
    price_policy: PricePolicySetting = PricePolicySetting()
    price_policies: dict[Annotated[str, StringConstraints(min_length=1, max_length=64)], PricePolicySetting] = Field(
        default={}, max_length=1_000
    )
    price_grace_seconds: float = Field(default=900, ge=0, le=86_400)

    # A shop's history can be imported and replayed; an order from before that is a mistake in the sender's clock.
    event_age_years_max: int = Field(default=30, ge=1, le=100)

    # A review that nobody makes is escalated once (never, if 0), and at its deadline refused or kept for a person.
    review_escalation_hours: float = Field(default=24, ge=0, le=24 * 365)
    # How long after their arrival goods may be returned; 0 is for ever.
    return_window_days: float = Field(default=0, ge=0, le=3650)

    review_deadline_days: float = Field(default=7, gt=0, le=365)
    review_overdue: Literal["refuse", "keep"] = "refuse"
    stock_reply_deadline_seconds: float = Field(default=120, gt=0, le=86_400)
    backorder_deadline_days: float = Field(default=30, gt=0, le=3650)
    # How long an order waits that is to wait, and the customer then has to say whether to wait on; 0: nobody is asked.
    wait_deadline_days: float = Field(default=7, gt=0, le=3650)
    wait_answer_hours: float = Field(default=0, ge=0, le=8760)
    # What becomes of an order that is short, unless it says so itself, and of those of certain channels.
    on_shortage: OnShortage = "backorder"
    on_shortage_by_channel: dict[ChannelName, OnShortage] = Field(default={}, max_length=100)
    payment_deadline_seconds: float = Field(default=900, gt=0, le=604_800)
    dispatch_deadline_days: float = Field(default=7, gt=0, le=365)
    cancellation_deadline_seconds: float = Field(default=1800, gt=0, le=604_800)
    delivery_deadline_days: float = Field(default=30, gt=0, le=365)
    settlement_deadline_hours: float = Field(default=24, gt=0, le=8760)

    # Before a customer is erased, so that no process takes anything in for them any more.
    erasure_delay_seconds: float = Field(default=10, ge=3, le=86_400)

    payment_executors: int = Field(default=2, ge=1, le=32)
    # Which provider serves which method of payment that a customer may choose.
    payment_methods: dict[PaymentMethod, Literal["sandbox", "stripe", "alipay"]] = Field(
        default={"card": "sandbox"}, min_length=1
    )
    # When a customer is charged; a provider that captures only once captures with the last parcel instead of each.
    capture_at: Literal["each-dispatch", "first-dispatch", "last-dispatch"] = "each-dispatch"
    # A call without an answer after that long is one whose outcome is unknown; so is what waits for longer than the
    # budget of its whole batch, two of which (a query, then the call) end before the lease of the commands does.
    payment_call_timeout_seconds: float = Field(default=10, gt=0, le=25)
    payment_batch_timeout_seconds: float = Field(default=25, gt=0, le=28)
    payment_calls_max: int = Field(default=16, ge=1, le=256)

    # How often the next two hundred orders of the last two days are compared with the ledger and their provider.
    money_audit_interval_seconds: float = Field(default=5, gt=0, le=3600)

    stripe_api_key: SecretStr | None = None
    # Two while one is rolled.
    stripe_webhook_secrets: tuple[SecretStr, ...] = Field(default=(), max_length=2)
    stripe_webhook_tolerance_seconds: float = Field(default=300, gt=0, le=86_400)
    # Whether the account may capture a payment in parts, which Stripe grants on request.
    stripe_multicapture: bool = False
    stripe_base_url: str = Field(default="https://api.stripe.com", pattern=_URL)

    alipay_app_id: str | None = Field(default=None, pattern=r"^[0-9]{1,32}$")
    alipay_private_key: SecretStr | None = None
    # Alipay's own; two while it changes them.
    alipay_public_keys: tuple[str, ...] = Field(default=(), max_length=2)
    alipay_gateway_url: str = Field(default="https://openapi.alipay.com/gateway.do", pattern=_URL)
    alipay_notify_url: str | None = Field(default=None, pattern=_URL)
    alipay_notice_tolerance_hours: float = Field(default=26, gt=0, le=120)

    # How long the sandbox provider keeps silent about an authorisation with tok_late.
    sandbox_late_answer_seconds: float = Field(default=5, ge=0, le=86_400)

    follow_poll_seconds: float = Field(default=0.05, gt=0, le=5)

    # http and loopback are for development only: they let whoever may register webhooks call what listens here.
    webhook_insecure_allowed: bool = False
    webhook_poll_seconds: float = Field(default=0.2, gt=0, le=60)
    # How long the secret before the newest one signs too.
    webhook_secret_overlap_hours: float = Field(default=24, ge=0, le=24 * 30)
    webhook_log_days: float = Field(default=45, ge=31, le=3650)

    @model_validator(mode="after")
    def _knows_its_providers(self) -> Self:
        offered = set(self.payment_methods.values())
        if "stripe" in offered and (self.stripe_api_key is None or not self.stripe_webhook_secrets):
            message = "a method of payment by stripe needs stripe_api_key and stripe_webhook_secrets"
            raise ValueError(message)
        has_alipay = self.alipay_app_id and self.alipay_private_key and self.alipay_public_keys
        if "alipay" in offered and not has_alipay:
            message = "a method of payment by alipay needs alipay_app_id, alipay_private_key and alipay_public_keys"
            raise ValueError(message)
        return self

    @property
    def event_age_max(self) -> timedelta:
        """How long ago an order may have been placed, or goods received."""
        return timedelta(days=365 * self.event_age_years_max)

    # When the warehouses work: orders confirmed after the cut-off are handled on the next working day.
    shop_time_zone: str = "UTC"
    shop_working_days: str = Field(default="mon,tue,wed,thu,fri", pattern=r"^[a-z]{3}(,[a-z]{3}){0,6}$")
    shop_cutoff: time = time(15)

    # The share of orders that are to arrive by their promise, and from which probability of being late on an order is
    # at risk, or its new probability is told.
    promise_share: float = Field(default=0.9, ge=0.5, le=0.99)
    late_risk_min: float = Field(default=0.3, ge=0.01, le=0.99)
    late_risk_step: float = Field(default=0.15, ge=0.01, le=1)
    # How far back promises learn from.
    promise_learning_days: int = Field(default=120, ge=7, le=3650)

    # Rules as a JSON list; nobody is disturbed between these times of the shop's time zone.
    reminder_rules: tuple[ReminderRuleSetting, ...] = Field(default=_REMINDER_RULES, max_length=50)
    reminder_operators: tuple[Annotated[str, Field(pattern=_EMAIL, max_length=254)], ...] = Field(
        default=(), max_length=20
    )
    reminder_poll_seconds: float = Field(default=30, gt=0, le=3600)
    quiet_hours_start: time = time(21)
    quiet_hours_end: time = time(8)

    # Without a host nothing is sent by e-mail; what would have been is written into the log.
    smtp_host: str | None = Field(default=None, min_length=1, max_length=255)
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_sender: str = Field(default="orders@localhost", pattern=r"^[!-?A-~]+@[!-?A-~]+$", max_length=254)

    @field_validator("reminder_rules")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[ReminderRuleSetting, ...]) -> tuple[ReminderRuleSetting, ...]:
        if len({rule.name for rule in value}) < len(value):
            message = "two rules have one name"
            raise ValueError(message)
        return value

    @field_validator("shop_time_zone")
    @classmethod
    def _is_time_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            message = "is no time zone of the IANA database"
            raise ValueError(message) from None
        return value

    @field_validator("shop_working_days")
    @classmethod
    def _are_days(cls, value: str) -> str:
        if not set(value.split(",")) <= set(_DAYS):
            message = f"must be some of {','.join(_DAYS)}"
            raise ValueError(message)
        return value

    @property
    def working_days(self) -> frozenset[int]:
        """The days on which warehouses work; 0 is Monday."""
        return frozenset(_DAYS.index(day) for day in self.shop_working_days.split(","))

    @property
    def erasure_delay(self) -> timedelta:
        """How long an erasure waits at least, until every process has heard of it."""
        return timedelta(seconds=self.erasure_delay_seconds)

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
