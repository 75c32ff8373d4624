"""One fresh stack with a bad network before its servers, a shop that goes on, and somebody who writes it down."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from bench.replay.progress import Steps
from bench.replay.quiet import FAULTS, Movement, wait_until_quiet
from bench.replay.settings import ReplaySettings
from deploy.local.environment import Detour, LocalSettings
from deploy.local.ports import free_ports
from deploy.local.services import Spread, service_processes
from deploy.local.stack import LocalStack
from libs.common.clock import Clock
from tests.faults.checker import Judged, judge
from tests.faults.history import History
from tests.faults.nemesis import Nemesis
from tests.faults.proxy import FaultProxy
from tests.faults.witness import Witness
from tests.faults.workload import Clients, Workload
from tests.support.eventually import NeverHappened, eventually

SERVERS: Final = ("postgres", "kafka")
# From the end of the last fault until nothing is behind any more: the restarts, the group's session, the parcels' days.
# On a slow machine it takes longer, but never so long without anything becoming less.
RECOVERY_SECONDS_MAX = 120.0

# Small enough to be reached, days short enough to end: all else is as it runs in a shop.
_ENVIRONMENT: Final = {
    "LOGISTICS_SIMULATOR_SECONDS_PER_DAY": "0.5",
    "QUAYSIDE_REQUESTS_IN_FLIGHT_MAX": "120",
    "ORDERS_SANDBOX_LATE_ANSWER_SECONDS": "3",
    "ORDERS_ERASURE_DELAY_SECONDS": "3",
}
_HELD: Final = "SELECT count(*) FROM reservations WHERE status = 'held' AND expires_at IS NOT NULL"


class NeverQuiet(AssertionError):
    """The system did not come to rest after the faults were gone."""


@dataclass(kw_only=True)
class Arena:
    """What rows act on."""

    stack: LocalStack
    kafka: FaultProxy
    postgres: FaultProxy
    nemesis: Nemesis
    witness: Witness
    clients: Clients
    workload: Workload
    history: History
    clock: Clock
    state: Path
    say: Callable[[str], None]
    # What rows have put on the bus that can have no effect.
    injected: set[str] = field(default_factory=set)

    @property
    def bootstrap_servers(self) -> str:
        """Return the way to the broker past the proxy."""
        return self.stack.addresses.kafka_bootstrap_servers

    @property
    def settings(self) -> ReplaySettings:
        """Return where everything is, past the proxies."""
        return ReplaySettings.model_validate(
            {name.lower(): value for name, value in self.stack.addresses.environment.items()}
        )

    @property
    def services(self) -> tuple[str, ...]:
        """Return the names of all processes but those of the servers and the replicas that rows add."""
        return tuple(name for name in self.stack.names if name not in SERVERS and not name.endswith("-replica"))

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[asyncpg.Connection]:
        """Connect to a service's database as an administrator, past the proxy."""
        url = urlsplit(self.stack.addresses.admin_url)._replace(path=f"/{service}").geturl()
        connection = await asyncpg.connect(url, timeout=10)
        try:
            yield connection
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await connection.close(timeout=2)

    async def value(self, service: str, query: str, *arguments: object) -> int:
        """Return one number from a service's database."""
        async with self.database(service) as connection:
            return int(await connection.fetchval(query, *arguments))

    async def until(
        self,
        service: str,
        query: str,
        condition: Callable[[int], bool] = bool,
        *,
        timeout_seconds: float = RECOVERY_SECONDS_MAX,
    ) -> int:
        """Wait until a number in a service's database is as wanted; looks a hundred times a second."""
        async with self.database(service) as connection:

            async def look() -> int:
                return int(await connection.fetchval(query))

            return await eventually(look, condition, timeout_seconds=timeout_seconds)

    async def heal(self) -> None:
        """Take every fault away that a row may have left, and wait until all processes are ready."""
        self.kafka.clear()
        self.postgres.clear()
        await self.ready()

    async def ready(self) -> None:
        """Wait until all servers and services are ready."""
        await self.nemesis.ready(*SERVERS, *self.services)

    async def settle(self, steps: Steps) -> float:
        """
        Let the shop rest until nothing moves; return how long that took.

        :raises NeverQuiet: if it takes too long.
        """
        started_at = self.clock.monotonic_seconds()
        await self.workload.pause()
        movement: Movement | None = None
        with suppress(*FAULTS, NeverHappened):
            # What is held for a cart is let go by time alone, after everything else rests.
            await self.until("inventory", _HELD, lambda held: held == 0, timeout_seconds=RECOVERY_SECONDS_MAX)
            movement = await wait_until_quiet(
                self.settings, steps=steps, clock=self.clock, timeout_seconds=RECOVERY_SECONDS_MAX, is_patient=True
            )
        if movement is None or not movement.is_quiet:
            raise NeverQuiet(str(movement or "a server does not answer"))
        return self.clock.monotonic_seconds() - started_at

    async def judge(self) -> list[Judged]:
        """Decide every invariant; the shop must rest."""
        return await judge(
            self.settings,
            self.history,
            injected=self.injected,
            secrets=self.secrets(),
            logs=self.stack.supervisor.logs,
        )

    def secrets(self) -> Mapping[str, str]:
        """Return what must stand in no log, by what it is."""
        addresses = self.stack.addresses
        keys = {f"key of {name}": (addresses.keys / name).read_text("utf-8").strip() for name in ("storefront", "ops")}
        passwords = {
            f"password of {name}": urlsplit(url).password or "" for name, url in addresses.database_urls.items()
        }
        return keys | passwords


def make_open(state: Path) -> None:
    """Make a folder that PostgreSQL, which does not run as root, can be reached in."""
    state.mkdir(mode=0o755, parents=True, exist_ok=True)


@asynccontextmanager
async def open_arena(
    state: Path,
    *,
    seed: int,
    clock: Clock,
    operations_per_second: float,
    cache: Path,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Arena]:
    """Start everything, fill the shop, and let its day begin."""
    make_open(state)
    processes = [one.name for one in service_processes(Spread.ROLES)]
    detours = ("postgres-detour", "kafka-detour", "kafka-behind")
    ports = free_ports([*SERVERS, "kafka-controller", *processes, *detours])
    settings = LocalSettings(
        state=state,
        cache=cache,
        ports=ports,
        detour=Detour(
            postgres=ports["postgres-detour"].number,
            kafka=ports["kafka-detour"].number,
            kafka_behind=ports["kafka-behind"].number,
        ),
    )
    stack = LocalStack(
        settings, spread=Spread.ROLES, service_environment={**_ENVIRONMENT, **(environment or {})}, crashes_max=60
    )
    async with AsyncExitStack() as exits:
        kafka = await exits.enter_async_context(
            FaultProxy(port=ports["kafka-detour"].number, target_port=ports["kafka-behind"].number, seed=seed)
        )
        postgres = await exits.enter_async_context(
            FaultProxy(port=ports["postgres-detour"].number, target_port=ports["postgres"].number, seed=seed)
        )
        say("starting the stack")
        await exits.enter_async_context(stack)
        history = exits.enter_context(History(state / "history.jsonl"))
        clients = await exits.enter_async_context(Clients(stack.addresses, history, clock))
        workload = Workload(clients, seed=seed, operations_per_second=operations_per_second)
        witness = Witness(stack)
        arena = Arena(
            stack=stack,
            kafka=kafka,
            postgres=postgres,
            nemesis=Nemesis(stack, seed=seed),
            witness=witness,
            clients=clients,
            workload=workload,
            history=history,
            clock=clock,
            state=state,
            say=say,
        )
        say("filling the shop")
        await workload.prepare()
        async with asyncio.TaskGroup() as background:
            running = [background.create_task(workload.run()), background.create_task(witness.run())]
            workload.flow()
            try:
                yield arena
            finally:
                for task in running:
                    task.cancel()
