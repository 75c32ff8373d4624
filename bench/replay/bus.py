"""What lies on the bus: every topic read from its start, and how far each group has come."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from libs.common.events.base import Topic

_POLL_TIMEOUT_MS = 1_000
_POLL_RECORDS_MAX = 5_000
# A broker that sends nothing for so long will not send the rest either.
_EMPTY_POLLS_MAX = 30
_COORDINATOR_ATTEMPTS_MAX = 20
_COORDINATOR_RETRY_SECONDS = 0.5
_CLIENT_ID = "quayside-replay"


class BusStalled(Exception):
    """The broker stopped answering before a topic's end."""


@dataclass(slots=True)
class TopicReading:
    """
    One topic as it lies there; `versions` and `latest` are by subject.

    `records` counts records, `event_ids` events: a relay that died before it could note its success
    publishes again, and the consumers' inboxes drop the second one.
    """

    topic: Topic
    records: int = 0
    by_type: Counter[str] = field(default_factory=Counter)
    event_ids: dict[str, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    versions: defaultdict[str, dict[int, UUID]] = field(default_factory=lambda: defaultdict(dict))
    # Subjects of which one version was given to two different events, or lies behind a later one of its partition.
    clashes: set[str] = field(default_factory=set)
    disorders: set[str] = field(default_factory=set)
    # By subject and partition.
    _latest: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """Return how many different events there are."""
        return sum(map(len, self.event_ids.values()))

    @property
    def duplicates(self) -> int:
        """Return how many records repeat an earlier one."""
        return self.records - self.events

    def latest_version(self, subject: str) -> int:
        """Return the highest version of a subject, 0 if it has none."""
        return max(self.versions.get(subject, ()), default=0)

    def parted(self) -> set[str]:
        """Return the subjects that lie in several partitions, between which there is no order."""
        partitions = Counter(subject for subject, _ in self._latest)
        return {subject for subject, count in partitions.items() if count > 1}

    def subjects(self, event_type: str) -> set[str]:
        """Return what events of a type are about."""
        events = self.event_ids.get(event_type, set())
        return {subject for subject, versions in self.versions.items() if not events.isdisjoint(versions.values())}

    def gaps(self) -> list[str]:
        """Return the subjects whose versions do not count from 1 without a gap."""
        return [subject for subject, versions in self.versions.items() if max(versions) != len(versions)]

    def take(self, record: "ConsumerRecord[bytes | None, bytes | None]") -> None:
        """Note one record by its headers; its value does not matter here."""
        headers = dict(record.headers)
        event_id = UUID(headers["ce_id"].decode())
        event_type = headers["ce_type"].decode()
        self.records += 1
        if event_id in self.event_ids[event_type]:
            return
        self.event_ids[event_type].add(event_id)
        self.by_type[event_type] += 1
        if "aggregate_version" not in headers:
            return
        subject = headers["ce_subject"].decode()
        version = int(headers["aggregate_version"])
        if version in self.versions[subject]:
            self.clashes.add(subject)
        place = subject, record.partition
        if version < self._latest.get(place, 0):
            self.disorders.add(subject)
        self._latest[place] = max(version, self._latest.get(place, 0))
        self.versions[subject][version] = event_id


def _none(_record: "ConsumerRecord[bytes | None, bytes | None]") -> bool:
    return False


async def read_topics(
    topics: Iterable[Topic],
    *,
    bootstrap_servers: str,
    topic_prefix: str = "",
    is_left_out: Callable[["ConsumerRecord[bytes | None, bytes | None]"], bool] = _none,
) -> dict[str, TopicReading]:
    """
    Read topics from the start to where they end now, but for what is left out; the result is by topic name.

    :raises BusStalled: if the broker stops sending before that.
    """
    readings = {topic.name: TopicReading(topic) for topic in topics}
    async with _clients(bootstrap_servers) as (admin, consumer):
        partitions = await _partitions(admin, [topic_prefix + name for name in readings])
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        await _read_to(consumer, ends, readings, topic_prefix, is_left_out)
    return readings


async def consumer_lag(
    groups: Mapping[str, Iterable[Topic]], *, bootstrap_servers: str, topic_prefix: str = ""
) -> dict[str, int]:
    """Return how many records each consumer group has not committed yet, over all its topics."""
    lag = {}
    async with _clients(bootstrap_servers) as (admin, consumer):
        for group, topics in groups.items():
            partitions = await _partitions(admin, [topic_prefix + topic.name for topic in topics])
            committed = await _committed(admin, topic_prefix + group)
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            # A group that has committed nothing yet still has everything before it.
            positions = {one: committed[one].offset if one in committed else begins[one] for one in partitions}
            lag[group] = sum(ends[one] - max(positions[one], begins[one]) for one in partitions)
    return lag


async def count_records(topics: Sequence[str], *, bootstrap_servers: str, topic_prefix: str = "") -> int:
    """Return how many records topics hold together."""
    async with _clients(bootstrap_servers) as (admin, consumer):
        partitions = await _partitions(admin, [topic_prefix + topic for topic in topics])
        begins = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        return sum(ends[one] - begins[one] for one in partitions)


@asynccontextmanager
async def _clients(bootstrap_servers: str) -> AsyncIterator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id=_CLIENT_ID)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        client_id=_CLIENT_ID,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        await admin.start()
        await consumer.start()
        yield admin, consumer
    finally:
        await consumer.stop()
        await admin.close()


async def _committed(admin: AIOKafkaAdminClient, group: str) -> Mapping[TopicPartition, Any]:
    for _ in range(_COORDINATOR_ATTEMPTS_MAX):
        with suppress(GroupCoordinatorNotAvailableError):
            return dict(await admin.list_consumer_group_offsets(group))
        # A broker that has just started is still reading its own notes about groups.
        await asyncio.sleep(_COORDINATOR_RETRY_SECONDS)
    raise BusStalled(f"no coordinator for {group}")


async def _partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> list[TopicPartition]:
    described = await admin.describe_topics(list(names))
    return [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]


async def _read_to(
    consumer: AIOKafkaConsumer,
    ends: Mapping[TopicPartition, int],
    readings: Mapping[str, TopicReading],
    topic_prefix: str,
    is_left_out: Callable[["ConsumerRecord[bytes | None, bytes | None]"], bool],
) -> None:
    begins = await consumer.beginning_offsets(list(ends))
    open_ends = {partition: end for partition, end in ends.items() if end > begins[partition]}
    empty_polls = 0
    while open_ends:
        fetched = await consumer.getmany(*open_ends, timeout_ms=_POLL_TIMEOUT_MS, max_records=_POLL_RECORDS_MAX)
        for partition, records in fetched.items():
            reading = readings[partition.topic.removeprefix(topic_prefix)]
            for record in records:
                if record.offset < ends[partition] and not is_left_out(record):
                    reading.take(record)
        for partition in list(open_ends):
            # By position and not by the last record: compaction may have removed that one.
            if await consumer.position(partition) >= open_ends[partition]:
                del open_ends[partition]
        empty_polls = 0 if fetched else empty_polls + 1
        if empty_polls >= _EMPTY_POLLS_MAX:
            raise BusStalled(f"no records from {sorted(open_ends)}")
