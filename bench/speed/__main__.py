"""Measure how fast it is beside the limit of this machine: `python -m bench.speed`."""

import argparse
import asyncio
import logging
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from traceback import format_exception

from rich.console import Console

from bench.replay.progress import Steps, shown_steps
from bench.speed.figures import Measuring, UnknownFigure, chosen
from bench.speed.machine import describe_machine
from bench.speed.profiler import Profiler, hot_list
from bench.speed.results import Report, Row
from bench.speed.rig import Rig
from bench.speed.scale import SMALL, Scale
from bench.speed.table import print_report
from deploy.local.environment import STATE, LocalSettings, settings_from_environment
from deploy.local.interrupts import Interrupted, Interrupts
from deploy.local.leash import die_with_parent
from deploy.local.ports import INFRASTRUCTURE_PORTS, free_ports
from deploy.local.postgres import forget_postgres
from deploy.local.preflight import check_machine, exclusive, needed_ports
from deploy.local.refusal import Refusal
from libs.common.clock import Clock, SystemClock

_FAILED = 1
_UNUSABLE = 2
_LOG_COLUMNS = 200
_FOLDER = STATE / "bench"
_PROFILES = _FOLDER / "profiles"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 means that everything could be measured, whatever the figures are."""
    options = _parser().parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if options.leashed:
        die_with_parent(signal.SIGTERM)
    console = Console() if sys.stdout.isatty() else Console(width=_LOG_COLUMNS)
    scale = replace(
        SMALL if options.small else Scale(),
        repetitions=1 if options.profile else options.repeat,
        flow_orders=options.orders,
    )
    profiler = Profiler(_PROFILES) if options.profile else None
    try:
        report = asyncio.run(_bench(chosen(options.only), scale, console, SystemClock(), profiler))
    except (Refusal, UnknownFigure) as refusal:
        sys.stderr.write(f"quayside: {refusal}\n")
        return _UNUSABLE
    except Interrupted as interrupted:
        return interrupted.exit_code
    if profiler is not None:
        # What is sampled is slowed by it: there is nothing to compare with.
        console.print("\n".join(hot_list(_PROFILES)), highlight=False, markup=False, soft_wrap=True)
    else:
        print_report(console, report)
        file = _FOLDER / f"{report.measured_at.replace(':', '')}.json"
        report.write(file)
        console.print(f"All of it, repetition by repetition: {file}", highlight=False, soft_wrap=True)
    for figure, reason in report.failures.items():
        console.print(f"{figure} could not be measured: {reason}", highlight=False, soft_wrap=True)
    return _FAILED if report.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=__doc__)
    parser.add_argument("--only", default="", metavar="FIGURES", help="names, separated by commas")
    parser.add_argument("--repeat", type=int, default=Scale().repetitions, metavar="N", help="after the warm-up")
    parser.add_argument("--profile", action="store_true", help="write flame graphs of the services instead of figures")
    parser.add_argument("--orders", type=int, default=0, metavar="N", help="orders before order-life reads memory")
    parser.add_argument("--small", action="store_true", help="tiny sizes: see that it works, not how fast it is")
    parser.add_argument("--leashed", action="store_true", help="stop when the process that started this one ends")
    return parser


async def _bench(
    figures: dict[str, Measuring], scale: Scale, console: Console, clock: Clock, profiler: Profiler | None
) -> Report:
    settings = own_settings(_FOLDER / "stack")
    check_machine(settings, needed_ports(settings))
    if profiler is not None:
        profiler.check()
    async with AsyncExitStack() as exits:
        exits.enter_context(exclusive(settings.state))
        exits.callback(_forget, settings.state)
        steps = exits.enter_context(shown_steps(console))
        rig = Rig(settings, profiler=profiler)
        interrupts = Interrupts(rig.supervisor.kill_all)
        exits.enter_context(interrupts.heeded())
        with steps.step("PostgreSQL and Kafka of this run alone"):
            await exits.enter_async_context(rig)
        machine = await describe_machine(admin_url=rig.admin_url, data_folder=settings.state)
        measured_at = clock.now().isoformat(timespec="seconds")
        rows, failures = await measure(rig, figures, scale, steps)
    return Report(measured_at=measured_at, machine=machine, repetitions=scale.repetitions, rows=rows, failures=failures)


def own_settings(state: Path) -> LocalSettings:
    """Return the settings of servers that nothing else uses, whatever the environment says about others."""
    ports = free_ports(port.name for port in INFRASTRUCTURE_PORTS)
    settings = settings_from_environment(state=state, ports=ports)
    return replace(settings, database_url=None, kafka_bootstrap_servers=None, kafka_topic_prefix="")


async def measure(
    rig: Rig, figures: dict[str, Measuring], scale: Scale, steps: Steps
) -> tuple[list[Row], dict[str, str]]:
    """Measure one figure after the other; one that fails to run is told and the others are measured."""
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name, measuring in figures.items():
        try:
            rows.extend(await measuring(rig, scale, steps))
        except Exception as error:  # noqa: BLE001 - whatever it was, it is shown beside the figures that came out
            failures[name] = "; ".join(f"{type(one).__name__}: {one}" for one in leaves(error))
            (rig.supervisor.logs / f"{name}.traceback").write_text("".join(format_exception(error)), encoding="utf-8")
    return rows, failures


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield what an exception consists of: tasks that fail together come as a group."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaves(one)
    else:
        yield error


def _forget(state: Path) -> None:
    logs = state / "logs"
    if logs.exists():
        kept = state.parent / "logs"
        shutil.rmtree(kept, ignore_errors=True)
        logs.rename(kept)
    forget_postgres(state)
    shutil.rmtree(state, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
