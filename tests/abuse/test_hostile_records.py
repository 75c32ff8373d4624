"""What nobody should put on the bus: set aside with a reason, while the partition goes on (F42)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from libs.common.events.base import Event, Headers, WireRecord, encode
from libs.common.events.schemas import EXAMPLE_DIRECTORY
from libs.common.ids import new_id
from libs.common.messaging.consumer import Consumer, Subscription
from tests.abuse.routes import SERVICES
from tests.abuse.site import Site
from tests.support.eventually import eventually
from tests.support.kafka import envelope_of

# Within what a broker takes in one record, and far more than it weighs on the wire.
LARGE_BYTES: Final = 900_000
REASONS: Final = {b"malformed", b"unknown-type", b"missing-header", b"schema-mismatch", b"refused", b"handler-failed"}
WAIT_SECONDS: Final = 60.0

# What is no event, whichever was expected.
VALUES: Final = {
    "nothing": b"",
    "truncated": b'{"sku": "LAM',
    "no UTF-8": b'{"sku": "\xff\xfe"}',
    "half a surrogate pair": b'{"sku": "\xed\xa0\x80"}',
    "UTF-16": '{"sku": "LAMP"}'.encode("utf-16"),
    "what unpacks to much": b"[" + b" " * LARGE_BYTES + b"]",
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "NaN": b'{"quantity": NaN}',
    "1e400": b'{"quantity": 1e400}',
    "2^63": b'{"quantity": 9223372036854775808}',
    "a list": b"[]",
    "a text": b'"goods"',
    "a pickle": b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
}


def subscriptions() -> Iterator[Subscription]:
    """Yield what every group of every service reads, as its composition root says."""
    seen = set()
    for service in SERVICES:
        if "consumer" not in service.roles:
            continue
        settings = service.settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"))
        for component in service.build(settings, frozenset({"consumer"})).components:
            if isinstance(component, Consumer) and component.group not in seen:
                seen.add(component.group)
                yield component._subscription  # noqa: SLF001 - nobody else needs to know


@pytest.fixture(params=list(subscriptions()), ids=lambda subscription: subscription.group)
def subscription(request: pytest.FixtureRequest) -> Subscription:
    found: Subscription = request.param
    return found


class TestRecords:
    async def test_that_are_no_events_are_set_aside_and_the_rest_is_read(
        self, site: Site, subscription: Subscription
    ) -> None:
        good = a_record(subscription.events[0])
        fields = dict(good.headers)
        records: list[tuple[bytes | None, bytes | None, Headers]] = [
            *((good.key, value, good.headers) for value in VALUES.values()),
            # A tombstone, on a topic that is not compacted.
            (good.key, None, good.headers),
            (good.key, good.value, []),
            (good.key, good.value, without(fields, "ce_id")),
            (good.key, good.value, list({**fields, "ce_id": b"not-an-id"}.items())),
            (good.key, good.value, list({**fields, "ce_id": b"\xff"}.items())),
            (good.key, good.value, list({**fields, "ce_time": b"yesterday"}.items())),
            (good.key, good.value, list({**fields, "aggregate_version": b"-1"}.items())),
        ]
        # Of these an effect may come, so they come once: without a key, with a header too many.
        harmless: list[tuple[bytes | None, bytes | None, Headers]] = [
            (None, good.value, list({**fields, "ce_id": str(new_id()).encode()}.items())),
            (good.key, good.value, [*good.headers, *((f"x-{n}", b"y" * 100) for n in range(1_000))]),
            (good.key, good.value, list({**fields, "ce_type": b"goods.vanished"}.items())),
            (good.key, good.value, list({**fields, "ce_dataschema": b"/events/goods.received/v999"}.items())),
        ]
        topic = site.topic_prefix + good.topic
        async with site.bus() as bus, raw_producer(site) as producer:
            before = len(await bus.read_dead_letters(subscription.group))
            for key, value, headers in [*records, *harmless]:
                # The broker itself refuses a record without a key where it keeps the latest of each.
                if key is None and subscription.events[0].topic.is_compacted:
                    continue
                await producer.send_and_wait(topic, value=value, key=key, headers=list(headers), partition=0)

            await eventually(
                lambda: unread(site, subscription.group, topic), lambda left: left == 0, timeout_seconds=WAIT_SECONDS
            )
            letters = (await bus.read_dead_letters(subscription.group))[before:]

        reasons = [dict(letter.headers).get("dlq-reason") for letter in letters]
        assert set(reasons) <= REASONS
        # Each of what is no event; of the harmless, what this group refuses for its content.
        assert len(records) <= len(letters) <= len(records) + len(harmless)
        assert all(dict(letter.headers)["dlq-error"] for letter in letters)

    async def test_leave_every_service_ready(self, site: Site) -> None:
        for service in site.services.values():
            async with service.client() as client:
                assert (await client.get("/readyz")).status_code == 200


def a_record(event_class: type[Event]) -> WireRecord:
    """Return a record of the committed example of an event."""
    example = EXAMPLE_DIRECTORY / f"{event_class.type}.v{event_class.version}.json"
    return encode(envelope_of(msgspec.json.decode(example.read_bytes(), type=event_class), aggregate_version=1))


def without(fields: dict[str, bytes], name: str) -> list[tuple[str, bytes]]:
    return [(one, value) for one, value in fields.items() if one != name]


@asynccontextmanager
async def raw_producer(site: Site) -> AsyncIterator[Any]:
    """Open a producer that sends what ours would not: no key, no value, much in little."""
    producer = AIOKafkaProducer(
        bootstrap_servers=site.infrastructure.kafka_bootstrap_servers,
        compression_type="gzip",
        max_request_size=2 * 1024 * 1024,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def unread(site: Site, group: str, topic: str) -> int:
    """Return how many records of partition 0 the group has not committed."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=site.infrastructure.kafka_bootstrap_servers,
        group_id=site.topic_prefix + group,
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
        return ends[partition] - (await consumer.committed(partition) or 0)
    finally:
        await consumer.stop()
