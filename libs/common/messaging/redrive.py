"""Bringing dead letters back to the topic they came from, once their cause is mended."""

from collections.abc import Iterator
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from libs.common.deadline import within
from libs.common.events.base import WireRecord
from libs.common.messaging.dead_letters import TRUNCATED, dead_letter_topic
from libs.common.messaging.producer import BusProducer

_POLL_TIMEOUT_MS = 500
_COMMIT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One dead letter as an operator looks at it."""

    topic: str
    partition: int
    offset: int
    key: str
    event_type: str
    event_id: str
    reason: str
    error: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]

    @property
    def is_whole(self) -> bool:
        """Whether the record fitted into a letter; the beginning of one is nothing to publish."""
        return not any(name == TRUNCATED for name, _ in self.headers)

    @property
    def original(self) -> WireRecord:
        """Return the record as it first came, for publishing it again."""
        return WireRecord(
            topic=self.topic,
            key=self.key.encode(),
            value=self.value,
            headers=[(name, value) for name, value in self.headers if not name.startswith("dlq-")],
        )


async def replay(
    *,
    group: str,
    bootstrap_servers: str,
    topic_prefix: str = "",
    reason: str | None = None,
    limit: int | None = None,
    is_dry_run: bool = False,
) -> list[DeadLetter]:
    """
    Publish the waiting dead letters of `group` to their topics again and return them.

    The event ids stay, so that a letter replayed twice has one effect. With `reason` only letters of that
    reason are published; the others stay, and so do those that hold but the beginning of a record. Which letters are
    done is kept as the offsets of the group `<group>.replay`; a dry run lists what it would publish.

    :raises PublishFailed: if the broker does not confirm; run it again.
    """
    topic = topic_prefix + dead_letter_topic(group)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=f"{topic_prefix}{group}.replay",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = BusProducer(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, client_id=f"{group}-replay")
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        letters = await _read_waiting(consumer, partition, limit)
        chosen = [letter for letter in letters if letter.is_whole and reason in {None, letter.reason}]
        if is_dry_run or not chosen:
            return chosen
        async with producer:
            await producer.publish([letter.original for letter in chosen])
            left = [letter for letter in letters if letter not in chosen]
            # Letters of other reasons go to the end of the line instead of holding up the offset.
            await producer.publish([_requeued(letter, group) for letter in left])
        await within(_COMMIT_TIMEOUT_SECONDS, consumer.commit({partition: letters[-1].offset + 1}))
        return chosen
    finally:
        await consumer.stop()


async def _read_waiting(consumer: AIOKafkaConsumer, partition: TopicPartition, limit: int | None) -> list[DeadLetter]:
    end = (await consumer.end_offsets([partition]))[partition]
    letters: list[DeadLetter] = []
    while await consumer.position(partition) < end and (limit is None or len(letters) < limit):
        wanted = 500 if limit is None else min(500, limit - len(letters))
        fetched = await consumer.getmany(timeout_ms=_POLL_TIMEOUT_MS, max_records=wanted)
        letters.extend(_letters(fetched.get(partition, [])))
    return letters


def _letters(
    records: "list[ConsumerRecord[bytes | None, bytes | None]]",
) -> Iterator[DeadLetter]:
    for record in records:
        fields = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
        yield DeadLetter(
            topic=fields.get("dlq-topic", ""),
            partition=int(fields.get("dlq-partition", "0")),
            offset=record.offset,
            key=(record.key or b"").decode(errors="replace"),
            event_type=fields.get("ce_type", ""),
            event_id=fields.get("ce_id", ""),
            reason=fields.get("dlq-reason", ""),
            error=fields.get("dlq-error", ""),
            value=record.value or b"",
            headers=tuple(record.headers),
        )


def _requeued(letter: DeadLetter, group: str) -> WireRecord:
    return WireRecord(
        topic=dead_letter_topic(group),
        key=letter.key.encode(),
        value=letter.value,
        headers=list(letter.headers),
    )
