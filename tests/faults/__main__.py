"""Run the fault matrix against a fresh stack: `python -m tests.faults`."""

import argparse
import asyncio
import logging
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.local.environment import STATE
from deploy.local.interrupts import Interrupted
from deploy.local.leash import die_with_parent
from deploy.local.postgres import forget_postgres
from deploy.local.preflight import check_disk, exclusive
from deploy.local.process import NotReadyInTime
from deploy.local.refusal import Refusal
from deploy.local.supervisor import CrashLoop
from libs.common.clock import Clock, SystemClock
from tests.faults.arena import open_arena
from tests.faults.plan import ROUNDS
from tests.faults.quiet import SilentSteps
from tests.faults.rounds import Report, play
from tests.faults.rows import ROWS
from tests.faults.witness import SOMETIMES

_FAILED = 1
_UNUSABLE = 2
_OPERATIONS_PER_SECOND = 5.0
_LOG_COLUMNS = 180


class UnknownRow(Exception):
    """There is no such row among those that are injected here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 means that no row broke and every rare path was taken."""
    options = _parser().parse_args(arguments)
    if options.leashed:
        die_with_parent(signal.SIGTERM)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console() if sys.stdout.isatty() else Console(width=_LOG_COLUMNS)
    try:
        rounds = _chosen(options.only)
        with exclusive_folder(options.state) as folder:
            report, paths = asyncio.run(_run(rounds, folder, seed=options.seed, console=console, clock=SystemClock()))
    except (Refusal, UnknownRow) as refusal:
        sys.stderr.write(f"quayside: {refusal}\n")
        return _UNUSABLE
    except (CrashLoop, NotReadyInTime) as failure:
        sys.stderr.write(f"quayside: {failure}\n")
        return _FAILED
    except Interrupted as interrupted:
        return interrupted.exit_code
    _print(console, report, paths)
    never = [name for name, count in paths.items() if not count] if not options.only else []
    if never:
        console.print(f"never taken: {', '.join(never)}", style="bold red")
    return _FAILED if report.broken or never else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", default="", metavar="ROWS", help="F1,F16: these, in one round")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="repeats what is wanted and drawn")
    parser.add_argument("--state", type=Path, default=STATE / "faults", help="where the stack's data and logs are")
    parser.add_argument("--leashed", action="store_true", help="stop when the process that started this one ends")
    return parser


def _chosen(only: str) -> Sequence[Sequence[str]]:
    if not only:
        return ROUNDS
    faults = [name.strip().upper() for name in only.split(",")]
    if unknown := [name for name in faults if name not in ROWS]:
        raise UnknownRow(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    return [faults]


@contextmanager
def exclusive_folder(state: Path) -> Iterator[Path]:
    """Return an empty folder that nobody else uses; its logs stay."""
    state.mkdir(parents=True, exist_ok=True)
    check_disk(state)
    with ExitStack() as exits:
        exits.enter_context(exclusive(state))
        stack = state / "stack"
        forget_postgres(stack)
        shutil.rmtree(stack, ignore_errors=True)
        yield stack
        forget_postgres(stack)
        shutil.rmtree(stack / "kafka", ignore_errors=True)


async def _run(
    rounds: Sequence[Sequence[str]], folder: Path, *, seed: int, console: Console, clock: Clock
) -> tuple[Report, Mapping[str, int]]:
    started_at = clock.monotonic_seconds()

    def say(text: str) -> None:
        console.print(
            f"{clock.monotonic_seconds() - started_at:6.1f} s  {text}", highlight=False, markup=False, soft_wrap=True
        )

    say(f"seed {seed}")
    async with open_arena(
        folder, seed=seed, clock=clock, operations_per_second=_OPERATIONS_PER_SECOND, cache=STATE, say=say
    ) as arena:
        report = await play(arena, rounds, SilentSteps())
        return report, arena.witness.sometimes()


def _print(console: Console, report: Report, paths: Mapping[str, int]) -> None:
    table = Table(title="Fault matrix", title_justify="left", show_lines=False)
    for column in ("", "fault", "expected", "verdict", "seen", "shows"):
        table.add_column(column, overflow="fold")
    style = {"held": "green", "broken": "bold red", "not run": "yellow"}
    for one in report.results:
        table.add_row(
            one.row.id, one.row.title, one.row.expectation, f"[{style[one.outcome]}]{one.outcome}[/]",
            one.seen, " ".join(one.row.invariants),
        )  # fmt: skip
    console.print(table)
    invariants = Table(title="Invariants after the last round", title_justify="left")
    for column in ("", "invariant", "holds", "figures"):
        invariants.add_column(column, overflow="fold")
    for judged in sorted(report.judged, key=lambda one: int(one.invariant[1:])):
        verdict = judged.verdict
        invariants.add_row(judged.invariant, verdict.invariant, "yes" if verdict.holds else "NO", verdict.figures)
    console.print(invariants)
    rare = Table(title="Rare paths", title_justify="left")
    for column in ("sometimes", "times"):
        rare.add_column(column)
    for path in SOMETIMES:
        rare.add_row(path.name, f"{paths.get(path.name, 0):,}")
    console.print(rare)
    slowest = max(report.recovery_seconds, default=0.0)
    console.print(
        f"{report.operations:,} requests; {len(report.results)} rows, {len(report.broken)} broken; "
        f"quiet again after {slowest:.0f} s at most",
        highlight=False,
    )


if __name__ == "__main__":
    sys.exit(main())
