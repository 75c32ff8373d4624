import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from libs.common.events.base import Envelope, WireRecord, encode
from libs.common.events.inventory import GoodsReceived
from libs.common.events.topics import INVENTORY_WAREHOUSE
from libs.common.messaging import follower as follower_module
from libs.common.messaging.follower import Follower
from tests.support.kafka import envelope_of

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)
FIRST_SECONDS = 0.01
LAST_SECONDS = 0.04


class Broker:
    """What followers connect to: notes when they do, and ends their run at the sixth time."""

    def __init__(self, *, has_topic: bool, records: Sequence[WireRecord] = ()) -> None:
        self.has_topic = has_topic
        self.records = records
        self.stop = asyncio.Event()
        self.connected_at: list[float] = []

    def connection(self, **_: Any) -> Any:
        return _Connection(self)


class _Connection:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._client = self

    async def start(self) -> None:
        self._broker.connected_at.append(asyncio.get_running_loop().time())
        if len(self._broker.connected_at) == 6:
            self._broker.stop.set()

    async def stop(self) -> None:
        pass

    async def force_metadata_update(self) -> None:
        pass

    def partitions_for_topic(self, _topic: str) -> set[int] | None:
        return {0} if self._broker.has_topic else None

    def assign(self, _partitions: object) -> None:
        pass

    async def seek_to_beginning(self, *_: object) -> None:
        pass

    async def end_offsets(self, partitions: Sequence[object]) -> dict[object, int]:
        return dict.fromkeys(partitions, 0)

    async def getmany(self, **_: object) -> dict[object, object]:
        records, self._broker.records = self._broker.records, ()
        if not records:
            raise KafkaError
        self._broker.stop.set()
        return {0: records}

    async def position(self, _partition: object) -> int:
        return 0

    def assignment(self) -> set[object]:
        return set()

    def paused(self) -> set[object]:
        return set()

    def pause(self, *_: object) -> None:
        pass

    def resume(self, *_: object) -> None:
        pass


async def pauses(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long a follower waited before it connected again, each time."""
    monkeypatch.setattr(follower_module, "AIOKafkaConsumer", broker.connection)
    monkeypatch.setattr(follower_module, "_RESTART_SECONDS", FIRST_SECONDS)
    monkeypatch.setattr(follower_module, "_RESTART_SECONDS_MAX", LAST_SECONDS)
    waits: list[float] = []
    timeout = asyncio.timeout

    def note_wait(seconds: float) -> asyncio.Timeout:
        if seconds <= LAST_SECONDS:
            waits.append(seconds)
        return timeout(seconds)

    monkeypatch.setattr(asyncio, "timeout", note_wait)
    one = Follower(
        topics=(INVENTORY_WAREHOUSE,),
        events=(GoodsReceived,),
        apply=lambda _envelope: None,
        bootstrap_servers="nowhere",
        client_id="test",
    )
    await one.run(broker.stop)
    return waits


class TestRestarts:
    async def test_become_rarer_while_there_is_no_topic(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert await pauses(Broker(has_topic=False), monkeypatch) == [0.01, 0.02, 0.04, 0.04, 0.04]

    async def test_are_quick_after_each_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert set(await pauses(Broker(has_topic=True), monkeypatch)) == {FIRST_SECONDS}


class TestPoison:
    async def test_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        received = [GoodsReceived(sku=sku, warehouse="LON", quantity=1, occurred_at=NOON) for sku in ("A", "B")]
        bad, good = (encode(envelope_of(one)) for one in received)
        truncated = good._replace(key=b"C", value=b"{")
        broker = Broker(has_topic=True, records=[truncated, bad, good])
        monkeypatch.setattr(follower_module, "AIOKafkaConsumer", broker.connection)
        applied: list[str] = []

        def apply(envelope: Envelope) -> None:
            if envelope.event == received[0]:
                raise OverflowError
            applied.append(envelope.event.key)

        one = Follower(
            topics=(INVENTORY_WAREHOUSE,),
            events=(GoodsReceived,),
            apply=apply,
            bootstrap_servers="nowhere",
            client_id="test",
        )
        await one.run(broker.stop)

        assert applied == ["B"]
