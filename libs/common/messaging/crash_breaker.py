"""
Finding the record that kills whoever handles it, so that it becomes a dead letter and its consumers live.

What a member is about to handle it announces beside the group's offset, and the commit that follows takes that away.
Who finds an announcement where it begins to read knows that its predecessor died over these records: it handles them
one by one, each announced as an attempt, and sets aside the one that was attempted alone too often. A record that has
killed lies at the front of what is assigned to its next reader, so only that much is announced; all else costs nothing.

Not every death is a record's fault. An attempt counts only while its handling may end the process: one that fails,
waits for the database, is told to stop or loses its partition takes its announcement back.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NamedTuple, Self, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from libs.common.deadline import within
from libs.common.telemetry.logs import get_logger

# So many processes in a row have died while they handled nothing but this record.
DEATHS_MAX: Final = 3
# Whoever still answers its event loop after so long waits for a server, which kills nobody.
_DEADLY_SECONDS: Final = 5.0
_ANNOUNCE_TIMEOUT_SECONDS: Final = 10.0
_TAKE_BACK_TIMEOUT_SECONDS: Final = 5.0
_ENCODED: Final = re.compile(r"handling ([0-9]{1,19})-([0-9]{1,19}), attempt ([0-9]{1,4})")

Offset: TypeAlias = int | tuple[int, str]

log = get_logger()


class Mark(NamedTuple):
    """
    What stands beside an offset: records from `offset` to before `until` are being handled, or killed who did.

    `attempts` is how often the record at `offset` was begun alone; 0 if it was only ever among others.
    """

    offset: int
    until: int
    attempts: int = 0

    def encode(self) -> str:
        """Return it as an offset's metadata."""
        return f"handling {self.offset}-{self.until}, attempt {self.attempts}"

    @classmethod
    def decode(cls, offset: int, metadata: str) -> Self | None:
        """Return what stands beside an offset; None if nothing does, or it was written beside another."""
        found = _ENCODED.fullmatch(metadata)
        if found is None:
            return None
        mark = cls(*(int(number) for number in found.groups()))
        return mark if mark.offset == offset < mark.until else None

    @property
    def survived(self) -> str:
        """Return the metadata that says what was known before this was announced."""
        return self._replace(attempts=self.attempts - 1).encode() if self.attempts else ""


class GroupMovedOn(Exception):
    """What is about to be handled cannot be announced: its partition may be somebody else's."""


class CrashBreaker:
    """What one member of a group knows of its partitions since they were assigned to it, and has announced."""

    def __init__(
        self,
        group: str,
        *,
        read: Callable[[AIOKafkaConsumer], Awaitable[Mapping[TopicPartition, Mark]]],
        count: Callable[[], None],
    ) -> None:
        """`read` returns what stands beside the offsets of the assigned partitions; `count` is told of each such."""
        self._group = group
        self._read = read
        self._count = count
        self._assignment = 0
        self._known_assignment = -1
        self._suspicions: dict[TopicPartition, Mark] = {}
        self._trial_ends: dict[TopicPartition, int] = {}
        self._trusted: set[TopicPartition] = set()
        self._announced: dict[TopicPartition, Mark] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._deadline: asyncio.Task[None] | None = None
        # An announcement and its withdrawal must reach the broker in this order.
        self._turn = asyncio.Lock()

    def forget(self) -> None:
        """Know nothing: partitions have been assigned."""
        self._assignment += 1
        self._suspicions.clear()
        self._trial_ends.clear()
        self._trusted.clear()

    def trusts(self, partitions: Collection[TopicPartition]) -> bool:
        """Whether these have shown that nothing which lay there when they were assigned kills."""
        return self._trusted.issuperset(partitions)

    async def learn(self, consumer: AIOKafkaConsumer) -> None:
        """
        Find out over what the predecessors died, once for each assignment.

        :raises GroupMovedOn: if nobody says.
        """
        if self._known_assignment == self._assignment:
            return
        while self._known_assignment != self._assignment:
            assignment = self._assignment
            try:
                found = await within(_ANNOUNCE_TIMEOUT_SECONDS, self._read(consumer))
            except (IllegalStateError, TimeoutError) as error:
                raise GroupMovedOn from error
            if assignment == self._assignment:
                self._suspicions = dict(found)
                self._known_assignment = assignment
        for partition, mark in self._suspicions.items():
            log.warning(
                "consumer.suspects",
                group=self._group,
                topic=partition.topic,
                partition=partition.partition,
                offset=mark.offset,
                until=mark.until,
                attempts=mark.attempts,
            )
            self._count()

    def suspicion(self, partition: TopicPartition, offset: int) -> Mark | None:
        """Return what is known of the record at `offset`: None if nobody died over it."""
        mark = self._suspicions.get(partition)
        if mark is None or offset >= mark.until:
            return None
        return mark if mark.offset == offset else Mark(offset, mark.until)

    async def announce(self, consumer: AIOKafkaConsumer, marks: Mapping[TopicPartition, Mark]) -> None:
        """
        Say what is about to be handled.

        :raises GroupMovedOn: if it cannot be said.
        """
        async with self._turn:
            try:
                offsets = {partition: (mark.offset, mark.encode()) for partition, mark in marks.items()}
                await within(_ANNOUNCE_TIMEOUT_SECONDS, consumer.commit(offsets))
            except (CommitFailedError, IllegalStateError, TimeoutError) as error:
                raise GroupMovedOn from error
            self._consumer = consumer
            self._announced = dict(marks)
        # It fails by nothing that it does not expect, and ends with what it watches.
        self._deadline = asyncio.get_running_loop().create_task(self._take_back_in_time())

    async def take_back(self) -> None:
        """Say that what was announced has not killed: whoever reads it next owes it no suspicion."""
        if self._deadline is not None and self._deadline is not asyncio.current_task():
            self._deadline.cancel()
        async with self._turn:
            marks, self._announced = self._announced, {}
            if not marks or self._consumer is None:
                return
            offsets = {partition: (mark.offset, mark.survived) for partition, mark in marks.items()}
            # Unsaid, it costs the next reader some care, and a record one of the deaths it may be blamed for.
            with contextlib.suppress(KafkaError, TimeoutError):
                await within(_TAKE_BACK_TIMEOUT_SECONDS, self._consumer.commit(offsets))

    async def _take_back_in_time(self) -> None:
        await asyncio.sleep(_DEADLY_SECONDS)
        await self.take_back()

    async def survived(self) -> None:
        """Let the announcement stand until the commit that comes next: what was announced has been handled."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
            # A withdrawal that has begun comes before that commit.
            async with self._turn:
                pass

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Take note that the broker knows these offsets, and that what was announced before them is gone."""
        for partition in offsets:
            self._announced.pop(partition, None)

    def commits(self, offsets: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, Offset]:
        """Return what to commit: the offsets, and beside each what is still suspected behind it."""
        if not self._suspicions:
            return offsets
        commits: dict[TopicPartition, Offset] = {}
        for partition, offset in offsets.items():
            rest = self.suspicion(partition, offset)
            commits[partition] = offset if rest is None else (offset, rest.encode())
        return commits

    def passed(self, partition: TopicPartition, end: int, *, trial_end: int) -> None:
        """Take note that the records before `end` killed nobody; what the first call says of `trial_end` holds."""
        if self._known_assignment != self._assignment:
            return
        mark = self._suspicions.get(partition)
        if mark is not None and end >= mark.until:
            del self._suspicions[partition]
        trial_end = self._trial_ends.setdefault(partition, trial_end)
        if end >= trial_end and partition not in self._suspicions:
            self._trusted.add(partition)
