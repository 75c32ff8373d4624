"""What it was measured on."""

import os
import platform
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import asyncpg
import msgspec

from bench.speed.statistics import median

_REPOSITORY = Path(__file__).resolve().parents[2]
_SYNCS = 200
_SYNC_BYTES = 8192
_PACKAGES = ("aiokafka", "asyncpg", "fastapi", "msgspec", "pydantic", "uvicorn", "uvloop")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """The facts that a figure depends on; `load_average` is of the last minute before the run."""

    cores: int
    processor: str
    memory_gibibytes: float
    system: str
    load_average: float
    # The median time to write 8 KiB and have them on the disk, where PostgreSQL's data is.
    fdatasync_microseconds: float
    python: str
    postgresql: str
    packages: dict[str, str]
    commit: str

    def line(self) -> str:
        """Return all that is worth a line above a table."""
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gibibytes:.0f} GiB, fdatasync"
            f" {self.fdatasync_microseconds:.0f} µs, load {self.load_average:.1f}, Python {self.python},"
            f" PostgreSQL {self.postgresql}, commit {self.commit}"
        )


async def describe_machine(*, admin_url: str, data_folder: Path) -> Machine:
    """Collect the facts; takes less than a second."""
    connection = await asyncpg.connect(admin_url)
    try:
        postgresql = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        processor=processor_name(),
        memory_gibibytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3,
        system=platform.platform(),
        load_average=os.getloadavg()[0],
        fdatasync_microseconds=fdatasync_microseconds(data_folder),
        python=platform.python_version(),
        postgresql=str(postgresql).split()[0],
        packages={name: version(name) for name in _PACKAGES},
        commit=commit(),
    )


def processor_name() -> str:
    """Return the model of the processor as the system names it."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def fdatasync_microseconds(folder: Path) -> float:
    """Write a block over and over and wait each time until it is on the disk, as a commit does."""
    sync = getattr(os, "fdatasync", os.fsync)
    block = os.urandom(_SYNC_BYTES)
    seconds = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(block)
        os.fsync(file.fileno())
        for _ in range(_SYNCS):
            started_at = perf_counter()
            file.seek(0)
            file.write(block)
            sync(file.fileno())
            seconds.append(perf_counter() - started_at)
    return median(seconds) * 1e6


def commit() -> str:
    """Return the commit that is checked out, marked if something differs from it."""
    git = shutil.which("git")
    if git is None or not (_REPOSITORY / ".git").exists():
        return "unknown"
    command = [git, "describe", "--always", "--dirty", "--abbrev=10"]
    answer = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    return answer.stdout.strip() or "unknown"
