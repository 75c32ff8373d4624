"""Puts inventory's processes together; the only place that constructs concrete adapters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from fastapi import FastAPI

from libs.common.clock import Clock, SystemClock
from libs.common.db import Database, Transaction
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.erasure import erasing
from libs.common.events.inventory import StockLevelChanged, WarehouseChanged, WarehouseRegistered
from libs.common.events.topics import (
    CATALOG_PRODUCT,
    INVENTORY_FACILITY,
    INVENTORY_RESERVATION,
    INVENTORY_STOCK,
    INVENTORY_TRANSFER,
    INVENTORY_WAREHOUSE,
)
from libs.common.http.app import create_app
from libs.common.http.auth import Authenticator
from libs.common.http.decisions import decisions_router
from libs.common.http.health import Health
from libs.common.http.idempotency import purge_idempotency_keys
from libs.common.messaging import inbox
from libs.common.messaging.consumer import Consumer, Subscription
from libs.common.messaging.follower import Follower
from libs.common.outbox import relay_of
from libs.common.outbox.writer import OutboxWriter
from libs.common.pacing import WorkPace
from libs.common.runtime import Component, HttpServer, PeriodicJob, Process, Service
from services.inventory import metrics
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
from services.inventory.consumers import (
    INTAKE_GROUP,
    RESERVATIONS_GROUP,
    intake_subscription,
    reservations_subscription,
)
from services.inventory.domain.allocation import DEFAULT_POLICY
from services.inventory.domain.alternatives import AlternativesPolicy, LikenessWeights
from services.inventory.domain.classes import AbcClass
from services.inventory.domain.count_lists import Schedule
from services.inventory.domain.counts import CountLimits
from services.inventory.domain.holds import DEFAULT_HOLD_POLICY, HoldPolicies, HoldPolicy
from services.inventory.domain.rebalancing import RebalancingPolicy
from services.inventory.domain.stock_figures import holding_cost, turnover, whole_minor
from services.inventory.domain.strategies import AllocationPolicy, ShippingCost, Strategy, Weights
from services.inventory.handlers.assortment import NO_ASSORTMENT, PRODUCT_EVENTS, Assortment
from services.inventory.handlers.audit import Auditor, Look, Progress
from services.inventory.handlers.availability import Availability
from services.inventory.handlers.backorders import continue_queue
from services.inventory.handlers.costs import keep_costs
from services.inventory.handlers.count_lists import make_daily_lists
from services.inventory.handlers.holds import expire_holds
from services.inventory.handlers.lots import block_expired_lots
from services.inventory.handlers.ports import Tools
from services.inventory.handlers.rebalancing import Rebalancing, approve_cheap
from services.inventory.handlers.reports import CLASS_WEEKS, Filters, Grouping, Period, Place, class_skus
from services.inventory.settings import ANY_CHANNEL, ANY_WAREHOUSE, InventorySettings
from services.inventory.storage.ageing import PostgresAgeing
from services.inventory.storage.audit_report import PostgresAuditReports
from services.inventory.storage.books import PostgresBooks
from services.inventory.storage.costs import PostgresCosts
from services.inventory.storage.count_lists import PostgresCountLists
from services.inventory.storage.counts import PostgresCounts
from services.inventory.storage.erasure import erase_destinations
from services.inventory.storage.hold_owners import PostgresHoldOwners
from services.inventory.storage.ledger_feed import SettledLedger
from services.inventory.storage.lots import PostgresLots
from services.inventory.storage.rebalancing import PostgresRebalancing
from services.inventory.storage.reports import PostgresClassBooks, PostgresReports
from services.inventory.storage.reservations import PostgresReservations
from services.inventory.storage.sequences import PostgresSequences
from services.inventory.storage.stock import PostgresStock
from services.inventory.storage.timeline import PostgresTimelines
from services.inventory.storage.transfers import PostgresTransfers
from services.inventory.storage.views import PostgresInventoryViews
from services.inventory.storage.warehouses import PostgresWarehouses

NAME: Final = "inventory"
# Whatever tells an order that it is short may do so in one of these.
_NAMING_ALTERNATIVES: Final = frozenset({"api", "consumer", "jobs"})
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
# How long a restock date is still shown after it has passed.
_RESTOCK_SECONDS: Final = 1.0
_PURGE_SECONDS: Final = 3600.0
# The figures of stock that are metrics: how often they are measured, and over which periods.
_FIGURES_SECONDS: Final = 60.0
_YEAR: Final = 365
_MONTH: Final = 28
_IN_TRANSIT: Final = "in_transit"
# How long after a change was booked it is checked, unless there are so many that checking takes its share of the time.
_AUDIT_SECONDS: Final = 1.0
_AUDIT_PACE: Final = WorkPace(share_max=0.05)
_FOLLOWERS_PACE: Final = WorkPace(share_max=0.1)
_PURGE_KEYS_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What the use cases work with, for as long as the process runs."""

    database: Database
    clock: Clock
    wake_relay: Callable[[], None] | None = None
    allocation: AllocationPolicy = DEFAULT_POLICY
    count_limits: CountLimits = field(default_factory=CountLimits)
    numbered_ledger: SettledLedger = field(default_factory=SettledLedger)
    assortment: Assortment = NO_ASSORTMENT
    refuses_unknown_skus: bool = False

    def sequences_of(self, transaction: Transaction) -> PostgresSequences:
        """Return the numbers of warehouses' reports, in one transaction."""
        return PostgresSequences(transaction, self.numbered_ledger)

    def tools_of(self, transaction: Transaction) -> Tools:
        """Return the tools of one transaction."""
        return Tools(
            stock=PostgresStock(transaction),
            reservations=PostgresReservations(transaction),
            hold_owners=PostgresHoldOwners(transaction),
            warehouses=PostgresWarehouses(transaction),
            transfers=PostgresTransfers(transaction),
            outbox=OutboxWriter(transaction, source=NAME, clock=self.clock, wake_relay=self.wake_relay),
            decisions=PostgresDecisionLog(transaction),
            counts=PostgresCounts(transaction),
            lots=PostgresLots(transaction),
            count_lists=PostgresCountLists(transaction),
            clock=self.clock,
            allocation=self.allocation,
            assortment=self.assortment,
            refuses_unknown_skus=self.refuses_unknown_skus,
            count_limits=self.count_limits,
        )


def build(settings: InventorySettings, roles: frozenset[str]) -> Process:
    """Construct what `roles` need; nothing connects before it runs."""
    clock = SystemClock()
    health = Health()
    database = Database(
        settings.database_url.get_secret_value(),
        application_name=f"{NAME}-{'-'.join(sorted(roles))}",
        pool_size=settings.database_pool_size,
    )
    process = Process(health=health, closers=[database.dispose])
    health.add("database", database.is_reachable)
    relay = relay_of(NAME, settings, clock) if "relay" in roles else None
    if relay is not None:
        process.components.append(relay)
    adapters = Adapters(
        database=database,
        clock=clock,
        wake_relay=relay.wake if relay else None,
        allocation=allocation_policy_of(settings),
        count_limits=CountLimits(
            units=settings.count_limit_units,
            share=settings.count_limit_share,
            value_minor=settings.count_limit_value_minor,
        ),
        assortment=Assortment(alternatives_policy_of(settings)),
        refuses_unknown_skus=settings.refuses_unknown_skus,
    )
    if (settings.alternatives_max or settings.refuses_unknown_skus) and roles & _NAMING_ALTERNATIVES:
        process.components.append(build_assortment_follower(settings, adapters.assortment))
    if "api" in roles:
        process.components.extend(build_api(settings, adapters, health))
    if "consumer" in roles:
        for consumer in build_consumers(settings, adapters):
            process.components.append(consumer)
            process.watchdogs.append(consumer.check_progress)
    if "jobs" in roles:
        process.components.extend(build_jobs(settings, adapters))
    if "auditor" in roles:
        process.components.extend(build_auditor(settings, adapters))
    return process


def build_assortment_follower(settings: InventorySettings, assortment: Assortment) -> Follower:
    """Construct what keeps the copy of the catalog; nobody waits for it, so that a shop without one loses nothing."""
    return Follower(
        topics=(CATALOG_PRODUCT,),
        events=PRODUCT_EVENTS,
        apply=assortment.apply,
        forget=assortment.forget,
        on_caught_up=assortment.complete,
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topic_prefix=settings.kafka_topic_prefix,
        client_id=f"{NAME}-assortment",
    )


def alternatives_policy_of(settings: InventorySettings) -> AlternativesPolicy:
    """Return what is offered instead of what is short."""
    return AlternativesPolicy(
        alternatives_max=settings.alternatives_max,
        weights=LikenessWeights(**settings.alternatives_weights.model_dump()),
        price_ratio_max=settings.alternatives_price_ratio_max,
        essential_attributes=frozenset(name.casefold() for name in settings.alternatives_essential_attributes),
        comfortable_units=settings.alternatives_comfortable_units,
    )


def allocation_policy_of(settings: InventorySettings) -> AllocationPolicy:
    """Return how orders are allocated, by channel."""
    costs = {code: ShippingCost(**cost.model_dump()) for code, cost in settings.allocation_costs.items()}
    by_channel = settings.allocation_strategy_by_channel
    return AllocationPolicy(
        strategy=Strategy(settings.allocation_strategy),
        strategy_by_channel={channel: Strategy(strategy) for channel, strategy in by_channel.items()},
        weights=Weights(**settings.allocation_weights.model_dump()),
        cost=costs.pop(ANY_WAREHOUSE, ShippingCost()),
        costs=costs,
    )


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


def hold_policies_of(settings: InventorySettings) -> HoldPolicies:
    """Return what each channel may hold before there is an order."""
    policies = {channel: HoldPolicy(**dict(policy)) for channel, policy in settings.hold_policies.items()}
    return HoldPolicies(policies, policies.get(ANY_CHANNEL, DEFAULT_HOLD_POLICY))


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


def build_consumers(settings: InventorySettings, adapters: Adapters) -> list[Consumer]:
    """Construct the members of each consumer group: while one waits for the database, another decides."""
    subscriptions: tuple[Subscription, ...] = (
        erasing(
            reservations_subscription(adapters.tools_of),
            service=NAME,
            erase=lambda request, transaction: erase_destinations(transaction, request.order_ids),
            outbox=lambda transaction: adapters.tools_of(transaction).outbox,
        ),
        intake_subscription(adapters.tools_of, event_age_years_max=settings.event_age_years_max),
    )
    return [
        Consumer(
            subscription,
            service=NAME,
            database=adapters.database,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            topic_prefix=settings.kafka_topic_prefix,
            clock=adapters.clock,
        )
        for subscription in subscriptions
        for _ in range(settings.consumer_members)
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


def count_schedule_of(settings: InventorySettings) -> Schedule:
    """Return how often each class is counted."""
    return Schedule(
        days={
            AbcClass.A: settings.count_days_a,
            AbcClass.B: settings.count_days_b,
            AbcClass.C: settings.count_days_c,
        }
    )


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

    async def block_expired() -> int:
        async with adapters.database.transaction() as transaction:
            desk = await block_expired_lots(adapters.tools_of(transaction))
            if desk is not None:
                transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))
        return 0 if desk is None else 1

    async def watch_counts() -> int:
        async with adapters.database.transaction() as transaction:
            now = adapters.clock.now()
            metrics.set_pending_counts(await PostgresCounts(transaction).pending(), now=now)
            since = now - timedelta(days=_ACCURACY_DAYS)
            metrics.set_count_accuracy(await PostgresCountLists(transaction).accuracy(since=since))
        return 0

    return [
        PeriodicJob("make-count-lists", make_count_lists, every_seconds=_COUNT_LISTS_SECONDS),
        PeriodicJob("block-expired-lots", block_expired, every_seconds=_EXPIRY_SECONDS),
        PeriodicJob("watch-counts", watch_counts, every_seconds=_WATCH_COUNTS_SECONDS),
    ]


def build_hold_jobs(adapters: Adapters) -> list[Component]:
    """Construct what ends holds."""

    async def expire() -> int:
        async with adapters.database.transaction() as transaction:
            desk = await expire_holds(adapters.tools_of(transaction))
            if desk is not None:
                transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))
        return 0 if desk is None else 1

    return [PeriodicJob("expire-holds", expire, every_seconds=_HOLD_EXPIRY_SECONDS)]


async def show_transfers(adapters: Adapters) -> None:
    """Measure what is on its way between warehouses, and what should have arrived."""
    async with adapters.database.transaction() as transaction:
        in_transit, overdue = await PostgresTransfers(transaction).watch(adapters.clock.now())
    metrics.inventory_transfer_units_in_transit.set(in_transit)
    metrics.inventory_transfers_overdue.set(overdue)


async def show_stock_figures(settings: InventorySettings, adapters: Adapters) -> None:
    """Measure what stock is worth, how it turns and how long it lasts, by warehouse."""
    until = adapters.clock.now().date()
    year, month, today = (Period(since=until - timedelta(days=days - 1), until=until) for days in (_YEAR, _MONTH, 1))
    idle = Filters(has_units=True, idle_since=until - timedelta(days=settings.dead_stock_days - 1))
    async with adapters.database.transaction() as transaction:
        reports = PostgresReports(transaction)
        backlog_skus = await PostgresCosts(transaction, SettledLedger()).backlog_skus()
        in_year, in_month, dead = [
            await reports.figures(period, filters, by=Grouping.WAREHOUSE, after=Place(), limit=None)
            for period, filters in ((year, Filters()), (month, Filters()), (today, idle))
        ]
    metrics.inventory_cost_backlog_skus.set(backlog_skus)
    # Of what is gone there shall be nothing rather than the last figure.
    for gauge in (metrics.inventory_stock_turnover_ratio, metrics.inventory_stock_cover_days):
        gauge.clear()
    metrics.inventory_dead_stock_value_minor.clear()
    for one in in_year:
        warehouse = one.warehouse or _IN_TRANSIT
        metrics.inventory_stock_uncosted_units.labels(warehouse).set(one.uncosted_units)
        for amounts in one.amounts:
            labels = (warehouse, amounts.currency)
            cost = holding_cost(amounts, one.days, yearly_rate=settings.holding_cost_yearly_rate)
            metrics.inventory_stock_value_minor.labels(*labels).set(whole_minor(amounts.value))
            metrics.inventory_stock_holding_cost_minor.labels(*labels).set(whole_minor(cost))
            if (ratio := turnover(amounts, one.days)) is not None:
                metrics.inventory_stock_turnover_ratio.labels(*labels).set(float(ratio))
    for one in in_month:
        if one.warehouse is not None:
            metrics.inventory_lost_sales_units.labels(one.warehouse).set(float(one.lost_units))
            if (days := one.days_of_cover) is not None:
                metrics.inventory_stock_cover_days.labels(one.warehouse).set(float(days))
    for one in dead:
        for amounts in one.amounts:
            labels = (one.warehouse or _IN_TRANSIT, amounts.currency)
            metrics.inventory_dead_stock_value_minor.labels(*labels).set(whole_minor(amounts.value))


def build_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what runs without being asked: the rest of long queues, and forgetting."""

    async def continue_queues() -> int:
        async with adapters.database.transaction() as transaction:
            desk = await continue_queue(adapters.tools_of(transaction))
            if desk is not None:
                transaction.after_commit(lambda: metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out))
        return 0 if desk is None else 1

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
        PeriodicJob("continue-queues", continue_queues, every_seconds=_QUEUE_SECONDS),
        PeriodicJob("watch-sequences", watch_sequences, every_seconds=_WATCH_SEQUENCES_SECONDS, pace=_FOLLOWERS_PACE),
        PeriodicJob("forget-events", forget_events, every_seconds=_PURGE_SECONDS),
        PeriodicJob("forget-keys", forget_keys, every_seconds=_PURGE_KEYS_SECONDS),
        *build_hold_jobs(adapters),
        *build_count_jobs(settings, adapters),
        *build_transfer_jobs(settings, adapters),
    ]


def build_cost_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what keeps costs up to date, and measures them."""
    cost_ledger = SettledLedger()

    async def keep_costs_of_changes() -> int:
        async with adapters.database.transaction() as transaction:
            await keep_costs(PostgresCosts(transaction, cost_ledger))
        # Never at once again: costs may be late by seconds, orders may not.
        return 0

    async def class_all_skus() -> int:
        now = adapters.clock.now()
        until = now.date()
        period = Period(since=until - timedelta(weeks=CLASS_WEEKS) + timedelta(days=1), until=until)
        async with adapters.database.transaction() as transaction:
            metrics.show_classes(
                [(one.abc, one.xyz) for one in await class_skus(PostgresClassBooks(transaction), period, now=now)]
            )
        return 0

    async def measure_stock() -> int:
        await show_stock_figures(settings, adapters)
        return 0

    return [
        PeriodicJob("costs", keep_costs_of_changes, every_seconds=settings.cost_interval_seconds, pace=_FOLLOWERS_PACE),
        PeriodicJob("classes", class_all_skus, every_seconds=settings.class_interval_seconds),
        PeriodicJob("stock-figures", measure_stock, every_seconds=_FIGURES_SECONDS),
    ]


def build_transfer_jobs(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct what looks after moves between warehouses."""
    rebalancing = Rebalancing(rebalancing_policy_of(settings), demand_days=settings.transfer_demand_days)

    async def watch_transfers() -> int:
        await show_transfers(adapters)
        return 0

    async def propose() -> int:
        goes_on = await propose_transfers(rebalancing, adapters)
        if not goes_on and settings.transfer_approve_below_minor:
            await approve_cheap_transfers(settings, adapters)
        return int(goes_on)

    jobs: list[Component] = [
        PeriodicJob("watch-transfers", watch_transfers, every_seconds=settings.audit_interval_seconds)
    ]
    if settings.transfer_proposals:
        jobs.append(PeriodicJob("propose-transfers", propose, every_seconds=settings.transfer_review_seconds))
    return jobs


def rebalancing_policy_of(settings: InventorySettings) -> RebalancingPolicy:
    """Return what moves and shortages cost."""
    return RebalancingPolicy(
        lead_days=settings.transfer_lead_days,
        review_days=timedelta(seconds=settings.transfer_review_seconds) / timedelta(days=1),
        cover_days=settings.transfer_cover_days,
        transfer_minor=settings.transfer_cost_minor,
        unit_km_minor=settings.transfer_unit_km_minor,
        shortage_share=settings.transfer_shortage_share,
        shortage_minor=settings.transfer_shortage_minor,
        currency=settings.transfer_currency,
    )


async def propose_transfers(rebalancing: Rebalancing, adapters: Adapters) -> bool:
    """Bring the proposals of the next SKUs up to date; return whether there are more."""
    async with adapters.database.transaction() as transaction:
        goes_on, outcomes = await rebalancing.next_page(
            PostgresRebalancing(transaction), adapters.tools_of(transaction)
        )
    for outcome, proposals in outcomes.items():
        metrics.count_transfer_proposal(outcome, is_automatic=True, transfers=proposals)
    return goes_on


async def approve_cheap_transfers(settings: InventorySettings, adapters: Adapters) -> None:
    """Approve the proposals by rule that are worth little, each in a transaction of its own."""
    after: UUID | None = UUID(int=0)
    while after is not None:
        async with adapters.database.transaction() as transaction:
            after, desk = await approve_cheap(
                PostgresRebalancing(transaction),
                adapters.tools_of(transaction),
                below_minor=settings.transfer_approve_below_minor,
                currency=settings.transfer_currency,
                after=after,
            )
        if desk is not None:
            metrics.count_transfer_proposal("approved", is_automatic=True)
            metrics.count_outcomes(desk.outcomes, sold_out=desk.sold_out)


def build_auditor(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct the auditor's looks at the books; of several auditors one works at a time."""
    auditor = Auditor(adapters.clock)
    ledger = SettledLedger()

    async def check_changes() -> int:
        async with adapters.database.transaction() as transaction:
            books = PostgresBooks(transaction, ledger)
            goes_on = await books.take_turn() and await auditor.check_changes(books)
            drift = await books.drift()
        metrics.inventory_ledger_drift_units.set(drift.ledger_units)
        metrics.inventory_reservation_drift_units.set(drift.reservation_units)
        metrics.inventory_audit_backlog_movements.set(books.backlog_movements)
        return int(goes_on)

    async def check_page(look: Look) -> bool:
        async with adapters.database.transaction() as transaction:
            books = PostgresBooks(transaction, ledger)
            # Whoever has the turn is at it for milliseconds; this comes around again.
            if not await books.take_turn():
                return False
            progress = await auditor.step(look, books)
            if progress is Progress.FINISHED and look is Look.LEVELS:
                metrics.inventory_waiting_orders.set(await books.waiting_orders())
                metrics.inventory_shortfall_units.set(await books.shortfall_units())
        if progress is Progress.FINISHED:
            metrics.inventory_audit_rounds_total.labels(look).inc()
        return progress is Progress.GOES_ON

    async def check_levels() -> int:
        return int(await check_page(Look.LEVELS))

    async def rescan() -> int:
        await check_page(Look.RESCAN)
        return 0

    return [
        PeriodicJob("audit-changes", check_changes, every_seconds=_AUDIT_SECONDS, pace=_AUDIT_PACE),
        PeriodicJob("audit-levels", check_levels, every_seconds=settings.audit_interval_seconds, pace=_AUDIT_PACE),
        PeriodicJob("audit-rescan", rescan, every_seconds=settings.audit_rescan_rest_seconds, pace=_AUDIT_PACE),
    ]


SERVICE = Service(
    name=NAME,
    settings=InventorySettings,
    roles=("api", "consumer", "relay", "jobs", "auditor"),
    build=build,
    migrations=Path(__file__).parent / "storage" / "migrations",
    topics=(INVENTORY_WAREHOUSE, INVENTORY_FACILITY, INVENTORY_RESERVATION, INVENTORY_STOCK, INVENTORY_TRANSFER),
    groups=(RESERVATIONS_GROUP, INTAKE_GROUP),
)
