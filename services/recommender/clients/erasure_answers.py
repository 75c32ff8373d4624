"""Answers to erasures, put on the bus after what they tell of is committed."""

from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from libs.common.clock import Clock
from libs.common.events.base import Envelope, encode
from libs.common.events.customers import CustomerErased
from libs.common.ids import named_id
from libs.common.messaging.producer import BusProducer, PublishFailed
from libs.common.telemetry.logs import get_logger

_ANSWERS_MAX: Final = 100
_NAMESPACE: Final = UUID("0b9a3c52-6f0e-4d57-9d3e-0a7be0a7c0de")


log = get_logger(__name__)


class DueAnswers(Protocol):
    """The answers that are not on the bus."""

    async def due(self, *, limit: int) -> Sequence[tuple[UUID, UUID, int]]:
        """Return part, erasure and rows of some."""
        ...

    async def note_answered(self, part_ids: Sequence[UUID]) -> None:
        """Note that they are there now."""
        ...


class ErasureAnswering:
    """Publishes answers until the broker has them; one that goes out twice has the same id."""

    def __init__(self, answers: DueAnswers, producer: BusProducer, *, service: str, clock: Clock) -> None:
        """Answer for `service`."""
        self._answers = answers
        self._producer = producer
        self._service = service
        self._clock = clock

    async def work(self) -> int:
        """Publish what is due; return how many that was, 0 if the broker does not take it yet."""
        due = await self._answers.due(limit=_ANSWERS_MAX)
        if not due:
            return 0
        now = self._clock.now()
        records = [
            encode(
                Envelope(
                    id=named_id(_NAMESPACE, f"{self._service}:{part_id}"),
                    event=CustomerErased(erasure_id=erasure_id, part_id=part_id, service=self._service, rows=rows),
                    time=now,
                    source=self._service,
                )
            )
            for part_id, erasure_id, rows in due
        ]
        try:
            await self._producer.publish(records)
        except PublishFailed as error:
            log.warning("erasure.not_answered", answers=len(due), error=str(error))
            return 0
        await self._answers.note_answered([part_id for part_id, _, _ in due])
        return len(due)
