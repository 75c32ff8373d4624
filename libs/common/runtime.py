"""One process of a service: which roles it plays, and how it starts, watches itself and stops."""

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NoReturn, Protocol, TypeVar

import uvloop
from starlette.applications import Starlette

from libs.common.clock import skew_system_clock
from libs.common.db import Database, count_transient, is_transient
from libs.common.events.base import Topic
from libs.common.failpoints import failpoints
from libs.common.http.app import create_ops_app, serve
from libs.common.http.health import Health
from libs.common.messaging.topics import create_topics
from libs.common.pacing import WorkPace
from libs.common.settings import InvalidSettings, ServiceSettings, load_settings
from libs.common.telemetry.logs import configure_logging, get_logger
from libs.common.telemetry.metrics import (
    kafka_client_c_extension,
    observe_event_loop_lag,
    set_build_info,
)
from libs.common.telemetry.tracing import configure_tracing, flush_tracing

_WATCHDOG_SECONDS = 5.0
_JOB_RETRY_SECONDS_MAX = 10.0
_EXIT_SETTINGS = 2
# Batches of 4,000 orders under way are some 100,000 objects each, all of them alive: to look at them finds nothing.
_GC_OBJECTS_YOUNG = 400_000
_RESTLESS = WorkPace()

log = get_logger()


class Component(Protocol):
    """Something that runs for as long as its process: an API, a consumer, a relay, a periodic job."""

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish what is under way and return; raise to end the process."""
        ...


@dataclass
class Process:
    """What a composition root puts together for the roles it was asked for."""

    health: Health
    components: list[Component] = field(default_factory=list)
    # Run when all components have ended, in reverse order: pools and clients.
    closers: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    # Raise when the process can no longer help itself and should be replaced.
    watchdogs: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


Settings = TypeVar("Settings", bound=ServiceSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Generic[Settings]):
    """
    A service as its `bootstrap` declares it.

    `roles` are the roles that `build` knows; `migrate` is added when there are migrations. `topics` and
    `groups` are what the service owns on the bus; its `migrate` role creates their topics. `tasks` are done once when
    they are named in the place of roles.
    """

    name: str
    settings: type[Settings]
    roles: tuple[str, ...]
    build: Callable[[Settings, frozenset[str]], Process]
    migrations: Path | None = None
    topics: tuple[Topic, ...] = ()
    groups: tuple[str, ...] = ()
    tasks: Mapping[str, Callable[[Settings], Awaitable[None]]] = field(default_factory=dict)


class HttpServer:
    """An HTTP application as a component, served between the start and the end of what its routes use."""

    def __init__(
        self,
        app: Starlette,
        settings: ServiceSettings,
        *,
        port: int | None = None,
        resources: Sequence[AbstractAsyncContextManager[object]] = (),
        on_listening: Callable[[int], None] | None = None,
    ) -> None:
        """Nothing listens before `run`; `port` is `settings.port` unless given, `resources` are entered in order."""
        self.app = app
        self._settings = settings
        self._port = settings.port if port is None else port
        self._resources = tuple(resources)
        self._on_listening = on_listening

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; what was accepted is answered before the resources are closed."""
        async with AsyncExitStack() as exits:
            for resource in self._resources:
                await exits.enter_async_context(resource)
            await serve(
                self.app,
                host=self._settings.host,
                port=self._port,
                stop=stop,
                shutdown_timeout_seconds=self._settings.shutdown_timeout_seconds,
                on_listening=self._on_listening,
            )


class PeriodicJob:
    """
    Calls `work` again and again: while it reports work done as fast as `pace` allows, else after `every_seconds`.

    Work that nobody waits for has a pace that leaves it a small share of the time, so that it slows down where what
    it looks after is busy, instead of slowing that down.
    """

    def __init__(
        self, name: str, work: Callable[[], Awaitable[int]], *, every_seconds: float, pace: WorkPace = _RESTLESS
    ) -> None:
        """`work` returns how many things it did, 0 when there was nothing to do."""
        self._name = name
        self._work = work
        self._every_seconds = every_seconds
        self._pace = pace

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; passing faults are waited out, others end the process."""
        delay_seconds = self._every_seconds
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            started_at = clock()
            try:
                done = await self._work()
            except Exception as error:
                if not is_transient(error):
                    raise
                count_transient(error, place=self._name)
                log.warning("job.interrupted", job=self._name, error=repr(error))
                delay_seconds = min(max(delay_seconds, 0.1) * 2, _JOB_RETRY_SECONDS_MAX)
            else:
                rest_seconds = self._pace.rest_seconds(items=done, worked_seconds=clock() - started_at)
                delay_seconds = rest_seconds if done else max(rest_seconds, self._every_seconds)
                if not delay_seconds:
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_seconds):
                    await stop.wait()


def main(service: Service[Settings]) -> None:
    """Run the roles named on the command line in this process; never returns."""
    known = (*service.roles, *service.tasks, *(("migrate",) if service.migrations else ()))
    parser = argparse.ArgumentParser(prog=f"python -m services.{service.name}")
    parser.add_argument("roles", nargs="+", choices=known, help="one or several, in one process")
    roles = frozenset(parser.parse_args().roles)
    try:
        settings = load_settings(service.settings)
    except InvalidSettings as error:
        _refuse(service.name, error)
    configure_logging(service.name, settings.log_level, settings.log_format)
    configure_tracing(
        service.name,
        sample_ratio=settings.trace_sample_ratio,
        otlp_endpoint=settings.otlp_endpoint,
    )
    failpoints.arm(settings.failpoints)
    if failpoints.clock_skew:
        skew_system_clock(failpoints.clock_skew)
    set_build_info(service.name, settings.version)
    _check_kafka_client()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(service, settings, roles))
    except InvalidSettings as error:
        # What the settings name, such as a file, is read as the service is built.
        _refuse(service.name, error)
    finally:
        flush_tracing()
    sys.exit(0)


def _refuse(service: str, error: InvalidSettings) -> NoReturn:
    sys.stderr.write(f"{service}: invalid settings\n{error}\n")
    sys.exit(_EXIT_SETTINGS)


async def _run(service: Service[Settings], settings: Settings, roles: frozenset[str]) -> None:
    if "migrate" in roles:
        await migrate(service, settings)
    for name in roles & service.tasks.keys():
        await service.tasks[name](settings)
    remaining = roles - {"migrate"} - service.tasks.keys()
    if remaining:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        process = service.build(settings, remaining)
        _calm_garbage_collector()
        if "api" not in remaining:
            ops = create_ops_app(service.name, process.health)
            process.components.append(HttpServer(ops, settings, port=settings.worker_port))
        await run_process(process, stop, service=service.name, settings=settings)


async def migrate(service: Service[Settings], settings: Settings) -> None:
    """Bring the service's database and topics to what this code expects."""
    if service.migrations is not None:
        # Imported here: it takes an eighth of a process's start, and no other role needs it.
        from libs.common.db.migrations import upgrade  # noqa: PLC0415

        database = Database(
            settings.database_url.get_secret_value(),
            application_name=f"{service.name}-migrate",
            pool_size=1,
        )
        try:
            await upgrade(database, directory=service.migrations)
        finally:
            await database.dispose()
    await create_topics(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        topics=service.topics,
        groups=service.groups,
        topic_prefix=settings.kafka_topic_prefix,
    )
    log.info("migrate.done", service=service.name)


async def run_process(process: Process, stop: asyncio.Event, *, service: str, settings: ServiceSettings) -> None:
    """
    Run all components until `stop` is set, then give them the shutdown timeout to finish.

    The first component that raises ends the process: its supervisor starts a fresh one.
    """
    log.info("process.started", components=len(process.components))
    try:
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(observe_event_loop_lag(service)),
                group.create_task(_watch(process.watchdogs)),
            ]
            components = [group.create_task(_run_component(component, stop)) for component in process.components]
            await stop.wait()
            process.health.stopping = True
            _, unfinished = (
                await asyncio.wait(components, timeout=settings.shutdown_timeout_seconds)
                if components
                else (set(), set())
            )
            for task in (*background, *unfinished):
                task.cancel()
            if unfinished:
                log.warning("process.shutdown_timed_out", unfinished=len(unfinished))
    finally:
        for close in reversed(process.closers):
            await close()
    log.info("process.stopped")


async def _run_component(component: Component, stop: asyncio.Event) -> None:
    await component.run(stop)
    if not stop.is_set():
        msg = f"{type(component).__name__} ended by itself"
        raise RuntimeError(msg)


async def _watch(watchdogs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    while True:
        await asyncio.sleep(_WATCHDOG_SECONDS)
        for check in watchdogs:
            await check()


def _calm_garbage_collector() -> None:
    """
    Leave what lives as long as the process out of every collection, and collect less often.

    Batches make many short-lived objects and no cycles; with the default thresholds half of a reservation's time
    went into looking for some.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_OBJECTS_YOUNG, 20, 100)


def _check_kafka_client() -> None:
    try:
        from aiokafka.record import _crecords  # noqa: F401, PLC0415
    except ImportError:
        log.warning("kafka_client.slow", reason="the C record parser is missing")
        kafka_client_c_extension.set(0)
    else:
        kafka_client_c_extension.set(1)
