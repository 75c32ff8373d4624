"""Puts the orders service together: the only place that knows which adapter stands behind which port."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import httpx
from fastapi import FastAPI

from libs.common.clock import Clock, SystemClock
from libs.common.data_keys import DataKeys, DataKeysUnreadable
from libs.common.db import Database, Transaction, is_transient
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.events.topics import ORDERS_CUSTOMER, ORDERS_ERASURE, ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.decisions import decisions_router
from libs.common.http.health import Health
from libs.common.http.idempotency import purge_idempotency_keys
from libs.common.messaging import inbox
from libs.common.messaging.consumer import Consumer
from libs.common.outbox import OutboxWriter, relay_of
from libs.common.pacing import WorkPace
from libs.common.runtime import HttpServer, PeriodicJob, Process, Service
from libs.common.settings import InvalidSettings
from libs.common.telemetry.logs import get_logger
from services.orders import metrics
from services.orders.api import (
    analytics_routes,
    delay_routes,
    edit_routes,
    erasure_routes,
    import_routes,
    money_routes,
    order_routes,
    payment_webhook_routes,
    price_routes,
    promotion_routes,
    reminder_routes,
    return_routes,
    review_routes,
    timeline_routes,
    webhook_routes,
)
from services.orders.api.backend import Backend
from services.orders.api.errors import STATUS_BY_ERROR
from services.orders.api.insight_desk import InsightDesk
from services.orders.clients import alipay_payments, stripe_payments
from services.orders.clients.alipay_notices import ALIPAY, AlipayNotices
from services.orders.clients.alipay_payments import AlipayAccount, AlipayPayments
from services.orders.clients.alipay_signatures import Signer, Verifier
from services.orders.clients.email_notifier import EmailNotifier
from services.orders.clients.erasure_register import read_register
from services.orders.clients.review_rules import read_rules, standard_rules
from services.orders.clients.sandbox_books import SandboxBooks
from services.orders.clients.sandbox_payments import SandboxPayments
from services.orders.clients.stripe_payments import StripePayments
from services.orders.clients.stripe_webhooks import STRIPE, StripeNotices
from services.orders.clients.webhook_http import AddressGuard, HttpWebhooks
from services.orders.consumers import (
    INSIGHTS,
    NOTIFICATIONS,
    PRICES,
    SAGA,
    TOLD,
    InsightHandler,
    NotificationHandler,
    PriceHandler,
    SagaHandler,
    erasure_answers,
    insights,
    notifications,
    prices,
    saga,
)
from services.orders.domain.delays import WorkCalendar
from services.orders.domain.durations import counted_quantile
from services.orders.domain.findings import Consequence
from services.orders.domain.order import SANDBOX_PROVIDER, CaptureMoment, PaymentTerms
from services.orders.domain.prices import PricePolicy
from services.orders.domain.reminders import (
    REMINDER_TYPE,
    Audience,
    Channel,
    Condition,
    QuietHours,
    ReminderRule,
)
from services.orders.domain.shortage import ShortagePolicy
from services.orders.domain.state import Deadlines
from services.orders.handlers.deadlines import DeadlineWatch
from services.orders.handlers.erasures import ErasedCustomers, Eraser, restore_register
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.insights import Following, ModelHolder, PromisePolicy
from services.orders.handlers.notices import NoticeReader
from services.orders.handlers.payments import PaymentExecutor
from services.orders.handlers.ports import PaymentGateway
from services.orders.handlers.prices import PriceCheck
from services.orders.handlers.reminders import LogNotifier, Notifier, Outcome, ReminderSender, ReminderWatch
from services.orders.handlers.review import Reviewing
from services.orders.handlers.settlement import MoneyAudit, OrderMoney, ProviderBooks
from services.orders.handlers.webhooks import WebhookDispatcher
from services.orders.settings import OrdersSettings, PricePolicySetting
from services.orders.storage import insights as insight_storage
from services.orders.storage.edits import measure_requested_edits
from services.orders.storage.erasures import PostgresErasures, PostgresErasureUnits, measure_erasures
from services.orders.storage.journeys import PostgresJourneys
from services.orders.storage.notices import purge_notices
from services.orders.storage.prices import PostgresPrices
from services.orders.storage.reminders import PostgresReminders, PostgresReminderUnits
from services.orders.storage.returns import measure_returns
from services.orders.storage.reviews import measure_reviews
from services.orders.storage.timers import count_open_commands, count_open_orders, count_stuck_orders
from services.orders.storage.unit import PostgresUnits
from services.orders.storage.webhooks import (
    PostgresWebhooks,
    PostgresWebhookUnits,
    measure_deliveries,
    purge_deliveries,
    renew_seals,
)

NAME = "orders"

log = get_logger(__name__)

_PURGE_KEYS_SECONDS = 60.0
# The inbox is kept for weeks and read in full to be purged.
_PURGE_INBOX_SECONDS = 3600.0
_MEASURE_SECONDS = 5.0
_ERASE_SECONDS = 1.0
_FIND_STRAYS_SECONDS = 60.0
# Much less than an erasure waits before it is carried out.
_REGISTER_SECONDS = 1.0
# Orders that are compared again and again with the ledger and with their provider.
_MONEY_AUDITED = timedelta(days=2)
# Longer than any provider's notice is accepted after it was signed.
_NOTICES_KEPT = timedelta(days=7)
_DEADLINE_POLL_SECONDS = 0.5
_RENEW_SEALS_SECONDS = 600.0
_MEASURE_WEBHOOKS_SECONDS = 30.0
_LEARN_SECONDS = 120.0
_RESCORE_SECONDS = 30.0
_RESCORED_ORDERS_MAX = 200
_SUMMARISE_SECONDS = 20.0
_SUMMARISE_COHORTS_SECONDS = 600.0
_CALIBRATION_DAYS = 30
_CYCLE_TIME_DAYS = 7
# The executor waits by itself, so that it can be woken; this only keeps its loop from spinning.
_EXECUTOR_PAUSE_SECONDS = 0.001
_EXECUTOR_PACE = WorkPace(share_max=0.3, rest_seconds_max=0.1, items_plenty=100)


def build(settings: OrdersSettings, roles: frozenset[str]) -> Process:
    """Put together the parts that `roles` need."""
    clock = SystemClock()
    database = _database(settings, NAME, settings.database_pool_size)
    process = Process(health=Health(clock=clock), closers=[database.dispose])
    process.health.add("database", database.is_reachable)
    wake_relay: Callable[[], None] | None = None
    if "relay" in roles:
        relay = relay_of(NAME, settings, clock)
        wake_relay = relay.wake
        process.components.append(relay)
    pseudonyms = data_keys(settings).pseudonyms
    units = PostgresUnits(database, clock=clock, pseudonyms=pseudonyms, wake_relay=wake_relay)
    erasure_units = PostgresErasureUnits(database, clock=clock, wake_relay=wake_relay)
    policy = policy_of(settings)
    if "jobs" in roles:
        policy = _add_jobs(process, settings=settings, database=database, units=units, policy=policy, clock=clock)
        eraser = Eraser(
            erasure_units, pseudonyms=pseudonyms, clock=clock, delay=settings.erasure_delay, is_transient=is_transient
        )
        process.components.extend(
            [
                PeriodicJob("erase", eraser.work, every_seconds=_ERASE_SECONDS),
                PeriodicJob("erase-strays", eraser.find_strays, every_seconds=_FIND_STRAYS_SECONDS),
            ]
        )
    if "consumer" in roles:
        consumer = build_consumer(settings, database, units, policy=policy, clock=clock)
        follower = build_price_consumer(settings, database, clock=clock)
        process.components.extend([consumer, follower])
        process.watchdogs.extend([consumer.check_progress, follower.check_progress])
    if "notifications" in roles:
        _add_notifications(process, settings=settings, database=database, clock=clock)
    if "insights" in roles:
        _add_insights(process, settings=settings, database=database, clock=clock)
    if "api" in roles:
        backend = build_backend(
            settings,
            database,
            units,
            policy=policy,
            clock=clock,
            provider_books=_provider_books(process, settings, database),
            erased=ErasedCustomers(erasure_units, pseudonyms=pseudonyms, clock=clock),
        )
        process.components.append(
            PeriodicJob("erased-customers", backend.erased.refresh, every_seconds=_REGISTER_SECONDS)
        )
        app = build_app(
            settings,
            backend,
            process.health,
            webhooks=build_webhook_desk(settings, database, clock=clock),
            erasures=erasure_routes.ErasureDesk(erasure_units, pseudonyms=pseudonyms, clock=clock),
        )
        process.components.extend([HttpServer(app, settings, resources=(backend,)), backend.follower])
    return process


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


def build_backend(
    settings: OrdersSettings,
    database: Database,
    units: PostgresUnits,
    *,
    policy: Policy,
    clock: Clock,
    provider_books: Mapping[str, ProviderBooks],
    erased: ErasedCustomers | None = None,
) -> Backend:
    """Build what the routes work with."""
    return Backend(
        database=database,
        bind=units.bind,
        policy=policy,
        reviewing=reviewing(settings),
        price_check=price_check(settings),
        clock=clock,
        follow_poll_seconds=settings.follow_poll_seconds,
        event_age_max=settings.event_age_max,
        shortage_policy=ShortagePolicy(settings.on_shortage, settings.on_shortage_by_channel),
        payment_methods=_payment_terms(settings),
        notice_readers=_notice_readers(settings),
        provider_books=provider_books,
        erased=erased
        or ErasedCustomers(
            PostgresErasureUnits(database, clock=clock), pseudonyms=data_keys(settings).pseudonyms, clock=clock
        ),
    )


def data_keys(settings: OrdersSettings) -> DataKeys:
    """
    Read the keys of personal data.

    :raises InvalidSettings: if they cannot be read.
    """
    try:
        return DataKeys.of(settings.data_keys_file)
    except DataKeysUnreadable as error:
        raise InvalidSettings(str(error)) from error


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


def build_webhook_desk(settings: OrdersSettings, database: Database, *, clock: Clock) -> webhook_routes.WebhookDesk:
    """Build what the routes of webhooks work with."""
    seal = data_keys(settings).seal
    return webhook_routes.WebhookDesk(
        database=database,
        seal=seal,
        bind=partial(PostgresWebhooks, seal=seal),
        check_url=AddressGuard(is_insecure_allowed=settings.webhook_insecure_allowed).check,
        known_types=[*(event.type for event in TOLD), REMINDER_TYPE],
        secret_overlap=settings.webhook_secret_overlap,
        clock=clock,
    )


def build_app(
    settings: OrdersSettings,
    backend: Backend,
    health: Health,
    *,
    webhooks: webhook_routes.WebhookDesk,
    erasures: erasure_routes.ErasureDesk | None = None,
    authenticator: Authenticator | None = None,
) -> FastAPI:
    """Build the HTTP application."""
    app = create_app(
        service=NAME,
        title="Quayside orders",
        description="Orders from placed to settled, their payments and their returns.",
        settings=settings,
        routers=[
            order_routes.router,
            import_routes.router,
            timeline_routes.router,
            return_routes.router,
            review_routes.router,
            edit_routes.router,
            erasure_routes.router,
            webhook_routes.router,
            payment_webhook_routes.router,
            money_routes.router,
            delay_routes.router,
            analytics_routes.router,
            reminder_routes.router,
            price_routes.router,
            promotion_routes.router,
            decisions_router(lambda request: request.app.state.backend.database, scope="orders:read", about="order"),
        ],
        status_by_error=STATUS_BY_ERROR,
        health=health,
        authenticator=authenticator,
    )
    put_behind(app, settings, backend, webhooks=webhooks, erasures=erasures)
    return app


def put_behind(
    app: FastAPI,
    settings: OrdersSettings,
    backend: Backend,
    *,
    webhooks: webhook_routes.WebhookDesk,
    erasures: erasure_routes.ErasureDesk | None = None,
) -> None:
    """Let the routes of the application work with `backend`."""
    app.state.backend = backend
    app.state.webhooks = webhooks
    app.state.reminders = reminder_routes.ReminderDesk(
        database=backend.database, bind=PostgresReminders, clock=backend.clock, erased=backend.erased
    )
    app.state.erasures = erasures or erasure_routes.ErasureDesk(
        PostgresErasureUnits(backend.database, clock=backend.clock),
        pseudonyms=data_keys(settings).pseudonyms,
        clock=backend.clock,
    )
    app.state.insights = InsightDesk(
        database=backend.database,
        bind=insight_storage.PostgresInsights,
        clock=backend.clock,
        calendar=work_calendar(settings),
    )


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


def build_consumer(
    settings: OrdersSettings, database: Database, units: PostgresUnits, *, policy: Policy, clock: Clock
) -> Consumer:
    """Build the saga's member of its consumer group."""
    return Consumer(
        erasure_answers(
            saga(SagaHandler(policy=policy, clock=clock, bind=units.bind)), clock=clock, bind=PostgresErasures
        ),
        service=NAME,
        database=database,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        clock=clock,
    )


def build_price_consumer(settings: OrdersSettings, database: Database, *, clock: Clock) -> Consumer:
    """Build the member of the group that follows the catalog's prices."""
    return Consumer(
        prices(PriceHandler(PostgresPrices)),
        service=NAME,
        database=database,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        clock=clock,
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


def build_notifiers(settings: OrdersSettings) -> dict[Channel, Notifier]:
    """Build the ways to remind somebody; webhooks are queued and need none."""
    notifiers: dict[Channel, Notifier] = {Channel.LOG: LogNotifier(), Channel.EMAIL: LogNotifier(Outcome.NO_RECIPIENT)}
    if settings.smtp_host is not None:
        password = settings.smtp_password
        notifiers[Channel.EMAIL] = EmailNotifier(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            sender=settings.smtp_sender,
            username=settings.smtp_username,
            password=None if password is None else password.get_secret_value(),
        )
    return notifiers


def _add_notifications(process: Process, *, settings: OrdersSettings, database: Database, clock: Clock) -> None:
    """Add what tells others of orders, on events of its own consumer group: nothing that an order waits for."""
    seal = data_keys(settings).seal
    consumer = Consumer(
        notifications(NotificationHandler(clock=clock, bind=partial(PostgresWebhooks, seal=seal))),
        service=NAME,
        database=database,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        clock=clock,
    )
    transport = HttpWebhooks(AddressGuard(is_insecure_allowed=settings.webhook_insecure_allowed), clock=clock)
    process.closers.append(transport.close)
    dispatcher = WebhookDispatcher(
        PostgresWebhookUnits(database, seal=seal),
        transport,
        clock=clock,
        poll_seconds=settings.webhook_poll_seconds,
        is_transient=is_transient,
    )

    reminder_units = PostgresReminderUnits(database, seal=seal)
    watch = ReminderWatch(reminder_units, reminder_rules(settings), quiet_hours=quiet_hours(settings), clock=clock)
    sender = ReminderSender(
        reminder_units, build_notifiers(settings), operators=settings.reminder_operators, clock=clock
    )

    async def purge() -> int:
        return await database.run(
            lambda transaction: purge_deliveries(transaction, now=clock.now(), older_than=settings.webhook_log_age_max)
        )

    async def renew() -> int:
        return await database.run(lambda transaction: renew_seals(transaction, seal=seal))

    async def measure() -> int:
        pending, oldest_seconds = await database.run(
            lambda transaction: measure_deliveries(transaction, now=clock.now())
        )
        metrics.orders_webhook_deliveries_open.set(pending)
        metrics.orders_webhook_oldest_open_seconds.set(oldest_seconds)
        return 0

    process.components.extend(
        [
            consumer,
            dispatcher,
            PeriodicJob("remind", watch.work, every_seconds=settings.reminder_poll_seconds),
            PeriodicJob("send-reminders", sender.work, every_seconds=settings.reminder_poll_seconds),
            PeriodicJob("purge-webhooks", purge, every_seconds=_PURGE_INBOX_SECONDS),
            PeriodicJob("seal-webhook-secrets", renew, every_seconds=_RENEW_SEALS_SECONDS),
            PeriodicJob("measure-webhooks", measure, every_seconds=_MEASURE_WEBHOOKS_SECONDS),
        ]
    )
    process.watchdogs.append(consumer.check_progress)


def _add_insights(process: Process, *, settings: OrdersSettings, database: Database, clock: Clock) -> None:
    """Add what follows orders and sums them up, on events of its own consumer group: no order waits for it."""
    holder = ModelHolder()
    following = Following(policy=promise_policy(settings), holder=holder)

    def outbox(transaction: Transaction) -> OutboxWriter:
        return OutboxWriter(transaction, source=NAME, clock=clock)

    handler = InsightHandler(
        following, clock=clock, bind=PostgresJourneys, outbox=outbox, decisions=PostgresDecisionLog
    )
    consumer = Consumer(
        insights(handler),
        service=NAME,
        database=database,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        clock=clock,
    )

    async def learn() -> int:
        holder.model = await database.run(
            lambda transaction: insight_storage.learn(transaction, learning_days=settings.promise_learning_days)
        )
        return 0

    async def rescore() -> int:
        return await database.run(
            lambda transaction: following.rescore(
                journeys=PostgresJourneys(transaction),
                outbox=outbox(transaction),
                decisions=PostgresDecisionLog(transaction),
                now=clock.now(),
                limit=_RESCORED_ORDERS_MAX,
            )
        )

    async def summarise() -> int:
        # A pass at a time, so that a busy day is summed up every few seconds and not all the time.
        await database.run(lambda transaction: insight_storage.summarise(transaction, now=clock.now()))
        return 0

    async def summarise_cohorts() -> int:
        await database.run(insight_storage.summarise_cohorts)
        return 0

    process.components.extend(
        [
            consumer,
            PeriodicJob("learn-delays", learn, every_seconds=_LEARN_SECONDS),
            PeriodicJob("rescore-delays", rescore, every_seconds=_RESCORE_SECONDS),
            PeriodicJob("summarise", summarise, every_seconds=_SUMMARISE_SECONDS),
            PeriodicJob("summarise-cohorts", summarise_cohorts, every_seconds=_SUMMARISE_COHORTS_SECONDS),
            PeriodicJob("measure-delays", lambda: measure_delays(database, clock=clock), every_seconds=_LEARN_SECONDS),
        ]
    )
    process.watchdogs.append(consumer.check_progress)


async def measure_delays(database: Database, *, clock: Clock) -> int:
    """Publish how many orders are late or at risk, and how good the predictions were."""
    late, at_risk = await database.run(lambda transaction: insight_storage.count_at_risk(transaction, now=clock.now()))
    metrics.orders_at_risk.labels("late").set(late)
    metrics.orders_at_risk.labels("at-risk").set(at_risk)
    rows = await database.run(
        lambda transaction: insight_storage.recent_calibration(transaction, days=_CALIBRATION_DAYS)
    )
    for point in sorted({row["point"] for row in rows}):
        bins = [row for row in rows if row["point"] == point]
        judged = sum(row["orders"] for row in bins)
        metrics.orders_late_brier_score.labels(point).set(sum(row["squared_error_sum"] for row in bins) / judged)
        metrics.orders_late_predicted_ratio.labels(point).set(sum(row["probability_sum"] for row in bins) / judged)
        metrics.orders_late_observed_ratio.labels(point).set(sum(row["late"] for row in bins) / judged)
    stages = await database.run(
        lambda transaction: insight_storage.recent_cycle_times(transaction, days=_CYCLE_TIME_DAYS)
    )
    for row in stages:
        took = dict(zip(row["buckets"], row["counts"], strict=True))
        for quantile in (0.5, 0.9):
            metrics.orders_stage_seconds.labels(row["stage"], str(quantile)).set(counted_quantile(took, quantile))
    return 0


def _add_jobs(
    process: Process,
    *,
    settings: OrdersSettings,
    database: Database,
    units: PostgresUnits,
    policy: Policy,
    clock: Clock,
) -> Policy:
    """Add what no request asks for; return the policy with which commits wake the executors of this process."""
    executors: list[PaymentExecutor] = []

    def wake_payments() -> None:
        for executor in executors:
            executor.wake()

    policy = replace(policy, wake_payments=wake_payments)
    # Each provider has executors of its own: one that is slow keeps nobody waiting for another.
    for provider in _providers(process, settings, clock):
        for number in range(1, settings.payment_executors + 1):
            executor = PaymentExecutor(
                units,
                provider.gateway,
                policy=policy,
                clock=clock,
                provider=provider.name,
                visible_after=provider.visible_after,
            )
            executors.append(executor)
            name = f"payments-{provider.name}-{number}"
            process.components.append(
                PeriodicJob(name, executor.work, every_seconds=_EXECUTOR_PAUSE_SECONDS, pace=_EXECUTOR_PACE)
            )
    watch = DeadlineWatch(units, policy=policy, clock=clock)
    process.components.append(PeriodicJob("deadlines", watch.work, every_seconds=_DEADLINE_POLL_SECONDS))

    async def purge_keys() -> int:
        return await database.run(
            lambda transaction: purge_idempotency_keys(
                transaction, now=clock.now(), older_than=settings.idempotency_key_lifetime
            )
        )

    async def purge_old_notices() -> int:
        before = clock.now() - _NOTICES_KEPT
        return await database.run(lambda transaction: purge_notices(transaction, before=before))

    async def purge_inbox() -> int:
        await database.run(inbox.purge)
        return 0

    process.components.extend(
        [
            PeriodicJob("purge-keys", purge_keys, every_seconds=_PURGE_KEYS_SECONDS),
            PeriodicJob("purge-inbox", purge_inbox, every_seconds=_PURGE_INBOX_SECONDS),
            PeriodicJob(
                "audit-money",
                _money_audit(_provider_books(process, settings, database), units, clock),
                every_seconds=settings.money_audit_interval_seconds,
            ),
            PeriodicJob("purge-payment-notices", purge_old_notices, every_seconds=_PURGE_INBOX_SECONDS),
            PeriodicJob("measure", lambda: measure(database), every_seconds=_MEASURE_SECONDS),
            PeriodicJob("measure-waiting", lambda: measure_waiting(database, clock), every_seconds=_MEASURE_SECONDS),
        ]
    )
    return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class _Provider:
    """A payment provider that this process can ask; `visible_after` is as `PaymentExecutor` takes it."""

    name: str
    gateway: PaymentGateway
    visible_after: timedelta = timedelta(0)


def _providers(process: Process, settings: OrdersSettings, clock: Clock) -> list[_Provider]:
    """Put together every provider that is configured, whether it is still offered or only has orders to finish."""
    provider_database = _database(settings, f"{NAME}-sandbox-payments", settings.payment_executors)
    process.closers.append(provider_database.dispose)
    sandbox = SandboxPayments(provider_database, clock=clock, late_answer_after=settings.late_answer_after)
    found = [_Provider(name=SANDBOX_PROVIDER, gateway=sandbox)]
    answer_within = timedelta(seconds=settings.payment_batch_timeout_seconds)
    if (stripe := _stripe(process, settings)) is not None:
        found.append(_Provider(name=STRIPE, gateway=stripe, visible_after=stripe_payments.VISIBLE_AFTER))
    if settings.alipay_app_id is not None and settings.alipay_private_key is not None:
        client = httpx.AsyncClient(timeout=settings.payment_call_timeout_seconds)
        process.closers.append(client.aclose)
        account = AlipayAccount(
            app_id=settings.alipay_app_id,
            signer=Signer(settings.alipay_private_key.get_secret_value()),
            verifier=Verifier(settings.alipay_public_keys),
            gateway_url=settings.alipay_gateway_url,
            notify_url=settings.alipay_notify_url,
        )
        alipay = AlipayPayments(
            client, account, clock=clock, calls_max=settings.payment_calls_max, answer_within=answer_within
        )
        found.append(_Provider(name=ALIPAY, gateway=alipay, visible_after=alipay_payments.VISIBLE_AFTER))
    return found


def _stripe(process: Process, settings: OrdersSettings) -> StripePayments | None:
    if settings.stripe_api_key is None:
        return None
    stripe = StripePayments(
        settings.stripe_api_key.get_secret_value(),
        base_url=settings.stripe_base_url,
        call_timeout=timedelta(seconds=settings.payment_call_timeout_seconds),
        calls_max=settings.payment_calls_max,
        answer_within=timedelta(seconds=settings.payment_batch_timeout_seconds),
        is_multicapture=settings.stripe_multicapture,
    )
    process.closers.append(stripe.close)
    return stripe


def _provider_books(process: Process, settings: OrdersSettings, database: Database) -> dict[str, ProviderBooks]:
    """Return the providers whose own books can be read; Alipay has bills to download instead."""
    books: dict[str, ProviderBooks] = {SANDBOX_PROVIDER: SandboxBooks(database)}
    if (stripe := _stripe(process, settings)) is not None:
        books[STRIPE] = stripe.books
    return books


def _payment_terms(settings: OrdersSettings) -> dict[str, PaymentTerms]:
    in_parts = {SANDBOX_PROVIDER: True, STRIPE: settings.stripe_multicapture, ALIPAY: False}
    terms = {}
    for method, provider in settings.payment_methods.items():
        wanted = CaptureMoment(settings.capture_at)
        is_possible = in_parts[provider] or wanted is not CaptureMoment.EACH_DISPATCH
        capture_at = wanted if is_possible else CaptureMoment.LAST_DISPATCH
        terms[method] = PaymentTerms(provider=provider, capture_at=capture_at)
    return terms


def _money_audit(
    books: Mapping[str, ProviderBooks], units: PostgresUnits, clock: Clock
) -> Callable[[], Awaitable[int]]:
    audit = MoneyAudit()

    async def read(after: UUID, before: UUID, limit: int) -> Sequence[OrderMoney]:
        return await units.run(lambda unit: unit.ledger.page(after=after, before=before, limit=limit))

    async def work() -> int:
        now = clock.now()
        goes_on = await audit.next_page(since=now - _MONEY_AUDITED, until=now, read=read, books=books)
        for (currency, kind), drift in audit.drift_minor().items():
            metrics.orders_money_drift_minor.labels(currency, kind).set(drift)
        if not goes_on:
            metrics.orders_money_audit_rounds_total.inc()
        return 0

    return work


def _notice_readers(settings: OrdersSettings) -> dict[str, NoticeReader]:
    readers: dict[str, NoticeReader] = {}
    if settings.stripe_webhook_secrets:
        secrets = [one.get_secret_value() for one in settings.stripe_webhook_secrets]
        tolerance = timedelta(seconds=settings.stripe_webhook_tolerance_seconds)
        readers[STRIPE] = StripeNotices(secrets, tolerance=tolerance)
    if settings.alipay_app_id is not None and settings.alipay_public_keys:
        tolerance = timedelta(hours=settings.alipay_notice_tolerance_hours)
        verifier = Verifier(settings.alipay_public_keys)
        readers[ALIPAY] = AlipayNotices(settings.alipay_app_id, verifier, tolerance=tolerance)
    return readers


async def measure(database: Database) -> int:
    """Publish the figures that only the database knows."""
    by_status = await database.run(count_open_orders)
    for status, count in by_status.items():
        metrics.orders_by_status.labels(status).set(count)
    metrics.orders_stuck.set(await database.run(count_stuck_orders))
    for kind, count in (await database.run(count_open_commands)).items():
        metrics.orders_payment_commands_open.labels(kind).set(count)
    return 0


async def measure_waiting(database: Database, clock: Clock) -> int:
    """Publish what waits for people, and for other services' answers, since when."""
    now = clock.now()
    waiting, oldest_seconds, late = await database.run(lambda transaction: measure_reviews(transaction, now=now))
    metrics.orders_reviews_waiting.set(waiting)
    metrics.orders_review_oldest_seconds.set(oldest_seconds)
    metrics.orders_reviews_late.set(late)
    returns = await database.run(lambda transaction: measure_returns(transaction, now=now))
    for status, (count, stage_seconds) in returns.items():
        metrics.orders_returns_open.labels(status).set(count)
        metrics.orders_return_oldest_seconds.labels(status).set(stage_seconds)
    erasures, erasure_seconds = await database.run(lambda transaction: measure_erasures(transaction, now=now))
    for stage, open_erasures in erasures.items():
        metrics.orders_erasures_open.labels(stage).set(open_erasures)
    metrics.orders_erasure_oldest_seconds.set(erasure_seconds)
    edits, edit_seconds = await database.run(lambda transaction: measure_requested_edits(transaction, now=now))
    metrics.orders_edits_open.set(edits)
    metrics.orders_edit_oldest_seconds.set(edit_seconds)
    return 0


def _database(settings: OrdersSettings, application_name: str, pool_size: int) -> Database:
    return Database(settings.database_url.get_secret_value(), application_name=application_name, pool_size=pool_size)


async def reapply_erasures(settings: OrdersSettings) -> None:
    """Have everybody erased again whom the register on the bus or in the database names: after a restore."""
    clock = SystemClock()
    database = _database(settings, f"{NAME}-reapply-erasures", 1)
    try:
        requests = await read_register(
            bootstrap_servers=settings.kafka_bootstrap_servers, topic_prefix=settings.kafka_topic_prefix
        )
        erasures = await restore_register(
            requests,
            units=PostgresErasureUnits(database, clock=clock),
            pseudonyms=data_keys(settings).pseudonyms,
            now=clock.now(),
        )
    finally:
        await database.dispose()
    log.info("erasures.reapplied", requests=len(requests), erasures=erasures)


SERVICE = Service(
    name=NAME,
    settings=OrdersSettings,
    roles=("api", "consumer", "relay", "jobs", "notifications", "insights"),
    build=build,
    migrations=Path(__file__).parent / "storage" / "migrations",
    topics=(ORDERS_ORDER, ORDERS_PAYMENT, ORDERS_RETURN, ORDERS_CUSTOMER, ORDERS_ERASURE),
    groups=(SAGA, NOTIFICATIONS, INSIGHTS, PRICES),
    tasks={"reapply-erasures": reapply_erasures},
)
