"""Where records go that cannot be turned into an effect, and how they come back."""

from typing import Literal

from aiokafka import ConsumerRecord

from libs.common.events.base import WireRecord

DeadLetterReason = Literal[
    "malformed", "unknown-type", "missing-header", "schema-mismatch", "refused", "handler-failed", "process-died"
]

_ERROR_CHARACTERS_MAX = 500


def dead_letter_topic(group: str) -> str:
    """Return the name of the topic that holds a group's dead letters."""
    return f"{group}.dlq"


def dead_letter(
    record: "ConsumerRecord[bytes | None, bytes | None]",
    *,
    topic: str,
    group: str,
    reason: DeadLetterReason,
    error: str,
    attempts: int,
) -> WireRecord:
    """Wrap a record: its bytes untouched, its origin and the reason in headers beside its own."""
    headers = [(name, value) for name, value in record.headers if not name.startswith("dlq-")]
    headers.extend(
        (name, value.encode(errors="replace"))
        for name, value in (
            ("dlq-reason", reason),
            ("dlq-topic", topic),
            ("dlq-partition", str(record.partition)),
            ("dlq-offset", str(record.offset)),
            ("dlq-group", group),
            ("dlq-error", error[:_ERROR_CHARACTERS_MAX]),
            ("dlq-attempts", str(attempts)),
        )
    )
    return WireRecord(
        topic=dead_letter_topic(group),
        key=record.key or b"",
        value=record.value or b"",
        headers=headers,
    )
