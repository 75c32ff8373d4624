"""Disks that are full: a server's data is moved to a small one for a while."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.arena import RECOVERY_SECONDS_MAX, Arena
from tests.faults.matrix import NotRun, expect, row
from tests.faults.workload import SKUS
from tests.support.eventually import eventually

_MEBIBYTE = 1024 * 1024
_SPARE_BYTES = 48 * _MEBIBYTE
_BLOCK_BYTES = 512
_FULL_SECONDS = 8.0
_BALLAST = "ballast"


@row(
    "F24", "PostgreSQL's disk is full", expects="503 until there is room, nothing acknowledged is lost", shows=("I10",)
)
async def postgres_disk_full(arena: Arena) -> str:
    async with arena.database("postgres") as operator:
        folder = Path(await operator.fetchval("SHOW data_directory"))
    async with small_disk(arena, "postgres", folder):
        await arena.ready()
        fill(folder)

        async def status() -> int:
            return (await arena.clients.attempt(arena.workload.order_wish({SKUS[2]: 1}))).status

        await eventually(status, lambda answer: answer == 503, timeout_seconds=RECOVERY_SECONDS_MAX)
        await asyncio.sleep(_FULL_SECONDS)
        (folder / _BALLAST).unlink()
        started_at = arena.clock.monotonic_seconds()
        await arena.ready()
        answered = await eventually(status, lambda answer: answer == 201, timeout_seconds=RECOVERY_SECONDS_MAX)
        seconds = arena.clock.monotonic_seconds() - started_at
    return f"503 while it was full, {answered} {seconds:.1f} s after there was room"


@row("F38", "the broker's disk is full", expects="orders are accepted all the same", shows=("I5", "I6", "I7", "I12"))
async def broker_disk_full(arena: Arena) -> str:
    folder = arena.state / "kafka" / "data"
    async with small_disk(arena, "kafka", folder):
        await arena.ready()
        fill(folder)
        for _ in range(10):
            attempt = await arena.workload.place_order({SKUS[2]: 1})
            expect(attempt.is_accepted, f"an order was refused: {attempt}")
            await asyncio.sleep(1)
        waiting = await arena.until("orders", "SELECT count(*) FROM outbox_events")
        (folder / _BALLAST).unlink()
        await arena.ready()
    return f"{waiting} events of orders waited"


@asynccontextmanager
async def small_disk(arena: Arena, server: str, folder: Path) -> AsyncIterator[None]:
    """
    Have a server's data on a disk of its own with little room, in memory, for the length of the block.

    :raises NotRun: where nobody may mount one.
    """
    if os.geteuid() != 0:
        raise NotRun("only root may mount a small disk")
    async with arena.nemesis.stopped(server):
        await asyncio.to_thread(_move_to_small_disk, folder)
    try:
        yield
    finally:
        (folder / _BALLAST).unlink(missing_ok=True)
        async with arena.nemesis.stopped(server):
            await asyncio.to_thread(_move_back, folder)


def fill(folder: Path) -> None:
    """Leave no room on the disk that a folder is on."""
    with (folder / _BALLAST).open("wb", buffering=0) as ballast:
        for size in (_MEBIBYTE, 4096):
            while _is_written(ballast.fileno(), size):
                pass


def _is_written(file: int, size: int) -> bool:
    try:
        return os.write(file, bytes(size)) == size
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False


def _move_to_small_disk(folder: Path) -> None:
    large = _beside(folder)
    folder.rename(large)
    folder.mkdir()
    size = sum(one.lstat().st_blocks for one in large.rglob("*")) * _BLOCK_BYTES + _SPARE_BYTES
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "quayside-small-disk", str(folder)],  # noqa: S607 - on PATH
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        folder.rmdir()
        large.rename(folder)
        raise NotRun(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    _copy(large, folder)


def _move_back(folder: Path) -> None:
    large = _beside(folder)
    shutil.rmtree(large)
    large.mkdir()
    _copy(folder, large)
    # Lazily: who has just ended may not have closed its last file there.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607
    folder.rmdir()
    large.rename(folder)


def _copy(source: Path, target: Path) -> None:
    # With owners, modes and holes as they are.
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)  # noqa: S607


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-large")
