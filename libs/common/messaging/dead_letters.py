"""Where records go that cannot be turned into an effect, and how they come back."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from aiokafka import ConsumerRecord

from libs.common.events.base import WireRecord

DeadLetterReason = Literal[
    "malformed", "unknown-type", "missing-header", "schema-mismatch", "refused", "handler-failed", "process-died"
]

_ERROR_CHARACTERS_MAX = 500
# A record can be larger than a message may be: its broker counted it compressed. Its beginning tells what it is.
_VALUE_BYTES_MAX = 750_000
_HEADERS_BYTES_MAX = _KEY_BYTES_MAX = 50_000
TRUNCATED = "dlq-truncated"


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
    """
    Wrap a record: its bytes untouched, its origin and the reason in headers beside its own.

    Of what no message can hold, the beginning; `dlq-truncated` tells how many bytes the key and the value had.
    """
    key, value = record.key or b"", record.value or b""
    own = [(name, text) for name, text in record.headers if not name.startswith("dlq-")]
    headers = _beginning(own)
    if len(key) > _KEY_BYTES_MAX or len(value) > _VALUE_BYTES_MAX or len(headers) < len(own):
        headers.append((TRUNCATED, str(len(key) + len(value)).encode()))
    headers.extend(
        (name, text.encode(errors="replace"))
        for name, text in (
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
        key=key[:_KEY_BYTES_MAX],
        value=value[:_VALUE_BYTES_MAX],
        headers=headers,
    )


def _beginning(headers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return as many of the first headers as fit."""
    ends = accumulate(len(name.encode()) + len(value or b"") for name, value in headers)
    return [header for header, end in zip(headers, ends, strict=True) if end <= _HEADERS_BYTES_MAX]
