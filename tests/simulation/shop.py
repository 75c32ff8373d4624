"""A shop of seven processes, its customers, and what befalls it."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, cast
from uuid import UUID

import asyncpg

from libs.common import ids
from libs.common.db import Transaction, is_transient
from libs.common.events.base import Envelope, encode
from libs.common.events.inventory import WarehouseReport
from libs.common.messaging.consumer import Subscription
from libs.common.messaging.producer import PublishFailed
from libs.common.outbox import Relay, relay, writer
from libs.common.runtime import PeriodicJob
from libs.common.telemetry import tracing
from services.inventory.consumers import intake_subscription, reservations_subscription
from services.inventory.domain.reservations import ReservationStatus
from services.inventory.handlers.holds import expire_holds
from services.inventory.handlers.ports import Tools
from services.orders.consumers import SagaHandler, saga
from services.orders.domain.order import SHIPPED_OR_LATER, TERMINAL
from services.orders.domain.state import Deadlines
from services.orders.handlers.deadlines import DeadlineWatch
from services.orders.handlers.fulfilment import Policy
from services.orders.handlers.payments import PaymentExecutor
from tests.simulation.bus import Bus, MemoryProducer, SimulatedConsumer
from tests.simulation.carrier import MOVING, Logistics
from tests.simulation.invariants import Invariants
from tests.simulation.inventory_store import WAREHOUSES, initial_level, memory_tools
from tests.simulation.orders_store import MemoryUnits
from tests.simulation.people import SKUS, People, habits_of, needs_person
from tests.simulation.provider import Provider, ProviderClient
from tests.simulation.store import MemoryDatabase, RelayConnection, Store
from tests.simulation.world import Link, Process, Rates, Violated, World

_ORDERS: Final = (1, 2, 3, 4, 6)
_FAULT_SECONDS: Final = 30.0
_CONVERGENCE_SECONDS: Final = 900.0
_LOOK_SECONDS: Final = 5.0
_DEADLINE_MISSED: Final = timedelta(minutes=4)
_RESTART_SECONDS_MAX: Final = 6.0
_DEADLY_RATIO: Final = 0.05
_BUNDLED_RECORDS_MIN: Final = writer._BUNDLED_RECORDS_MIN  # noqa: SLF001 - what every other run is done with
# Shorter than a real shop's, longer than a payment step's lease: so that every deadline is met in a run.
_DEADLINES: Final = Deadlines(
    stock_reply=timedelta(seconds=20),
    backorder=timedelta(seconds=90),
    payment=timedelta(seconds=80),
    dispatch=timedelta(seconds=200),
    cancellation=timedelta(seconds=60),
    delivery=timedelta(seconds=200),
    settlement=timedelta(seconds=5),
    review=timedelta(seconds=90),
    review_escalation=timedelta(seconds=30),
    wait=timedelta(seconds=60),
    wait_answer=timedelta(seconds=30),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Which faults a run has, and how many; the seed draws it."""

    rates: Rates
    nemesis_seconds: float
    deeds: tuple[str, ...]
    declines: float


def weather_of(chance: random.Random) -> Weather:
    """Draw the faults of a run: most runs have some kinds only, so that these come in numbers."""

    def some(rate: float) -> float:
        return chance.uniform(0, rate) if chance.random() < 0.6 else 0.0

    deeds = ("kill", "pause", "cut database", "cut bus", "cut provider", "lose lease", "lose offsets", "repeat")
    return Weather(
        rates=Rates(crash=some(0.004), disconnect=some(0.02), lost_answer=some(0.05), slow=some(0.02)),
        nemesis_seconds=chance.choice((1.0, 3.0, 8.0, 1e9)),
        deeds=tuple(chance.sample(deeds, chance.randint(1, len(deeds)))),
        declines=chance.choice((0.0, 0.0, 0.3)),
    )


@dataclass(slots=True, eq=False)
class Shop:
    """The services, as processes of one world."""

    world: World
    orders: Store = field(init=False)
    inventory: Store = field(init=False)
    logistics: Store = field(init=False)
    bus: Bus = field(init=False)
    provider: Provider = field(init=False)
    invariants: Invariants = field(init=False)
    weather: Weather = field(init=False)
    initial_units: Counter[tuple[str, str]] = field(default_factory=Counter)
    received: Counter[tuple[str, str]] = field(default_factory=Counter)
    adjusted: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Units of transfers that were told of, by the way that they went and their SKU.
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    people: People = field(init=False)
    accepted: set[UUID] = field(default_factory=set)
    # Of each group that keeps an inbox, where, and for which events.
    inboxes: dict[str, tuple[Store, set[str]]] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)
    _starts: dict[str, Callable[[Process], None]] = field(default_factory=dict)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Stock the shelves; nothing runs yet."""
        world = self.world
        self.weather = weather_of(world.chance)
        self.people = People(self, habits_of(world.chance))
        self.orders, self.inventory = Store(world, "orders"), Store(world, "inventory")
        self.logistics = Store(world, "logistics")
        self.bus = Bus(world)
        self.provider = Provider(world, declines=self.weather.declines)
        for sku in SKUS:
            self.inventory.table("stock_items")[sku] = 0
            for warehouse in WAREHOUSES:
                units = world.chance.choice((0, 1, 2, 4))
                self.initial_units[sku, warehouse.code] = units
                self.inventory.table("stock_levels")[sku, warehouse.code] = initial_level(units)
        self.invariants = Invariants(self)
        self._starts = {
            "orders-1": self._start_orders,
            "orders-2": self._start_orders,
            "saga-1": self._start_saga,
            "saga-2": self._start_saga,
            "inventory-1": self._start_inventory,
            "inventory-2": self._start_inventory,
            "logistics-1": self._start_logistics,
        }

    async def run(self) -> None:
        """
        Trade through the faults, heal, and come to rest.

        :raises Violated: if an invariant does not hold.
        """
        for name in self._starts:
            self._start(name)
        self.world.rates = self.weather.rates
        chance, create_task, people = self.world.chance, self.world.loop.create_task, self.people
        asking = [create_task(people.customer(number)) for number in range(chance.choice(_ORDERS))]
        asking += [create_task(people.supplier()) for _ in range(chance.randint(0, 3))]
        if people.habits.transfers:
            asking += [create_task(people.planner()) for _ in range(chance.randint(1, 3))]
        operator = create_task(people.operator())
        nemesis = create_task(self._nemesis())
        await asyncio.sleep(_FAULT_SECONDS)
        nemesis.cancel()
        self._heal()
        await asyncio.gather(*asking)
        await self._rest()
        operator.cancel()
        if self.world.faults_of_code:
            raise Violated(f"a process ended by its own fault: {self.world.faults_of_code[0]}")
        self.invariants.check_all()

    async def _rest(self) -> None:
        until = self.world.loop.time() + _CONVERGENCE_SECONDS
        while self.world.loop.time() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            if self.invariants.violations or self.world.faults_of_code or self._is_deadline_missed():
                return
            is_quiet = all(
                not store.table("outbox_events") for store in (self.orders, self.inventory, self.logistics)
            ) and not any(group.lag() for group in self.bus.groups.values())
            if is_quiet and not self.orders.table("timers") and not self._open_steps() and not self._awaited():
                return

    def _awaited(self) -> bool:
        """Whether a person has something to do yet, a parcel is under way, or a hold has yet to expire."""
        if any(one.status in MOVING for one in self.logistics.table("shipments").values()):
            return True
        return any(needs_person(row.state) for row in self.orders.table("orders").values()) or any(
            row.status is ReservationStatus.HELD and row.terms is not None and row.terms.expires_at is not None
            for row in self.inventory.table("reservations").values()
        )

    def _is_deadline_missed(self) -> bool:
        """Whether a deadline has passed so long ago, with nothing in the way, that nothing will come of it."""
        long_ago = self.world.clock.now() - _DEADLINE_MISSED
        return any(due_at < long_ago for due_at in self.orders.table("timers").values())

    def _open_steps(self) -> bool:
        return any(row.step.status in {"waiting", "pending"} for row in self.orders.table("payment_commands").values())

    def _start(self, name: str) -> None:
        process = self.processes[name] = Process(self.world, name)
        process.on_death.append(lambda: self._restart_later(name))
        self._starts[name](process)

    def _restart_later(self, name: str) -> None:
        self.world.meet("process killed")
        if not self._stop.is_set():
            self.world.loop.call_later(self.world.chance.uniform(0.1, _RESTART_SECONDS_MAX), self._start, name)

    def _start_orders(self, process: Process) -> None:
        """Run what serves requests, fires timers and executes payments, with a relay."""
        database = MemoryDatabase(self.orders, process)
        one_relay = self._relay("orders", self.orders, process)
        clock = self.world.clock
        units = MemoryUnits(database, clock=clock, wake_relay=one_relay.wake)
        executor = PaymentExecutor(
            units, ProviderClient(self.provider, process), policy=Policy(_DEADLINES), clock=clock, poll_seconds=12.0
        )
        self.orders.tell(process, "payment_commands", executor.wake)
        policy = Policy(_DEADLINES, wake_payments=executor.wake)
        watch = DeadlineWatch(units, policy=policy, clock=clock)
        process.run(one_relay.run(self._stop))
        process.run(PeriodicJob("payments", executor.work, every_seconds=0.1).run(self._stop))
        process.run(PeriodicJob("deadlines", watch.work, every_seconds=10.0).run(self._stop))

    def _start_saga(self, process: Process) -> None:
        database = MemoryDatabase(self.orders, process)
        units = MemoryUnits(database, clock=self.world.clock)
        handler = SagaHandler(policy=Policy(_DEADLINES), clock=self.world.clock, bind=units.bind)
        self._consume(saga(handler), "orders", database, process)

    def _start_inventory(self, process: Process) -> None:
        database = MemoryDatabase(self.inventory, process)
        one_relay = self._relay("inventory", self.inventory, process)

        def tools_of(transaction: Transaction) -> Any:
            return memory_tools(transaction, clock=self.world.clock, wake_relay=one_relay.wake)

        self._consume(reservations_subscription(tools_of), "inventory", database, process)
        self._consume(intake_subscription(tools_of, event_age_years_max=5), "inventory", database, process)
        process.run(one_relay.run(self._stop))
        if self.people.habits.holds:

            async def expire() -> int:
                async with database.transaction() as transaction:
                    return 0 if await expire_holds(tools_of(transaction)) is None else 1

            process.run(PeriodicJob("expire-holds", expire, every_seconds=10.0).run(self._stop))

    def _start_logistics(self, process: Process) -> None:
        database = MemoryDatabase(self.logistics, process)
        one_relay = self._relay("logistics", self.logistics, process)
        losses = 0.3 if self.people.habits.lost_parcels else 0.0
        logistics = Logistics(self.world, database, one_relay.wake, losses)
        self._consume(logistics.subscription(), "logistics", database, process)
        process.run(one_relay.run(self._stop))
        process.run(logistics.move(self._stop))

    def _consume(self, subscription: Subscription, service: str, database: MemoryDatabase, process: Process) -> None:
        if not subscription.recognises_duplicates:
            self.inboxes[subscription.group] = self._store_of(service), {event.type for event in subscription.events}
        consumer = SimulatedConsumer(subscription, service=service, database=database, bus=self.bus, process=process)
        process.run(consumer.run(self._stop))

    def _store_of(self, service: str) -> Store:
        return next(store for store in (self.orders, self.inventory, self.logistics) if store.service == service)

    def _relay(self, service: str, store: Store, process: Process) -> Relay:
        connections[f"{service}/{id(process)}"] = lambda: RelayConnection(store, process)
        one = Relay(
            service=service,
            database_url=f"{service}/{id(process)}",
            producer=cast("Any", MemoryProducer(self.bus, process)),
            clock=self.world.clock,
        )
        store.tell(process, "outbox_events", one.wake)
        return one

    async def request(self, serve: Callable[[Transaction, Any, Policy], Awaitable[Any]]) -> Any:
        """Have an API process of orders serve something, again and again until there is an answer."""

        def bound(process: Process) -> tuple[MemoryDatabase, Callable[[Transaction], Awaitable[Any]]]:
            database = MemoryDatabase(self.orders, process)
            units = MemoryUnits(database, clock=self.world.clock)
            return database, lambda transaction: serve(transaction, units.bind(transaction), Policy(_DEADLINES))

        return await self._until_answered(("orders-1", "orders-2"), bound)

    async def request_of_inventory(self, serve: Callable[[Transaction, Tools], Awaitable[Any]]) -> Any:
        """Have an API process of inventory serve something, again and again until there is an answer."""

        def bound(process: Process) -> tuple[MemoryDatabase, Callable[[Transaction], Awaitable[Any]]]:
            def work(transaction: Transaction) -> Awaitable[Any]:
                return serve(transaction, memory_tools(transaction, clock=self.world.clock, wake_relay=None))

            return MemoryDatabase(self.inventory, process), work

        return await self._until_answered(("inventory-1", "inventory-2"), bound)

    async def _until_answered(
        self,
        names: Sequence[str],
        bound: Callable[[Process], tuple[MemoryDatabase, Callable[[Transaction], Awaitable[Any]]]],
    ) -> Any:
        while True:
            database, work = bound(self.processes[self.world.chance.choice(names)])
            try:
                return await database.run(work)
            except asyncio.CancelledError:
                # The process died under the request; whoever asked did not.
                self.world.meet("request without an answer")
            except Exception as error:
                if not is_transient(error):
                    raise
            await asyncio.sleep(self.world.chance.uniform(0.5, 3.0))

    async def report(self, event: WarehouseReport, event_id: UUID) -> None:
        """Have a warehouse report something, again until it is acknowledged."""
        record = encode(Envelope(id=event_id, event=event, time=self.world.clock.now(), source="warehouse"))
        producer = MemoryProducer(self.bus, Process(self.world, "warehouse"))
        while True:
            try:
                await producer.publish([record])
            except PublishFailed:
                await asyncio.sleep(1.0)
            except asyncio.CancelledError:
                producer = MemoryProducer(self.bus, Process(self.world, "warehouse"))
            else:
                return

    def may_kill(self, event_id: UUID) -> bool:
        """Let an event, rarely, be one that kills whoever handles it."""
        if self.world.chance.random() < _DEADLY_RATIO:
            self.bus.deadly.add(event_id)
            return True
        return False

    async def is_shipped(self, order_id: UUID, *, seconds: float) -> bool:
        """Wait until an order has left or ended, and tell whether it has left."""
        until = self.world.loop.time() + seconds
        while self.world.loop.time() < until:
            status = self.orders.table("orders")[order_id].state.status
            if status in SHIPPED_OR_LATER:
                return True
            if status in TERMINAL:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def _nemesis(self) -> None:
        chance = self.world.chance
        while True:
            await asyncio.sleep(chance.expovariate(1 / self.weather.nemesis_seconds))
            self._strike(chance.choice(self.weather.deeds), self.processes[chance.choice(list(self._starts))])

    def _strike(self, deed: str, process: Process) -> None:
        chance, loop = self.world.chance, self.world.loop
        self.world.note(f"{deed}: {process.name}")
        match deed.split():
            case ["kill"]:
                process.die()
            case ["pause"]:
                process.pause()
                loop.call_later(chance.uniform(0.5, 25.0), process.resume)
            case ["cut", name]:
                link = Link(name)
                process.cut(link)
                loop.call_later(chance.uniform(0.5, 20.0), process.cut_off.discard, link)
            case ["lose", "lease"]:
                store = chance.choice((self.orders, self.inventory, self.logistics))
                if store.relay_holder is not None:
                    store.relay_holder.lose()
            case ["lose", "offsets"]:
                group = chance.choice(list(self.bus.groups.values()))
                for place in group.committed:
                    group.committed[place] = 0
                group.rebalance()
            case _:
                self._repeat()

    def _repeat(self) -> None:
        """Let a record come once more, behind all others, as a relay does that did not know it had been sent."""
        rows = [record for rows in self.bus.log.values() for record in rows]
        if rows:
            record = self.world.chance.choice(rows)
            self.bus.log_again(record)

    def _heal(self) -> None:
        self.world.note("healed")
        self.world.rates = Rates()
        for process in self.processes.values():
            process.cut_off.clear()
            process.resume()


connections: dict[str, Callable[[], RelayConnection]] = {}


async def _connect(database_url: str, **_: object) -> RelayConnection:
    connection = connections[database_url]()
    await connection.opened()
    return connection


def prepare(seed: int, world: World) -> None:
    """Let everything that draws numbers or tells the time draw and tell those of this run."""
    random.seed(seed)
    ids._random.seed(seed)  # noqa: SLF001 - the ids of a run must repeat
    ids._last_ms = ids._counter = 0  # noqa: SLF001
    vars(ids)["time"] = SimpleNamespace(time_ns=lambda: int(world.clock.now().timestamp() * 1e9))
    tracing._random.seed(seed)  # noqa: SLF001
    connections.clear()
    vars(asyncpg)["connect"] = _connect
    # Nothing comes of looking every few milliseconds at a world that moves only when something does.
    vars(relay).update(
        _POLL_SECONDS=2.0,
        _POLL_IDLE_SECONDS=20.0,
        _LOCK_RETRY_SECONDS=12.0,
        _IDLE_AFTER_EMPTY_POLLS=0,
        _MEASURE_SECONDS=1e9,
        # The floor moves with every look, and nothing makes up for what it passes.
        _FLOOR_SECONDS=0.0,
        _SWEEP_SECONDS=1e9,
    )
    # Transactions of a shop so small seldom have as many events as make a bundle.
    vars(writer)["_BUNDLED_RECORDS_MIN"] = 2 if seed % 2 else _BUNDLED_RECORDS_MIN


def has_habit(seed: int, habit: str | None) -> bool:
    """Tell whether people have a habit in the run of a seed, without running it."""
    chance = random.Random(seed)  # noqa: S311 - as the run draws
    weather_of(chance)
    return habit is None or bool(getattr(habits_of(chance), habit))


def simulate(seed: int, *, is_traced: bool = False) -> World:
    """
    Run one schedule.

    :raises Violated: if an invariant does not hold.
    """
    world = World(seed, is_traced=is_traced)
    prepare(seed, world)
    loop = world.loop
    loop.set_exception_handler(lambda _, __: None)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(Shop(world).run())
    finally:
        _abandon(loop)
    return world


def _abandon(loop: Any) -> None:
    """Leave a world behind in which nobody waits for anything any more."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.wait(tasks, timeout=60))
    asyncio.set_event_loop(None)
    loop.close()
