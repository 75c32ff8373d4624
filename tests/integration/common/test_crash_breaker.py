"""A record that kills whoever handles it ends among the dead letters; no other record does, whatever else kills."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from libs.common.db import Database, Transaction
from libs.common.db import database as database_module
from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsReceived
from libs.common.events.topics import INVENTORY_WAREHOUSE
from libs.common.ids import new_id
from libs.common.messaging import consumer as consumer_module
from libs.common.messaging import crash_breaker
from libs.common.messaging.consumer import Consumer
from libs.common.messaging.crash_breaker import DEATHS_MAX, Mark
from tests.integration.common.conftest import GROUP
from tests.integration.common.test_consumer import EffectsHandler, a_consumer, a_receipt, effects, running
from tests.support.eventually import eventually
from tests.support.kafka import TestBus
from tests.support.postgres import FreshDatabase

DEADLY = "DEADLY-NIGHTSHADE"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "_SUSPICION_SECONDS", (0.0, 0.0))


@pytest.fixture
async def impatient(database: FreshDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """Connect as a service does, whose idle transactions the server ends sooner, though not before a session ends."""
    monkeypatch.setattr(database_module, "_IDLE_IN_TRANSACTION_TIMEOUT_MS", 3_000)
    own = Database(database.url, application_name="test")
    yield own
    await own.dispose()


class Mortal(EffectsHandler):
    """Dies of what is deadly, which a process does without a word: its announcement stands."""

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        await super().__call__(batch, transaction)
        if any(isinstance(one.event, GoodsReceived) and one.event.sku == DEADLY for one in batch):
            raise MemoryError


class Waiting(EffectsHandler):
    """Never gets its database."""

    def __init__(self, fault: Exception | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.begun = asyncio.Event()

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:  # noqa: ARG002
        self.begun.set()
        if self.fault is not None:
            raise self.fault
        await asyncio.Event().wait()


class Held(EffectsHandler):
    """Goes on with its batches when it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, batch: Sequence[Envelope], transaction: Transaction) -> None:
        self.begun.set()
        await self.released.wait()
        await super().__call__(batch, transaction)


@asynccontextmanager
async def ended(consumer: Consumer) -> AsyncIterator[None]:
    """Run a process that is told to end amid its work, in good order."""
    async with asyncio.TaskGroup() as group:
        life = group.create_task(consumer.run(asyncio.Event()))
        yield
        life.cancel()


async def live(database: FreshDatabase, bus: TestBus, handler: EffectsHandler) -> None:
    """Run one process until it dies of what it handles."""
    with pytest.raises(MemoryError):
        async with asyncio.timeout(60):
            await a_consumer(database, bus, handler).run(asyncio.Event())


async def test_sets_aside_what_killed_too_often_and_applies_all_else(database: FreshDatabase, bus: TestBus) -> None:
    for number in range(30):
        await bus.publish(a_receipt(DEADLY if number == 11 else f"GOOD-{number:02}"))

    lives = [Mortal() for _ in range(1 + DEATHS_MAX)]
    for handler in lives:
        await live(database, bus, handler)
    async with running(a_consumer(database, bus, Mortal())):
        await eventually(lambda: effects(database), lambda skus: len(skus) == 29)
        [letter] = await eventually(lambda: bus.read_dead_letters(GROUP))
        # Whoever has come past what killed handles batches again.
        await bus.publish(a_receipt("AFTERWARDS"))
        await eventually(lambda: effects(database), lambda skus: "AFTERWARDS" in skus)

    assert DEADLY not in await effects(database)
    assert dict(letter.headers)["dlq-reason"] == b"process-died"
    assert dict(letter.headers)["dlq-attempts"] == str(DEATHS_MAX).encode()
    assert max(lives[0].batch_sizes) > 1
    assert all(set(handler.batch_sizes) == {1} for handler in lives[2:])


async def test_blames_nobody_for_a_death_without_an_announcement(database: FreshDatabase, bus: TestBus) -> None:
    await bus.publish(a_receipt("FIRST"))
    async with running(a_consumer(database, bus, Mortal())):
        await eventually(lambda: effects(database))
    assert await marks(bus) == []


@pytest.mark.parametrize("fault", [None, ConnectionResetError("the database is away")])
async def test_takes_its_announcement_back_when_it_is_ended(
    database: FreshDatabase, bus: TestBus, fault: Exception | None
) -> None:
    await bus.publish(a_receipt("GOOD"))

    for _ in range(DEATHS_MAX + 1):
        handler = Waiting(fault)
        async with ended(a_consumer(database, bus, handler)):
            await handler.begun.wait()
        assert await marks(bus) == []
    async with running(a_consumer(database, bus, Mortal())):
        await eventually(lambda: effects(database))

    assert await bus.read_dead_letters(GROUP) == []


async def test_takes_its_announcement_back_while_it_waits_for_a_server(
    database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crash_breaker, "_DEADLY_SECONDS", 0.3)
    await bus.publish(a_receipt("GOOD"))
    await bus.leave_beside_offset(GROUP, INVENTORY_WAREHOUSE, Mark(0, 1, attempts=2).encode())
    handler = Waiting()

    async with ended(a_consumer(database, bus, handler)):
        # It has been announced as the third attempt before it begins.
        await handler.begun.wait()
        await eventually(lambda: marks(bus), lambda found: max(found).attempts == 2)

    assert max(await marks(bus)).attempts == 2


async def test_gives_its_partition_up_without_suspicion(
    database: FreshDatabase, bus: TestBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_SESSION_TIMEOUT_MS", 1_200)
    monkeypatch.setattr(crash_breaker, "_DEADLY_SECONDS", 60.0)
    await bus.publish(a_receipt("GOOD"))
    await bus.leave_beside_offset(GROUP, INVENTORY_WAREHOUSE, Mark(0, 1, attempts=2).encode())
    handler = Waiting()

    async with ended(a_consumer(database, bus, handler)):
        await handler.begun.wait()
        # A machine that stands still for longer than a session lets it begin again.
        await eventually(lambda: marks(bus), lambda found: max(found).attempts == 3)
        # Whoever gets it next hesitates.
        monkeypatch.setattr(consumer_module, "_SUSPICION_SECONDS", (60.0, 60.0))
        async with ended(a_consumer(database, bus, Waiting())):
            await eventually(lambda: marks(bus), lambda found: {one.attempts for one in found} == {2})
    assert await bus.read_dead_letters(GROUP) == []


async def test_lives_on_when_it_loses_a_partition_amid_its_first_batch(
    database: FreshDatabase, impatient: Database, bus: TestBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "_SESSION_TIMEOUT_MS", 1_200)
    skus = [f"GOOD-{number:02}" for number in range(12)]
    for sku in skus:
        await bus.publish(a_receipt(sku))
    first, second = Held(), Held()
    second.released.set()

    async with running(a_consumer(impatient, bus, first)):
        await first.begun.wait()
        async with running(a_consumer(database, bus, second)):
            # What has been taken from the first one comes again, to the second, once the server ends what it left idle.
            await second.begun.wait()
            first.released.set()
            await eventually(lambda: effects(database), lambda found: found == skus)


async def test_sets_nothing_aside_whose_effect_is_there(database: FreshDatabase, bus: TestBus) -> None:
    event_id = new_id()
    await bus.publish(a_receipt("APPLIED"), event_id=event_id)
    async with running(a_consumer(database, bus, Mortal())):
        await eventually(lambda: effects(database))
    await bus.leave_beside_offset(GROUP, INVENTORY_WAREHOUSE, Mark(0, 1, DEATHS_MAX).encode())

    async with running(a_consumer(database, bus, Mortal())):
        await eventually(lambda: bus.read_beside_offsets(GROUP, INVENTORY_WAREHOUSE), lambda found: (1, "") in found)

    assert await effects(database) == ["APPLIED"]
    assert await bus.read_dead_letters(GROUP) == []


async def marks(bus: TestBus) -> list[Mark]:
    found = await bus.read_beside_offsets(GROUP, INVENTORY_WAREHOUSE)
    return [mark for offset, metadata in found if (mark := Mark.decode(offset, metadata)) is not None]
