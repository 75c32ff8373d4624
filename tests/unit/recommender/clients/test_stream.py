import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from libs.common.clock import FixedClock
from libs.common.events.base import Envelope, WireRecord
from libs.common.events.storefront import ProductViewed, RecommendationShown
from libs.common.ids import new_id
from libs.common.messaging.producer import BusProducer, PublishFailed
from services.recommender.clients.stream import KafkaBehaviourStream, KafkaShownLog, StreamNotAnswering

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class RecordingProducer(BusProducer):
    """Keeps what it is given, as slowly or as badly as it is told."""

    def __init__(self, *, refused_keys: Sequence[bytes] = (), is_down: bool = False, is_silent: bool = False) -> None:
        super().__init__(bootstrap_servers="unused", client_id="test")
        self.batches: list[list[bytes]] = []
        self._refused_keys = refused_keys
        self._is_down = is_down
        self._is_silent = is_silent

    async def publish_keyed(self, records: Sequence[WireRecord]) -> list[str | None]:
        if self._is_down:
            raise PublishFailed("down")
        if self._is_silent:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.batches.append([record.key for record in records])
        return ["too large" if record.key in self._refused_keys else None for record in records]


def a_view(visitor: str) -> Envelope:
    event = ProductViewed(visitor_id=visitor, occurred_at=NOW, sku="TALL-LAMP")
    return Envelope(id=new_id(), event=event, time=NOW, source="test")


def shown() -> RecommendationShown:
    return RecommendationShown(
        visitor_id="visitor-1", occurred_at=NOW, recommendation_id="r-1", placement="home", skus=["TALL-LAMP"]
    )


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("recommender_shown_events_total", {"outcome": outcome}) or 0.0


class TestBehaviourStream:
    async def test_publishes_posts_that_wait_together_at_once_and_in_order(self) -> None:
        producer = RecordingProducer()
        async with KafkaBehaviourStream(producer, timeout_seconds=60.0) as stream:
            await asyncio.gather(*(stream.publish([a_view(f"visitor-{number}")]) for number in range(50)))

        assert len(producer.batches) < 5
        assert [key for batch in producer.batches for key in batch] == [f"visitor-{n}".encode() for n in range(50)]

    async def test_refuses_all_waiting_posts_when_the_broker_is_down(self) -> None:
        async with KafkaBehaviourStream(RecordingProducer(is_down=True), timeout_seconds=60.0) as stream:
            outcomes = await asyncio.gather(
                *(stream.publish([a_view("visitor-1")]) for _ in range(3)), return_exceptions=True
            )

        assert [type(outcome) for outcome in outcomes] == [StreamNotAnswering] * 3

    async def test_waits_no_longer_than_it_is_told(self) -> None:
        stream = KafkaBehaviourStream(RecordingProducer(is_silent=True), timeout_seconds=0.05)

        async def post() -> None:
            async with stream, asyncio.timeout(60):
                await stream.publish([a_view("visitor-1")])

        with pytest.raises(ExceptionGroup) as group:
            await post()

        assert group.group_contains(StreamNotAnswering)

    async def test_lets_no_refused_post_fail_the_others(self) -> None:
        producer = RecordingProducer(refused_keys=[b"visitor-2"])
        async with KafkaBehaviourStream(producer, timeout_seconds=60.0) as stream:
            outcomes = await asyncio.gather(
                stream.publish([a_view("visitor-1")]),
                stream.publish([a_view("visitor-2"), a_view("visitor-3")]),
                stream.publish([a_view("visitor-4")]),
                return_exceptions=True,
            )

        assert outcomes[0] is outcomes[2] is None
        assert isinstance(outcomes[1], StreamNotAnswering)


class TestShownLog:
    async def test_publishes_what_is_noted_before_it_stops(self) -> None:
        producer, stop, before = RecordingProducer(), asyncio.Event(), counted("published")
        shown_log = KafkaShownLog(producer, source="test", clock=FixedClock(NOW))
        shown_log.note(shown())
        shown_log.note(shown())
        stop.set()
        await shown_log.run(stop)

        assert producer.batches == [[b"visitor-1", b"visitor-1"]]
        assert counted("published") - before == 2

    async def test_counts_what_the_broker_does_not_take_and_what_comes_too_late(self) -> None:
        stop, before = asyncio.Event(), counted("lost")
        shown_log = KafkaShownLog(RecordingProducer(is_down=True), source="test", clock=FixedClock(NOW))
        for _ in range(600):
            shown_log.note(shown())
        stop.set()
        # The first batch of 500 fails; the rest is not tried against a broker that does not answer.
        await shown_log.run(stop)
        shown_log.note(shown())

        assert counted("lost") - before == 601

    async def test_never_grows_without_bound(self) -> None:
        before = counted("lost")
        shown_log = KafkaShownLog(RecordingProducer(), source="test", clock=FixedClock(NOW))
        for _ in range(10_005):
            shown_log.note(shown())

        assert counted("lost") - before == 5
