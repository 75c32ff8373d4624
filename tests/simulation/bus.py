"""A stand-in for Kafka: partitions that keep everything, groups with generations, sessions that expire."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError

from libs.common.events.base import WireRecord
from libs.common.messaging.consumer import Consumer, Refusals, Subscription
from libs.common.messaging.crash_breaker import Mark
from libs.common.messaging.partitioning import hash_of
from libs.common.messaging.producer import PublishFailed
from tests.simulation.store import MemoryDatabase
from tests.simulation.world import Link, Process, World

PARTITIONS: Final = 2
_SESSION_SECONDS: Final = 12.0
_POLL_SECONDS: Final = 30.0
_RECONNECT_SECONDS: Final = 1.0


class Record(NamedTuple):
    """What a consumer reads."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Bus:
    """The broker."""

    def __init__(self, world: World) -> None:
        """Begin empty."""
        self.world = world
        self.log: dict[TopicPartition, list[Record]] = {}
        self.groups: dict[str, Group] = {}
        # Whoever handles one of these events dies of it.
        self.deadly: set[UUID] = set()
        # In order, unlike a set of what has no order of its own.
        self._waiting: dict[MemoryConsumer, asyncio.Future[None]] = {}

    def partition(self, topic: str, number: int) -> list[Record]:
        """Return the records of a partition."""
        return self.log.setdefault(TopicPartition(topic, number), [])

    def append(self, record: WireRecord) -> None:
        """Keep a record."""
        number = hash_of(record.key) % PARTITIONS
        rows = self.partition(record.topic, number)
        rows.append(Record(record.topic, number, len(rows), record.key, record.value, tuple(record.headers)))
        self._tell_readers(TopicPartition(record.topic, number))

    def end(self, place: TopicPartition) -> int:
        """Return where a partition ends."""
        return len(self.log.get(place, ()))

    def log_again(self, record: Record) -> None:
        """Keep a record once more, behind all others of its partition."""
        rows = self.partition(record.topic, record.partition)
        rows.append(record._replace(offset=len(rows)))
        self._tell_readers(TopicPartition(record.topic, record.partition))

    def _tell_readers(self, place: TopicPartition) -> None:
        for member in list(self._waiting):
            if place in member.assignment():
                self.wake(member)

    def wake(self, member: "MemoryConsumer") -> None:
        """Tell a member that waits that there is something for it."""
        waiter = self._waiting.pop(member, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def news(self, member: "MemoryConsumer", seconds: float) -> None:
        """Wait until there is something for a member, or so long."""
        waiter = self._waiting[member] = self.world.loop.create_future()
        timer = self.world.loop.call_later(seconds, self.wake, member)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.pop(member, None)

    def records(self, topic: str) -> list[Record]:
        """Return everything in a topic, partition by partition."""
        return [record for place, rows in self.log.items() if place.topic == topic for record in rows]


@dataclass(slots=True, eq=False)
class Group:
    """A consumer group: who reads what, and how far it is."""

    bus: Bus
    topics: set[str] = field(default_factory=set)
    members: list["MemoryConsumer"] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    # What members wrote beside offsets.
    metadata: dict[TopicPartition, str] = field(default_factory=dict)
    generation: int = 0
    assignment: dict[TopicPartition, "MemoryConsumer"] = field(default_factory=dict)

    def rebalance(self) -> None:
        """Divide the partitions among the members anew."""
        self.generation += 1
        self.bus.world.meet("rebalance")
        places = [TopicPartition(topic, number) for topic in sorted(self.topics) for number in range(PARTITIONS)]
        self.bus.world.chance.shuffle(places)
        self.assignment = (
            {place: self.members[index % len(self.members)] for index, place in enumerate(places)}
            if self.members
            else {}
        )
        for member in self.members:
            self.bus.wake(member)

    def expel(self, member: "MemoryConsumer") -> None:
        """Count on a member no more."""
        if member in self.members:
            self.members.remove(member)
            self.rebalance()

    def lag(self) -> int:
        """Return how many records nobody has read; a commit that got lost is made up for by the next."""
        places = [TopicPartition(topic, number) for topic in self.topics for number in range(PARTITIONS)]
        return sum(self.bus.end(place) - self._position(place) for place in places)

    def _position(self, place: TopicPartition) -> int:
        member = self.assignment.get(place)
        return self.committed.get(place, 0) if member is None else member.applied_up_to(place)


class MemoryProducer:
    """Publishes for one process, in place of `BusProducer`."""

    def __init__(self, bus: Bus, process: Process) -> None:
        """Connect nothing."""
        self._bus = bus
        self._process = process

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def publish(self, records: Sequence[WireRecord]) -> None:
        """Return once the broker has all `records` (see `BusProducer.publish`)."""
        await self.publish_keyed(records)

    async def publish_keyed(self, records: Sequence[WireRecord]) -> list[str | None]:
        """Publish in order, a batch for each partition (see `BusProducer.publish_keyed`)."""
        world = self._bus.world
        places: dict[tuple[str, int], list[WireRecord]] = {}
        for record in records:
            places.setdefault((record.topic, hash_of(record.key) % PARTITIONS), []).append(record)
        batches = list(places.values())
        world.chance.shuffle(batches)
        try:
            for batch in batches:
                await self._process.awaits(Link.BUS)
                for record in batch:
                    self._bus.append(record)
            if world.chance.random() < world.rates.lost_answer:
                raise ConnectionResetError("the acknowledgement was lost")  # noqa: TRY301 - as a send would
            await self._process.awaits(Link.BUS)
        except ConnectionResetError as error:
            world.meet("outcome of a publish unknown")
            raise PublishFailed(repr(error)) from error
        return [None] * len(records)


class MemoryConsumer:
    """One member of a group, in place of `AIOKafkaConsumer`."""

    def __init__(self, bus: Bus, process: Process, group: Group) -> None:
        """Join nothing before `subscribe`."""
        self._bus = bus
        self._process = process
        self._group = group
        self._generation = -1
        self._positions: dict[TopicPartition, int] = {}
        self._applied: dict[TopicPartition, int] = {}
        self._listener: Any = None

    async def start(self) -> None:
        """Reach the broker."""
        await self._process.awaits(Link.BUS)

    def subscribe(self, topics: Sequence[str], *, listener: Any) -> None:
        """Join the group."""
        self._listener = listener
        self._group.topics.update(topics)
        self._group.members.append(self)
        self._process.on_death.append(self._expire)
        self._process.on_silence.append((Link.BUS, _SESSION_SECONDS, self._be_expelled))
        self._group.rebalance()

    async def stop(self) -> None:
        """Leave the group, if the broker can be told."""
        self._group.expel(self)

    def _be_expelled(self) -> None:
        self._group.expel(self)

    def _expire(self) -> None:
        self._bus.world.loop.call_later(_SESSION_SECONDS, self._group.expel, self)

    def pause(self, *partitions: TopicPartition) -> None:
        """Fetch nothing ahead of these; nothing ever is."""
        assert set(partitions) <= set(self._positions), partitions

    def paused(self) -> set[TopicPartition]:
        """Return what is paused."""
        return set()

    def resume(self, *partitions: TopicPartition) -> None:
        """Fetch ahead again."""
        assert not partitions, partitions

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        """Return what is there, of some partitions and up to somewhere, or nothing after a while."""
        assert timeout_ms
        try:
            return await self._poll(max_records)
        except ConnectionResetError:
            # The real one goes on trying in the background.
            await asyncio.sleep(_RECONNECT_SECONDS)
            return {}

    async def _poll(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        chance = self._bus.world.chance
        await self._keep_up()
        fetched = self._fetch(max_records)
        if not fetched:
            # Longer than the real one waits: nothing comes of asking again and again.
            await self._bus.news(self, _POLL_SECONDS)
            await self._process.awaits(Link.BUS)
            await self._keep_up()
            fetched = self._fetch(max_records)
        if fetched and chance.random() < 0.3:
            place = chance.choice(list(fetched))
            fetched = {place: fetched[place][: chance.randint(1, len(fetched[place]))]}
        for place, rows in fetched.items():
            self._positions[place] = rows[-1].offset + 1
        return fetched

    def _fetch(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        found = {}
        for place, position in self._positions.items():
            if rows := self._bus.partition(place.topic, place.partition)[position : position + max_records]:
                found[place] = rows
        return found

    async def _keep_up(self) -> None:
        """Follow the group to its present generation, as at a heartbeat."""
        await self._process.awaits(Link.BUS)
        group = self._group
        if self not in group.members:
            # Expelled while it stood still or was cut off: it joins anew.
            group.members.append(self)
            group.rebalance()
        if self._generation != group.generation:
            await self._listener.on_partitions_revoked(set(self._positions))
            self._generation = group.generation
            self._applied.clear()
            self._positions = {
                place: group.committed.get(place, 0) for place, member in group.assignment.items() if member is self
            }
            await self._listener.on_partitions_assigned(set(self._positions))

    async def commit(self, offsets: Mapping[TopicPartition, int | tuple[int, str]]) -> None:
        """Note how far the group is, and what is said beside that."""
        world = self._bus.world
        commits = {place: found if isinstance(found, tuple) else (found, "") for place, found in offsets.items()}
        for place, (offset, _) in commits.items():
            # What is only said to have survived is said beside an earlier offset.
            self._applied[place] = max(offset, self._applied.get(place, 0))
        try:
            await self._process.awaits(Link.BUS)
        except ConnectionResetError as error:
            raise KafkaConnectionError from error
        if self not in self._group.members or self._generation != self._group.generation:
            world.meet("offset commit refused")
            raise CommitFailedError
        if not offsets.keys() <= self._positions.keys():
            raise IllegalStateError("not assigned")
        if world.chance.random() < world.rates.lost_answer:
            world.meet("offset commit lost")
            raise TimeoutError
        self._group.committed.update({place: offset for place, (offset, _) in commits.items()})
        self._group.metadata.update({place: metadata for place, (_, metadata) in commits.items()})

    async def marks(self) -> dict[TopicPartition, Mark]:
        """Return what stands beside the offsets of what is read."""
        try:
            await self._process.awaits(Link.BUS)
        except ConnectionResetError as error:
            raise KafkaConnectionError from error
        group = self._group
        found = {
            place: Mark.decode(group.committed.get(place, 0), group.metadata.get(place, ""))
            for place in self._positions
        }
        return {place: mark for place, mark in found.items() if mark is not None}

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Read on from there."""
        self._positions[place] = offset

    def applied_up_to(self, place: TopicPartition) -> int:
        """Return how far this member, or the group before it, has got."""
        return max(self._applied.get(place, 0), self._group.committed.get(place, 0))

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions that are read."""
        return set(self._positions)

    def highwater(self, place: TopicPartition) -> int:
        """Return where a partition ends."""
        return len(self._bus.partition(place.topic, place.partition))


class SimulatedConsumer(Consumer):
    """The real consumer on the stand-ins."""

    def __init__(
        self, subscription: Subscription, *, service: str, database: MemoryDatabase, bus: Bus, process: Process
    ) -> None:
        """Nothing connects before `run`."""
        super().__init__(subscription, service=service, database=database, bootstrap_servers="", clock=bus.world.clock)
        self._bus = bus
        self._life = process
        self._producer = MemoryProducer(bus, process)  # type: ignore[assignment]

    def _new_consumer(self) -> Any:
        group = self._bus.groups.setdefault(self.group, Group(self._bus))
        return MemoryConsumer(self._bus, self._life, group)

    async def _apply_once(self, deliveries: Sequence[Any]) -> Refusals:
        if not self._bus.deadly.isdisjoint(delivery.envelope.id for delivery in deliveries):
            self._life.die()
            raise asyncio.CancelledError
        return await super()._apply_once(deliveries)

    async def _read_marks(self, consumer: Any) -> Mapping[TopicPartition, Mark]:
        marks: Mapping[TopicPartition, Mark] = await consumer.marks()
        if marks:
            self._bus.world.meet("a death found")
        return marks
