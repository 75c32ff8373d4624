"""The role `api`: the routes, what they call, and the copy of stock they answer from."""

from collections.abc import Callable
from typing import Final

from fastapi import FastAPI

from libs.common.events.inventory import StockLevelChanged, WarehouseChanged, WarehouseRegistered
from libs.common.events.topics import INVENTORY_FACILITY, INVENTORY_STOCK
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.decisions import decisions_router
from libs.common.http.health import Health
from libs.common.messaging.follower import Follower
from libs.common.runtime import Component, HttpServer, PeriodicJob
from services.inventory.api import (
    ageing,
    alternatives,
    audit,
    availability,
    bundles,
    count_lists,
    counts,
    gaps,
    holds,
    lots,
    reports,
    reservations,
    stock,
    stock_events,
    stock_policies,
    timeline,
    transfers,
    warehouses,
)
from services.inventory.api.dependencies import StockEventIntake, UseCases
from services.inventory.api.errors import STATUS_BY_ERROR
from services.inventory.api.hold_counter import HoldCounter
from services.inventory.bootstrap.adapters import NAME, Adapters
from services.inventory.bootstrap.policies import count_schedule_of, hold_policies_of
from services.inventory.handlers.availability import Availability
from services.inventory.settings import InventorySettings
from services.inventory.storage.ageing import PostgresAgeing
from services.inventory.storage.audit_report import PostgresAuditReports
from services.inventory.storage.count_lists import PostgresCountLists
from services.inventory.storage.counts import PostgresCounts
from services.inventory.storage.lots import PostgresLots
from services.inventory.storage.reports import PostgresReports
from services.inventory.storage.timeline import PostgresTimelines
from services.inventory.storage.transfers import PostgresTransfers
from services.inventory.storage.views import PostgresInventoryViews

# How long a restock date is still shown after it has passed.
_RESTOCK_SECONDS: Final = 1.0


def build_api(
    settings: InventorySettings,
    adapters: Adapters,
    health: Health,
    *,
    authenticator: Authenticator | None = None,
    on_listening: Callable[[int], None] | None = None,
) -> list[Component]:
    """Construct the API with the copy it answers from; tests pass their own keys and ask for the port."""
    copy = Availability()
    follower = Follower(
        topics=(INVENTORY_STOCK, INVENTORY_FACILITY),
        events=(StockLevelChanged, WarehouseRegistered, WarehouseChanged),
        apply=copy.apply,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        client_id=f"{NAME}-availability",
    )
    health.add("availability", follower.check_caught_up)
    use_cases = use_cases_of(settings, adapters, copy)
    app = build_app(settings, use_cases, health, authenticator=authenticator)
    server = HttpServer(app, settings, resources=use_cases.coalescers, on_listening=on_listening)

    async def pass_time() -> int:
        copy.pass_time(adapters.clock.now())
        return 0

    return [server, follower, PeriodicJob("pass-time", pass_time, every_seconds=_RESTOCK_SECONDS)]


def use_cases_of(settings: InventorySettings, adapters: Adapters, copy: Availability) -> UseCases:
    """Put together what the routes call."""
    return UseCases(
        database=adapters.database,
        tools_of=adapters.tools_of,
        views_of=PostgresInventoryViews,
        sequences_of=adapters.sequences_of,
        audit_reports_of=PostgresAuditReports,
        timelines_of=PostgresTimelines,
        transfers_of=PostgresTransfers,
        counts_of=PostgresCounts,
        lots_of=PostgresLots,
        ageing_of=PostgresAgeing,
        count_lists_of=PostgresCountLists,
        count_schedule=count_schedule_of(settings),
        reports_of=PostgresReports,
        holding_cost_yearly_rate=settings.holding_cost_yearly_rate,
        intake=StockEventIntake(
            database=adapters.database,
            tools_of=adapters.tools_of,
            event_age_years_max=settings.event_age_years_max,
        ),
        holds=HoldCounter(
            database=adapters.database,
            tools_of=adapters.tools_of,
            policies=hold_policies_of(settings),
            clock=adapters.clock,
        ),
        availability=copy,
        assortment=adapters.assortment,
        clock=adapters.clock,
        event_age_years_max=settings.event_age_years_max,
    )


def build_app(
    settings: InventorySettings, use_cases: UseCases, health: Health, *, authenticator: Authenticator | None = None
) -> FastAPI:
    """Construct the HTTP application."""
    return create_app(
        service=NAME,
        title="Quayside inventory",
        description="Where the units of every SKU are, which of them are promised to orders, and why.",
        settings=settings,
        routers=[
            part.router_of(use_cases)
            for part in (
                availability,
                alternatives,
                stock_events,
                stock,
                stock_policies,
                reservations,
                holds,
                bundles,
                warehouses,
                gaps,
                timeline,
                audit,
                counts,
                lots,
                ageing,
                count_lists,
                transfers,
                reports,
            )
        ]
        + [decisions_router(lambda _request: use_cases.database, scope="stock:read", about="order")],
        status_by_error=STATUS_BY_ERROR,
        health=health,
        authenticator=authenticator,
    )
