"""A shop's inventory on a database of its own, driven without a broker: events in, levels and events out."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from httpx import ASGITransport, AsyncClient
from pydantic import SecretStr

from libs.common.clock import FixedClock
from libs.common.db import Database
from libs.common.events.base import Envelope, Event, EventReader, Topic
from libs.common.events.inventory import StockLevelChanged
from libs.common.events.registry import EVENTS
from libs.common.http.auth import FixedKeys, Principal
from libs.common.http.health import Health
from libs.common.messaging.consumer import Refusals, Subscription
from libs.common.messaging.inbox import claim_new
from libs.common.outbox.writer import records_of
from services.inventory.api.dependencies import UseCases
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.bootstrap.api import build_app, use_cases_of
from services.inventory.consumers import intake_subscription, reservations_subscription
from services.inventory.domain.allocation import DEFAULT_POLICY
from services.inventory.domain.counts import CountLimits
from services.inventory.domain.strategies import AllocationPolicy
from services.inventory.domain.warehouses import Warehouse
from services.inventory.handlers.assortment import NO_ASSORTMENT, Assortment
from services.inventory.handlers.audit import Auditor, Drift, Look, Progress
from services.inventory.handlers.availability import Availability
from services.inventory.handlers.backorders import continue_queue
from services.inventory.handlers.queries import ReservationView
from services.inventory.handlers.warehouses import put_warehouse
from services.inventory.settings import InventorySettings
from services.inventory.storage.books import PostgresBooks
from services.inventory.storage.ledger_feed import SettledLedger
from services.inventory.storage.views import PostgresInventoryViews
from tests.support.standin import StandIn
from tests.unit.inventory.builders import NOON, WAREHOUSES, envelope

AnyEvent = TypeVar("AnyEvent", bound=Event)

# The database is that of the test; nothing connects to this one.
SETTINGS = InventorySettings(database_url=SecretStr("postgresql://nobody@127.0.0.1/none"))

_reader = EventReader(EVENTS.values())
_idle_apis: list["Api"] = []


@dataclass
class Shop:
    """The service's own handlers in transactions of their own, as its consumers call them."""

    database: Database
    clock: FixedClock
    # Why events of the last batch of reports were refused, by their ids.
    refusals: Refusals = field(default_factory=dict)
    allocation: AllocationPolicy = DEFAULT_POLICY
    count_limits: CountLimits = field(default_factory=CountLimits)
    assortment: Assortment = NO_ASSORTMENT
    refuses_unknown_skus: bool = False

    @classmethod
    async def open(cls, database: Database, warehouses: Sequence[Warehouse] = WAREHOUSES) -> "Shop":
        shop = cls(database, FixedClock(NOON))
        for warehouse in warehouses:
            await shop.register(warehouse)
        return shop

    @property
    def adapters(self) -> Adapters:
        return Adapters(
            database=self.database,
            clock=self.clock,
            allocation=self.allocation,
            count_limits=self.count_limits,
            assortment=self.assortment,
            refuses_unknown_skus=self.refuses_unknown_skus,
        )

    async def register(self, warehouse: Warehouse) -> Warehouse:
        async with self.database.transaction() as transaction:
            saved, _ = await put_warehouse(warehouse, tools=self.adapters.tools_of(transaction))
        return saved

    async def reports(self, *events: Event | Envelope) -> list[Envelope]:
        """Let warehouses report, all in one batch."""
        return await self._consume(intake_subscription(self.adapters.tools_of, event_age_years_max=10), events)

    async def orders(self, *events: Event | Envelope) -> list[Envelope]:
        """Let things happen to orders, all in one batch."""
        return await self._consume(reservations_subscription(self.adapters.tools_of), events)

    async def _consume(self, subscription: Subscription, events: Sequence[Event | Envelope]) -> list[Envelope]:
        batch = [one if isinstance(one, Envelope) else envelope(one) for one in events]
        async with self.database.transaction() as transaction:
            if subscription.recognises_duplicates:
                self.refusals = await subscription.handle(batch, transaction) or {}
            elif fresh := await claim_new(transaction, group=subscription.group, envelopes=batch):
                await subscription.handle(fresh, transaction)
        return batch

    async def continue_queues(self) -> int:
        """Serve the rest of all queues; return in how many transactions."""
        for steps in range(1000):
            async with self.database.transaction() as transaction:
                if await continue_queue(self.adapters.tools_of(transaction)) is None:
                    return steps
        raise AssertionError("the queues never end")

    async def level(self, sku: str, warehouse: str = "LON") -> tuple[int, int]:
        """Return on hand and reserved."""
        row = (await self.levels()).get((sku, warehouse), (0, 0))
        return (row[0], row[1])

    async def levels(self) -> dict[tuple[str, str], tuple[int, ...]]:
        """Return on hand, reserved, in transit and shortfall of every level."""
        rows = await self.rows("SELECT sku, warehouse, on_hand, reserved, in_transit, shortfall FROM stock_levels")
        return {(row["sku"], row["warehouse"]): tuple(row[2:]) for row in rows}

    async def ledger(self, sku: str, warehouse: str = "LON") -> list[tuple[str, int]]:
        """Return kind and units of each movement, as recorded."""
        rows = await self.rows(
            "SELECT kind, delta_on_hand FROM stock_movements WHERE sku = $1 AND warehouse = $2 ORDER BY id",
            sku,
            warehouse,
        )
        return [(row["kind"], row["delta_on_hand"]) for row in rows]

    async def reservation(self, order_id: UUID) -> ReservationView | None:
        async with self.database.transaction() as transaction:
            return await PostgresInventoryViews(transaction).reservation(order_id)

    async def status(self, order_id: UUID) -> str | None:
        found = await self.reservation(order_id)
        return found.status if found else None

    async def published(self, topic: Topic | None = None, *, after_id: int = 0) -> list[Envelope]:
        """Return what stands in the outbox, in order, behind a row of it."""
        rows = await self.rows(
            "SELECT topic, key, headers, value FROM outbox_events WHERE id > $1 ORDER BY id", after_id
        )
        return [
            _reader.decode(record.value, record.headers)
            for row in rows
            for record in records_of(*row)
            if topic is None or record.topic == topic.name
        ]

    async def announced(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """Return the published events of one type, in order."""
        return [one.event for one in await self.published() if isinstance(one.event, kind)]

    async def fates(self, order_id: UUID) -> list[str]:
        """Return the types of what was announced about an order, in order."""
        return [
            one.event.type
            for one in await self.published()
            if one.event.subject == str(order_id) and not isinstance(one.event, StockLevelChanged)
        ]

    async def drift(self) -> Drift:
        """Let an auditor add up the whole ledger; return by how many units the levels are off."""
        auditor, ledger = Auditor(self.clock), SettledLedger()
        progress, drift = Progress.GOES_ON, Drift(0, 0)
        while progress is Progress.GOES_ON:
            async with self.database.transaction() as transaction:
                books = PostgresBooks(transaction, ledger)
                progress = await auditor.step(Look.RESCAN, books)
                drift = await books.drift()
        return drift

    async def rows(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self.database.transaction() as transaction:
            driver = await transaction.driver()
            return await driver.fetch(statement, *arguments)


class Api:
    """The routes of the service, which take longer to make than most tests; behind them is the shop of one test."""

    def __init__(self, use_cases: UseCases) -> None:
        self._use_cases = use_cases
        of_a_test = ("database", "tools_of", "sequences_of", "intake", "holds", "availability", "assortment", "clock")
        stand_ins: dict[str, Any] = {name: StandIn(partial(self._current, name)) for name in of_a_test}
        self._app = build_app(SETTINGS, replace(use_cases, **stand_ins), Health(), authenticator=FixedKeys({}))

    @asynccontextmanager
    async def over(self, use_cases: UseCases, keys: FixedKeys, *, caller: str) -> AsyncIterator[AsyncClient]:
        """Open the routes over the use cases of a test to the holder of a key."""
        self._use_cases = use_cases
        self._app.state.authenticator = keys
        self._app.state.health = Health()
        headers = {"Authorization": f"Bearer {caller}"}
        async with AsyncExitStack() as exits:
            for coalescer in use_cases.coalescers:
                await exits.enter_async_context(coalescer)
            transport = ASGITransport(app=self._app)
            yield await exits.enter_async_context(
                AsyncClient(transport=transport, base_url="http://inventory", headers=headers)
            )

    def _current(self, name: str) -> Any:
        return getattr(self._use_cases, name)


@asynccontextmanager
async def open_api(
    shop: Shop, keys: FixedKeys, *, caller: str, availability: Availability | None = None
) -> AsyncIterator[AsyncClient]:
    """Open the service's API over a shop; two that are open at once are two applications."""
    use_cases = use_cases_of(SETTINGS, shop.adapters, availability or Availability())
    api = _idle_apis.pop() if _idle_apis else Api(use_cases)
    try:
        async with api.over(use_cases, keys, caller=caller) as client:
            yield client
    finally:
        _idle_apis.append(api)


@asynccontextmanager
async def client_of(shop: Shop, *, scopes: Collection[str]) -> AsyncIterator[AsyncClient]:
    """Open the service's API to a caller with `scopes`."""
    keys = FixedKeys({"caller": Principal("caller", frozenset(scopes))})
    async with open_api(shop, keys, caller="caller") as client:
        yield client
