"""What `python -m deploy.local` can be asked for."""

import asyncio
import json
import shlex
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console

from deploy.local.concurrency import together
from deploy.local.environment import LocalSettings
from deploy.local.infrastructure import start_kafka, start_postgres
from deploy.local.interrupts import Interrupts
from deploy.local.postgres import forget_postgres
from deploy.local.preflight import check_machine, exclusive, needed_ports
from deploy.local.private_files import write_private
from deploy.local.refusal import Refusal
from deploy.local.replay import run_replay
from deploy.local.services import Spread, service_processes
from deploy.local.stack import Addresses, LocalStack
from deploy.local.stages import shown_stages
from deploy.local.supervisor import Supervisor

ADDRESSES_FILE = "stack.json"
REPLAYED_MARKER = "replayed"
JARS_FOLDER = "jars"


async def run(settings: LocalSettings, console: Console, *, replays: bool, stays: bool) -> int:
    """Start everything, replay the sample, and stay up until told to stop."""
    processes = tuple(service_processes(Spread.LAPTOP))
    check_machine(
        settings,
        (*needed_ports(settings), *(settings.ports[process.name] for process in processes)),
    )
    async with AsyncExitStack() as exits:
        exits.enter_context(exclusive(settings.state))
        with shown_stages(console) as stages:
            stack = LocalStack(settings, stages=stages)
            interrupts = Interrupts(stack.supervisor.kill_all)
            exits.enter_context(interrupts.heeded())
            await exits.enter_async_context(stack)
        addresses_file = settings.state / ADDRESSES_FILE
        write_private(addresses_file, json.dumps(stack.addresses.environment, indent=2))
        exits.callback(addresses_file.unlink, missing_ok=True)
        code = await replay_sample(settings, stack.addresses, console) if replays else 0
        show_addresses(stack.addresses, settings, console)
        if stays:
            console.print("Everything is up. Ctrl-C stops it.", highlight=False)
            interrupts.exit_code = code
            await asyncio.Event().wait()
        return code


async def replay_sample(settings: LocalSettings, addresses: Addresses, console: Console) -> int:
    marker = settings.state / REPLAYED_MARKER
    arguments: tuple[str, ...] = ("--sample",)
    if marker.exists():
        # Nothing will move, so there is no pace to keep.
        arguments = ("--sample", "--speed=0")
        console.print(
            "This stack has seen the sample before: the replay sends the same requests with the"
            " same idempotency keys, and they change nothing. `make clean` forgets them.",
            highlight=False,
            soft_wrap=True,
        )
    code = await run_replay(arguments, addresses.environment)
    if code == 0:
        marker.touch()
    return code


async def infra(settings: LocalSettings, console: Console, *, environment_file: Path | None) -> int:
    """Start PostgreSQL and Kafka alone, say where they are, and stay up until told to stop."""
    check_machine(settings, needed_ports(settings))
    async with AsyncExitStack() as exits:
        exits.enter_context(exclusive(settings.state))
        supervisor = Supervisor(logs=settings.state / "logs")
        interrupts = Interrupts(supervisor.kill_all)
        exits.enter_context(interrupts.heeded())
        await exits.enter_async_context(supervisor)
        with shown_stages(console) as stages:
            database_url, bootstrap_servers = await together(
                start_postgres(supervisor, settings, stages),
                start_kafka(supervisor, settings, stages),
            )
        lines = (
            f"export DATABASE_URL={shlex.quote(database_url)}\n"
            f"export KAFKA_BOOTSTRAP_SERVERS={shlex.quote(bootstrap_servers)}\n"
        )
        if environment_file:
            write_private(environment_file, lines)
        else:
            console.print(lines, end="", highlight=False, soft_wrap=True)
        interrupts.exit_code = 0
        await asyncio.Event().wait()
    return 0


async def replay(settings: LocalSettings, arguments: tuple[str, ...]) -> int:
    """Replay against the stack that runs from the same state folder."""
    file = settings.state / ADDRESSES_FILE
    if not file.exists():
        raise Refusal("nothing to replay against: start the stack with `make run` first")
    return await run_replay(arguments, json.loads(file.read_text(encoding="utf-8")))


async def clean(settings: LocalSettings) -> int:
    """Forget what the stack has stored, but keep Kafka's jars."""
    if not settings.state.exists():
        return 0
    with exclusive(settings.state):
        forget_postgres(settings.state)
        for entry in settings.state.iterdir():
            if entry.is_dir() and entry.name != JARS_FOLDER:
                shutil.rmtree(entry)
            elif not entry.is_dir():
                entry.unlink()
    return 0


def show_addresses(addresses: Addresses, settings: LocalSettings, console: Console) -> None:
    lines = ["", *(service_line(addresses, name) for name in addresses.service_urls)]
    lines.append(f"Kafka        {addresses.kafka_bootstrap_servers}")
    lines.append(f"API keys     {addresses.keys}")
    lines.append(f"logs         {settings.state / 'logs'}")
    # Unwrapped, so that an address can be copied whole from a narrow terminal or a log.
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def service_line(addresses: Addresses, name: str) -> str:
    api, worker = addresses.service_urls[name], addresses.process_urls[f"{name}-worker"]
    return f"{name:12} API docs {api}/docs   metrics {api}/metrics {worker}/metrics"
