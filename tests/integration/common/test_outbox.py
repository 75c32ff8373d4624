import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import pytest
from msgspec import json
from msgspec.structs import replace

from libs.common.clock import SystemClock
from libs.common.db import Transaction
from libs.common.events.base import WireRecord
from libs.common.events.inventory import GoodsAdjusted
from libs.common.events.topics import INVENTORY_WAREHOUSE
from libs.common.messaging.producer import BusProducer
from libs.common.outbox import OutboxWriter, Relay, relay
from libs.common.outbox.writer import EventTooLarge, records_of
from libs.common.telemetry.metrics import relay_takeovers_total
from tests.support.eventually import eventually
from tests.support.kafka import TestBus, envelope_of
from tests.support.postgres import FreshDatabase

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)


def an_adjustment(sku: str = "CRUNCHY-ARMCHAIR", *, delta: int = 1) -> GoodsAdjusted:
    return GoodsAdjusted(sku=sku, warehouse="LON", occurred_at=NOON, delta=delta, reason="breakage")


async def write(database: FreshDatabase, *events: GoodsAdjusted) -> list[UUID]:
    async with database.transaction() as transaction:
        outbox = OutboxWriter(transaction, source="inventory", clock=SystemClock())
        return [outbox.add(event, aggregate_version=version) for version, event in enumerate(events, 1)]


async def pending(database: FreshDatabase) -> int:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        return int(await driver.fetchval("SELECT count(*) FROM outbox_events"))


def a_relay(database: FreshDatabase, bus: TestBus) -> Relay:
    return Relay(
        service="inventory",
        database_url=database.url,
        producer=BusProducer(
            bootstrap_servers=bus.bootstrap_servers,
            topic_prefix=bus.topic_prefix,
            client_id="relay",
        ),
        clock=SystemClock(),
    )


class TestOutboxWriter:
    async def test_writes_nothing_when_the_transaction_rolls_back(self, database: FreshDatabase) -> None:
        async def change_and_fail(transaction: Transaction) -> None:
            OutboxWriter(transaction, source="inventory", clock=SystemClock()).add(an_adjustment())
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await database.run(change_and_fail)

        assert await pending(database) == 0

    async def test_refuses_an_event_that_no_message_can_hold(self, database: FreshDatabase) -> None:
        async with database.transaction() as transaction:
            outbox = OutboxWriter(transaction, source="inventory", clock=SystemClock())

            with pytest.raises(EventTooLarge):
                outbox.add(an_adjustment("X" * 1_000_000))

    async def test_continues_the_trace_and_the_correlation_of_the_cause(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        cause = replace(
            envelope_of(an_adjustment()),
            correlation_id="basket-9",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        async with database.transaction() as transaction:
            outbox = OutboxWriter(transaction, source="inventory", clock=SystemClock())
            outbox.add(an_adjustment("OMINOUS-MIRROR"), cause=cause)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(a_relay(database, bus).run(stop))
            await eventually(lambda: pending(database), lambda count: count == 0)
            stop.set()

        [published] = await bus.read_all(INVENTORY_WAREHOUSE)
        assert published.correlation_id == "basket-9"
        assert published.causation_id == str(cause.id)
        assert published.traceparent is not None
        _, trace_id, span_id, _ = published.traceparent.split("-")
        assert trace_id == "0af7651916cd43dd8448eb211c80319c"
        assert span_id != "b7ad6b7169203331"


class TestRelay:
    async def test_publishes_in_order_and_leaves_nothing_behind(self, database: FreshDatabase, bus: TestBus) -> None:
        ids = await write(database, *(an_adjustment(delta=delta) for delta in range(1, 1501)))
        stop = asyncio.Event()

        async with asyncio.TaskGroup() as group:
            group.create_task(a_relay(database, bus).run(stop))
            await eventually(lambda: pending(database), lambda count: count == 0)
            stop.set()

        published = await bus.read_all(INVENTORY_WAREHOUSE)
        assert [envelope.id for envelope in published] == ids
        assert [envelope.aggregate_version for envelope in published] == list(range(1, 1501))

    async def test_does_not_pass_over_an_id_that_is_committed_after_a_later_one(
        self, database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay, "_SWEEP_SECONDS", 3600.0)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(a_relay(database, bus).run(stop))
            await eventually(lambda: lease_count(database), lambda count: count == 1)
            async with database.transaction() as transaction:
                driver = await transaction.driver()
                # Its id is taken now; it is seen when this transaction commits.
                await driver.execute(
                    "INSERT INTO outbox_events (event_id, topic, key, headers, value)"
                    " VALUES (gen_random_uuid(), 'inventory.warehouse.v1', 'late', '\\x90', '{}')"
                )
                await write(database, an_adjustment())
                await eventually(lambda: pending(database), lambda count: count == 0)
            await eventually(lambda: pending(database), lambda count: count == 0)
            stop.set()

    async def test_keeps_the_order_of_a_key_whose_earlier_event_is_committed_after_long(
        self, database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay, "_SWEEP_SECONDS", 3600.0)
        monkeypatch.setattr(relay, "_FLOOR_SECONDS", 0.0)
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(a_relay(database, bus).run(stop))
            await eventually(lambda: lease_count(database), lambda count: count == 1)
            async with database.transaction() as transaction:
                outbox = OutboxWriter(transaction, source="inventory", clock=SystemClock())
                outbox.add(an_adjustment(), aggregate_version=1)
                await outbox._write()  # noqa: SLF001 - its id is taken now, long before it is seen
                outbox._records.clear()  # noqa: SLF001
                for _ in range(5):
                    await write(database, an_adjustment("OMINOUS-MIRROR"))
                    await eventually(lambda: pending(database), lambda count: count == 0)
            async with database.transaction() as transaction:
                outbox = OutboxWriter(transaction, source="inventory", clock=SystemClock())
                outbox.add(an_adjustment(), aggregate_version=2)
            await eventually(lambda: pending(database), lambda count: count == 0)
            stop.set()

        published = [one for one in await bus.read_all(INVENTORY_WAREHOUSE) if one.event.key == "CRUNCHY-ARMCHAIR"]
        assert [envelope.aggregate_version for envelope in published] == [1, 2]

    async def test_finishes_what_was_committed_before_it_is_stopped(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(a_relay(database, bus).run(stop))
            await eventually(lambda: lease_count(database), lambda count: count == 1)
            await write(database, an_adjustment())
            stop.set()

        assert await pending(database) == 0

    async def test_stands_by_while_another_one_works_and_takes_over_when_it_stops(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        stop_first, stop_second = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(a_relay(database, bus).run(stop_first))
            await eventually(lambda: lease_count(database), lambda count: count == 1)
            group.create_task(a_relay(database, bus).run(stop_second))
            await write(database, an_adjustment())
            await eventually(lambda: pending(database), lambda count: count == 0)
            assert await lease_count(database) == 1

            stop_first.set()
            await eventually(lambda: lease_count(database), lambda count: count == 2)
            await write(database, an_adjustment("OMINOUS-MIRROR"))
            await eventually(lambda: pending(database), lambda count: count == 0)
            stop_second.set()

        assert len(await bus.read_all(INVENTORY_WAREHOUSE)) == 2

    async def test_counts_as_taken_over_only_what_another_one_did_before(
        self, database: FreshDatabase, bus: TestBus
    ) -> None:
        before = takeovers()
        first, second = (a_relay(database, bus) for _ in range(2))

        await relay_once(first, database)
        assert takeovers() == before
        await relay_once(first, database)
        assert takeovers() == before
        await relay_once(second, database)
        assert takeovers() == before + 1


async def relay_once(one: Relay, database: FreshDatabase) -> None:
    """Let a relay connect, publish and stop."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(stop))
        await write(database, an_adjustment())
        await eventually(lambda: pending(database), lambda count: count == 0)
        stop.set()


def takeovers() -> float:
    return float(relay_takeovers_total.labels("inventory")._value.get())  # noqa: SLF001 - the client has no public reader


class PickyProducer:
    """A bus that refuses the keys in `refused`, as brokers refuse records, and tells what it took."""

    def __init__(self, *refused: bytes) -> None:
        self.refused = set(refused)
        self.taken: list[tuple[bytes, bytes]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_failure: object) -> None:
        pass

    async def publish_keyed(self, records: Sequence[WireRecord]) -> list[str | None]:
        self.taken += [(record.key, record.value) for record in records if record.key not in self.refused]
        return ["refused" if record.key in self.refused else None for record in records]

    def taken_of(self, sku: str) -> list[int]:
        """Return the deltas of what it took of a SKU, in order."""
        return [json.decode(value)["delta"] for key, value in self.taken if key == sku.encode()]


class TestBundle:
    async def test_keeps_what_is_refused_and_holds_back_what_comes_after_it(
        self, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay, "_BLOCKED_KEY_RETRY_SECONDS", 0.05)
        bus = PickyProducer(b"OMINOUS-MIRROR")
        await write(
            database,
            *(an_adjustment(sku, delta=delta) for delta in range(1, 301) for sku in ("OMINOUS-MIRROR", "FLAT-PLATE")),
        )
        await write(database, an_adjustment("OMINOUS-MIRROR", delta=301), an_adjustment("FLAT-PLATE", delta=301))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            working = Relay(service="inventory", database_url=database.url, producer=bus, clock=SystemClock())  # type: ignore[arg-type]
            group.create_task(working.run(stop))
            await eventually(lambda: held(database), lambda numbers: numbers == [125, 125, 50, 1])
            assert bus.taken_of("FLAT-PLATE") == list(range(1, 302))
            assert bus.taken_of("OMINOUS-MIRROR") == []

            bus.refused.clear()
            await eventually(lambda: pending(database), lambda count: count == 0)
            stop.set()
        assert bus.taken_of("OMINOUS-MIRROR") == list(range(1, 302))
        assert bus.taken_of("FLAT-PLATE") == list(range(1, 302))


async def held(database: FreshDatabase) -> list[int]:
    """Return the number of events in each row of the outbox."""
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        rows = await driver.fetch("SELECT topic, key, headers, value FROM outbox_events ORDER BY id")
        return [len(records_of(*row)) for row in rows]


async def lease_count(database: FreshDatabase) -> int:
    async with database.transaction() as transaction:
        driver = await transaction.driver()
        return int(await driver.fetchval("SELECT count(*) FROM relay_leases"))
