"""Replay a real shop's trading days through the public HTTP APIs: `python -m bench.replay`."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from pathlib import Path

from rich.console import Console

from bench.proof.comparison import Crowded, compare, require_no_others
from bench.proof.file import read_books
from bench.proof.report import print_proof
from bench.replay.api import Refused, Unreachable
from bench.replay.bus import BusStalled
from bench.replay.databases import open_databases
from bench.replay.driver import Driver
from bench.replay.facts import interpret
from bench.replay.invariants import examine
from bench.replay.pace import DEFAULT_SPEED
from bench.replay.progress import Steps, shown_steps
from bench.replay.quiet import FAULTS, wait_until_quiet
from bench.replay.rows import SAMPLE_PATH, SourceRow, UnreadableSource, dataset_name, read_rows, trading_days
from bench.replay.settings import InvalidReplaySettings, ReplaySettings, load_replay_settings
from bench.replay.shop import RowsRejected, Shop
from bench.replay.summary import print_summary
from bench.replay.timeline import Script, write_script
from libs.common.clock import Clock, SystemClock

_FAILED = 1
_UNUSABLE = 2
_LOG_COLUMNS = 160


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 means that everything was accepted and every invariant holds."""
    options = _parser().parse_args(arguments)
    # A broker that is away shows in the progress; the client's own lines about it would tear the bars.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    status = _FAILED
    try:
        status = asyncio.run(_replay(options, _console(), SystemClock()))
    except* (InvalidReplaySettings, UnreadableSource, Crowded) as problems:
        status = _UNUSABLE
        _complain(problems)
    except* (Refused, Unreachable, RowsRejected, BusStalled, *FAULTS) as problems:
        _complain(problems)
    except* KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command goes on where this one stopped\n")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--sample", action="store_true", help="the bundled two months (the default)")
    source.add_argument("--data", type=Path, metavar="PATH", help="the whole data set (.parquet, .csv or .csv.xz)")
    parser.add_argument(
        "--speed",
        type=float,
        default=DEFAULT_SPEED,
        help="seconds of event time in a real one, 0 = as fast as it goes (default: %(default)s, a day in two seconds)",
    )
    parser.add_argument("--orders", type=int, metavar="N", help="only the first N orders")
    parser.add_argument("--first-day", type=date.fromisoformat, help="only from this day on")
    parser.add_argument("--last-day", type=date.fromisoformat, help="only up to this day")
    parser.add_argument(
        "--faultless",
        action="store_true",
        help="no payment fails and nothing runs short: every invoice must end as the data says, which is proved",
    )
    return parser


async def _replay(options: argparse.Namespace, console: Console, clock: Clock) -> int:
    settings = load_replay_settings()
    started_at = clock.monotonic_seconds()
    with shown_steps(console) as steps:
        script = _script(options, steps)
        if script.is_faultless:
            async with open_databases(settings) as databases:
                await require_no_others(databases["orders"], dataset=script.dataset)
        async with Shop(settings, dataset=script.dataset, is_faultless=script.is_faultless) as shop:
            played = await Driver(script, shop, steps=steps, speed=options.speed, clock=clock).play()
        movement = await wait_until_quiet(settings, steps=steps, clock=clock, is_patient=True)
        seconds = clock.monotonic_seconds() - started_at
        with steps.step("Checking the invariants"):
            findings = await examine(settings, script=script)
    print_summary(console, script=script, played=played, movement=movement, findings=findings, seconds=seconds)
    is_proved = not script.is_faultless or await _prove(options, settings, script, console)
    return 0 if played.is_complete and movement.is_quiet and findings.all_hold and is_proved else _FAILED


async def _prove(options: argparse.Namespace, settings: ReplaySettings, script: Script, console: Console) -> bool:
    """Compare what became of the orders with what the file says, computed from it anew."""
    books = read_books(
        options.data or SAMPLE_PATH,
        first_day=options.first_day,
        last_day=options.last_day,
        orders_max=options.orders,
    )
    async with open_databases(settings) as databases:
        proof = await compare(books, databases["orders"], dataset=script.dataset)
    print_proof(console, proof)
    return proof.holds


def _script(options: argparse.Namespace, steps: Steps) -> Script:
    path: Path = options.data or SAMPLE_PATH
    with steps.step(f"Reading {path.name}"):
        rows: Iterable[SourceRow] = read_rows(path)
        dataset = dataset_name(path)
        if options.first_day or options.last_day:
            first, last = options.first_day or date.min, options.last_day or date.max
            rows, dataset = trading_days(rows, first=first, last=last), f"{dataset}-{first}-{last}"
        return write_script(interpret(rows), dataset=dataset, orders_max=options.orders, is_faultless=options.faultless)


def _console() -> Console:
    console = Console()
    # A log has no width of its own; the tables need more than a terminal's eighty columns.
    return console if console.is_terminal else Console(width=_LOG_COLUMNS)


def _complain(problems: BaseExceptionGroup[BaseException]) -> None:
    """Say once what went wrong: a hundred requests under way fail for one reason."""
    for message in dict.fromkeys(map(str, _leaves(problems))):
        sys.stderr.write(f"{message}\n")


def _leaves(problems: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for problem in problems.exceptions:
        if isinstance(problem, BaseExceptionGroup):
            yield from _leaves(problem)
        else:
            yield problem


if __name__ == "__main__":
    sys.exit(main())
