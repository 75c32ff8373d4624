"""Puts a process together for the roles it was asked for: the only place that makes adapters."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from fastapi import FastAPI

from libs.common.clock import Clock, SystemClock
from libs.common.db import Database, Transaction
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.erasure import erasing
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.decisions import decisions_router
from libs.common.http.health import Health
from libs.common.messaging.consumer import Consumer
from libs.common.outbox import OutboxWriter, relay_of
from libs.common.pacing import WorkPace
from libs.common.runtime import HttpServer, PeriodicJob, Process
from services.logistics.api import carrier_routes, reports, shipment_routes
from services.logistics.api.dependencies import Backend
from services.logistics.api.errors import STATUS_BY_ERROR
from services.logistics.bootstrap.jobs import Housekeeping, Simulator
from services.logistics.consumers import PlanningHandler, planning
from services.logistics.domain.choice import Policy
from services.logistics.domain.geography import Zone
from services.logistics.domain.simulation import Odds
from services.logistics.handlers.ports import Desk
from services.logistics.handlers.simulation import Pace
from services.logistics.settings import LogisticsSettings
from services.logistics.storage.erasure import erase_parcels
from services.logistics.storage.rates import PostgresRates
from services.logistics.storage.shipments import PostgresShipments, PostgresTombstones
from services.logistics.storage.views import PostgresShipmentViews
from services.logistics.storage.warehouses import PostgresWarehouses

_SERVICE: Final = "logistics"
_MEASURE_SECONDS: Final = 5.0
_PURGE_SECONDS: Final = 300.0
_SIMULATE_SECONDS: Final = 0.2
_SIMULATION_PACE: Final = WorkPace(share_max=0.1, rest_seconds_max=1.0, items_plenty=1_000)


def build(settings: LogisticsSettings, roles: frozenset[str]) -> Process:
    """Make what the roles need; nothing connects before it runs."""
    clock = SystemClock()
    database = Database(
        settings.database_url.get_secret_value(),
        application_name=f"{_SERVICE}-{'-'.join(sorted(roles))}",
        pool_size=settings.database_pool_size,
    )
    process = Process(health=Health(clock=clock), closers=[database.dispose])
    process.health.add("database", database.is_reachable)
    relay = relay_of(_SERVICE, settings, clock) if "relay" in roles else None
    open_desk = desk_opener(clock, wake_relay=relay.wake if relay else None)
    if relay is not None:
        process.components.append(relay)
    if "api" in roles:
        app = build_app(settings, database=database, clock=clock, health=process.health, open_desk=open_desk)
        process.components.append(HttpServer(app, settings))
    if "consumer" in roles:
        consumer = build_consumer(settings, database=database, clock=clock, open_desk=open_desk)
        process.components.append(consumer)
        process.watchdogs.append(consumer.check_progress)
    if "jobs" in roles:
        housekeeping = Housekeeping(database=database, clock=clock, key_lifetime=settings.idempotency_key_lifetime)
        process.components.extend(
            (
                PeriodicJob("measure", housekeeping.measure, every_seconds=_MEASURE_SECONDS),
                PeriodicJob("purge", housekeeping.purge, every_seconds=_PURGE_SECONDS),
            )
        )
    if "simulator" in roles:
        simulator = build_simulator(settings, database=database, clock=clock, open_desk=open_desk)
        process.components.append(
            PeriodicJob("simulate", simulator.work, every_seconds=_SIMULATE_SECONDS, pace=_SIMULATION_PACE)
        )
    return process


def desk_opener(clock: Clock, *, wake_relay: Callable[[], None] | None = None) -> Callable[[Transaction], Desk]:
    """Return what binds the adapters to a transaction."""

    def open_desk(transaction: Transaction) -> Desk:
        return Desk(
            shipments=PostgresShipments(transaction),
            views=PostgresShipmentViews(transaction),
            tombstones=PostgresTombstones(transaction),
            rates=PostgresRates(transaction),
            warehouses=PostgresWarehouses(transaction),
            decisions=PostgresDecisionLog(transaction),
            outbox=OutboxWriter(transaction, source=_SERVICE, clock=clock, wake_relay=wake_relay),
        )

    return open_desk


def build_app(
    settings: LogisticsSettings,
    *,
    database: Database,
    clock: Clock,
    health: Health,
    open_desk: Callable[[Transaction], Desk],
    authenticator: Authenticator | None = None,
) -> FastAPI:
    """Make the HTTP application."""
    app = create_app(
        service=_SERVICE,
        title="Quayside logistics",
        description="Carriers, shipments, tracking and arrival estimates.",
        settings=settings,
        routers=(
            carrier_routes.router,
            shipment_routes.router,
            reports.router,
            decisions_router(lambda _request: database, scope="shipments:read", about="shipment"),
        ),
        status_by_error=STATUS_BY_ERROR,
        health=health,
        authenticator=authenticator,
    )
    app.state.backend = Backend(
        database=database,
        clock=clock,
        open_desk=open_desk,
        eta_threshold=_eta_threshold(settings),
        currency=settings.currency,
    )
    return app


def build_consumer(
    settings: LogisticsSettings,
    *,
    database: Database,
    clock: Clock,
    open_desk: Callable[[Transaction], Desk],
) -> Consumer:
    """Make the member of the planning group."""
    handler = PlanningHandler(policy=policy_of(settings), clock=clock, open_desk=open_desk)
    return Consumer(
        erasing(
            planning(handler),
            service=_SERVICE,
            erase=lambda request, transaction: erase_parcels(transaction, request.order_ids),
            outbox=lambda transaction: open_desk(transaction).outbox,
        ),
        service=_SERVICE,
        database=database,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        clock=clock,
    )


def build_simulator(
    settings: LogisticsSettings,
    *,
    database: Database,
    clock: Clock,
    open_desk: Callable[[Transaction], Desk],
) -> Simulator:
    """Make the simulator."""
    pace = Pace(
        seconds_per_day=settings.simulator_seconds_per_day,
        odds=Odds(
            late_ratio=settings.simulator_late_ratio,
            failure_ratio=settings.simulator_failure_ratio,
        ),
    )
    return Simulator(
        database=database,
        clock=clock,
        open_desk=open_desk,
        pace=pace,
        eta_threshold=_eta_threshold(settings),
    )


def policy_of(settings: LogisticsSettings) -> Policy:
    """Return how carriers are chosen."""
    return Policy(
        promise_days={
            Zone.DOMESTIC: settings.promise_days_domestic,
            Zone.EUROPE: settings.promise_days_europe,
            Zone.WORLD: settings.promise_days_world,
        },
        far_km=settings.far_km,
        unit_weight_grams=settings.unit_weight_grams,
    )


def _eta_threshold(settings: LogisticsSettings) -> timedelta:
    return timedelta(hours=settings.eta_threshold_hours)
