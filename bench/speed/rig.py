"""The servers of a run, and for each figure a site of its own on them: databases, topics, keys, processes."""

import secrets
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from bench.speed.cpu import CpuMeter
from bench.speed.profiler import Profiler
from deploy.local.concurrency import together
from deploy.local.databases import database_url, make_databases
from deploy.local.environment import REPOSITORY, LocalSettings, inherited_environment
from deploy.local.infrastructure import start_kafka, start_postgres
from deploy.local.keys import mint_keys
from deploy.local.ports import HOST, answers_ok, free_ports
from deploy.local.process import ProcessSpecification, run_once
from deploy.local.services import API, SERVICES, Service
from deploy.local.stages import SilentStages, Stages
from deploy.local.supervisor import Supervisor
from libs.common.events.topics import ALL_TOPICS
from libs.common.messaging.topics import create_topics

_SERVICES: Mapping[str, Service] = {service.name: service for service in SERVICES}


class Site:
    """
    A shop with nothing in it: databases and topics that no other figure has written to.

    Processes are started one role each, as in production; they stop with the site.
    """

    def __init__(self, rig: "Rig", name: str, services: Sequence[str]) -> None:
        """Make nothing yet: `async with` does."""
        self.name = name
        self.services = tuple(services)
        self.topic_prefix = f"{rig.prefix}{name}."
        self.kafka_bootstrap_servers = rig.kafka_bootstrap_servers
        self.keys = rig.state / "keys"
        self.database_urls: dict[str, str] = {}
        self.urls: dict[str, str] = {}
        self._rig = rig
        self._passwords = {self._database(service): secrets.token_urlsafe(24) for service in services}
        self._running: list[str] = []
        self._copies: list[str] = []

    async def __aenter__(self) -> Self:
        await make_databases(self._rig.admin_url, self._passwords)
        self.database_urls.update({service: self._url(service) for service in self.services})
        await create_topics(
            bootstrap_servers=self.kafka_bootstrap_servers, topics=ALL_TOPICS, topic_prefix=self.topic_prefix
        )
        await together(*(self._migrate(_SERVICES[service]) for service in self.services))
        await self._write_out()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop(*self._running)
        await self._delete_topics()
        connection = await asyncpg.connect(self._rig.admin_url)
        try:
            for database in (*self._copies, *self._passwords):
                await connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
            for role in self._passwords:
                await connection.execute(f'DROP ROLE IF EXISTS "{role}"')
        finally:
            await connection.close()

    def key(self, caller: str) -> str:
        """Return the API key of a kind of caller."""
        return (self.keys / caller).read_text("utf-8").strip()

    async def copy_database(self, service: str, copy: str) -> str:
        """Copy a service's database, which nothing may be connected to, and return the URL of the copy."""
        source = self._database(service)
        name = f"{source}_{copy}"
        connection = await asyncpg.connect(self._rig.admin_url)
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}" OWNER "{source}"')
        finally:
            await connection.close()
        self._copies.append(name)
        return database_url(self._rig.admin_url, database=name, role=source, password=self._passwords[source])

    async def start(self, service: str, *roles: str, module: str | None = None) -> None:
        """Start a process for each of `roles` and wait until all are ready; `module` runs them instead of ours."""
        names = []
        for together_in_one in self._rig.spread(roles):
            specification = self._specification(_SERVICES[service], together_in_one, module)
            self._rig.supervisor.launch(specification)
            names.append(specification.name)
        self._running.extend(names)
        await self._rig.supervisor.wait_ready(*names)

    async def stop(self, *names: str) -> None:
        """Stop processes by their names, which are `<site>-<service>-<role>`."""
        self._running = [name for name in self._running if name not in names]
        await self._rig.supervisor.stop(*names)

    def roles(self, service: str, *, without: str = "") -> tuple[str, ...]:
        """Return every role of a service, each a process of its own, except `without`."""
        return tuple(role for role in (API, *_SERVICES[service].roles) if role != without)

    def process(self, service: str, role: str) -> str:
        """Return the name of a process."""
        return f"{self.name}-{service}-{role}"

    def processes(self) -> dict[str, int]:
        """Return the ids of the servers' and the site's processes, by short name, of those that run."""
        return {
            name.removeprefix(f"{self.name}-"): pid
            for name in (*self._rig.servers, *self._running)
            if (pid := self._rig.supervisor.pid(name)) is not None
        }

    def cpu_meter(self) -> CpuMeter:
        """Return a meter of the servers' and the site's processes; what it measures is profiled if the run is."""
        profiler = self._rig.profiler
        if profiler is None:
            return CpuMeter(self.processes)
        return CpuMeter(
            self.processes,
            on_start=lambda: profiler.start(self.name, self.service_processes()),
            on_end=profiler.stop,
        )

    def limit_meter(self) -> CpuMeter:
        """Return a meter for what is not ours and never profiled."""
        return CpuMeter(self.processes)

    def service_processes(self) -> dict[str, int]:
        """Return the ids of the site's processes, without those of the servers."""
        servers = set(self._rig.servers)
        return {name: pid for name, pid in self.processes().items() if name not in servers}

    async def _write_out(self) -> None:
        """Have the server write out now what the figures before this one left in its memory."""
        connection = await asyncpg.connect(self._rig.admin_url)
        try:
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    async def _delete_topics(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka_bootstrap_servers, client_id="bench-site")
        await admin.start()
        try:
            ours = [name for name in await admin.list_topics() if name.startswith(self.topic_prefix)]
            await admin.delete_topics(ours)
        finally:
            await admin.close()

    def _database(self, service: str) -> str:
        return f"{self._rig.prefix}{self.name}_{service}".replace("-", "_").replace(".", "_")

    def _url(self, service: str) -> str:
        name = self._database(service)
        return database_url(self._rig.admin_url, database=name, role=name, password=self._passwords[name])

    async def _migrate(self, service: Service) -> None:
        specification = ProcessSpecification(
            name=f"{self.name}-{service.name}-migrate",
            command=(sys.executable, "-m", service.module, "migrate"),
            folder=REPOSITORY,
            environment=self._environment(service),
        )
        await run_once(specification, self._rig.supervisor.log(specification.name))

    def _specification(self, service: Service, roles: Sequence[str], module: str | None) -> ProcessSpecification:
        port = next(iter(free_ports(["any"]).values())).number
        url = f"http://{HOST}:{port}"
        is_api = API in roles
        if is_api:
            self.urls[service.name] = url
        return ProcessSpecification(
            name=self.process(service.name, roles[0]),
            command=(sys.executable, "-m", module or service.module, *roles),
            folder=REPOSITORY,
            environment={
                **self._environment(service),
                f"{service.prefix}_HOST": HOST,
                f"{service.prefix}_{'PORT' if is_api else 'WORKER_PORT'}": str(port),
            },
            is_ready=partial(answers_ok, port, "/readyz"),
        )

    def _environment(self, service: Service) -> dict[str, str]:
        return {
            **inherited_environment(),
            "QUAYSIDE_LOG_LEVEL": "info",
            "QUAYSIDE_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "QUAYSIDE_KAFKA_TOPIC_PREFIX": self.topic_prefix,
            "QUAYSIDE_API_KEYS_FILE": str(self.keys / "keys.json"),
            # One caller sends everything here; a shop's many callers have a share each.
            "QUAYSIDE_RATE_LIMIT_READS_PER_SECOND": "0",
            "QUAYSIDE_RATE_LIMIT_WRITES_PER_SECOND": "0",
            f"{service.prefix}_DATABASE_URL": self.database_urls[service.name],
        }


class Rig:
    """PostgreSQL and Kafka for one run, as an async context manager; given servers are used instead of own ones."""

    def __init__(
        self,
        settings: LocalSettings,
        *,
        prefix: str = "",
        is_compact: bool = False,
        profiler: Profiler | None = None,
        stages: Stages | None = None,
    ) -> None:
        """
        `prefix` tells the databases and topics apart from those of others on servers that are given.

        A compact rig runs roles that are started together in one process, the API apart: enough to see that it works.
        """
        self.prefix = prefix
        self._is_compact = is_compact
        self.profiler = profiler
        self.state: Path = settings.state
        self.supervisor = Supervisor(logs=settings.state / "logs")
        self.admin_url = ""
        self.kafka_bootstrap_servers = ""
        self.servers: tuple[str, ...] = ()
        self._settings = settings
        self._stages = stages or SilentStages()
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.state.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self.supervisor)
            self.admin_url, self.kafka_bootstrap_servers = await together(
                start_postgres(self.supervisor, self._settings, self._stages),
                start_kafka(self.supervisor, self._settings, self._stages),
            )
            self.servers = self.supervisor.names
            mint_keys(self.state / "keys")
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._exits.__aexit__(exception_type, exception, traceback)

    def spread(self, roles: Sequence[str]) -> list[tuple[str, ...]]:
        """Lay roles out over processes."""
        if not self._is_compact:
            return [(role,) for role in roles]
        workers = tuple(role for role in roles if role != API)
        return [group for group in ((API,) if API in roles else (), workers) if group]

    def site(self, name: str, *services: str) -> Site:
        """Return a site with databases for `services`; its name is made of letters, digits and dashes."""
        return Site(self, name, services)
