"""Puts the recommender's processes together; the only place that constructs concrete adapters."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from libs.common.clock import Clock, SystemClock
from libs.common.data_keys import DataKeys, DataKeysUnreadable
from libs.common.db import Database
from libs.common.events.topics import STOREFRONT_BEHAVIOUR
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.health import Health
from libs.common.messaging.consumer import Consumer
from libs.common.messaging.producer import BusProducer
from libs.common.runtime import Component, HttpServer, PeriodicJob, Process, Service
from libs.common.settings import InvalidSettings
from services.recommender.api.errors import STATUS_BY_ERROR
from services.recommender.api.routes import UseCases, router_of
from services.recommender.clients.erasure_answers import ErasureAnswering
from services.recommender.clients.stream import KafkaBehaviourStream, KafkaShownLog
from services.recommender.consumers import (
    BEHAVIOUR_GROUP,
    behaviour_subscription,
    listing_follower,
    stock_follower,
)
from services.recommender.domain.shelf import Shelf
from services.recommender.handlers.intake import SOURCE
from services.recommender.handlers.recommending import Recommender
from services.recommender.settings import RecommenderSettings
from services.recommender.storage.counts import PostgresCounts
from services.recommender.storage.erasure import PostgresErasureAnswers, Renaming, erase_people
from services.recommender.storage.reads import PostgresReads
from services.recommender.storage.retention import Retention

_RETENTION_EVERY_SECONDS = 600.0
_ANSWER_EVERY_SECONDS = 2.0
# It finds nobody once it has been through.
_RENAME_EVERY_SECONDS = 3600.0


def build(settings: RecommenderSettings, roles: frozenset[str]) -> Process:
    """Construct what `roles` need; nothing connects before it runs."""
    clock = SystemClock()
    health = Health()
    database = Database(
        settings.database_url.get_secret_value(),
        application_name=f"recommender-{'-'.join(sorted(roles))}",
        pool_size=settings.database_pool_size,
    )
    process = Process(health=health, closers=[database.dispose])
    health.add("database", database.is_reachable)
    if "api" in roles:
        process.components.extend(build_api(settings, database, health, clock))
    if "consumer" in roles:
        consumer = Consumer(
            behaviour_subscription(PostgresCounts, pseudonyms=data_keys(settings).pseudonyms, erase=erase_people),
            service="recommender",
            database=database,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic_prefix=settings.kafka_topic_prefix,
            clock=clock,
        )
        process.components.append(consumer)
        process.watchdogs.append(consumer.check_progress)
    if "jobs" in roles:
        process.components.extend(_build_jobs(process, settings, database, clock))
    return process


def build_api(
    settings: RecommenderSettings,
    database: Database,
    health: Health,
    clock: Clock,
    *,
    authenticator: Authenticator | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> list[Component]:
    """Construct the API with the copies it filters by; tests pass their own keys and ask for the port."""
    bus = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "topic_prefix": settings.kafka_topic_prefix,
    }
    shelf = Shelf()
    stock, listing = stock_follower(shelf, **bus), listing_follower(shelf, **bus)
    health.add("stock", stock.check_caught_up)
    health.add("listing", listing.check_caught_up)
    reads = PostgresReads(database)
    # Two producers: notes about answers must not stand in the way of what storefronts wait for.
    intake_producer = BusProducer(**bus, client_id="recommender-intake")
    shown_producer = BusProducer(**bus, client_id="recommender-shown")
    stream = KafkaBehaviourStream(intake_producer, timeout_seconds=settings.intake_timeout_seconds)
    shown_log = KafkaShownLog(shown_producer, source=SOURCE, clock=clock)
    recommender = Recommender(
        reads=reads,
        shelf=shelf,
        clock=clock,
        counts_age_seconds_max=settings.counts_age_seconds_max,
        shown_log=shown_log if settings.publishes_shown else None,
    )
    use_cases = UseCases(stream=stream, recommender=recommender, pseudonyms=data_keys(settings).pseudonyms, clock=clock)
    app = create_app(
        service="recommender",
        title="Quayside recommender",
        description="Takes in what visitors do and answers what to show them.",
        settings=settings,
        routers=[router_of(use_cases)],
        status_by_error=STATUS_BY_ERROR,
        health=health,
        authenticator=authenticator,
    )

    api = HttpServer(app, settings, resources=(intake_producer, reads, stream), on_listening=on_listening)
    return [api, stock, listing, *([shown_log] if settings.publishes_shown else [])]


def _build_jobs(process: Process, settings: RecommenderSettings, database: Database, clock: Clock) -> list[Component]:
    retention = Retention(
        database,
        windows_kept=timedelta(hours=settings.windows_kept_hours),
        histories_kept=timedelta(days=settings.histories_kept_days),
    )
    work = {
        "forget-windows": retention.forget_windows,
        "forget-histories": retention.forget_histories,
        "forget-events": retention.forget_events,
    }
    producer = BusProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        client_id="recommender-erasures",
    )
    process.closers.append(producer.close)
    renaming = Renaming(database, data_keys(settings).pseudonyms)
    answering = ErasureAnswering(PostgresErasureAnswers(database), producer, service=SOURCE, clock=clock)
    return [
        *(PeriodicJob(name, one, every_seconds=_RETENTION_EVERY_SECONDS) for name, one in work.items()),
        PeriodicJob("answer-erasures", answering.work, every_seconds=_ANSWER_EVERY_SECONDS),
        PeriodicJob("rename-people", renaming.work, every_seconds=_RENAME_EVERY_SECONDS),
    ]


def data_keys(settings: RecommenderSettings) -> DataKeys:
    """
    Read the keys of personal data.

    :raises InvalidSettings: if they cannot be read.
    """
    try:
        return DataKeys.of(settings.data_keys_file)
    except DataKeysUnreadable as error:
        raise InvalidSettings(str(error)) from error


SERVICE = Service(
    name="recommender",
    settings=RecommenderSettings,
    roles=("api", "consumer", "jobs"),
    build=build,
    migrations=Path(__file__).parent / "storage" / "migrations",
    topics=(STOREFRONT_BEHAVIOUR,),
    groups=(BEHAVIOUR_GROUP,),
)
