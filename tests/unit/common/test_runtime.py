import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette

from libs.common.http.app import PortUnavailable
from libs.common.http.health import Health
from libs.common.pacing import WorkPace
from libs.common.runtime import HttpServer, PeriodicJob, Process, run_process
from libs.common.settings import ServiceSettings

SETTINGS = ServiceSettings(
    database_url=SecretStr("postgresql://nobody@localhost/nothing"),
    api_keys_file=Path("none"),
    shutdown_timeout_seconds=0.2,
)


class Worker:
    """Runs until it is stopped, then takes its time."""

    def __init__(self, *, finishing_seconds: float = 0.0, fault: Exception | None = None) -> None:
        self.running = asyncio.Event()
        self.finished = False
        self._finishing_seconds = finishing_seconds
        self._fault = fault

    async def run(self, stop: asyncio.Event) -> None:
        self.running.set()
        if self._fault is not None:
            raise self._fault
        await stop.wait()
        await asyncio.sleep(self._finishing_seconds)
        self.finished = True


class TestRunProcess:
    async def test_lets_components_finish_and_then_closes_in_reverse(self) -> None:
        worker, closed = Worker(finishing_seconds=0.01), list[str]()

        async def close_pool() -> None:
            closed.append("pool")

        async def close_client() -> None:
            closed.append("client")

        process = Process(Health(), components=[worker], closers=[close_pool, close_client])
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(run_process(process, stop, service="test", settings=SETTINGS))
            await worker.running.wait()
            stop.set()

        assert worker.finished
        assert process.health.stopping
        assert closed == ["client", "pool"]

    async def test_gives_up_on_a_component_that_does_not_finish_in_time(self) -> None:
        worker = Worker(finishing_seconds=60)
        stop = asyncio.Event()
        stop.set()

        await run_process(Process(Health(), components=[worker]), stop, service="test", settings=SETTINGS)

        assert not worker.finished

    async def test_ends_when_a_component_fails(self) -> None:
        process = Process(Health(), components=[Worker(), Worker(fault=LookupError("broken"))])

        with pytest.raises(ExceptionGroup) as caught:
            await run_process(process, asyncio.Event(), service="test", settings=SETTINGS)

        assert caught.group_contains(LookupError, match="broken")


class TestHttpServer:
    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with socket.create_server(("127.0.0.1", 0)) as other:
            yield other.getsockname()[1]

    async def test_listens_on_the_port_of_the_settings(self, taken: int) -> None:
        server = HttpServer(Starlette(), SETTINGS.model_copy(update={"port": taken}))

        with pytest.raises(PortUnavailable, match=f":{taken}: "):
            await server.run(asyncio.Event())

    async def test_listens_on_a_port_of_its_own_if_it_is_given_one(self, taken: int) -> None:
        app, stop, listening = Starlette(), asyncio.Event(), list[int]()
        app.state.health = Health()

        def note(port: int) -> None:
            listening.append(port)
            stop.set()

        settings = SETTINGS.model_copy(update={"port": taken})
        # 0 is one too: it leaves the choice to the system.
        await HttpServer(app, settings, port=0, on_listening=note).run(stop)

        assert len(listening) == 1
        assert listening != [taken]


class TestPeriodicJob:
    async def test_goes_on_at_once_while_there_is_work(self) -> None:
        stop, left = asyncio.Event(), [3, 2, 1, 0]

        async def work() -> int:
            done = left.pop(0)
            if not left:
                stop.set()
            return done

        # An hour between rounds: the test ends only because nobody waits while there is work.
        async with asyncio.timeout(60):
            await PeriodicJob("drain", work, every_seconds=3600).run(stop)

        assert left == []

    async def test_rests_between_rounds_as_long_as_its_share_of_the_time_asks_for(self) -> None:
        stop, clock = asyncio.Event(), asyncio.get_running_loop().time
        begun: list[float] = []

        async def work() -> int:
            begun.append(clock())
            if len(begun) == 2:
                stop.set()
            await asyncio.sleep(0.01)
            return 1

        await PeriodicJob("audit", work, every_seconds=0, pace=WorkPace(share_max=0.1)).run(stop)

        assert begun[1] - begun[0] >= 0.1

    async def test_waits_out_a_passing_fault_and_ends_on_another(self) -> None:
        faults: list[Exception] = [ConnectionRefusedError(), LookupError("broken")]

        async def work() -> int:
            raise faults.pop(0)

        with pytest.raises(LookupError):
            await PeriodicJob("job", work, every_seconds=0.001).run(asyncio.Event())
