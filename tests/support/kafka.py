"""Topics of its own for each test, on the shared broker."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from libs.common.events.base import Envelope, Event, EventReader, Topic, WireRecord, encode
from libs.common.events.registry import EVENTS
from libs.common.ids import new_id
from libs.common.messaging.dead_letters import dead_letter_topic
from libs.common.messaging.producer import BusProducer
from libs.common.messaging.topics import create_topics
from tests.support.infrastructure import Infrastructure

_POLL_TIMEOUT_MS = 200


def envelope_of(event: Event, *, event_id: UUID | None = None, aggregate_version: int | None = None) -> Envelope:
    """Wrap an event as a consumer would receive it."""
    return Envelope(
        id=event_id or new_id(),
        event=event,
        time=datetime(2011, 6, 1, 12, tzinfo=UTC),
        source="test",
        aggregate_version=aggregate_version,
    )


@dataclass
class TestBus:
    """A prefix on the broker under which only one test's topics live."""

    __test__ = False  # not a test class, whatever its name says

    bootstrap_servers: str
    topic_prefix: str
    _producer: BusProducer

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        infrastructure: Infrastructure,
        *,
        topics: Sequence[Topic],
        groups: Sequence[str] = (),
        partitions: int = 3,
    ) -> AsyncIterator[Self]:
        """Create `topics` and the dead-letter topics of `groups` under a new prefix, and drop them at the end."""
        servers = infrastructure.kafka_bootstrap_servers
        prefix = f"test-{uuid4().hex[:12]}."
        created = await create_topics(
            bootstrap_servers=servers,
            topics=[replace(topic, partitions=min(partitions, topic.partitions)) for topic in topics],
            groups=groups,
            topic_prefix=prefix,
        )
        producer = BusProducer(bootstrap_servers=servers, topic_prefix=prefix, client_id="test")
        try:
            async with producer:
                yield cls(servers, prefix, producer)
        finally:
            await delete_topics(servers, created)

    async def publish(
        self, event: Event, *, event_id: UUID | None = None, aggregate_version: int | None = None
    ) -> Envelope:
        """Publish an event as its owner would, and return what consumers will see."""
        envelope = envelope_of(event, event_id=event_id, aggregate_version=aggregate_version)
        await self._producer.publish([encode(envelope)])
        return envelope

    async def publish_raw(self, record: WireRecord) -> None:
        """Publish bytes as they are."""
        await self._producer.publish([record])

    async def delete(self, topic: Topic, key: str) -> None:
        """Mark the record of a key of a compacted topic as deleted."""
        async with AIOKafkaProducer(bootstrap_servers=self.bootstrap_servers) as producer:
            await producer.send_and_wait(self.topic_prefix + topic.name, key=key.encode(), value=None)

    async def read_all(self, topic: Topic) -> list[Envelope]:
        """Return every event that the topic holds, in order of each partition."""
        reader = EventReader(EVENTS.values())
        records = await self.read_records(topic.name)
        return [reader.decode(record.value, record.headers) for record in records]

    async def rewind(self, group: str, topic: Topic) -> None:
        """Forget how far `group` has read; it must have no running member."""
        async with self._reader(self.topic_prefix + group) as consumer:
            partitions = await self._assign(consumer, topic.name)
            await consumer.commit(dict.fromkeys(partitions, 0))

    async def expire(self, topic: Topic) -> int:
        """Delete all that a topic holds, as its retention does in time; return how many records that were."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await client.start()
        try:
            async with self._reader() as consumer:
                ends = await consumer.end_offsets(await self._assign(consumer, topic.name))
            filled = {place: RecordsToDelete(before_offset=end) for place, end in ends.items() if end}
            await client.delete_records(filled)
        finally:
            await client.close()
        return sum(ends.values())

    async def leave_beside_offset(self, group: str, topic: Topic, metadata: str) -> None:
        """Rewind `group`, and leave a text beside its offset of every partition; it must have no running member."""
        async with self._reader(self.topic_prefix + group) as consumer:
            partitions = await self._assign(consumer, topic.name)
            await consumer.commit(dict.fromkeys(partitions, (0, metadata)))

    async def read_beside_offsets(self, group: str, topic: Topic) -> list[tuple[int, str]]:
        """Return the offset of `group` in each partition of a topic, and the text beside it."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers)
        await client.start()
        try:
            offsets = await client.list_consumer_group_offsets(self.topic_prefix + group)
        finally:
            await client.close()
        name = self.topic_prefix + topic.name
        return [(found.offset, found.metadata) for place, found in offsets.items() if place.topic == name]

    async def read_dead_letters(self, group: str) -> list[WireRecord]:
        """Return the dead letters of `group`."""
        return await self.read_records(dead_letter_topic(group))

    async def read_records(self, topic: str) -> list[WireRecord]:
        """Return every record that a topic holds now."""
        found: list[WireRecord] = []
        async with self._reader() as consumer:
            partitions = await self._assign(consumer, topic)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for records in (await consumer.getmany(timeout_ms=_POLL_TIMEOUT_MS)).values():
                    found.extend(
                        WireRecord(
                            topic=topic,
                            key=record.key or b"",
                            value=record.value or b"",
                            headers=list(record.headers),
                        )
                        for record in records
                    )
        return found

    @asynccontextmanager
    async def _reader(self, group: str | None = None) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap_servers,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
        name = self.topic_prefix + topic
        # There is no public way to learn the partitions of a topic without subscribing to it.
        cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001
        partitions = [TopicPartition(name, one) for one in cluster.partitions_for_topic(name) or ()]
        consumer.assign(partitions)
        return partitions


async def delete_topics(bootstrap_servers: str, topics: list[str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    # Topics that stay behind harm nobody; an error here would hide the one that the test ended with.
    with contextlib.suppress(KafkaError, OSError):
        await admin.start()
        try:
            await admin.delete_topics(topics)
        finally:
            await admin.close()
