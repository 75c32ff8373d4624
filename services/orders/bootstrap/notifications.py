"""The role `notifications`: webhooks and reminders."""

from functools import partial

from libs.common.clock import Clock
from libs.common.db import Database, is_transient
from libs.common.runtime import PeriodicJob, Process
from services.orders import metrics
from services.orders.bootstrap.parts import consumer_of, data_keys
from services.orders.bootstrap.policies import quiet_hours, reminder_rules
from services.orders.clients.email_notifier import EmailNotifier
from services.orders.clients.webhook_http import AddressGuard, HttpWebhooks
from services.orders.consumers import NotificationHandler, notifications
from services.orders.domain.reminders import Channel
from services.orders.handlers.reminders import LogNotifier, Notifier, Outcome, ReminderSender, ReminderWatch
from services.orders.handlers.webhooks import WebhookDispatcher
from services.orders.settings import OrdersSettings
from services.orders.storage.reminders import PostgresReminderUnits
from services.orders.storage.webhooks import (
    PostgresWebhooks,
    PostgresWebhookUnits,
    measure_deliveries,
    purge_deliveries,
    renew_seals,
)

_PURGE_SECONDS = 3600.0
_RENEW_SEALS_SECONDS = 600.0
_MEASURE_WEBHOOKS_SECONDS = 30.0


def add_notifications(process: Process, *, settings: OrdersSettings, database: Database, clock: Clock) -> None:
    """Add what tells others of orders, on events of its own consumer group: nothing that an order waits for."""
    seal = data_keys(settings).seal
    consumer = consumer_of(
        notifications(NotificationHandler(clock=clock, bind=partial(PostgresWebhooks, seal=seal))),
        settings,
        database,
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
            PeriodicJob("purge-webhooks", purge, every_seconds=_PURGE_SECONDS),
            PeriodicJob("seal-webhook-secrets", renew, every_seconds=_RENEW_SEALS_SECONDS),
            PeriodicJob("measure-webhooks", measure, every_seconds=_MEASURE_WEBHOOKS_SECONDS),
        ]
    )
    process.watchdogs.append(consumer.check_progress)


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
