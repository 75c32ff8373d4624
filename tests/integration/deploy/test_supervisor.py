import asyncio
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest

from deploy.local.ports import accepts_connections, free_ports
from deploy.local.process import NotReadyInTime, ProcessEnded, ProcessSpecification, run_once
from deploy.local.supervisor import CrashLoop, Supervisor, UnknownProcess
from tests.support.eventually import eventually

REPOSITORY = Path(__file__).parents[3]

# Listens on its first argument and says on which signal it stopped.
SERVER = dedent("""
    import signal, socket, sys
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    def stop(number, frame):
        print(sys.argv[2], "stopped", flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print(sys.argv[2], "started", flush=True)
    while True:
        listener.accept()[0].close()
""")
DEAF_SERVER = SERVER.replace("sys.exit(0)", "pass")


def server(name: str, folder: Path, *, code: str = SERVER, stop_timeout_seconds: float = 20) -> ProcessSpecification:
    port = free_ports([name])[name].number
    return ProcessSpecification(
        name=name,
        command=(sys.executable, "-c", code, str(port), name),
        folder=folder,
        is_ready=partial(accepts_connections, port),
        stop_timeout_seconds=stop_timeout_seconds,
    )


def failing(name: str, folder: Path) -> ProcessSpecification:
    async def never() -> bool:
        return False

    return ProcessSpecification(
        name=name,
        command=(sys.executable, "-c", "raise SystemExit('the lamp is out')"),
        folder=folder,
        is_ready=never,
    )


async def is_gone(pid: int) -> bool:
    return not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestSupervisor:
    async def test_restarts_a_process_that_is_killed(self, tmp_path: Path) -> None:
        async with Supervisor(logs=tmp_path / "logs") as supervisor:
            await supervisor.start(server("lighthouse", tmp_path))
            before = supervisor.pid("lighthouse")

            supervisor.kill("lighthouse")
            await supervisor.wait_ready("lighthouse")

            assert supervisor.pid("lighthouse") not in (before, None)
            assert supervisor.restarts("lighthouse") == 1

    async def test_does_not_take_kills_for_crashes(self, tmp_path: Path) -> None:
        async with Supervisor(logs=tmp_path / "logs", crashes_max=1) as supervisor:
            await supervisor.start(server("lighthouse", tmp_path))

            for _ in range(3):
                supervisor.kill("lighthouse")
                await supervisor.wait_ready()

            assert supervisor.restarts("lighthouse") == 3

    async def test_gives_up_on_a_crash_loop_and_shows_the_end_of_the_log(self, tmp_path: Path) -> None:
        breakwater = server("breakwater", tmp_path)

        async def run() -> None:
            async with Supervisor(logs=tmp_path / "logs", crashes_max=1) as supervisor:
                await supervisor.start(breakwater)
                await supervisor.start(failing("lighthouse", tmp_path))

        with pytest.raises(CrashLoop, match="the lamp is out"):
            await run()

        assert not await breakwater.is_ready()

    async def test_stops_the_last_started_first(self, tmp_path: Path) -> None:
        order = tmp_path / "logs" / "order"
        async with Supervisor(logs=order.parent) as supervisor:
            for name in ("lighthouse", "breakwater"):
                # Both write to one log, so that it tells who stopped first.
                supervisor.log(name).symlink_to(order)
                await supervisor.start(server(name, tmp_path))

        assert order.read_text().splitlines()[-2:] == ["breakwater stopped", "lighthouse stopped"]

    async def test_keeps_stopped_what_is_stopped_until_it_is_resumed(self, tmp_path: Path) -> None:
        async with Supervisor(logs=tmp_path / "logs") as supervisor:
            await supervisor.start(server("lighthouse", tmp_path))

            await supervisor.stop("lighthouse")
            stopped = supervisor.pid("lighthouse")
            await supervisor.resume("lighthouse")

            assert stopped is None
            assert supervisor.pid("lighthouse") is not None

    async def test_kills_what_does_not_stop_in_time(self, tmp_path: Path) -> None:
        async with Supervisor(logs=tmp_path / "logs") as supervisor:
            deaf = server("foghorn", tmp_path, code=DEAF_SERVER, stop_timeout_seconds=0.2)
            await supervisor.start(deaf)
            pid = supervisor.pid("foghorn")

            await supervisor.stop("foghorn")

            assert pid is not None
            assert not is_alive(pid)

    async def test_says_what_was_not_ready_in_time(self, tmp_path: Path) -> None:
        async def never() -> bool:
            return False

        idle = ProcessSpecification(
            name="lighthouse",
            command=("/bin/sleep", "60"),
            folder=tmp_path,
            is_ready=never,
            ready_timeout_seconds=0.2,
        )
        async with Supervisor(logs=tmp_path / "logs") as supervisor:
            with pytest.raises(NotReadyInTime, match="lighthouse was not ready"):
                await supervisor.start(idle)

    async def test_names_the_processes_there_are(self, tmp_path: Path) -> None:
        async with Supervisor(logs=tmp_path / "logs") as supervisor:
            await supervisor.start(server("lighthouse", tmp_path))

            with pytest.raises(UnknownProcess, match="there are lighthouse"):
                supervisor.kill("submarine")


class TestRunOnce:
    async def test_shows_the_end_of_the_log_of_what_failed(self, tmp_path: Path) -> None:
        with pytest.raises(ProcessEnded, match=r"ended with code 1\n.*the lamp is out"):
            await run_once(failing("lighthouse", tmp_path), tmp_path / "log")


KILLED_SUPERVISOR = dedent("""
    import asyncio, sys
    from pathlib import Path
    from deploy.local.process import ProcessSpecification
    from deploy.local.supervisor import Supervisor

    async def main():
        folder = Path(sys.argv[1])
        async with Supervisor(logs=folder) as supervisor:
            await supervisor.start(ProcessSpecification(
                name="orphan", command=("/bin/sleep", "60"), folder=folder,
            ))
            while supervisor.pid("orphan") is None:
                await asyncio.sleep(0.05)
            print(supervisor.pid("orphan"), flush=True)
            await asyncio.sleep(60)

    asyncio.run(main())
""")


class TestLeash:
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its orphanage")
    async def test_ends_the_processes_of_a_supervisor_that_is_killed(self, tmp_path: Path) -> None:
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            KILLED_SUPERVISOR,
            str(tmp_path),
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert supervisor.stdout is not None
        orphan = int(await supervisor.stdout.readline())

        supervisor.send_signal(signal.SIGKILL)
        await supervisor.wait()

        await eventually(partial(is_gone, orphan))
