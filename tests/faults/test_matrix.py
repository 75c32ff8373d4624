"""The shortest run of the fault matrix: whatever dies while a shop goes on, nothing is lost or done twice."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.environment import STATE
from libs.common.clock import SystemClock
from tests.faults.arena import Arena, open_arena
from tests.faults.quiet import SilentSteps
from tests.faults.rounds import play
from tests.faults.witness import SOMETIMES
from tests.faults.workload import SKUS

SECONDS_MAX = 600
OPERATIONS_PER_SECOND = 5.0
AT_ONCE = 6
# Servers that die, connections that are cut, everything again, and what is no event.
ROWS = ("F16", "F29", "F19", "F35", "F40", "F42")
# What these rows make sure of; whether a batch is under way when a server dies is chance in so few seconds.
PATHS = {"duplicates dropped", "rebalance", "relay take-over", "dead letter"}


async def kill_every_process_once(arena: Arena) -> None:
    for start in range(0, len(arena.services), AT_ONCE):
        victims = arena.services[start : start + AT_ONCE]
        await asyncio.gather(*(arena.witness.look(name) for name in victims))
        await asyncio.gather(*(arena.nemesis.kill_and_wait(name) for name in victims))


async def found_when_planted(arena: Arena) -> set[str]:
    """Break what the checker is there for, and return what it finds."""
    async with arena.database("inventory") as inventory:
        await inventory.execute("UPDATE stock_levels SET on_hand = on_hand + 1 WHERE sku = $1", SKUS[0])
    async with arena.database("orders") as orders:
        await orders.execute(
            "UPDATE payments SET refunded_minor = refunded_minor + 1 WHERE order_id = "
            "(SELECT order_id FROM payments WHERE captured_minor > refunded_minor LIMIT 1)"
        )
    first = next(iter(arena.history.accepted("order").values()))
    arena.history.note(replace(first, key="an order that was acknowledged and is lost"))
    arena.injected.add("a record that never came to the dead letters")
    return {judged.invariant for judged in await arena.judge() if not judged.verdict.holds}


@pytest.mark.timeout(SECONDS_MAX)
async def test_nothing_is_lost_or_done_twice_whatever_dies(tmp_path: Path) -> None:
    # PostgreSQL does not run as root: the account it takes instead must get in.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    lines: list[str] = []

    async with open_arena(
        tmp_path / "stack",
        seed=20,
        clock=SystemClock(),
        operations_per_second=OPERATIONS_PER_SECOND,
        cache=STATE,
        say=lines.append,
    ) as arena:
        await kill_every_process_once(arena)
        report = await play(arena, [ROWS], SilentSteps())
        taken = arena.witness.sometimes()
        planted = await found_when_planted(arena)

    log = "\n".join(lines)
    assert not report.broken, log
    assert {result.row.id for result in report.results if result.outcome == "held"} == set(ROWS), log
    assert report.judged
    assert planted >= {"I2", "I4", "I10", "I11"}
    assert {path.name for path in SOMETIMES} >= PATHS
    assert not {name for name in PATHS if not taken[name]}, f"never taken; {taken}"
