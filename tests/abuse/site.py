"""The five services as they are deployed: a process each, on a database of its own, on topics of its own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import httpx

from deploy.local import leash
from libs.common.data_keys import create_data_keys
from libs.common.events.topics import ALL_TOPICS
from libs.common.messaging.dead_letters import dead_letter_topic
from libs.common.messaging.producer import BusProducer
from libs.common.messaging.topics import create_topics
from libs.common.runtime import Service
from tests.abuse.keyring import Keyring
from tests.abuse.routes import SERVICES
from tests.support.infrastructure import REPOSITORY, Infrastructure
from tests.support.kafka import TestBus, delete_topics
from tests.support.postgres import fresh_database

# Carriers that make up scans by themselves have no place beside what an attacker makes up.
IDLE_ROLES = frozenset({"simulator"})

# How long a body may take to arrive; shorter than in production, so that it can be waited for.
RECEIVE_SECONDS = 5.0
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 30.0
RETRY_SECONDS = 0.5
# A run that is killed must not leave services behind.
_LEASH = (sys.executable, leash.__file__, str(os.getpid()), str(signal.SIGTERM.value), "-1", "-1")


class ServiceDidNotStart(Exception):
    """A process ended, or did not become ready in time; the message holds the end of its log."""


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """One service that serves: where, under which process id, and where it writes its log."""

    service: Service[Any]
    url: str
    process_id: int
    database_url: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def resident_bytes(self) -> int:
        """Memory that the process has in RAM now."""
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def open_descriptors(self) -> int:
        """How many files and connections the process has open now."""
        return sum(1 for _ in Path(f"/proc/{self.process_id}/fd").iterdir())

    def client(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=120, trust_env=False, transport=_Patient(), **options
        )


class _Patient(httpx.AsyncHTTPTransport):
    """Asks again, as callers do, while a service says 503: on a busy machine that passes, what an attack does stays."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        clock = asyncio.get_running_loop().time
        gives_up_at = clock() + PATIENCE_SECONDS
        while True:
            answer = await super().handle_async_request(request)
            is_repeatable = isinstance(request.stream, httpx.ByteStream)
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE or not is_repeatable or clock() > gives_up_at:
                return answer
            await answer.aclose()
            await asyncio.sleep(RETRY_SECONDS)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The whole shop under attack, and its keys."""

    services: Mapping[str, RunningService]
    keys: Keyring
    infrastructure: Infrastructure
    topic_prefix: str

    @asynccontextmanager
    async def bus(self) -> AsyncIterator[TestBus]:
        """Open the bus as somebody who may write to every topic."""
        servers = self.infrastructure.kafka_bootstrap_servers
        producer = BusProducer(bootstrap_servers=servers, topic_prefix=self.topic_prefix, client_id="abuse")
        async with producer:
            yield TestBus(servers, self.topic_prefix, producer)

    def logs(self) -> str:
        """Return everything that any service has logged."""
        return "\n".join(one.log.read_text("utf-8", "replace") for one in self.services.values())


@contextlib.contextmanager
def open_site(infrastructure: Infrastructure, folder: Path) -> Iterator[Site]:
    """Start the five services, ready to serve; stop them at the end."""
    keys = Keyring.issue(folder / "keys.json")
    create_data_keys(folder / "data-keys.json")
    prefix = f"abuse-{uuid4().hex[:12]}."
    groups = [group for service in SERVICES for group in service.groups]
    with asyncio.Runner() as runner:
        exits = AsyncExitStack()
        try:
            created = runner.run(_make_topics(infrastructure, prefix, groups))
            exits.push_async_callback(delete_topics, infrastructure.kafka_bootstrap_servers, created)
            urls = runner.run(_make_databases(infrastructure, exits))
            with _processes(infrastructure, folder, prefix, urls) as services:
                yield Site(services=services, keys=keys, infrastructure=infrastructure, topic_prefix=prefix)
        finally:
            runner.run(exits.aclose())


async def _make_topics(infrastructure: Infrastructure, prefix: str, groups: list[str]) -> list[str]:
    return await create_topics(
        bootstrap_servers=infrastructure.kafka_bootstrap_servers,
        topics=[replace(topic, partitions=1) for topic in ALL_TOPICS],
        groups=groups,
        topic_prefix=prefix,
    )


async def _make_databases(infrastructure: Infrastructure, exits: AsyncExitStack) -> dict[str, str]:
    urls = {}
    for service in SERVICES:
        database = await exits.enter_async_context(fresh_database(infrastructure, service.name, service.migrations))
        await database.dispose()
        urls[service.name] = database.url
    return urls


@contextlib.contextmanager
def _processes(
    infrastructure: Infrastructure, folder: Path, prefix: str, urls: Mapping[str, str]
) -> Iterator[dict[str, RunningService]]:
    children: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service in SERVICES:
            roles = [role for role in service.roles if role not in IDLE_ROLES]
            with (folder / f"{service.name}.log").open("wb") as log:
                children[service.name] = subprocess.Popen(
                    [*_LEASH, sys.executable, "-m", f"services.{service.name}", *roles],
                    cwd=REPOSITORY,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={
                        "QUAYSIDE_ENVIRONMENT": "abuse",
                        "QUAYSIDE_REQUEST_RECEIVE_TIMEOUT_SECONDS": str(RECEIVE_SECONDS),
                        "QUAYSIDE_API_KEYS_FILE": str(folder / "keys.json"),
                        "QUAYSIDE_DATA_KEYS_FILE": str(folder / "data-keys.json"),
                        "ORDERS_ERASURE_DELAY_SECONDS": "3",
                        # Some counts wait for somebody to approve them.
                        "INVENTORY_COUNT_LIMIT_UNITS": "1000",
                        "QUAYSIDE_KAFKA_BOOTSTRAP_SERVERS": infrastructure.kafka_bootstrap_servers,
                        "QUAYSIDE_KAFKA_TOPIC_PREFIX": prefix,
                        f"{service.name.upper()}_PORT": "0",
                        f"{service.name.upper()}_DATABASE_URL": urls[service.name],
                    },
                )
        yield {
            service.name: _wait_until_ready(service, children[service.name], folder, urls[service.name])
            for service in SERVICES
        }
        for name, child in children.items():
            if child.poll() is not None:
                raise ServiceDidNotStart(f"{name} ended during the tests: {_end_of(folder / f'{name}.log')}")
    finally:
        _stop(children)


def _wait_until_ready(
    service: Service[Any], child: subprocess.Popen[bytes], folder: Path, database_url: str
) -> RunningService:
    log = folder / f"{service.name}.log"
    deadline = monotonic() + START_SECONDS_MAX
    while child.poll() is None and monotonic() < deadline:
        port = _listening_port(log)
        if port is not None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=60, trust_env=False).is_success:
                    return RunningService(
                        service=service,
                        url=f"http://127.0.0.1:{port}",
                        process_id=child.pid,
                        database_url=database_url,
                        log=log,
                    )
        sleep(POLL_SECONDS)
    raise ServiceDidNotStart(f"{service.name}: {_end_of(log)}")


def _listening_port(log: Path) -> int | None:
    for line in log.read_text("utf-8", "replace").splitlines():
        if '"http.listening"' in line:
            port: int = json.loads(line)["port"]
            return port
    return None


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:]


def _stop(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for child in children.values():
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children.values():
        try:
            child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def dead_letter_topics() -> list[str]:
    """Return the dead-letter topics of every group."""
    return [dead_letter_topic(group) for service in SERVICES for group in service.groups]
