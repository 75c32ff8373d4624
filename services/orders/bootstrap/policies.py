"""What the settings mean in the terms of the domain."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from services.orders.clients.alipay_notices import ALIPAY
from services.orders.clients.review_rules import read_rules, standard_rules
from services.orders.clients.stripe_webhooks import STRIPE
from services.orders.domain.delays import WorkCalendar
from services.orders.domain.findings import Consequence
from services.orders.domain.order import SANDBOX_PROVIDER, CaptureMoment, PaymentTerms
from services.orders.domain.prices import PricePolicy
from services.orders.domain.reminders import Audience, Channel, Condition, QuietHours, ReminderRule
from services.orders.domain.state import Deadlines
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.insights import PromisePolicy
from services.orders.handlers.prices import PriceCheck
from services.orders.handlers.review import Reviewing
from services.orders.settings import OrdersSettings, PricePolicySetting


def policy_of(settings: OrdersSettings) -> Policy:
    """Return how this shop runs its orders."""
    window = timedelta(days=settings.return_window_days) if settings.return_window_days else None
    return Policy(deadlines_of(settings), return_window=window)


def deadlines_of(settings: OrdersSettings) -> Deadlines:
    """Return how long orders may stay in each stage."""
    return Deadlines(
        review=timedelta(days=settings.review_deadline_days),
        review_escalation=timedelta(hours=settings.review_escalation_hours)
        if settings.review_escalation_hours
        else None,
        is_review_kept=settings.review_overdue == "keep",
        stock_reply=timedelta(seconds=settings.stock_reply_deadline_seconds),
        backorder=timedelta(days=settings.backorder_deadline_days),
        wait=timedelta(days=settings.wait_deadline_days),
        wait_answer=timedelta(hours=settings.wait_answer_hours),
        payment=timedelta(seconds=settings.payment_deadline_seconds),
        dispatch=timedelta(days=settings.dispatch_deadline_days),
        cancellation=timedelta(seconds=settings.cancellation_deadline_seconds),
        delivery=timedelta(days=settings.delivery_deadline_days),
        settlement=timedelta(hours=settings.settlement_deadline_hours),
    )


def reviewing(settings: OrdersSettings) -> Reviewing:
    """Return how new orders are reviewed."""
    rules = (
        standard_rules(
            amount_minor_max=settings.review_amount_minor_max, units_of_sku_max=settings.review_units_of_sku_max
        )
        if settings.review_rules_file is None
        else read_rules(settings.review_rules_file)
    )
    calendar = work_calendar(settings)
    return Reviewing(rules=rules, ship_by=lambda placed_at: calendar.end_of_day(calendar.handling_start(placed_at)))


def work_calendar(settings: OrdersSettings) -> WorkCalendar:
    """Return when the warehouses work."""
    return WorkCalendar(
        time_zone=ZoneInfo(settings.shop_time_zone), working_days=settings.working_days, cutoff=settings.shop_cutoff
    )


def promise_policy(settings: OrdersSettings) -> PromisePolicy:
    """Return how promises are made."""
    return PromisePolicy(
        calendar=work_calendar(settings),
        share=settings.promise_share,
        risk_min=settings.late_risk_min,
        step=settings.late_risk_step,
    )


def price_check(settings: OrdersSettings) -> PriceCheck:
    """Return how the prices of new orders are checked."""

    def policy_of(setting: PricePolicySetting) -> PricePolicy:
        return PricePolicy(
            on_mismatch=Consequence(setting.on_mismatch),
            on_unknown=Consequence(setting.on_unknown),
            on_limit=Consequence(setting.on_limit),
        )

    return PriceCheck(
        standard=policy_of(settings.price_policy),
        by_channel={channel: policy_of(one) for channel, one in settings.price_policies.items()},
        grace=timedelta(seconds=settings.price_grace_seconds),
    )


def reminder_rules(settings: OrdersSettings) -> list[ReminderRule]:
    """Return whom to remind of what."""
    return [
        ReminderRule(
            name=rule.name,
            condition=Condition(rule.condition),
            audience=Audience(rule.audience),
            after=timedelta(hours=rule.after_hours),
            channels=tuple(Channel(channel) for channel in dict.fromkeys(rule.channels)),
            heeds_quiet_hours=rule.heeds_quiet_hours,
        )
        for rule in settings.reminder_rules
    ]


def quiet_hours(settings: OrdersSettings) -> QuietHours:
    """Return when nobody is disturbed."""
    return QuietHours(
        time_zone=ZoneInfo(settings.shop_time_zone),
        start=settings.quiet_hours_start,
        end=settings.quiet_hours_end,
    )


def payment_terms(settings: OrdersSettings) -> dict[str, PaymentTerms]:
    """Return by which provider each method is paid, and when; none captures in parts that cannot."""
    in_parts = {SANDBOX_PROVIDER: True, STRIPE: settings.stripe_multicapture, ALIPAY: False}
    terms = {}
    for method, provider in settings.payment_methods.items():
        wanted = CaptureMoment(settings.capture_at)
        is_possible = in_parts[provider] or wanted is not CaptureMoment.EACH_DISPATCH
        capture_at = wanted if is_possible else CaptureMoment.LAST_DISPATCH
        terms[method] = PaymentTerms(provider=provider, capture_at=capture_at)
    return terms
