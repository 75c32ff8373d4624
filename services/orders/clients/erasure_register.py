"""The register of erasures on the bus, which outlives a database that was restored."""

import asyncio
from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from libs.common.events.base import EventReader
from libs.common.events.customers import CustomerErasureRequested
from libs.common.events.topics import ORDERS_CUSTOMER

_POLL_TIMEOUT_MS: Final = 500
_READ_SECONDS_MAX: Final = 300


async def read_register(*, bootstrap_servers: str, topic_prefix: str) -> Sequence[CustomerErasureRequested]:
    """
    Return every request that the topic holds.

    :raises TimeoutError: if the broker stops sending before its end.
    """
    reader = EventReader([CustomerErasureRequested])
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    found: list[CustomerErasureRequested] = []
    async with asyncio.timeout(_READ_SECONDS_MAX):
        await consumer.start()
        try:
            name = topic_prefix + ORDERS_CUSTOMER.name
            partitions = [TopicPartition(name, number) for number in range(ORDERS_CUSTOMER.partitions)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            await consumer.seek_to_beginning(*partitions)
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for records in (await consumer.getmany(timeout_ms=_POLL_TIMEOUT_MS)).values():
                    for record in records:
                        envelope = reader.decode_known(record.value, list(record.headers))
                        if envelope is not None and isinstance(envelope.event, CustomerErasureRequested):
                            found.append(envelope.event)
        finally:
            await consumer.stop()
    return found
