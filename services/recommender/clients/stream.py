"""The behaviour topic, written without a database in between."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from libs.common.clock import Clock
from libs.common.errors import Unavailable
from libs.common.events.base import Envelope, WireRecord, encode
from libs.common.events.storefront import RecommendationShown
from libs.common.http.batching import Coalescer
from libs.common.ids import new_id
from libs.common.messaging.producer import BusProducer, PublishFailed
from libs.common.telemetry.logs import get_logger
from libs.common.telemetry.tracing import current_correlation_id, current_traceparent
from services.recommender import metrics

_POSTS_PER_BATCH_MAX: Final = 200
_POSTS_WAITING_MAX: Final = 5_000
_SHOWN_WAITING_MAX: Final = 10_000
_SHOWN_PER_BATCH_MAX: Final = 500
_STOP_CHECK_SECONDS: Final = 0.2

log = get_logger(__name__)


class StreamNotAnswering(Unavailable):
    """The broker has not acknowledged the events; posting the same ids again is safe."""

    code = "behaviour-stream-not-answering"


class KafkaBehaviourStream:
    """
    Publishes posts of events; posts that arrive together share the producer's batches. `async with` it.

    A post that the broker does not acknowledge in time may still arrive later: the answer is unknown, which
    is why events carry ids.
    """

    def __init__(self, producer: BusProducer, *, timeout_seconds: float) -> None:
        """`timeout_seconds` is how long a post waits, for its turn and for the acknowledgement."""
        self._producer = producer
        self._timeout_seconds = timeout_seconds
        self._coalescer: Coalescer[Sequence[WireRecord], None] = Coalescer(
            self._publish,
            batch_size_max=_POSTS_PER_BATCH_MAX,
            queue_max=_POSTS_WAITING_MAX,
        )

    async def __aenter__(self) -> Self:
        """Start to accept posts."""
        await self._coalescer.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Publish what is waiting."""
        await self._coalescer.__aexit__(kind, error, traceback)

    async def publish(self, envelopes: Sequence[Envelope]) -> None:
        """
        Return once the broker has all `envelopes`.

        :raises StreamNotAnswering: if it has not acknowledged them in time.
        """
        records = [encode(envelope) for envelope in envelopes]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._coalescer.submit(records)
        except TimeoutError as error:
            raise StreamNotAnswering("The broker did not acknowledge the events in time.") from error

    async def _publish(self, posts: Sequence[Sequence[WireRecord]]) -> list[Exception | None]:
        try:
            outcomes = await self._producer.publish_keyed([one for post in posts for one in post])
        except PublishFailed as error:
            # Returned and not raised: a coalescer would try the halves, each as slow as the whole.
            log.warning("behaviour.publish_failed", posts=len(posts), error=str(error))
            failure = StreamNotAnswering("The broker did not acknowledge the events.")
            return [failure for _ in posts]
        answers: list[Exception | None] = []
        position = 0
        for post in posts:
            refusals = [one for one in outcomes[position : position + len(post)] if one]
            position += len(post)
            answers.append(StreamNotAnswering(f"The broker refuses: {refusals[0]}") if refusals else None)
        return answers


class KafkaShownLog:
    """
    Publishes recommendation.shown behind the answers' backs: a component of the API process.

    What does not fit into its queue, or what the broker does not acknowledge, is lost and counted: an answer
    is worth more than the note that it was given.
    """

    def __init__(self, producer: BusProducer, *, source: str, clock: Clock) -> None:
        """Nothing is sent before `run`."""
        self._producer = producer
        self._source = source
        self._clock = clock
        self._waiting: deque[Envelope] = deque()
        self._noted = asyncio.Event()
        self._is_closed = False
        self._published = metrics.shown_events_total.labels("published")
        self._lost = metrics.shown_events_total.labels("lost")

    def note(self, event: RecommendationShown) -> None:
        """Queue `event`, or count it as lost."""
        if self._is_closed or len(self._waiting) >= _SHOWN_WAITING_MAX:
            self._lost.inc()
            return
        self._waiting.append(
            Envelope(
                id=new_id(),
                event=event,
                time=self._clock.now(),
                source=self._source,
                correlation_id=current_correlation_id(),
                traceparent=current_traceparent(),
            )
        )
        self._noted.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set, then what is still waiting, as long as the broker answers."""
        is_answering = True
        async with self._producer:
            while not stop.is_set() or (self._waiting and is_answering):
                if not self._waiting:
                    await self._wait_for_more()
                    continue
                size = min(len(self._waiting), _SHOWN_PER_BATCH_MAX)
                batch = [self._waiting.popleft() for _ in range(size)]
                is_answering = await self._publish(batch)
        self._is_closed = True
        self._lost.inc(len(self._waiting))

    async def _publish(self, batch: Sequence[Envelope]) -> bool:
        try:
            await self._producer.publish([encode(envelope) for envelope in batch])
        except (PublishFailed, ValueError) as error:
            log.warning("shown.lost", events=len(batch), error=repr(error))
            self._lost.inc(len(batch))
            return False
        self._published.inc(len(batch))
        return True

    async def _wait_for_more(self) -> None:
        self._noted.clear()
        # The deadline is for the sake of `stop`, which does not set this event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_CHECK_SECONDS):
                await self._noted.wait()
