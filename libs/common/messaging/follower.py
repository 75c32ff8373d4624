"""Keeps a copy of a compacted topic in memory: the fastest read there is, and never more than a fetch behind."""

import asyncio
import contextlib
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from libs.common.deadline import within
from libs.common.events.base import Envelope, Event, EventReader, Topic, Undecodable
from libs.common.messaging.fetching import nothing_fetched
from libs.common.pacing import WorkPace
from libs.common.telemetry.logs import get_logger

_POLL_TIMEOUT_MS = 200
_BATCH_RECORDS_MAX = 5_000
_RECORDS_PLENTY = 500
# Each partition that has something answers a fetch of its own unless several have something by then.
_INTERVAL_SECONDS = 0.005
_RESTART_SECONDS = 1.0
# A topic that is not there is not there for long, or for ever: then a warning a second says nothing more.
_RESTART_SECONDS_MAX = 15.0
_START_TIMEOUT_SECONDS = 15.0
_STOP_TIMEOUT_SECONDS = 5.0

log = get_logger()


class Follower:
    """
    Reads a topic from its beginning, all partitions, without a group, and hands every event to `apply`.

    `apply` must be idempotent by the event's `aggregate_version`: after a fault the topic is read again
    from its beginning while the copy goes on answering with what it knows. An event that it raises on is left out.
    """

    def __init__(
        self,
        *,
        topics: tuple[Topic, ...],
        events: tuple[type[Event], ...],
        apply: Callable[[Envelope], None],
        forget: Callable[[bytes], None] | None = None,
        on_caught_up: Callable[[], None] | None = None,
        bootstrap_servers: str,
        topic_prefix: str = "",
        client_id: str,
        interval_seconds: float = _INTERVAL_SECONDS,
    ) -> None:
        """
        Nothing connects before `run`; `forget` is told the key of a record that was deleted.

        `on_caught_up` is called once the topic has been read to its end for the first time. At least `interval_seconds`
        lie between two readings.
        """
        self._topics = [topic_prefix + topic.name for topic in topics]
        self._reader = EventReader(events)
        self._apply = apply
        self._forget = forget
        self._on_caught_up = on_caught_up
        self._bootstrap_servers = bootstrap_servers
        self._client_id = client_id
        self._caught_up = asyncio.Event()
        self._restart_seconds = _RESTART_SECONDS
        self._pace = WorkPace(
            interval_seconds=interval_seconds, share_max=0.5, rest_seconds_max=0.02, items_plenty=_RECORDS_PLENTY
        )

    async def check_caught_up(self) -> None:
        """
        Health check: raise until the copy has once been complete.

        :raises RuntimeError: while the topic's first reading is under way.
        """
        if not self._caught_up.is_set():
            msg = f"{', '.join(self._topics)} is still being read"
            raise RuntimeError(msg)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop` is set; broker faults are waited out."""
        while not stop.is_set():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap_servers,
                client_id=self._client_id,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=500,
                metadata_max_age_ms=30_000,
            )
            try:
                await within(_START_TIMEOUT_SECONDS, consumer.start())
                await self._follow(consumer, stop)
            except (KafkaError, OSError, TimeoutError, _TopicMissing) as error:
                log.warning("follower.interrupted", topics=self._topics, error=repr(error))
            finally:
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await within(_STOP_TIMEOUT_SECONDS, consumer.stop())
            if not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._restart_seconds):
                        await stop.wait()
                self._restart_seconds = min(2 * self._restart_seconds, _RESTART_SECONDS_MAX)

    async def _follow(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        partitions = await self._partitions(consumer)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        self._restart_seconds = _RESTART_SECONDS
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            fetched = await consumer.getmany(timeout_ms=_POLL_TIMEOUT_MS, max_records=_BATCH_RECORDS_MAX)
            records_fetched = sum(map(len, fetched.values()))
            with nothing_fetched(consumer, unless=not fetched or self._pace.is_backlog(records_fetched)):
                started_at = loop.time()
                for records in fetched.values():
                    # Of a compacted topic only the latest record of a key counts; what came before is not even decoded.
                    for record in {record.key: record for record in records}.values():
                        if record.value is not None:
                            self._read(record.value, record.headers)
                        elif self._forget is not None and record.key is not None:
                            self._forget(record.key)
                if not self._caught_up.is_set():
                    positions = [await consumer.position(partition) for partition in partitions]
                    if all(reached >= ends[one] for reached, one in zip(positions, partitions, strict=True)):
                        self._caught_up.set()
                        if self._on_caught_up is not None:
                            self._on_caught_up()
                if fetched:
                    worked_seconds = loop.time() - started_at
                    await asyncio.sleep(self._pace.rest_seconds(items=records_fetched, worked_seconds=worked_seconds))

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        partitions: list[TopicPartition] = []
        for topic in self._topics:
            await consumer._client.force_metadata_update()  # noqa: SLF001 - no public way without a group
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                raise _TopicMissing(topic)
            partitions.extend(TopicPartition(topic, number) for number in sorted(numbers))
        return partitions

    def _read(self, value: bytes, headers: tuple[tuple[str, bytes], ...]) -> None:
        if not self._reader.knows(headers):
            return
        try:
            envelope = self._reader.decode(value, headers)
        except Undecodable as error:
            # The groups that turn this topic into effects dead-letter it; a copy can only leave it out.
            log.warning("follower.undecodable", reason=error.reason)
            return
        try:
            self._apply(envelope)
        except Exception:
            # It would be met again at every start, and no process would ever live to answer.
            log.exception("follower.not_applied", event_type=envelope.event.type, event_id=str(envelope.id))


class _TopicMissing(Exception):
    """The topic does not exist yet."""
