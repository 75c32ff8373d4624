"""The whole stack: infrastructure, databases, topics, services, each ready before the next."""

import json
import secrets
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from deploy.local.concurrency import together
from deploy.local.databases import database_url, make_databases
from deploy.local.environment import REPOSITORY, LocalSettings, inherited_environment
from deploy.local.infrastructure import start_kafka, start_postgres
from deploy.local.keys import DATA_KEYS_FILE, mint_keys
from deploy.local.migrations import MigrationRecord, servers_identity
from deploy.local.ports import HOST, answers_ok, free_ports
from deploy.local.private_files import write_private
from deploy.local.process import ProcessSpecification, run_once
from deploy.local.services import (
    SERVICES,
    Service,
    ServiceProcess,
    Spread,
    service_processes,
)
from deploy.local.stages import SilentStages, Stages
from deploy.local.supervisor import Supervisor
from libs.common.data_keys import create_data_keys
from libs.common.events.topics import ALL_TOPICS
from libs.common.messaging.topics import create_topics

# Less than the supervisor's patience, so that a slow stop is the service's own and not a kill.
SHUTDOWN_SECONDS = 15


class StackNotStarted(Exception):
    """The stack has no addresses before it is entered."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Everything a client of the running stack needs; what `environment` turns into variables."""

    admin_url: str
    kafka_bootstrap_servers: str
    kafka_topic_prefix: str
    service_urls: Mapping[str, str]
    process_urls: Mapping[str, str]
    database_urls: Mapping[str, str]
    keys: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the replay and the tests read."""
        return {
            "QUAYSIDE_KAFKA_BOOTSTRAP_SERVERS": self.kafka_bootstrap_servers,
            "QUAYSIDE_KAFKA_TOPIC_PREFIX": self.kafka_topic_prefix,
            "QUAYSIDE_KEYS_DIR": str(self.keys),
            **{f"{name.upper()}_URL": url for name, url in self.service_urls.items()},
            **{f"{name.upper()}_DATABASE_URL": url for name, url in self.database_urls.items()},
        }


class LocalStack:
    """
    The stack as an async context manager: entered when all is ready, left when all has stopped.

    Every process has a name (`postgres`, `kafka`, `orders-api`, `orders-worker`, or
    `orders-relay` and the like with `Spread.ROLES`) and can be killed, stopped and resumed by it.
    """

    def __init__(
        self,
        settings: LocalSettings,
        *,
        spread: Spread = Spread.LAPTOP,
        stages: Stages | None = None,
        service_environment: Mapping[str, str] | None = None,
        crashes_max: int = 5,
    ) -> None:
        self._settings = settings
        self._processes = tuple(service_processes(spread))
        self._stages = stages or SilentStages()
        self._service_environment = service_environment or {}
        self._exits = AsyncExitStack()
        self.supervisor = Supervisor(logs=settings.state / "logs", crashes_max=crashes_max)
        self._addresses: Addresses | None = None

    async def __aenter__(self) -> Self:
        self._settings.state.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self.supervisor)
            # Services stop all at once, before what they need stops in turn.
            exits.push_async_callback(self._stop_services)
            await self._start()
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._exits.__aexit__(exception_type, exception, traceback)

    @property
    def addresses(self) -> Addresses:
        """Where everything is; known once the stack has been entered."""
        if self._addresses is None:
            raise StackNotStarted
        return self._addresses

    @property
    def names(self) -> tuple[str, ...]:
        return self.supervisor.names

    def kill(self, name: str) -> None:
        """SIGKILL a process; the supervisor restarts it. Returns at once."""
        self.supervisor.kill(name)

    async def stop(self, *names: str) -> None:
        """Stop processes and leave them stopped."""
        await self.supervisor.stop(*names)

    async def resume(self, name: str) -> None:
        """Start a stopped process again and wait until it is ready."""
        await self.supervisor.resume(name)

    async def restart(self, name: str, environment: Mapping[str, str] | None = None) -> None:
        """Stop a service's process and start it again, with variables of its own besides those of the stack."""
        [process] = [one for one in self._processes if one.name == name]
        specification = self._specification(process)
        variables = {**specification.environment, **(environment or {})}
        await self.supervisor.restart(replace(specification, environment=variables))

    async def add_replica(self, name: str) -> str:
        """Start a second process with the roles of `name`, wait until it is ready, and return its name."""
        [process] = [one for one in self._processes if one.name == name]
        replica = replace(process, label=f"{process.label}-replica")
        if replica.name in self.names:
            await self.supervisor.resume(replica.name)
            return replica.name
        [port] = free_ports([replica.name]).values()
        self._settings = replace(self._settings, ports={**self._settings.ports, replica.name: port})
        self._processes = (*self._processes, replica)
        self._addresses = replace(
            self.addresses,
            process_urls={**self.addresses.process_urls, replica.name: f"http://{HOST}:{port.number}"},
        )
        await self.supervisor.start(self._specification(replica))
        return replica.name

    async def wait_ready(self, *names: str) -> None:
        """Wait until the named processes, or all, answer that they are ready."""
        await self.supervisor.wait_ready(*names)

    async def _start(self) -> None:
        admin_url, bootstrap_servers = await together(
            start_postgres(self.supervisor, self._settings, self._stages),
            start_kafka(self.supervisor, self._settings, self._stages),
        )
        with self._stages.stage("Databases and keys"):
            self._addresses = await self._prepare(admin_url, bootstrap_servers)
        with self._stages.stage("Migrations and topics"):
            # Every topic first: a service also reads those of others.
            await create_topics(
                bootstrap_servers=bootstrap_servers,
                topics=ALL_TOPICS,
                topic_prefix=self._settings.kafka_topic_prefix,
            )
            await self._migrate()
        with self._stages.stage(f"{len(self._processes)} service processes"):
            for process in self._processes:
                self.supervisor.launch(self._specification(process))
            await self.supervisor.wait_ready()

    async def _prepare(self, admin_url: str, bootstrap_servers: str) -> Addresses:
        passwords = kept_passwords(self._settings.state / "database-passwords.json")
        await make_databases(admin_url, passwords)
        keys = self._settings.state / "keys"
        mint_keys(keys)
        create_data_keys(keys / DATA_KEYS_FILE)
        ports = self._settings.ports
        return Addresses(
            admin_url=admin_url,
            kafka_bootstrap_servers=bootstrap_servers,
            kafka_topic_prefix=self._settings.kafka_topic_prefix,
            service_urls={
                process.service.name: f"http://{HOST}:{ports[process.name].number}"
                for process in self._processes
                if process.is_api
            },
            process_urls={process.name: f"http://{HOST}:{ports[process.name].number}" for process in self._processes},
            database_urls={
                name: database_url(admin_url, database=name, role=name, password=password)
                for name, password in passwords.items()
            },
            keys=keys,
        )

    async def _migrate(self) -> None:
        servers = await servers_identity(self._settings, self.addresses.admin_url)
        record = MigrationRecord(self._settings.state, servers)
        due = [service for service in SERVICES if not record.has(service.name)]
        await together(*(self._migrate_service(service) for service in due))
        for service in due:
            record.add(service.name)

    async def _migrate_service(self, service: Service) -> None:
        name = f"{service.name}-migrate"
        specification = ProcessSpecification(
            name=name,
            command=service_command(service, "migrate"),
            folder=REPOSITORY,
            environment=self._environment(service),
        )
        await run_once(specification, self.supervisor.log(name))

    def _specification(self, process: ServiceProcess) -> ProcessSpecification:
        service, port = process.service, self._settings.ports[process.name].number
        variable = "PORT" if process.is_api else "WORKER_PORT"
        return ProcessSpecification(
            name=process.name,
            command=service_command(service, *process.roles),
            folder=REPOSITORY,
            environment={
                **self._environment(service),
                f"{service.prefix}_HOST": HOST,
                f"{service.prefix}_{variable}": str(port),
            },
            is_ready=partial(answers_ok, port, "/readyz"),
        )

    def _environment(self, service: Service) -> dict[str, str]:
        return {
            "QUAYSIDE_LOG_LEVEL": "info",
            **inherited_environment(),
            # The days that are replayed here lie further back than a warehouse's clock is ever wrong.
            "INVENTORY_EVENT_AGE_YEARS_MAX": "30",
            # A replay of last week's state must still be recognised as the same one.
            "QUAYSIDE_IDEMPOTENCY_KEY_LIFETIME_HOURS": "87600",
            **self._service_environment,
            "QUAYSIDE_KAFKA_BOOTSTRAP_SERVERS": self._services_kafka,
            "QUAYSIDE_KAFKA_TOPIC_PREFIX": self.addresses.kafka_topic_prefix,
            "QUAYSIDE_API_KEYS_FILE": str(self.addresses.keys / "keys.json"),
            "QUAYSIDE_DATA_KEYS_FILE": str(self.addresses.keys / DATA_KEYS_FILE),
            "QUAYSIDE_SHUTDOWN_TIMEOUT_SECONDS": str(SHUTDOWN_SECONDS),
            f"{service.prefix}_DATABASE_URL": self._services_database_url(service),
        }

    @property
    def _services_kafka(self) -> str:
        detour = self._settings.detour
        return f"{HOST}:{detour.kafka}" if detour else self.addresses.kafka_bootstrap_servers

    def _services_database_url(self, service: Service) -> str:
        url = urlsplit(self.addresses.database_urls[service.name])
        detour = self._settings.detour
        if detour is None:
            return url.geturl()
        return url._replace(netloc=f"{url.netloc.rpartition(':')[0]}:{detour.postgres}").geturl()

    async def _stop_services(self) -> None:
        running = set(self.supervisor.names)
        await self.supervisor.stop(*(one.name for one in self._processes if one.name in running))


def service_command(service: Service, *roles: str) -> tuple[str, ...]:
    return (sys.executable, "-m", service.module, *roles)


def kept_passwords(file: Path) -> dict[str, str]:
    """Return a password for each service's role, made on the first start."""
    passwords: dict[str, str] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    missing = {one.name: secrets.token_urlsafe(24) for one in SERVICES if one.name not in passwords}
    if missing:
        passwords |= missing
        write_private(file, json.dumps(passwords, indent=2))
    return passwords
