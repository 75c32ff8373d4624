"""The role `jobs`: what no request asks for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.http.idempotency import purge_idempotency_keys
from libs.common.messaging import inbox
from libs.common.pacing import WorkPace
from libs.common.runtime import PeriodicJob, Process
from services.orders import metrics
from services.orders.bootstrap.payments import provider_books_of, providers_of
from services.orders.handlers.deadlines import DeadlineWatch
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.payments import PaymentExecutor
from services.orders.handlers.settlement import MoneyAudit, OrderMoney, ProviderBooks
from services.orders.settings import OrdersSettings
from services.orders.storage.edits import measure_requested_edits
from services.orders.storage.erasures import measure_erasures
from services.orders.storage.notices import purge_notices
from services.orders.storage.returns import measure_returns
from services.orders.storage.reviews import measure_reviews
from services.orders.storage.timers import count_open_commands, count_open_orders, count_stuck_orders
from services.orders.storage.unit import PostgresUnits

_PURGE_KEYS_SECONDS = 60.0
_MEASURE_SECONDS = 5.0
# Orders that are compared again and again with the ledger and with their provider.
_MONEY_AUDITED = timedelta(days=2)
# Longer than any provider's notice is accepted after it was signed.
_NOTICES_KEPT = timedelta(days=7)
_DEADLINE_POLL_SECONDS = 0.5
# The executor waits by itself, so that it can be woken; this only keeps its loop from spinning.
_EXECUTOR_PAUSE_SECONDS = 0.001
_EXECUTOR_PACE = WorkPace(share_max=0.3, rest_seconds_max=0.1, items_plenty=100)
# The inbox is kept for weeks and read in full to be purged.
_PURGE_INBOX_SECONDS = 3600.0


def add_jobs(
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
    for provider in providers_of(process, settings, clock):
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
                _money_audit(provider_books_of(process, settings, database), units, clock),
                every_seconds=settings.money_audit_interval_seconds,
            ),
            PeriodicJob("purge-payment-notices", purge_old_notices, every_seconds=_PURGE_INBOX_SECONDS),
            PeriodicJob("measure", lambda: measure(database), every_seconds=_MEASURE_SECONDS),
            PeriodicJob("measure-waiting", lambda: measure_waiting(database, clock), every_seconds=_MEASURE_SECONDS),
        ]
    )
    return policy


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
