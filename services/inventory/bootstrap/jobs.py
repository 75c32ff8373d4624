"""The role `jobs`: what runs without being asked."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from libs.common.http.idempotency import purge_idempotency_keys
from libs.common.messaging import inbox
from libs.common.runtime import Component, PeriodicJob
from services.inventory import metrics
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.bootstrap.costs import FOLLOWERS_PACE, build_cost_jobs
from services.inventory.bootstrap.policies import count_schedule_of
from services.inventory.bootstrap.transfers import build_transfer_jobs
from services.inventory.handlers.backorders import continue_queue
from services.inventory.handlers.count_lists import make_daily_lists
from services.inventory.handlers.desk import Desk
from services.inventory.handlers.holds import expire_holds
from services.inventory.handlers.lots import block_expired_lots
from services.inventory.handlers.ports import Tools
from services.inventory.settings import InventorySettings
from services.inventory.storage.count_lists import PostgresCountLists
from services.inventory.storage.counts import PostgresCounts

# How long the rest of a queue waits at most after goods arrived for all of it.
_QUEUE_SECONDS: Final = 0.5
# A warehouse that has nothing to count in the morning may have later.
_COUNT_LISTS_SECONDS: Final = 900.0
_EXPIRY_SECONDS: Final = 30.0
_ACCURACY_DAYS: Final = 90
_WATCH_COUNTS_SECONDS: Final = 30.0
# How long units stay held at most after their hold has expired.
_HOLD_EXPIRY_SECONDS: Final = 0.5
_WATCH_SEQUENCES_SECONDS: Final = 5.0
_PURGE_SECONDS: Final = 3600.0
_PURGE_KEYS_SECONDS: Final = 60.0


def build_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what runs without being asked: the rest of long queues, the end of holds, and forgetting."""

    async def watch_sequences() -> int:
        return int(await watch_sequence_gaps(adapters))

    async def forget_events() -> int:
        async with adapters.database.transaction() as transaction:
            await inbox.purge(transaction)
        return 0

    async def forget_keys() -> int:
        async with adapters.database.transaction() as transaction:
            return await purge_idempotency_keys(
                transaction, now=adapters.clock.now(), older_than=settings.idempotency_key_lifetime
            )

    return [
        *build_cost_jobs(settings, adapters),
        _desk_job("continue-queues", continue_queue, adapters, every_seconds=_QUEUE_SECONDS),
        PeriodicJob("watch-sequences", watch_sequences, every_seconds=_WATCH_SEQUENCES_SECONDS, pace=FOLLOWERS_PACE),
        PeriodicJob("forget-events", forget_events, every_seconds=_PURGE_SECONDS),
        PeriodicJob("forget-keys", forget_keys, every_seconds=_PURGE_KEYS_SECONDS),
        _desk_job("expire-holds", expire_holds, adapters, every_seconds=_HOLD_EXPIRY_SECONDS),
        *build_count_jobs(settings, adapters),
        *build_transfer_jobs(settings, adapters),
    ]


def _desk_job(
    name: str, step: Callable[[Tools], Awaitable[Desk | None]], adapters: Adapters, *, every_seconds: float
) -> PeriodicJob:
    """Take steps, each in a transaction, for as long as one finds anything to do."""

    async def work() -> int:
        async with adapters.database.transaction() as transaction:
            desk = await step(adapters.tools_of(transaction))
            if desk is not None:
                transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))
        return 0 if desk is None else 1

    return PeriodicJob(name, work, every_seconds=every_seconds)


def build_count_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what is done about counts and lots every day, or once somebody should know."""
    schedule = count_schedule_of(settings)

    async def make_count_lists() -> int:
        if settings.count_lines_per_day:
            async with adapters.database.transaction() as transaction:
                await make_daily_lists(
                    lines_per_day=settings.count_lines_per_day,
                    schedule=schedule,
                    tools=adapters.tools_of(transaction),
                )
        return 0

    async def watch_counts() -> int:
        async with adapters.database.transaction() as transaction:
            now = adapters.clock.now()
            metrics.set_pending_counts(await PostgresCounts(transaction).pending(), now=now)
            since = now - timedelta(days=_ACCURACY_DAYS)
            metrics.set_count_accuracy(await PostgresCountLists(transaction).accuracy(since=since))
        return 0

    return [
        PeriodicJob("make-count-lists", make_count_lists, every_seconds=_COUNT_LISTS_SECONDS),
        _desk_job("block-expired-lots", block_expired_lots, adapters, every_seconds=_EXPIRY_SECONDS),
        PeriodicJob("watch-counts", watch_counts, every_seconds=_WATCH_COUNTS_SECONDS),
    ]


async def watch_sequence_gaps(adapters: Adapters) -> bool:
    """Take in the numbers of new reports and measure what is missing; return whether there are more."""
    now = adapters.clock.now()
    async with adapters.database.transaction() as transaction:
        sequences = adapters.sequences_of(transaction)
        goes_on = await sequences.catch_up(now)
        summaries = await sequences.summaries()
    for one in summaries:
        metrics.show_sequence_gaps(
            one.warehouse, missing=one.missing, oldest_seconds=one.oldest_seconds(now), conflicts=one.conflicts
        )
    return goes_on
