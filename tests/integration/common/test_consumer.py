import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import REGISTRY

from libs.common.clock import SystemClock
from libs.common.db import Database, Transaction
from libs.common.events.base import Envelope, WireRecord, encode
from libs.common.events.inventory import GoodsReceived
from libs.common.events.topics import INVENTORY_WAREHOUSE
from libs.common.ids import new_id
from libs.common.messaging import consumer as consumer_module
from libs.common.messaging.consumer import BatchHandler, Consumer, DeadLetterFuseBlown, Subscription
from libs.common.messaging.redrive import replay
from tests.integration.common.conftest import GROUP
from tests.support.eventually import eventually
from tests.support.kafka import TestBus, envelope_of
from tests.support.postgres import FreshDatabase

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)
POISON = "POISON-IVY"


def a_receipt(sku: str = "CRUNCHY-ARMCHAIR", *, quantity: int = 1) -> GoodsReceived:
    return GoodsReceived(sku=sku, warehouse="LON", occurred_at=NOON, quantity=quantity)


class EffectsHandler:
    """Writes a row per event; refuses poison for as long as it is told to."""

    def __init__(self) -> None:
        self.refuses_poison = True
        self.batch_sizes: list[int] = []

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        self.batch_sizes.append(len(batch))
        driver = await transaction.driver()
        for envelope in batch:
            assert isinstance(envelope.event, GoodsReceived)
            await driver.execute(
                "INSERT INTO effects VALUES ($1, $2, $3)",
                envelope.id,
                envelope.event.sku,
                envelope.event.quantity,
            )
            if envelope.event.sku == POISON and self.refuses_poison:
                msg = "this one never works"
                raise LookupError(msg)


def expired_records(bus: TestBus) -> float | None:
    """Return how many records a group has told of that were gone before it read them."""
    topic = bus.topic_prefix + INVENTORY_WAREHOUSE.name
    labels = {"service": "test", "group": GROUP, "topic": topic}
    return REGISTRY.get_sample_value("consumer_records_expired_total", labels)


async def effects(database: FreshDatabase) -> list[str]:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        return [row["sku"] for row in await driver.fetch("SELECT sku FROM effects ORDER BY sku")]


def a_consumer(
    database: Database,
    bus: TestBus,
    handler: BatchHandler,
    *,
    transaction_events_max: int = 500,
    unknown_types: Literal["ignore", "dead-letter"] = "dead-letter",
) -> Consumer:
    return Consumer(
        Subscription(
            group=GROUP,
            topics=(INVENTORY_WAREHOUSE,),
            events=(GoodsReceived,),
            handle=handler,
            unknown_types=unknown_types,
            transaction_events_max=transaction_events_max,
        ),
        service="test",
        database=database,
        bootstrap_servers=bus.bootstrap_servers,
        topic_prefix=bus.topic_prefix,
        clock=SystemClock(),
    )


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(consumer.run(stop))
        yield
        stop.set()


async def exhausted(batch: Sequence[Envelope], transaction: Transaction) -> None:  # noqa: ARG001
    raise MemoryError


class TestConsumer:
    async def test_applies_an_event_once_however_often_it_is_delivered(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        event_id = new_id()
        for _ in range(3):
            await bus.publish(a_receipt(), event_id=event_id)
        await bus.publish(a_receipt("OMINOUS-MIRROR"))

        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database), lambda skus: "OMINOUS-MIRROR" in skus)
        async with running(a_consumer(database, bus, EffectsHandler())):
            await bus.publish(a_receipt("ZEALOUS-ZEBRA"))
            await eventually(lambda: effects(database), lambda skus: "ZEALOUS-ZEBRA" in skus)

        assert await effects(database) == ["CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR", "ZEALOUS-ZEBRA"]

    async def test_drops_what_it_applied_when_its_offsets_are_lost(self, database: FreshDatabase, bus: TestBus) -> None:
        await bus.publish(a_receipt())
        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database))
        await bus.rewind(GROUP, INVENTORY_WAREHOUSE)

        async with running(a_consumer(database, bus, EffectsHandler())):
            await bus.publish(a_receipt("OMINOUS-MIRROR"))
            await eventually(lambda: effects(database), lambda skus: len(skus) > 1)

        assert await effects(database) == ["CRUNCHY-ARMCHAIR", "OMINOUS-MIRROR"]

    async def test_tells_of_records_that_were_gone_before_it_read_them(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        await bus.publish(a_receipt())
        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database))
        assert expired_records(bus) is None
        for _ in range(5):
            await bus.publish(a_receipt())

        assert await bus.expire(INVENTORY_WAREHOUSE) == 6
        await bus.publish(a_receipt())
        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database), lambda skus: len(skus) > 1)

        assert len(await effects(database)) == 2
        assert expired_records(bus) == 5

    async def test_sets_poison_aside_and_applies_its_neighbours(self, database: FreshDatabase, bus: TestBus) -> None:
        for number in range(20):
            await bus.publish(a_receipt(POISON if number == 7 else f"GOOD-{number:02}"))

        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database), lambda skus: len(skus) == 19)
            letters = await eventually(lambda: bus.read_dead_letters(GROUP))

        assert [dict(letter.headers)["dlq-reason"] for letter in letters] == [b"handler-failed"]
        assert POISON not in await effects(database)

    async def test_divides_a_batch_into_transactions_of_the_size_it_is_told(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        handler = EffectsHandler()
        for number in range(10):
            await bus.publish(a_receipt(f"GOOD-{number:02}"))

        async with running(a_consumer(database, bus, handler, transaction_events_max=3)):
            skus = await eventually(lambda: effects(database), lambda skus: len(skus) == 10)

        assert skus == [f"GOOD-{number:02}" for number in range(10)]
        assert max(handler.batch_sizes) <= 3

    async def test_reads_on_after_each_batch(self, database: FreshDatabase, bus: TestBus) -> None:
        async with running(a_consumer(database, bus, EffectsHandler())):
            for number in range(3):
                await bus.publish(a_receipt(f"GOOD-{number:02}"))
                await eventually(lambda: effects(database), lambda skus: len(skus) == number + 1)  # noqa: B023

    async def test_sets_aside_what_is_not_an_event_with_its_bytes_untouched(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        good = encode(envelope_of(a_receipt()))
        no_time = [(n, b"9999-12-31T23:00:00-14:00" if n == "ce_time" else v) for n, v in good.headers]
        wrong_type = [(n, b"goods.vanished" if n == "ce_type" else v) for n, v in good.headers]
        bad = [
            WireRecord(topic=good.topic, key=b"k", value=b"{truncated", headers=good.headers),
            WireRecord(topic=good.topic, key=b"k", value=b"\xff\xfe", headers=good.headers),
            WireRecord(topic=good.topic, key=b"k", value=b'{"sku": 7}', headers=good.headers),
            WireRecord(topic=good.topic, key=b"k", value=b"[" * 100_000, headers=good.headers),
            WireRecord(topic=good.topic, key=b"k", value=good.value, headers=[]),
            WireRecord(topic=good.topic, key=b"k", value=good.value, headers=wrong_type),
            # An hour that UTC has no year for.
            WireRecord(topic=good.topic, key=b"k", value=good.value, headers=no_time),
        ]
        for record in bad:
            await bus.publish_raw(record)
        await bus.publish(a_receipt())

        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database))
            letters = await eventually(lambda: bus.read_dead_letters(GROUP), lambda found: len(found) == len(bad))

        assert [letter.value for letter in letters] == [record.value for record in bad]
        assert [dict(letter.headers)["dlq-reason"] for letter in letters] == [
            b"malformed",
            b"malformed",
            b"schema-mismatch",
            b"schema-mismatch",
            b"missing-header",
            b"unknown-type",
            b"malformed",
        ]

    @pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
    async def test_sets_aside_the_beginning_of_what_no_message_can_hold(
        self, database: FreshDatabase, bus: TestBus, compression: str
    ) -> None:
        huge = b"7" * 3_000_000
        topic = bus.topic_prefix + INVENTORY_WAREHOUSE.name
        async with AIOKafkaProducer(
            bootstrap_servers=bus.bootstrap_servers, compression_type=compression, max_request_size=8_000_000
        ) as others:
            await others.send_and_wait(topic, huge, key=huge[:600_000], headers=[("ce_type", huge[:400_000])])
            await others.send_and_wait(topic, huge, key=b"k", headers=[("ce_type", b"goods.received"), ("x", None)])
        await bus.publish(a_receipt())

        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database))
            letters = await eventually(lambda: bus.read_dead_letters(GROUP), lambda found: len(found) == 2)

        assert all(letter.value and huge.startswith(letter.value) for letter in letters)
        sizes = {dict(letter.headers)["dlq-truncated"] for letter in letters}
        assert sizes == {b"3600000", b"3000001"}
        again = await replay(group=GROUP, bootstrap_servers=bus.bootstrap_servers, topic_prefix=bus.topic_prefix)
        assert again == []

    async def test_goes_on_however_much_of_what_is_no_event_others_send(
        self, database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(consumer_module, "_DEAD_LETTERS_CONSECUTIVE_MAX", 3)
        good = encode(envelope_of(a_receipt()))
        for _ in range(5):
            await bus.publish_raw(good._replace(value=b'{"sku": 7}'))
        await bus.publish(a_receipt())

        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database))

        assert len(await bus.read_dead_letters(GROUP)) == 5

    async def test_stops_when_its_own_events_no_longer_fit_and_sets_none_of_them_aside(
        self, database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(consumer_module, "_DEAD_LETTERS_CONSECUTIVE_MAX", 3)
        good = encode(envelope_of(a_receipt()))
        for value in (b'{"sku": 7}', b"{", b'{"sku": 7}', good.value, *[b'{"sku": 7}'] * 3):
            await bus.publish_raw(good._replace(value=value))

        with pytest.raises(DeadLetterFuseBlown):
            await a_consumer(database, bus, EffectsHandler(), unknown_types="ignore").run(asyncio.Event())

        assert await bus.read_dead_letters(GROUP) == []

    async def test_ends_without_memory_and_sets_nothing_aside(self, database: FreshDatabase, bus: TestBus) -> None:
        await bus.publish(a_receipt())

        with pytest.raises(MemoryError):
            await a_consumer(database, bus, exhausted).run(asyncio.Event())

        assert await bus.read_dead_letters(GROUP) == []
        async with running(a_consumer(database, bus, EffectsHandler())):
            await eventually(lambda: effects(database))

    async def test_stops_instead_of_emptying_a_topic_into_the_dead_letters(
        self, database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(consumer_module, "_DEAD_LETTERS_CONSECUTIVE_MAX", 3)
        for _ in range(5):
            await bus.publish(a_receipt(POISON))

        with pytest.raises(DeadLetterFuseBlown):
            await a_consumer(database, bus, EffectsHandler()).run(asyncio.Event())

        assert len(await bus.read_dead_letters(GROUP)) == 3


class TestReplay:
    async def test_brings_dead_letters_back_once_their_cause_is_mended(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        handler = EffectsHandler()
        await bus.publish(a_receipt(POISON))
        async with running(a_consumer(database, bus, handler)):
            await eventually(lambda: bus.read_dead_letters(GROUP))
            handler.refuses_poison = False

            replayed = [
                await replay(
                    group=GROUP,
                    bootstrap_servers=bus.bootstrap_servers,
                    topic_prefix=bus.topic_prefix,
                )
                for _ in range(2)
            ]

            await eventually(lambda: effects(database))
        assert [len(letters) for letters in replayed] == [1, 0]
        assert await effects(database) == [POISON]
