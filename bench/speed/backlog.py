"""Work that waits on the bus, and how fast a consumer group clears it."""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Self

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from bench.replay.bus import count_records
from bench.speed.results import Sample
from bench.speed.rig import Site
from libs.common.events.base import Envelope, Topic, encode
from libs.common.messaging.producer import BusProducer

_PUBLISH_RECORDS = 5_000
_POLL_SECONDS = 0.02
_DRAIN_SECONDS_MAX = 240.0


class NotDrained(Exception):
    """The consumers did not clear the backlog in time."""


async def publish_backlog(site: Site, envelopes: Sequence[Envelope]) -> None:
    """Put events on the bus, in order."""
    async with BusProducer(
        bootstrap_servers=site.kafka_bootstrap_servers, topic_prefix=site.topic_prefix, client_id="bench-backlog"
    ) as producer:
        for start in range(0, len(envelopes), _PUBLISH_RECORDS):
            await producer.publish([encode(envelope) for envelope in envelopes[start : start + _PUBLISH_RECORDS]])


async def drain(
    site: Site, *, service: str, consumer_group: str, topic: Topic, published: Topic, operations: int
) -> Sample:
    """
    Start the service's consumer over a backlog of `operations` events of `topic` and measure until all are applied.

    The clock starts at the first offsets that the group commits, which it does after the database's commit: what was
    applied by then is not counted, nor the start of the process paid for. The rate of applying ends with the last
    offset; the processor time ends when the relay has published all that followed, whose records of `published` are
    the rate `published`.
    """
    watch = _GroupWatch(site, group=consumer_group, topic=topic)
    database = await asyncpg.connect(site.database_urls[service])
    meter = site.cpu_meter()
    published_before = await _records(site, published)
    try:
        async with watch, asyncio.timeout(_DRAIN_SECONDS_MAX), asyncio.TaskGroup() as group:
            before = await watch.position()
            group.create_task(site.start(service, "consumer"))
            first = await _until(watch, before + 1)
            started_at = perf_counter()
            meter.start()
            first_published = await _records(site, published)
            await _until(watch, before + operations)
            applied_seconds = perf_counter() - started_at
            await until_published(database)
            published_seconds = perf_counter() - started_at
            cpu_seconds = meter.used_seconds()
    except TimeoutError:
        raise NotDrained(f"{consumer_group} did not apply {operations} events in {_DRAIN_SECONDS_MAX:.0f} s") from None
    finally:
        await database.close()
    if first - before == operations:
        raise NotDrained(f"{operations} events are too few to see how fast they are applied")
    published_after = await _records(site, published)
    return Sample(
        operations=before + operations - first,
        seconds=applied_seconds,
        cpu_seconds=cpu_seconds,
        extra={
            "published": (published_after - first_published) / published_seconds,
            "published_records": published_after - published_before,
        },
    )


async def _until(watch: "_GroupWatch", position: int) -> int:
    """Wait until a group has come to a position, and return the one it has come to."""
    while True:
        reached = await watch.position()
        if reached >= position:
            return reached
        await asyncio.sleep(_POLL_SECONDS)


async def until_published(database: asyncpg.Connection) -> None:
    """Wait until the relay has taken everything out of the outbox."""
    while True:
        if not await database.fetchval("SELECT EXISTS (SELECT FROM outbox_events)"):
            return
        await asyncio.sleep(_POLL_SECONDS)


class _GroupWatch:
    """How far a consumer group has come in a topic."""

    def __init__(self, site: Site, *, group: str, topic: Topic) -> None:
        self._group = site.topic_prefix + group
        self._partitions = [
            TopicPartition(site.topic_prefix + topic.name, number) for number in range(topic.partitions)
        ]
        self._admin = AIOKafkaAdminClient(bootstrap_servers=site.kafka_bootstrap_servers, client_id="bench-watch")

    async def __aenter__(self) -> Self:
        await self._admin.start()
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self._admin.close()

    async def position(self) -> int:
        """Return how many records the group has committed."""
        try:
            offsets = await self._admin.list_consumer_group_offsets(self._group, partitions=self._partitions)
        except KafkaError:
            # The group's coordinator is being made; nothing is committed yet.
            return 0
        return sum(max(0, one.offset) for one in offsets.values())


async def _records(site: Site, topic: Topic) -> int:
    return await count_records(
        [topic.name], bootstrap_servers=site.kafka_bootstrap_servers, topic_prefix=site.topic_prefix
    )
