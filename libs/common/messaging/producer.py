"""Publishing records and knowing which of them the broker has."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from libs.common.events.base import WireRecord
from libs.common.telemetry.logs import get_logger

# aiokafka's idempotent producer never gives up on a batch by itself, nor does stop(): every wait is bounded here.
_PUBLISH_TIMEOUT_SECONDS = 30.0
_START_TIMEOUT_SECONDS = 10.0
_STOP_TIMEOUT_SECONDS = 5.0
_REQUEST_TIMEOUT_MS = 20_000
_LINGER_MS = 2
_BATCH_BYTES_MAX = 262_144

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
        outcomes: list[str | None] = [None] * len(records)
        refused_keys: dict[bytes, str] = {}
        waiting: list[tuple[int, asyncio.Future[object]]] = []
        for index, record in enumerate(records):
            if record.key in refused_keys:
                outcomes[index] = f"held back: {refused_keys[record.key]}"
                continue
            try:
                future = await producer.send(
                    self._topic_prefix + record.topic,
                    value=record.value,
                    key=record.key,
                    headers=record.headers,
                )
            except _REFUSALS as refusal:
                outcomes[index] = refused_keys[record.key] = repr(refusal)
                continue
            waiting.append((index, future))
        results = await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
        for (index, _), result in zip(waiting, results, strict=True):
            if isinstance(result, _REFUSALS):
                outcomes[index] = repr(result)
            elif isinstance(result, BaseException):
                raise result
        return outcomes

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap_servers,
                    client_id=self._client_id,
                    enable_idempotence=True,
                    compression_type="lz4",
                    linger_ms=_LINGER_MS,
                    max_batch_size=_BATCH_BYTES_MAX,
                    max_request_size=1_048_576,
                    request_timeout_ms=_REQUEST_TIMEOUT_MS,
                    metadata_max_age_ms=30_000,
                )
                try:
                    await asyncio.wait_for(producer.start(), _START_TIMEOUT_SECONDS)
                except BaseException:
                    await _abandon(producer)
                    raise
                self._producer = producer
            return self._producer


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Stop a producer without waiting longer than it deserves."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):
        await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT_SECONDS)
