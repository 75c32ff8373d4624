"""
The consumer loop: read a batch, apply what is new in one transaction, commit the database, then the offsets.

A crash anywhere leads to redelivery, and the inbox drops what was already applied. Passing faults block in
place with back-off; a record that can never work is isolated by bisection and goes to the dead letters, and so does one
that kills who handles it (see `crash_breaker`).
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from libs.common.clock import Clock
from libs.common.db import Database, Transaction, count_transient, is_transient
from libs.common.deadline import within
from libs.common.events.base import Envelope, Event, EventReader, Topic, Undecodable, WireRecord
from libs.common.events.registry import EVENTS
from libs.common.failpoints import Failpoint, failpoints
from libs.common.ids import parse_id
from libs.common.messaging.crash_breaker import DEATHS_MAX, CrashBreaker, GroupMovedOn, Mark
from libs.common.messaging.dead_letters import DeadLetterReason, dead_letter
from libs.common.messaging.fetching import nothing_fetched
from libs.common.messaging.inbox import claim_new, is_claimed
from libs.common.messaging.producer import BusProducer, PublishFailed
from libs.common.pacing import WorkPace
from libs.common.telemetry import metrics
from libs.common.telemetry.logs import get_logger
from libs.common.telemetry.tracing import event_batch_span

_BATCH_RECORDS_MAX = 500
_TRANSACTION_EVENTS_MAX = 4_000
_POLL_TIMEOUT_MS = 200
# What comes within so much of the batch before forms one batch. What comes alone is handled at once, and where there is
# a backlog nothing is waited for.
_BATCH_INTERVAL_SECONDS = 0.02
_BATCH_SHARE_MAX = 0.15
_BATCH_REST_SECONDS_MAX = 0.12
_BATCH_RECORDS_PLENTY = 100
_PARTITION_FETCH_BYTES_MAX = 1_048_576
# How long the partitions of a killed member stay unread. Heartbeats share the loop with the handlers, which never
# hold it for longer than a batch takes to decide: a fraction of a second.
_SESSION_TIMEOUT_MS = 12_000
_COMMIT_TIMEOUT_SECONDS = 10.0
_START_RETRY_SECONDS = 1.0
_START_TIMEOUT_SECONDS = 15.0
_STOP_TIMEOUT_SECONDS = 10.0
_RETRY_SECONDS_MIN = 0.1
_RETRY_SECONDS_MAX = 5.0
# Before a record that somebody died over is tried again: who dies of something else mostly does so meanwhile.
_SUSPICION_SECONDS = (1.0, 3.0)
# A fault of our own code may be a race that a second try does not meet; a third failure is no accident.
_HANDLER_ATTEMPTS_MAX = 3
# Above this many in a row the fault is ours, and a stopped consumer is cheaper than an emptied topic. What is no event
# at all does not count, nor what others may write: who sends that must not stop what is behind it.
_DEAD_LETTERS_CONSECUTIVE_MAX = 100
_PROGRESS_SECONDS_MAX = 60.0
_LAG_SECONDS = 2.0

log = get_logger()

_Record: TypeAlias = "ConsumerRecord[bytes | None, bytes | None]"
_Fetched: TypeAlias = Mapping[TopicPartition, Sequence[_Record]]


# Why events of a batch can never have an effect, by their ids.
Refusals: TypeAlias = Mapping[UUID, str]


class BatchHandler(Protocol):
    """Applies a batch of events, in order, inside one transaction."""

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> Refusals | None:
        """
        Apply the whole batch or raise; a raise rolls all of it back.

        It is called again with smaller batches if it raises, so it must keep no state of its own. A handler that
        recognises what it has applied may return refusals: those events go to the dead letters, the others stay
        applied.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """
    Which events a consumer group turns into which effect.

    `unknown_types` says what happens to types outside the registry: topics that only our services write to
    may carry types newer than this code (`ignore`); an intake for others reports them (`dead-letter`).
    `recognises_duplicates` says that the handler itself knows the events whose effect is there already, so that
    the inbox, a row for each event, is left out. `batch_interval_seconds` lie at least between two batches of fewer
    than `batch_records_plenty`, which show a backlog: more than the defaults for an effect that nobody waits for.
    A batch with more than `transaction_events_max` events that the group knows takes several transactions.
    """

    group: str
    topics: tuple[Topic, ...]
    events: tuple[type[Event], ...]
    handle: BatchHandler
    unknown_types: Literal["ignore", "dead-letter"] = "ignore"
    batch_records_max: int = _BATCH_RECORDS_MAX
    recognises_duplicates: bool = False
    batch_records_plenty: int = _BATCH_RECORDS_PLENTY
    transaction_events_max: int = _TRANSACTION_EVENTS_MAX
    batch_interval_seconds: float = _BATCH_INTERVAL_SECONDS


class DeadLetterFuseBlown(Exception):
    """So many records failed in a row that the fault must be in the consumer."""


class _Delivery(NamedTuple):
    record: _Record
    envelope: Envelope


class Consumer:
    """One member of a consumer group."""

    def __init__(
        self,
        subscription: Subscription,
        *,
        service: str,
        database: Database,
        bootstrap_servers: str,
        topic_prefix: str = "",
        clock: Clock,
    ) -> None:
        """Nothing connects before `run`."""
        self._subscription = subscription
        self._service = service
        self._database = database
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._clock = clock
        self._reader = EventReader(subscription.events)
        self._pace = WorkPace(
            interval_seconds=subscription.batch_interval_seconds,
            share_max=_BATCH_SHARE_MAX,
            rest_seconds_max=_BATCH_REST_SECONDS_MAX,
            items_plenty=subscription.batch_records_plenty,
        )
        self._dead_letters_in_a_row = 0
        self._misfits_in_a_row = 0
        self._progressed_at = clock.monotonic_seconds()
        self._lag_measured_at = 0.0
        self._next_offsets: dict[TopicPartition, int] = {}
        self._producer = BusProducer(
            bootstrap_servers=bootstrap_servers,
            topic_prefix=topic_prefix,
            client_id=f"{subscription.group}-dead-letters",
        )
        labels = (service, subscription.group)
        self._breaker = CrashBreaker(
            subscription.group,
            read=self._read_marks,
            count=metrics.consumer_suspicions_total.labels(*labels).inc,
        )
        self._batch_records = metrics.event_batch_records.labels(*labels)
        self._duplicates = metrics.consumer_duplicates_dropped_total.labels(*labels)
        self._commit_failures = metrics.consumer_commit_failures_total.labels(*labels)
        self._rebalances = metrics.consumer_rebalances_total.labels(*labels)

    @property
    def group(self) -> str:
        """Return the name of the consumer group."""
        return self._subscription.group

    async def check_progress(self) -> None:
        """
        Health check: raise if the loop has not come round for a minute.

        :raises RuntimeError: if the consumer is stuck and the process should be replaced.
        """
        stuck_seconds = self._clock.monotonic_seconds() - self._progressed_at
        if stuck_seconds > _PROGRESS_SECONDS_MAX:
            msg = f"{self.group} has made no progress for {stuck_seconds:.0f} s"
            raise RuntimeError(msg)

    async def run(self, stop: asyncio.Event) -> None:
        """
        Consume until `stop` is set.

        :raises DeadLetterFuseBlown: if too many records fail in a row.
        """
        async with self._producer:
            while not stop.is_set():
                consumer = await self._start(stop)
                if consumer is None:
                    return
                try:
                    await self._consume(consumer, stop)
                except (KafkaError, PublishFailed) as error:
                    await self._breaker.take_back()
                    log.warning("consumer.interrupted", group=self.group, error=repr(error))
                except MemoryError:
                    raise
                except BaseException:
                    # It ends for a reason that can be told, which no record is to be blamed for.
                    await self._breaker.take_back()
                    raise
                finally:
                    with contextlib.suppress(KafkaError, OSError, TimeoutError):
                        await within(_STOP_TIMEOUT_SECONDS, consumer.stop())

    async def _start(self, stop: asyncio.Event) -> AIOKafkaConsumer | None:
        while not stop.is_set():
            consumer = self._new_consumer()
            try:
                await within(_START_TIMEOUT_SECONDS, consumer.start())
                # Subscribed before the start, it would wait there for its partitions, deaf to `stop`, for as long
                # as the group still counts on a member that died.
                self._subscribe(consumer)
            except (KafkaError, OSError, TimeoutError) as error:
                log.warning("consumer.start_failed", group=self.group, error=repr(error))
                self._progressed_at = self._clock.monotonic_seconds()
                with contextlib.suppress(KafkaError, OSError, TimeoutError):
                    await within(_STOP_TIMEOUT_SECONDS, consumer.stop())
                await _wait(stop, _START_RETRY_SECONDS)
            else:
                return consumer
        return None

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            group_id=self._topic_prefix + self.group,
            client_id=f"{self._service}-{self.group}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=self._subscription.batch_records_max,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES_MAX,
            fetch_max_wait_ms=500,
            session_timeout_ms=_SESSION_TIMEOUT_MS,
            rebalance_timeout_ms=60_000,
            heartbeat_interval_ms=_SESSION_TIMEOUT_MS // 4,
            request_timeout_ms=40_000,
            metadata_max_age_ms=30_000,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )

    def _subscribe(self, consumer: AIOKafkaConsumer) -> None:
        consumer.subscribe(
            [self._topic_prefix + topic.name for topic in self._subscription.topics],
            listener=_RebalanceListener(give_up=self._give_up, begin=self._breaker.forget, count=self._rebalances.inc),
        )

    async def _give_up(self, revoked: set[TopicPartition]) -> None:
        """Leave these partitions to others, with no suspicion of what is being handled: it has not killed."""
        self._forget(revoked)
        await self._breaker.take_back()

    def _forget(self, revoked: set[TopicPartition]) -> None:
        """Leave the figures of these partitions to the member that reads them now."""
        for partition in revoked:
            self._next_offsets.pop(partition, None)
            # Partitions that were given back before they were measured have no figure.
            with contextlib.suppress(KeyError):
                metrics.consumer_lag_records.remove(
                    self._service, self.group, partition.topic, str(partition.partition)
                )

    async def _consume(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        while not stop.is_set():
            fetched = await consumer.getmany(
                timeout_ms=_POLL_TIMEOUT_MS, max_records=self._subscription.batch_records_max
            )
            self._progressed_at = self._clock.monotonic_seconds()
            for partition, rows in fetched.items():
                self._next_offsets.setdefault(partition, rows[0].offset)
            self._measure_lag(consumer)
            if not fetched:
                continue
            records = sum(map(len, fetched.values()))
            self._batch_records.observe(records)
            with nothing_fetched(consumer, unless=self._pace.is_backlog(records)):
                started_at = self._clock.monotonic_seconds()
                is_trusted = self._breaker.trusts(fetched.keys())
                if not await (self._handle if is_trusted else self._handle_warily)(consumer, fetched, stop):
                    await self._breaker.take_back()
                    return
                worked_seconds = self._clock.monotonic_seconds() - started_at
                rest_seconds = self._pace.rest_seconds(items=records, worked_seconds=worked_seconds)
                if rest_seconds:
                    await _wait(stop, rest_seconds)

    async def _handle(self, consumer: AIOKafkaConsumer, fetched: _Fetched, stop: asyncio.Event) -> bool:
        """Bring records to an end and commit that they are; False if `stop` came first."""
        if not await self._process([record for rows in fetched.values() for record in rows], stop):
            return False
        offsets = {partition: rows[-1].offset + 1 for partition, rows in fetched.items()}
        self._next_offsets.update(offsets)
        if failpoints.armed:
            await failpoints.reach(Failpoint.CONSUMER_AFTER_COMMIT, self.group)
        await self._commit(consumer, offsets)
        return True

    async def _handle_warily(self, consumer: AIOKafkaConsumer, fetched: _Fetched, stop: asyncio.Event) -> bool:
        """As `_handle`, but announce it first, and let what somebody died over be handled alone."""
        try:
            await self._breaker.learn(consumer)
            suspected = {place for place, rows in fetched.items() if self._breaker.suspicion(place, rows[0].offset)}
            others = {place: rows for place, rows in fetched.items() if place not in suspected}
            if others:
                await self._breaker.announce(
                    consumer, {place: Mark(rows[0].offset, rows[-1].offset + 1) for place, rows in others.items()}
                )
                if not await self._handle(consumer, others, stop):
                    return False
            for place in suspected:
                for record in fetched[place]:
                    if not await self._handle_alone(consumer, place, record, stop):
                        return False
            # What was given up meanwhile is for others to judge.
            for place, rows in ((one, fetched[one]) for one in consumer.assignment() & fetched.keys()):
                end = consumer.highwater(place) or 0
                self._breaker.passed(
                    place,
                    rows[-1].offset + 1,
                    trial_end=min(end, rows[0].offset + self._subscription.batch_records_max),
                )
        except GroupMovedOn as error:
            self._commit_failures.inc()
            log.warning("consumer.announcement_failed", group=self.group, error=repr(error.__cause__))
            for place, rows in fetched.items():
                # What is still ours comes once more: unannounced it must not be handled.
                if place in consumer.assignment():
                    consumer.seek(place, rows[0].offset)
            await _wait(stop, _RETRY_SECONDS_MIN)
        return True

    async def _handle_alone(
        self, consumer: AIOKafkaConsumer, place: TopicPartition, record: _Record, stop: asyncio.Event
    ) -> bool:
        """Handle a record that somebody died over, or set it aside if too many did; False if `stop` came first."""
        self._progressed_at = self._clock.monotonic_seconds()
        mark = self._breaker.suspicion(place, record.offset) or Mark(record.offset, record.offset + 1)
        if mark.attempts >= DEATHS_MAX:
            return await self._give_up_on(consumer, record, deaths=mark.attempts, stop=stop)
        if mark.attempts and await _wait(stop, random.uniform(*_SUSPICION_SECONDS)):  # noqa: S311 - jitter
            return False
        await self._breaker.announce(consumer, {place: mark._replace(attempts=mark.attempts + 1)})
        return await self._handle(consumer, {place: [record]}, stop)

    async def _give_up_on(
        self, consumer: AIOKafkaConsumer, record: _Record, *, deaths: int, stop: asyncio.Event
    ) -> bool:
        """Set a record aside without looking into it, unless its effect is there; False if `stop` came first."""
        was_applied = await self._was_applied(record, stop)
        if was_applied is None:
            return False
        if not was_applied:
            error = f"the process died each of the {deaths} times that it handled this record alone"
            if not await self._dead_letter(record, "process-died", error, attempts=deaths, stop=stop):
                return False
        await self._commit(consumer, {TopicPartition(record.topic, record.partition): record.offset + 1})
        return True

    async def _was_applied(self, record: _Record, stop: asyncio.Event) -> bool | None:
        """Whether the inbox knows a record, by its headers alone; None if `stop` came first."""
        try:
            event_id = parse_id((dict(record.headers).get("ce_id") or b"").decode(errors="replace"))
        except ValueError:
            return False
        if self._subscription.recognises_duplicates:
            return False
        while not stop.is_set():
            try:
                async with self._database.transaction() as transaction:
                    return await is_claimed(transaction, group=self.group, event_id=event_id)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("consumer.retrying", group=self.group, error=repr(error))
                self._progressed_at = self._clock.monotonic_seconds()
                await _wait(stop, _RETRY_SECONDS_MAX)
        return None

    async def _read_marks(self, consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, Mark]:
        # There is no public way to what stands beside an offset.
        coordinator = consumer._coordinator  # noqa: SLF001
        committed = await coordinator.fetch_committed_offsets(list(consumer.assignment()))
        await self._tell_of_expired(consumer, {place: found.offset for place, found in committed.items()})
        marks = ((place, Mark.decode(found.offset, found.metadata)) for place, found in committed.items())
        return {place: mark for place, mark in marks if mark is not None}

    async def _tell_of_expired(self, consumer: AIOKafkaConsumer, committed: Mapping[TopicPartition, int]) -> None:
        """Tell of records that are gone and were never read: the client goes on behind them without a word."""
        known = {place: offset for place, offset in committed.items() if offset >= 0}
        beginnings = await consumer.beginning_offsets(list(known)) if known else {}
        for place, beginning in beginnings.items():
            expired = beginning - known[place]
            if expired > 0:
                metrics.consumer_records_expired_total.labels(self._service, self.group, place.topic).inc(expired)
                log.error(
                    "consumer.records_expired",
                    group=self.group,
                    topic=place.topic,
                    partition=place.partition,
                    records=expired,
                )

    async def _process(self, records: Sequence[_Record], stop: asyncio.Event) -> bool:
        """Turn every record into its effect or a dead letter; False if `stop` came first."""
        deliveries: list[_Delivery] = []
        unreadable: list[tuple[_Record, Undecodable]] = []
        for record in records:
            try:
                envelope = self._read(record)
            except Undecodable as error:
                unreadable.append((record, error))
                self._count_misfit(error)
                continue
            if envelope is not None:
                deliveries.append(_Delivery(record, envelope))
                self._misfits_in_a_row = 0
        if not await self._set_aside_unreadable(unreadable, stop):
            return False
        events_max = self._subscription.transaction_events_max
        for start in range(0, len(deliveries), events_max):
            if not await self._apply(deliveries[start : start + events_max], stop):
                return False
        return True

    def _read(self, record: _Record) -> Envelope | None:
        envelope = self._reader.decode_known(record.value, record.headers)
        if envelope is not None:
            return envelope
        event_type = dict(record.headers).get("ce_type")
        if event_type is None:
            raise Undecodable("missing-header", "ce_type")
        is_registered = event_type.decode(errors="replace") in EVENTS
        if not is_registered and self._subscription.unknown_types == "dead-letter":
            raise Undecodable("unknown-type", event_type.decode(errors="replace")[:100])
        return None

    async def _apply(self, deliveries: Sequence[_Delivery], stop: asyncio.Event) -> bool:
        """Apply in one transaction; bisect on failure until the record that fails stands alone."""
        for attempt in range(1, _HANDLER_ATTEMPTS_MAX + 1):
            try:
                refusals = await self._apply_when_possible(deliveries, stop)
            except MemoryError:
                # What is missing is the process's, not the event's: its successor meets the event again.
                raise
            except Exception as error:
                if len(deliveries) > 1:
                    middle = len(deliveries) // 2
                    log.warning("consumer.batch_bisected", group=self.group, error=repr(error))
                    return await self._apply(deliveries[:middle], stop) and await self._apply(deliveries[middle:], stop)
                if attempt == _HANDLER_ATTEMPTS_MAX:
                    log.exception("consumer.event_failed", group=self.group)
                    return await self._dead_letter(
                        deliveries[0].record,
                        "handler-failed",
                        repr(error),
                        attempts=attempt,
                        stop=stop,
                    )
                metrics.consumer_retries_total.labels(self._service, self.group, "handler-failed").inc()
            else:
                self._dead_letters_in_a_row = 0
                return refusals is not None and await self._set_aside(deliveries, refusals, stop)
        return True

    async def _apply_when_possible(self, deliveries: Sequence[_Delivery], stop: asyncio.Event) -> Refusals | None:
        """Apply in one transaction, waiting out faults that pass by themselves; None if `stop` came first."""
        delay_seconds = _RETRY_SECONDS_MIN
        while not stop.is_set():
            started_at = self._clock.monotonic_seconds()
            try:
                refusals = await self._apply_once(deliveries)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("consumer.retrying", group=self.group, error=repr(error))
                await self._breaker.take_back()
                metrics.consumer_retries_total.labels(self._service, self.group, "transient").inc()
                count_transient(error, place=self.group)
                # The loop is alive though the database is not: replacing the process would not help.
                self._progressed_at = self._clock.monotonic_seconds()
                await _wait(stop, delay_seconds * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
                delay_seconds = min(delay_seconds * 2, _RETRY_SECONDS_MAX)
            else:
                self._observe(deliveries, self._clock.monotonic_seconds() - started_at)
                return refusals
        return None

    async def _apply_once(self, deliveries: Sequence[_Delivery]) -> Refusals:
        envelopes = [delivery.envelope for delivery in deliveries]
        traceparents = (envelope.traceparent for envelope in envelopes)
        with event_batch_span(self.group, traceparents, records=len(envelopes)):
            async with self._database.transaction() as transaction:
                if failpoints.armed:
                    await self._meet_failpoints(deliveries, transaction)
                if self._subscription.recognises_duplicates:
                    return await self._subscription.handle(envelopes, transaction) or {}
                fresh = await claim_new(transaction, group=self.group, envelopes=envelopes)
                if fresh and await self._subscription.handle(fresh, transaction):
                    # Once claimed, an event that was not set aside before a crash would be lost.
                    msg = f"{self.group} refuses events that it would not recognise again"
                    raise RuntimeError(msg)
        self._duplicates.inc(len(envelopes) - len(fresh))
        return {}

    async def _meet_failpoints(self, deliveries: Sequence[_Delivery], transaction: Transaction) -> None:
        details = {
            detail
            for record, envelope in deliveries
            for detail in (str(envelope.id), envelope.event.type, (record.key or b"").decode(errors="replace"))
        }
        await failpoints.reach(Failpoint.CONSUMER_BEFORE_HANDLING, self.group, *details)
        transaction.before_commit(lambda: failpoints.reach(Failpoint.CONSUMER_BEFORE_COMMIT, self.group))

    async def _set_aside(self, deliveries: Sequence[_Delivery], refusals: Refusals, stop: asyncio.Event) -> bool:
        """Send what the handler refused to the dead letters; False if `stop` came first."""
        if not refusals:
            return True
        refused = [delivery for delivery in deliveries if delivery.envelope.id in refusals]
        letters = [
            self._letter(delivery.record, "refused", refusals[delivery.envelope.id], attempts=1) for delivery in refused
        ]
        # A judgement of the handler, not a fault of ours: these do not blow the fuse.
        return await self._publish_letters(letters, {"refused": len(letters)}, stop)

    def _count_misfit(self, error: Undecodable) -> None:
        """Blow the fuse before any of a batch is set aside: its successor would set it aside once more."""
        if error.reason == "schema-mismatch" and self._subscription.unknown_types == "ignore":
            self._misfits_in_a_row += 1
            self._check_fuse(self._misfits_in_a_row)

    def _check_fuse(self, in_a_row: int) -> None:
        if in_a_row >= _DEAD_LETTERS_CONSECUTIVE_MAX:
            msg = f"{self.group}: {in_a_row} records failed in a row"
            raise DeadLetterFuseBlown(msg)

    async def _set_aside_unreadable(
        self, unreadable: Sequence[tuple[_Record, Undecodable]], stop: asyncio.Event
    ) -> bool:
        """Send what is no event to the dead letters; False if `stop` came first."""
        if not unreadable:
            return True
        letters = [self._letter(record, error.reason, error.detail, attempts=1) for record, error in unreadable]
        return await self._publish_letters(letters, Counter(error.reason for _, error in unreadable), stop)

    async def _dead_letter(
        self,
        record: _Record,
        reason: DeadLetterReason,
        error: str,
        *,
        attempts: int,
        stop: asyncio.Event,
    ) -> bool:
        letter = self._letter(record, reason, error, attempts=attempts)
        if not await self._publish_letters([letter], {reason: 1}, stop):
            return False
        self._dead_letters_in_a_row += 1
        self._check_fuse(self._dead_letters_in_a_row)
        return True

    def _letter(self, record: _Record, reason: DeadLetterReason, error: str, *, attempts: int) -> WireRecord:
        log.error(
            "consumer.dead_letter",
            group=self.group,
            reason=reason,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
        )
        return dead_letter(
            record,
            topic=record.topic.removeprefix(self._topic_prefix),
            group=self.group,
            reason=reason,
            error=error,
            attempts=attempts,
        )

    async def _publish_letters(
        self, letters: Sequence[WireRecord], reasons: Mapping[DeadLetterReason, int], stop: asyncio.Event
    ) -> bool:
        while True:
            try:
                await self._producer.publish(letters)
                break
            except PublishFailed:
                if await _wait(stop, _RETRY_SECONDS_MAX):
                    return False
        for reason, count in reasons.items():
            metrics.dead_letters_total.labels(self._service, self.group, reason).inc(count)
        return True

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        await self._breaker.survived()
        try:
            await within(_COMMIT_TIMEOUT_SECONDS, consumer.commit(self._breaker.commits(offsets)))
            self._breaker.committed(offsets)
        except (CommitFailedError, IllegalStateError, TimeoutError) as error:
            # The group moved on without us; whoever has the partition now meets our inbox rows.
            self._commit_failures.inc()
            log.warning("consumer.commit_failed", group=self.group, error=repr(error))

    def _observe(self, deliveries: Sequence[_Delivery], seconds: float) -> None:
        share = seconds / len(deliveries)
        for event_type, events in Counter(delivery.envelope.event.type for delivery in deliveries).items():
            duration = metrics.event_handling_duration_seconds.labels(self._service, self.group, event_type, "applied")
            for _ in range(events):
                duration.observe(share)

    def _measure_lag(self, consumer: AIOKafkaConsumer) -> None:
        now = self._clock.monotonic_seconds()
        if now - self._lag_measured_at < _LAG_SECONDS:
            return
        self._lag_measured_at = now
        for partition in consumer.assignment():
            end = consumer.highwater(partition)
            if end is not None and partition in self._next_offsets:
                lag = end - self._next_offsets[partition]
                metrics.consumer_lag_records.labels(
                    self._service, self.group, partition.topic, str(partition.partition)
                ).set(max(0, lag))


class _RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Keeps count, and tells the consumer; between batches nothing is held that would have to be given back."""

    def __init__(
        self,
        *,
        give_up: Callable[[set[TopicPartition]], Awaitable[None]],
        begin: Callable[[], None],
        count: Callable[[], None],
    ) -> None:
        self._give_up = give_up
        self._begin = begin
        self._count = count

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        await self._give_up(revoked)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._count()
        self._begin()
        log.info("consumer.partitions_assigned", partitions=len(assigned))


async def _wait(stop: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
