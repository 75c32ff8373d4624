"""`python -m deploy.local`: the stack on one machine, from the command line."""

import argparse
import asyncio
import errno
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

from rich.console import Console

from deploy.local import commands
from deploy.local.environment import LocalSettings, settings_from_environment
from deploy.local.interrupts import INTERRUPTED_CODE, Interrupted
from deploy.local.leash import die_with_parent
from deploy.local.ports import INFRASTRUCTURE_PORTS, free_ports
from deploy.local.preflight import disk_is_full
from deploy.local.process import NotReadyInTime, ProcessEnded
from deploy.local.refusal import Refusal
from deploy.local.replay import replay_arguments
from deploy.local.supervisor import CrashLoop

FAILED_CODE = 1


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    root.add_argument("--leashed", action="store_true", help="stop when the process that started this one ends")
    subparsers = root.add_subparsers(dest="command", required=True)
    run = subparsers.add_parser("run", help="everything, and the replay of the sample")
    run.add_argument("--no-replay", action="store_true", help="start with no orders")
    run.add_argument("--exit", action="store_true", help="stop after the replay, with its code")
    infra = subparsers.add_parser("infra", help="PostgreSQL and Kafka alone")
    infra.add_argument("--state", type=Path, help="where their data is")
    infra.add_argument("--free-ports", action="store_true", help="take whatever ports are free")
    infra.add_argument("--environment-file", type=Path, help="written when both are ready")
    replay = subparsers.add_parser("replay", help="send orders to the stack that runs")
    replay.add_argument("--data", type=Path, help="the full data set instead of the sample")
    replay.add_argument("--speed", help="as the replay takes it")
    replay.add_argument("--prove", action="store_true", help="nothing fails: every order must end as the data says")
    subparsers.add_parser("clean", help="forget all data of the stack")
    return root


def chosen_command(
    options: argparse.Namespace, settings: LocalSettings, console: Console
) -> Coroutine[None, None, int]:
    match options.command:
        case "run":
            return commands.run(settings, console, replays=not options.no_replay, stays=not options.exit)
        case "infra":
            return commands.infra(settings, console, environment_file=options.environment_file)
        case "replay":
            arguments = replay_arguments(data=options.data, speed=options.speed, proves=options.prove)
            return commands.replay(settings, arguments)
        case _:
            return commands.clean(settings)


def main() -> int:
    options = parser().parse_args()
    if options.leashed:
        die_with_parent(signal.SIGTERM)
    state: Path | None = getattr(options, "state", None)
    ports = None
    if getattr(options, "free_ports", False):
        ports = free_ports(port.name for port in INFRASTRUCTURE_PORTS)
    try:
        settings = settings_from_environment(state=state, ports=ports)
        return run_to_end(options, settings)
    except Refusal as refusal:
        return complain(str(refusal))


def run_to_end(options: argparse.Namespace, settings: LocalSettings) -> int:
    """Run the command, and say in words why it failed if it did for a reason that is known."""
    try:
        code = asyncio.run(chosen_command(options, settings, Console()))
    except Interrupted as interrupted:
        return interrupted.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED_CODE
    except (CrashLoop, NotReadyInTime, ProcessEnded) as failure:
        return complain(full_disk(settings) or str(failure))
    except OSError as failure:
        reason = full_disk(settings)
        if reason is None and failure.errno != errno.ENOSPC:
            raise
        return complain(reason or str(failure))
    reason = full_disk(settings) if code else None
    return complain(reason) if reason else code


def full_disk(settings: LocalSettings) -> str | None:
    """Say that the disk is full if it is: whatever else failed then, failed for that."""
    if disk_is_full(settings.state):
        return f"the disk that holds {settings.state} is full: free some of it and start again"
    return None


def complain(message: str) -> int:
    sys.stderr.write(f"quayside: {message}\n")
    return FAILED_CODE


if __name__ == "__main__":
    sys.exit(main())
