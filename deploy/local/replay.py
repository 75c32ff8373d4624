"""The replay of real orders as a child process that writes to the terminal itself."""

import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local.environment import REPOSITORY, inherited_environment
from deploy.local.process import LeashedProcess, ProcessSpecification


async def run_replay(arguments: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """Run the replay to its end; its exit code is 0 only if its invariants hold."""
    specification = ProcessSpecification(
        name="replay",
        command=(sys.executable, "-m", "bench.replay", *arguments),
        folder=REPOSITORY,
        environment={**inherited_environment(), **environment},
    )
    process = await LeashedProcess.start(specification, log=None)
    try:
        return await process.wait()
    finally:
        await process.stop()


def replay_arguments(*, data: Path | None, speed: str | None, proves: bool = False) -> tuple[str, ...]:
    """Choose the bundled sample unless a file is named; what `proves` is a replay in which nothing fails."""
    source = ("--data", str(data.resolve())) if data else ("--sample",)
    return (*source, *(("--speed", speed) if speed else ()), *(("--faultless",) if proves else ()))
