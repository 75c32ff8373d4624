"""Every process dies once while real orders flow through the shop, and nothing is lost or done twice."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.environment import REPOSITORY, LocalSettings, inherited_environment
from deploy.local.ports import free_ports
from deploy.local.services import Spread, service_processes
from deploy.local.stack import LocalStack
from libs.common.events.topics import INVENTORY_RESERVATION, LOGISTICS_SHIPMENT

ORDERS = 300
# The orders of about six trading days, spread over the time that the kills take.
EVENT_SECONDS_PER_SECOND = 4_500
SIMULATED_DAY_SECONDS = 0.5
REPLAY_SECONDS_MAX = 400
SAGA_GROUP = "orders.saga"
SAGA_TOPICS = (INVENTORY_RESERVATION, LOGISTICS_SHIPMENT)

# What the run must have met at least once, or it proved nothing about it.
SOMETIMES = {
    "consumer_duplicates_dropped_total",
    "consumer_rebalances_total",
    "consumer_retries_total",
    "relay_takeovers_total",
}
_SAMPLE = re.compile(r"^(?P<name>[a-z_]+)(?:\{[^}]*\})? (?P<value>[0-9.e+]+)$", re.MULTILINE)


class Witness:
    """Adds up what processes counted before they died."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.totals: Counter[str] = Counter()

    async def note(self, process: str) -> None:
        """Add the counters of a process that is about to end."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            text = (await client.get(f"{self._stack.addresses.process_urls[process]}/metrics")).text
        for sample in _SAMPLE.finditer(text):
            if sample["name"] in SOMETIMES:
                self.totals[sample["name"]] += round(float(sample["value"]))


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[LocalStack]:
    # PostgreSQL does not run as root: the account it takes instead must get in.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    names = ["postgres", "kafka", "kafka-controller", *(one.name for one in service_processes(Spread.ROLES))]
    settings = LocalSettings(state=tmp_path, ports=free_ports(names))
    async with LocalStack(
        settings,
        spread=Spread.ROLES,
        service_environment={"LOGISTICS_SIMULATOR_SECONDS_PER_DAY": str(SIMULATED_DAY_SECONDS)},
    ) as stack:
        yield stack


async def replay(stack: LocalStack, log: Path) -> int:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.replay",
            f"--orders={ORDERS}",
            f"--speed={EVENT_SECONDS_PER_SECOND}",
            cwd=REPOSITORY,
            env={**inherited_environment(), **stack.addresses.environment},
            stdout=output,
            stderr=output,
        )
        try:
            return await asyncio.wait_for(process.wait(), REPLAY_SECONDS_MAX)
        finally:
            if process.returncode is None:
                process.kill()


async def lose_offsets(stack: LocalStack) -> None:
    """Make the saga's group forget how far it has read, so that it meets everything again."""
    await stack.stop("orders-consumer")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.addresses.kafka_bootstrap_servers, group_id=SAGA_GROUP, enable_auto_commit=False
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.name, number) for topic in SAGA_TOPICS for number in range(topic.partitions)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()
    await stack.resume("orders-consumer")


async def take_overs(stack: LocalStack, service: str) -> int:
    connection = await asyncpg.connect(stack.addresses.database_urls[service])
    try:
        return int(await connection.fetchval("SELECT count(*) FROM relay_leases"))
    finally:
        await connection.close()


async def kill_everything_once(stack: LocalStack, witness: Witness) -> None:
    services = [name for name in stack.names if name not in {"postgres", "kafka"}]
    for victim in services:
        await witness.note(victim)
        stack.kill(victim)
        await stack.wait_ready(victim)
    await lose_offsets(stack)
    for victim in ("kafka", "postgres"):
        stack.kill(victim)
        await stack.wait_ready()
    for survivor in services:
        await witness.note(survivor)


@pytest.mark.timeout(REPLAY_SECONDS_MAX + 120)
async def test_nothing_is_lost_or_done_twice_when_every_process_is_killed_once(
    stack: LocalStack, tmp_path: Path
) -> None:
    log, witness = tmp_path / "replay.log", Witness(stack)

    async with asyncio.TaskGroup() as group:
        replayed = group.create_task(replay(stack, log))
        await kill_everything_once(stack, witness)

    # The replay ends with the invariants, each computed from the databases and the topics.
    assert replayed.result() == 0, log.read_text(encoding="utf-8", errors="replace")
    for service in ("catalog", "inventory", "orders", "logistics"):
        assert await take_overs(stack, service) > 1
    never = {name for name in SOMETIMES if not witness.totals[name]}
    assert not never, f"never happened in this run: {never}; seen {witness.totals}"
