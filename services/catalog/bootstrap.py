"""Puts the catalog together: the only place that knows which adapter stands behind which port."""

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from libs.common.clock import Clock, SystemClock
from libs.common.db import Database, Transaction
from libs.common.events.topics import CATALOG_PRODUCT
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.health import Health
from libs.common.http.idempotency import purge_idempotency_keys
from libs.common.outbox import OutboxWriter, relay_of
from libs.common.runtime import HttpServer, PeriodicJob, Process, Service
from services.catalog.api.dependencies import CatalogAccess
from services.catalog.api.errors import STATUS_BY_ERROR
from services.catalog.api.routes import ROUTERS
from services.catalog.handlers.ports import UnitOfWork
from services.catalog.metrics import catalog_products
from services.catalog.settings import CatalogSettings
from services.catalog.storage.events import CountedProductEvents
from services.catalog.storage.products import PostgresCategories, PostgresProducts
from services.catalog.storage.views import PostgresViews

NAME = "catalog"

_PURGE_SECONDS = 60.0
_MEASURE_SECONDS = 15.0


def build(settings: CatalogSettings, roles: frozenset[str]) -> Process:
    """Put together the parts that `roles` need."""
    clock = SystemClock()
    database = Database(
        settings.database_url.get_secret_value(),
        application_name=NAME,
        pool_size=settings.database_pool_size,
    )
    process = Process(health=Health(clock=clock), closers=[database.dispose])
    process.health.add("database", database.is_reachable)
    wake_relay: Callable[[], None] | None = None
    if "relay" in roles:
        relay = relay_of(NAME, settings, clock)
        wake_relay = relay.wake
        process.components.append(relay)
    if "jobs" in roles:
        process.components.extend(build_jobs(settings, database, clock))
    if "api" in roles:
        app = build_app(settings, database, process.health, clock=clock, wake_relay=wake_relay)
        process.components.append(HttpServer(app, settings))
    return process


def build_app(
    settings: CatalogSettings,
    database: Database,
    health: Health,
    *,
    clock: Clock,
    wake_relay: Callable[[], None] | None = None,
    authenticator: Authenticator | None = None,
) -> FastAPI:
    """Build the HTTP application; `wake_relay` is called after every commit that published."""

    def unit_of(transaction: Transaction) -> UnitOfWork:
        writer = OutboxWriter(transaction, source=NAME, clock=clock, wake_relay=wake_relay)
        return UnitOfWork(
            products=PostgresProducts(transaction),
            categories=PostgresCategories(transaction),
            events=CountedProductEvents(writer, transaction),
            now=clock.now(),
        )

    app = create_app(
        service=NAME,
        title="Quayside catalog",
        description="Products, categories, prices, import and search.",
        settings=settings,
        routers=ROUTERS,
        status_by_error=STATUS_BY_ERROR,
        health=health,
        authenticator=authenticator,
    )
    app.state.catalog = CatalogAccess(database=database, unit_of=unit_of, views=PostgresViews(database), clock=clock)
    return app


def build_jobs(settings: CatalogSettings, database: Database, clock: Clock) -> list[PeriodicJob]:
    """Build what tidies up and measures."""

    async def purge(transaction: Transaction) -> int:
        return await purge_idempotency_keys(transaction, now=clock.now(), older_than=settings.idempotency_key_lifetime)

    async def measure() -> int:
        for status, number in (await PostgresViews(database).numbers_by_status()).items():
            catalog_products.labels(status).set(number)
        return 0

    return [
        PeriodicJob("purge", lambda: database.run(purge), every_seconds=_PURGE_SECONDS),
        PeriodicJob("measure", measure, every_seconds=_MEASURE_SECONDS),
    ]


SERVICE = Service(
    name=NAME,
    settings=CatalogSettings,
    roles=("api", "relay", "jobs"),
    build=build,
    migrations=Path(__file__).parent / "storage" / "migrations",
    topics=(CATALOG_PRODUCT,),
)
