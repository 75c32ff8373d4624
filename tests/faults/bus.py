"""Reading and writing the bus beside the services: everything that is there, and what should never be."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.errors import KafkaError

from tests.support.eventually import eventually

# Every record that a fault puts on the bus carries this header, whose value is found again among the dead letters.
INJECTED_HEADER = "fault-injected"

_POLL_TIMEOUT_MS = 500
_EMPTY_POLLS_MAX = 40


class BusSilent(TimeoutError):
    """The broker stopped sending before the end of a topic."""


async def read_everything(
    bootstrap_servers: str, topics: Sequence[str], *, last: int = 0
) -> "list[ConsumerRecord[bytes | None, bytes | None]]":
    """
    Return what topics hold, of each partition in its order; with `last`, only about that many records of each topic.

    :raises BusSilent: if the broker stops sending.
    """
    found: list[ConsumerRecord[bytes | None, bytes | None]] = []
    async with reader(bootstrap_servers) as consumer, admin(bootstrap_servers) as client:
        partitions = await partitions_of(client, topics)
        begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        counts = {topic: sum(one.topic == topic for one in partitions) for topic in topics}
        for one in partitions:
            tail = ends[one] - last // counts[one.topic] if last else begins[one]
            consumer.seek(one, max(begins[one], tail))
        empty_polls = 0
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            fetched = await consumer.getmany(timeout_ms=_POLL_TIMEOUT_MS, max_records=5_000)
            found.extend(record for records in fetched.values() for record in records)
            empty_polls = 0 if fetched else empty_polls + 1
            if empty_polls > _EMPTY_POLLS_MAX:
                raise BusSilent(str(topics))
    return found


async def produce(
    bootstrap_servers: str,
    records: Iterable[tuple[str, bytes | None, bytes | None, Sequence[tuple[str, bytes]]]],
) -> None:
    """Write records (topic, key, value, headers), in order, each to the partition of its key."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True)
    await producer.start()
    try:
        for topic, key, value, headers in records:
            await producer.send(topic, value, key=key, headers=list(headers))
        await producer.flush()
    finally:
        await producer.stop()


async def repeat(bootstrap_servers: str, records: "Iterable[ConsumerRecord[bytes | None, bytes | None]]") -> None:
    """Write records once more, to the partitions where they are."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, enable_idempotence=True)
    await producer.start()
    try:
        for record in records:
            await producer.send(
                record.topic, record.value, key=record.key, partition=record.partition, headers=list(record.headers)
            )
        await producer.flush()
    finally:
        await producer.stop()


async def rewind(bootstrap_servers: str, group: str, topics: Sequence[str]) -> None:
    """Make a group forget how far it has read; it must have no running member."""
    async with admin(bootstrap_servers) as client:
        partitions = await partitions_of(client, topics)

    async def is_rewound() -> bool:
        async with reader(bootstrap_servers, group) as consumer:
            consumer.assign(partitions)
            # One that died without a goodbye is a member until its session is over.
            with suppress(KafkaError):
                await consumer.commit(dict.fromkeys(partitions, 0))
                return True
        return False

    await eventually(is_rewound)


async def add_partitions(bootstrap_servers: str, counts: Mapping[str, int]) -> None:
    """Let topics have so many partitions from now on."""
    async with admin(bootstrap_servers) as client:
        await client.create_partitions({topic: NewPartitions(count) for topic, count in counts.items()})


async def partitions_of(client: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    """Return every partition of topics."""
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in await client.describe_topics(list(topics))
        for partition in topic["partitions"]
    ]


@asynccontextmanager
async def admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an administrator's client."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def reader(bootstrap_servers: str, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
    """Open a reader that commits nothing by itself."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=1_048_576,
    )
    try:
        await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
