"""Orders from placed to confirmed through all services: how many a second, how soon, and with how much memory."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from bench.replay.progress import Step, Steps
from bench.speed.backlog import publish_backlog
from bench.speed.cpu import resident_mebibytes
from bench.speed.http_load import Loaded, OpenLoop
from bench.speed.isolation import Isolated
from bench.speed.placed_orders import order_requests
from bench.speed.polling import until
from bench.speed.repetition import checked
from bench.speed.results import MEBIBYTES, Row, Sample, Series, Target
from bench.speed.rig import Rig, Site
from bench.speed.scale import Scale
from bench.speed.statistics import histogram, latency_of
from bench.speed.stock_world import announced_levels, announced_warehouses, stock_up
from deploy.local.services import SERVICES
from libs.common.clock import SystemClock
from libs.common.events.orders import OrderConfirmed
from libs.common.events.topics import ORDERS_ORDER

_CONNECTIONS: Final = 64
_CREATED: Final = 201
_RATE_FACTOR: Final = 1.25
_SHARE_OF_SUSTAINED: Final = 0.7
# A rate is kept up if so few orders took longer than this, seen from the moment each was due.
_KEPT_UP_MS: Final = 2_000.0
_CONFIRMED_SECONDS_MAX: Final = 120.0
_BOUNDS_MS: Final = (25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 2_000)
_KEPT_UP: Final = (
    f"each rate {_RATE_FACTOR:g} times the one before; kept up: 99 % are confirmed on the bus within"
    f" {_KEPT_UP_MS / 1000:g} s"
)
# Moves parcels where no warehouse and no carrier does; never in production.
_SIMULATOR: Final = "simulator"
_CONFIRMED: Final = "SELECT count(*) FROM order_timeline WHERE stage = 'confirmed'"
_IDS: Final = "SELECT id, reference FROM orders WHERE split_part(reference, '-', 1) = $1"


class NoRateKeptUp(Exception):
    """Even the lowest rate was too much."""


@dataclass(frozen=True, slots=True)
class Offered:
    """Orders that were posted at fixed times; `started_at` is when the first was due, in seconds of the epoch."""

    loaded: Loaded
    started_at: float


async def offer_orders(
    url: str, *, key: str, rate: float, operations: int, sku_count: int, seed: int, connections: int
) -> Offered:
    """Post orders at a fixed rate."""
    requests = order_requests(operations, sku_count=sku_count, seed=seed, path="/v1/orders", key=key)
    load = OpenLoop(url, requests, rate=rate, connections=connections)
    loaded = await load.run()
    started_at = SystemClock().now().timestamp() - (perf_counter() - load.started_at)
    return Offered(loaded, started_at)


class _Flow:
    """The running shop, and one load after the other."""

    def __init__(self, site: Site, isolated: Isolated, scale: Scale, database: asyncpg.Connection) -> None:
        self.site = site
        self._isolated = isolated
        self._scale = scale
        self._database = database
        self.placed = 0
        self.latencies: list[float] = []
        self._loads = 0

    async def offer(self, rate: float, *, seconds: float) -> Sample:
        """Offer orders and wait until all are confirmed; the latency is that from due to confirmed."""
        self._loads += 1
        operations = max(1, round(rate * seconds))
        topic = _OrderTopic(self.site)
        offsets = await topic.ends()
        meter = self.site.cpu_meter()
        meter.start()
        offered = await self._isolated.run(
            offer_orders,
            self.site.urls["orders"],
            key=self.site.key("storefront"),
            rate=rate,
            operations=operations,
            sku_count=self._scale.reservation_skus,
            seed=self._loads,
            connections=_CONNECTIONS,
        )
        self.placed += operations
        await until(self._all_are_confirmed, seconds=_CONFIRMED_SECONDS_MAX, what="every order is confirmed")
        used = meter.used_seconds()
        answered = checked(offered.loaded, cpu_seconds=by_service(used), status=_CREATED)
        confirmed_at = await topic.confirmed_since(offsets, count=operations)
        rows = await self._database.fetch(_IDS, str(self._loads))
        self.latencies = [
            confirmed_at[row["id"]] - offered.started_at - int(row["reference"].partition("-")[2]) / rate
            for row in rows
        ]
        return Sample(
            operations=operations,
            seconds=max(confirmed_at.values()) - offered.started_at,
            cpu_seconds=answered.cpu_seconds,
            latency=latency_of(self.latencies),
            extra={"offered": rate, "answered_p99_ms": answered.latency.p99_ms if answered.latency else 0},
        )

    async def _all_are_confirmed(self) -> bool:
        return int(await self._database.fetchval(_CONFIRMED)) >= self.placed


async def placed_to_confirmed(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Raise the rate until it is not kept up, and measure at 70 % of what was; no parcel leaves meanwhile."""
    async with _shop(rig, scale, steps, name="order-flow", without=_SIMULATOR) as flow:
        with steps.step("Orders from placed to confirmed") as step:
            sustained = await _sustained(flow, scale, step)
            # What was confirmed a second, not what was offered: some of that was still waiting at the end.
            rate = sustained.rate * _SHARE_OF_SUSTAINED
            calm, latencies = await _repeated(flow, rate, scale, step)
    return [
        Row(
            figure="order-flow sustained",
            title="orders placed to confirmed, sustained",
            unit="orders",
            ours=Series(name="all services", samples=[sustained]),
            targets=[Target(kind="rate", value=300)],
            conditions=f"offered at fixed times for {scale.flow_seconds:g} s, {_KEPT_UP}; every service, a process for"
            " each role",
        ),
        Row(
            figure="order-flow latency",
            title="orders placed to confirmed, at 70 % of it",
            unit="orders",
            ours=calm,
            targets=[Target(kind="p99_ms", value=1_000)],
            histogram=histogram(latencies, bounds_ms=_BOUNDS_MS),
            conditions=f"{rate:.0f} orders/s offered, counted from when each was due until its confirmation is on the"
            " bus",
        ),
    ]


async def placed_to_settled(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """
    Raise the rate until it is not kept up while parcels leave and arrive as fast as orders come in.

    Then every process's memory is read.
    """
    async with _shop(rig, scale, steps, name="order-life") as flow:
        with steps.step("Orders while parcels of as many arrive") as step:
            before_mebibytes = memory(flow.site)
            started_at = perf_counter()
            sustained = await _sustained(flow, scale, step)
            rate = sustained.rate * _SHARE_OF_SUSTAINED
            if flow.placed < scale.flow_orders:
                step.note(f"{scale.flow_orders - flow.placed:,} orders more at {rate:.0f}/s")
                await flow.offer(rate, seconds=(scale.flow_orders - flow.placed) / rate)
            after_mebibytes = memory(flow.site)
            seconds = perf_counter() - started_at
    return [
        Row(
            figure="order-life sustained",
            title="the same while parcels of as many arrive",
            unit="orders",
            ours=Series(name="all services", samples=[sustained]),
            conditions=f"as above, {_KEPT_UP}; the simulator has every parcel delivered within seconds",
        ),
        _memory_row(before_mebibytes, after_mebibytes, orders=flow.placed, seconds=seconds),
    ]


@asynccontextmanager
async def _shop(rig: Rig, scale: Scale, steps: Steps, *, name: str, without: str = "") -> AsyncIterator[_Flow]:
    """Run every role of every service but one, with stock."""
    services = [service.name for service in SERVICES]
    async with rig.site(name, *services) as site, Isolated() as isolated:
        await stock_up(site.database_urls["inventory"], sku_count=scale.reservation_skus)
        await publish_backlog(site, [*announced_warehouses(), *announced_levels(scale.reservation_skus)])
        with steps.step("Every process of every service"):
            for service in services:
                await site.start(service, *site.roles(service, without=without))
        database = await asyncpg.connect(site.database_urls["orders"])
        try:
            yield _Flow(site, isolated, scale, database)
        finally:
            await database.close()


async def _sustained(flow: _Flow, scale: Scale, step: Step) -> Sample:
    """
    Return the load at the highest rate that was kept up.

    :raises NoRateKeptUp: if there is none, however low.
    """
    # The first orders meet cold caches and pools.
    await flow.offer(scale.flow_rate_first, seconds=scale.flow_seconds)
    kept_up: Sample | None = None
    rate = scale.flow_rate_first
    for _ in range(scale.flow_rates_max):
        sample = await flow.offer(rate, seconds=scale.flow_seconds)
        p99_ms = sample.latency.p99_ms if sample.latency else 0
        step.note(f"{rate:.0f} orders/s: p99 {p99_ms:,.0f} ms")
        if p99_ms <= _KEPT_UP_MS:
            kept_up = sample
            rate *= _RATE_FACTOR
        elif kept_up is None:
            rate /= 2
        else:
            break
    if kept_up is None:
        raise NoRateKeptUp(f"{2 * rate:g} orders/s are not confirmed in time")
    return kept_up


async def _repeated(flow: _Flow, rate: float, scale: Scale, step: Step) -> tuple[Series, list[float]]:
    samples, latencies = [], []
    for _ in range(scale.repetitions):
        samples.append(await flow.offer(rate, seconds=scale.flow_seconds))
        latencies.extend(flow.latencies)
        step.note(f"{rate:.0f} orders/s")
    return Series(name="all services", samples=samples), latencies


def memory(site: Site) -> dict[str, float]:
    """Return the memory in use of each service process, in MiB."""
    sizes = {name: resident_mebibytes(pid) for name, pid in site.service_processes().items()}
    return {name: size for name, size in sizes.items() if size is not None}


def _memory_row(before: Mapping[str, float], after: Mapping[str, float], *, orders: int, seconds: float) -> Row:
    sizes = ", ".join(f"{name} {before.get(name, 0):.0f} to {size:.0f}" for name, size in sorted(after.items()))
    extra = {f"{name} after": size for name, size in after.items()}
    extra |= {f"{name} before": size for name, size in before.items()}
    if after:
        extra[MEBIBYTES] = max(after.values())
    return Row(
        figure="memory",
        title="memory of the largest process",
        unit="orders",
        ours=Series(
            name="all services", samples=[Sample(operations=orders, seconds=seconds, cpu_seconds={}, extra=extra)]
        ),
        targets=[Target(kind="mebibytes", value=250)],
        conditions=f"MiB before and after {orders:,} orders: {sizes}",
    )


def by_service(cpu_seconds: Mapping[str, float]) -> dict[str, float]:
    """Add up the processes of each service."""
    services = {service.name for service in SERVICES}
    totals: defaultdict[str, float] = defaultdict(float)
    for name, seconds in cpu_seconds.items():
        service = name.partition("-")[0]
        totals[service if service in services else name] += seconds
    return dict(totals)


class _OrderTopic:
    """The orders' own events on the bus."""

    def __init__(self, site: Site) -> None:
        self.site = site
        name = site.topic_prefix + ORDERS_ORDER.name
        self._partitions = [TopicPartition(name, number) for number in range(ORDERS_ORDER.partitions)]

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self.site.kafka_bootstrap_servers, client_id="bench-orders", enable_auto_commit=False
        )

    async def ends(self) -> Mapping[TopicPartition, int]:
        consumer = self._consumer()
        await consumer.start()
        try:
            return dict(await consumer.end_offsets(self._partitions))
        finally:
            await consumer.stop()

    async def confirmed_since(self, offsets: Mapping[TopicPartition, int], *, count: int) -> dict[UUID, float]:
        """Return when each order was confirmed, in seconds of the epoch; wait until there are `count`."""
        confirmed: dict[UUID, float] = {}
        consumer = self._consumer()
        await consumer.start()
        try:
            consumer.assign(self._partitions)
            for partition, offset in offsets.items():
                consumer.seek(partition, offset)

            async def read() -> bool:
                fetched = await consumer.getmany(timeout_ms=200, max_records=5_000)
                confirmed.update(_confirmations([record for records in fetched.values() for record in records]))
                return len(confirmed) >= count

            await until(read, seconds=_CONFIRMED_SECONDS_MAX, what="every confirmation is on the bus")
        finally:
            await consumer.stop()
        return confirmed


def _confirmations(records: Sequence["ConsumerRecord[bytes, bytes]"]) -> dict[UUID, float]:
    wanted = ("ce_type", OrderConfirmed.type.encode())
    return {UUID(record.key.decode()): record.timestamp / 1000 for record in records if wanted in tuple(record.headers)}
