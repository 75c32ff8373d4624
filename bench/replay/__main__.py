"""Replay a real shop's trading days through the public HTTP APIs: `python -m bench.replay`."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from bench.replay.api import Refused, Unreachable
from bench.replay.bus import BusStalled
from bench.replay.driver import Driver
from bench.replay.facts import interpret
from bench.replay.invariants import examine
from bench.replay.pace import DEFAULT_SPEED
from bench.replay.progress import Steps, shown_steps
from bench.replay.quiet import FAULTS, wait_until_quiet
from bench.replay.rows import SAMPLE_PATH, UnreadableSource, dataset_name, read_rows
from bench.replay.settings import InvalidReplaySettings, load_replay_settings
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
    except* (InvalidReplaySettings, UnreadableSource) as problems:
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
    return parser


async def _replay(options: argparse.Namespace, console: Console, clock: Clock) -> int:
    settings = load_replay_settings()
    started_at = clock.monotonic_seconds()
    with shown_steps(console) as steps:
        script = _script(options, steps)
        async with Shop(settings, dataset=script.dataset) as shop:
            played = await Driver(script, shop, steps=steps, speed=options.speed, clock=clock).play()
        movement = await wait_until_quiet(settings, steps=steps, clock=clock)
        seconds = clock.monotonic_seconds() - started_at
        with steps.step("Checking the invariants"):
            findings = await examine(settings, script=script)
    print_summary(console, script=script, played=played, movement=movement, findings=findings, seconds=seconds)
    return 0 if played.is_complete and movement.is_quiet and findings.all_hold else _FAILED


def _script(options: argparse.Namespace, steps: Steps) -> Script:
    path: Path = options.data or SAMPLE_PATH
    with steps.step(f"Reading {path.name}"):
        trading = interpret(read_rows(path))
        return write_script(trading, dataset=dataset_name(path), orders_max=options.orders)


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
