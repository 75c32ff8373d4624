"""The role `api`: the routes and what stands behind them."""

from collections.abc import Mapping
from functools import partial

from fastapi import FastAPI

from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.decisions import decisions_router
from libs.common.http.health import Health
from libs.common.privacy import Pseudonyms
from libs.common.runtime import HttpServer, PeriodicJob, Process
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
from services.orders.bootstrap.parts import NAME, data_keys
from services.orders.bootstrap.payments import notice_readers, provider_books_of
from services.orders.bootstrap.policies import payment_terms, price_check, reviewing, work_calendar
from services.orders.clients.webhook_http import AddressGuard
from services.orders.domain.shortage import ShortagePolicy
from services.orders.handlers.erasures import ErasedCustomers
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.settlement import ProviderBooks
from services.orders.settings import OrdersSettings
from services.orders.storage import insights as insight_storage
from services.orders.storage.erasures import PostgresErasureUnits
from services.orders.storage.reminders import PostgresReminders
from services.orders.storage.unit import PostgresUnits
from services.orders.storage.webhooks import PostgresWebhooks

# Much less than an erasure waits before it is carried out.
_REGISTER_SECONDS = 1.0


def add_api(
    process: Process,
    *,
    settings: OrdersSettings,
    database: Database,
    units: PostgresUnits,
    erasure_units: PostgresErasureUnits,
    pseudonyms: Pseudonyms,
    policy: Policy,
    clock: Clock,
) -> None:
    """Add the routes, and what follows the orders and erasures that they answer from."""
    backend = build_backend(
        settings,
        database,
        units,
        policy=policy,
        clock=clock,
        provider_books=provider_books_of(process, settings, database),
        erased=ErasedCustomers(erasure_units, pseudonyms=pseudonyms, clock=clock),
    )
    app = build_app(
        settings,
        backend,
        process.health,
        webhooks=build_webhook_desk(settings, database, clock=clock),
        erasures=erasure_routes.ErasureDesk(erasure_units, pseudonyms=pseudonyms, clock=clock),
    )
    process.components.extend(
        [
            PeriodicJob("erased-customers", backend.erased.refresh, every_seconds=_REGISTER_SECONDS),
            HttpServer(app, settings, resources=(backend,)),
            backend.follower,
        ]
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
        payment_methods=payment_terms(settings),
        notice_readers=notice_readers(settings),
        provider_books=provider_books,
        erased=erased
        or ErasedCustomers(
            PostgresErasureUnits(database, clock=clock), pseudonyms=data_keys(settings).pseudonyms, clock=clock
        ),
    )


def build_webhook_desk(settings: OrdersSettings, database: Database, *, clock: Clock) -> webhook_routes.WebhookDesk:
    """Build what the routes of webhooks work with."""
    seal = data_keys(settings).seal
    return webhook_routes.WebhookDesk(
        database=database,
        seal=seal,
        bind=partial(PostgresWebhooks, seal=seal),
        check_url=AddressGuard(is_insecure_allowed=settings.webhook_insecure_allowed).check,
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
