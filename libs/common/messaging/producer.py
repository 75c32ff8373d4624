"""Publishing records and knowing which of them the broker has."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from libs.common.deadline import within
from libs.common.events.base import WireRecord
from libs.common.messaging.partitioning import hashes_of
from libs.common.telemetry.logs import get_logger

# aiokafka's idempotent producer never gives up on a batch by itself, nor does stop(): every wait is bounded here.
_PUBLISH_TIMEOUT_SECONDS = 30.0
_START_TIMEOUT_SECONDS = 10.0
_STOP_TIMEOUT_SECONDS = 5.0
_REQUEST_TIMEOUT_MS = 20_000
_BATCH_BYTES_MAX = 262_144
# The brokers' message.max.bytes is 1 MiB, of which key, headers and the batch around a record take some.
_VALUE_BYTES_MAX = 1_040_000

_REFUSALS = (MessageSizeTooLargeError, RecordTooLargeError, TopicAuthorizationFailedError)

log = get_logger()


class PublishFailed(Exception):
    """It is unknown whether the broker has the records: publish them again."""


class BusProducer:
    """
    An idempotent Kafka producer that is replaced as soon as its state is in doubt.

    After a timeout or an out-of-sequence error an aiokafka producer may stay stuck for good, so it is
    abandoned and the next publish starts a fresh one.
    """

    def __init__(self, *, bootstrap_servers: str, topic_prefix: str = "", client_id: str) -> None:
        """Nothing connects before the first publish."""
        self._bootstrap_servers = bootstrap_servers
        self._topic_prefix = topic_prefix
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go; the next publish makes new ones."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _abandon(producer)

    async def publish(self, records: Sequence[WireRecord]) -> None:
        """
        Return once the broker has all `records`.

        :raises PublishFailed: if that is not certain.
        :raises ValueError: if the broker refuses one of them for what it is.
        """
        refusals = [refusal for refusal in await self.publish_keyed(records) if refusal]
        if refusals:
            raise ValueError(refusals[0])

    async def publish_keyed(self, records: Sequence[WireRecord]) -> list[str | None]:
        """
        Publish `records` in order; per record return None once the broker has it, or why it refuses it.

        A refused record holds back the later ones of its key, whose order would otherwise break.

        :raises PublishFailed: if it is unknown whether the broker has one of them.
        """
        try:
            async with asyncio.timeout(_PUBLISH_TIMEOUT_SECONDS):
                producer = await self._started()
                return await self._send(producer, records)
        except (KafkaError, OSError, TimeoutError) as error:
            producer_in_doubt, self._producer = self._producer, None
            if producer_in_doubt is not None:
                await _abandon(producer_in_doubt)
            raise PublishFailed(repr(error)) from error

    async def _send(self, producer: AIOKafkaProducer, records: Sequence[WireRecord]) -> list[str | None]:
        """
        Send a batch for each partition at a time, built here: one future a batch instead of one a record.

        Of a partition, the next batch is sent when the outcome of the one before is known, so that a refusal can
        hold back what must not overtake it.
        """
        outcomes = _Outcomes(records)
        unsent: dict[tuple[str, int], deque[int]] = {}
        for topic, indexes in _by_topic(records).items():
            try:
                numbers = sorted(await producer.partitions_for(self._topic_prefix + topic))
            except _REFUSALS as refusal:
                outcomes.refuse(indexes, repr(refusal))
                continue
            hashes = hashes_of(records[index].key for index in indexes)
            for index in indexes:
                number = numbers[hashes[records[index].key] % len(numbers)]
                unsent.setdefault((self._topic_prefix + topic, number), deque()).append(index)
        while unsent:
            sent: list[tuple[list[int], asyncio.Future[object]]] = []
            for (topic, number), waiting in unsent.items():
                batch = producer.create_batch()
                if included := _fill(batch, records, waiting, outcomes):
                    sent.append((included, await producer.send_batch(batch, topic, partition=number)))
            results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
            for (included, _), result in zip(sent, results, strict=True):
                if isinstance(result, _REFUSALS):
                    outcomes.refuse(included, repr(result))
                elif isinstance(result, BaseException):
                    raise result
            unsent = {place: waiting for place, waiting in unsent.items() if waiting}
        return outcomes.refusals

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap_servers,
                    client_id=self._client_id,
                    enable_idempotence=True,
                    compression_type="zstd",
                    max_batch_size=_BATCH_BYTES_MAX,
                    max_request_size=1_048_576,
                    request_timeout_ms=_REQUEST_TIMEOUT_MS,
                    metadata_max_age_ms=30_000,
                )
                try:
                    await within(_START_TIMEOUT_SECONDS, producer.start())
                except BaseException:
                    await _abandon(producer)
                    raise
                self._producer = producer
            return self._producer


class _Outcomes:
    """Why records were refused; a refused record holds back the later ones of its key."""

    def __init__(self, records: Sequence[WireRecord]) -> None:
        self.refusals: list[str | None] = [None] * len(records)
        self._records = records
        self._refused_keys: dict[bytes, str] = {}

    def refuse(self, indexes: Iterable[int], refusal: str) -> None:
        for index in indexes:
            self.refusals[index] = self._refused_keys[self._records[index].key] = refusal

    def hold_back(self, index: int) -> bool:
        """Tell whether a record must wait for an earlier one, and note it."""
        refusal = self._refused_keys.get(self._records[index].key)
        if refusal is not None:
            self.refusals[index] = f"held back: {refusal}"
        return refusal is not None


def _by_topic(records: Sequence[WireRecord]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        places.setdefault(record.topic, []).append(index)
    return places


def _fill(batch: BatchBuilder, records: Sequence[WireRecord], waiting: deque[int], outcomes: _Outcomes) -> list[int]:
    """Move from `waiting` into `batch` what fits, and close it; return what is in it."""
    included = []
    while waiting:
        index = waiting[0]
        record = records[index]
        if not outcomes.hold_back(index):
            if len(record.value) > _VALUE_BYTES_MAX:
                outcomes.refuse([index], repr(MessageSizeTooLargeError(f"a value of {len(record.value)} bytes")))
            elif batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
                break
            else:
                included.append(index)
        waiting.popleft()
    # An open batch would linger for more.
    batch.close()
    return included


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer without waiting longer than it deserves."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await within(_STOP_TIMEOUT_SECONDS, producer.stop())
