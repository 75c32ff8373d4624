"""PostgreSQL's disk is lost: everything comes back from a base backup and the log that was copied away meanwhile."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from deploy.local.postgres import packaged_programs
from tests.faults.arena import Arena
from tests.faults.matrix import expect

_RECEIVER: Final = "pg_receivewal"
_IS_SYNCHRONOUS: Final = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
_ORDERS: Final = "SELECT count(*) FROM orders"
_WORKING_SECONDS: Final = 6.0


async def lose_the_disk(arena: Arena) -> str:
    """
    Do what docs/operations.md says for a shop that can lose nothing, kill the server, and leave nothing of its data.

    Whether anything is missing afterwards is for the checker to say: every client remembers what it was told.
    """
    async with arena.database("postgres") as operator:
        data = Path(await operator.fetchval("SHOW data_directory"))
    # Beside the data: the account that the server runs as can read there, which it cannot elsewhere.
    archive, base = data.parent / "wal-archive", data.parent / "base-backup"
    archive.mkdir()
    async with _copied_away(arena, archive):
        await _program("pg_basebackup", arena, "--checkpoint=fast", "--wal-method=none", f"--pgdata={base}")
        backed_up = await arena.value("orders", _ORDERS)
        await asyncio.sleep(_WORKING_SECONDS)
        await arena.until("orders", _ORDERS, lambda count: count > backed_up)
        pid = arena.nemesis.pid("postgres")
        os.kill(pid, signal.SIGKILL)
        started_at = arena.clock.monotonic_seconds()
        async with arena.nemesis.stopped("postgres"):
            await asyncio.to_thread(_restore, base, archive, data)
    await arena.ready()
    seconds = arena.clock.monotonic_seconds() - started_at
    async with arena.database("postgres") as operator:
        timeline = await operator.fetchval("SELECT timeline_id FROM pg_control_checkpoint()")
    restored = await arena.value("orders", _ORDERS)
    expect(restored > backed_up, "nothing came back beyond the base backup")
    expect(timeline > 1, "it was not restored, it went on as it was")
    return f"{backed_up} orders in the base backup, {restored} back {seconds:.0f} s after the disk was lost"


@asynccontextmanager
async def _copied_away(arena: Arena, archive: Path) -> AsyncIterator[None]:
    """Have every commit wait until its log is copied to another folder."""
    url = arena.stack.addresses.admin_url
    receiver = await asyncio.create_subprocess_exec(
        str(packaged_programs() / _RECEIVER), "--synchronous", "--no-loop", f"--directory={archive}", f"--dbname={url}",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with arena.database("postgres") as operator:
            await operator.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{_RECEIVER}'")
            await operator.execute("SELECT pg_reload_conf()")
        await arena.until("postgres", _IS_SYNCHRONOUS)
        yield
    finally:
        with suppress(ProcessLookupError):
            receiver.terminate()
        await receiver.wait()


def _restore(base: Path, archive: Path, data: Path) -> None:
    """Put the base backup where the data was, and say where the log is."""
    owner = data.stat()
    shutil.rmtree(data)
    # What the receiver was writing to when the server died is whole up to the last commit that anybody was told of.
    for partial in archive.glob("*.partial"):
        partial.rename(partial.with_suffix(""))
    shutil.move(base, data)
    (data / "recovery.signal").touch()
    with (data / "postgresql.auto.conf").open("a", encoding="ascii") as settings:
        settings.write(
            f"restore_command = 'cp \"{archive}/%f\" \"%p\"'\nsynchronous_standby_names = ''\nhot_standby = off\n"
        )
    for path in (data, *data.rglob("*"), archive, *archive.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)
    data.chmod(owner.st_mode & 0o777)


async def _program(name: str, arena: Arena, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        str(packaged_programs() / name),
        f"--dbname={arena.stack.addresses.admin_url}",
        *arguments,
        stderr=subprocess.PIPE,
    )
    _, errors = await process.communicate()
    expect(process.returncode == 0, f"{name}: {errors.decode(errors='replace')[:500]}")
