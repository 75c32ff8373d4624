"""The role `insights`: orders followed and summed up."""

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.outbox import OutboxWriter
from libs.common.runtime import PeriodicJob, Process
from services.orders import metrics
from services.orders.bootstrap.parts import NAME, consumer_of
from services.orders.bootstrap.policies import promise_policy
from services.orders.consumers import InsightHandler, insights
from services.orders.domain.durations import counted_quantile
from services.orders.handlers.insights import Following, ModelHolder
from services.orders.settings import OrdersSettings
from services.orders.storage import insights as insight_storage
from services.orders.storage.journeys import PostgresJourneys

_LEARN_SECONDS = 120.0
_RESCORE_SECONDS = 30.0
_RESCORED_ORDERS_MAX = 200
_SUMMARISE_SECONDS = 20.0
_SUMMARISE_COHORTS_SECONDS = 600.0
_CALIBRATION_DAYS = 30
_CYCLE_TIME_DAYS = 7


def add_insights(process: Process, *, settings: OrdersSettings, database: Database, clock: Clock) -> None:
    """Add what follows orders and sums them up, on events of its own consumer group: no order waits for it."""
    holder = ModelHolder()
    following = Following(policy=promise_policy(settings), holder=holder)

    def outbox(transaction: Transaction) -> OutboxWriter:
        return OutboxWriter(transaction, source=NAME, clock=clock)

    handler = InsightHandler(
        following, clock=clock, bind=PostgresJourneys, outbox=outbox, decisions=PostgresDecisionLog
    )
    consumer = consumer_of(insights(handler), settings, database, clock=clock)

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
