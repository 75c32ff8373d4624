"""Collects the events of one transaction and writes them with it."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import cramjam
import msgspec

from libs.common.clock import Clock
from libs.common.db import Transaction
from libs.common.events.base import Envelope, Event, WireRecord, encode
from libs.common.ids import new_id
from libs.common.telemetry.tracing import child_traceparent, current_correlation_id, current_traceparent

# The brokers' message.max.bytes is 1 MiB; what is larger must be refused while the caller can still hear it.
RECORD_BYTES_MAX = 900_000

# The identity of a row is its place in the order of events, so rows are numbered in the order of the arrays.
_INSERT = """
INSERT INTO outbox_events (event_id, topic, key, headers, value, created_at)
SELECT event_id, topic, key, headers, value, created_at
FROM unnest($1::uuid[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::timestamptz[])
     WITH ORDINALITY AS new (event_id, topic, key, headers, value, created_at, place)
ORDER BY place
"""

encode_headers = msgspec.msgpack.Encoder().encode
decode_headers = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode

# A transaction with more than a few events writes them in bundles, rows without a topic: a row costs PostgreSQL as much
# as the event in it, to write, to read and to delete. The value of a bundle is its records, compressed; its headers are
# their number, in digits.
BUNDLE_TOPIC: Final = ""
BUNDLE_RECORDS_MAX: Final = 250
_BUNDLED_RECORDS_MIN: Final = 16
_BUNDLE_KEY: Final = b""
_COMPRESSION_LEVEL: Final = 1
_encode_records = msgspec.msgpack.Encoder().encode
_decode_records = msgspec.msgpack.Decoder(list[WireRecord]).decode

_Row = tuple[UUID, str, bytes, bytes, bytes, datetime]


def bundle(records: Sequence[WireRecord]) -> tuple[bytes, bytes]:
    """Return headers and value of the row that holds all of `records`."""
    return b"%d" % len(records), bytes(cramjam.zstd.compress(_encode_records(records), level=_COMPRESSION_LEVEL))


def records_of(topic: str, key: bytes, headers: bytes, value: bytes) -> list[WireRecord]:
    """Return what a row of the outbox holds."""
    if topic == BUNDLE_TOPIC:
        return _decode_records(bytes(cramjam.zstd.decompress(value)))
    return [WireRecord(topic, key, value, decode_headers(headers))]


class EventTooLarge(ValueError):
    """An event would not fit into a message of the bus."""


class OutboxWriter:
    """
    An outbox bound to one transaction; the rows are written in one go just before it commits.

    Per aggregate, row order is version order because the caller has locked the aggregate's row before.
    """

    def __init__(
        self,
        transaction: Transaction,
        *,
        source: str,
        clock: Clock,
        redact: Callable[[Event], Event] | None = None,
        wake_relay: Callable[[], None] | None = None,
    ) -> None:
        """`source` is the service's name; `redact` leaves what may be told; `wake_relay` follows the commit."""
        self._transaction = transaction
        self._source = source
        self._clock = clock
        self._redact = redact
        self._wake_relay = wake_relay
        self._records: list[tuple[UUID, WireRecord]] = []
        self._now = clock.now()

    def add(
        self,
        event: Event,
        *,
        aggregate_version: int | None = None,
        cause: Envelope | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> UUID:
        """Publish `event` with the transaction (see `Outbox.add`)."""
        if not self._records:
            self._now = self._clock.now()
            self._transaction.before_commit(self._write)
            if self._wake_relay is not None:
                self._transaction.after_commit(self._wake_relay)
        if self._redact is not None:
            event = self._redact(event)
        event_id = new_id()
        record = encode(
            Envelope(
                id=event_id,
                event=event,
                time=self._now,
                source=self._source,
                aggregate_version=aggregate_version,
                correlation_id=_correlation_of(cause) or correlation_id or current_correlation_id(),
                causation_id=str(cause.id) if cause else None,
                traceparent=_traceparent_of(cause) or _child_of(traceparent) or current_traceparent(),
            )
        )
        if len(record.value) > RECORD_BYTES_MAX:
            msg = f"{event.type} has {len(record.value)} bytes, {RECORD_BYTES_MAX} fit"
            raise EventTooLarge(msg)
        self._records.append((event_id, record))
        return event_id

    async def _write(self) -> None:
        if not self._records:
            return
        rows = self._bundles() if len(self._records) >= _BUNDLED_RECORDS_MIN else self._rows()
        self._transaction.defer(_INSERT, *(list(column) for column in zip(*rows, strict=True)))

    def _rows(self) -> Iterator[_Row]:
        for event_id, (topic, key, value, headers) in self._records:
            yield event_id, topic, key, encode_headers(headers), value, self._now

    def _bundles(self) -> Iterator[_Row]:
        for start in range(0, len(self._records), BUNDLE_RECORDS_MAX):
            bundled = self._records[start : start + BUNDLE_RECORDS_MAX]
            headers, value = bundle([record for _, record in bundled])
            yield bundled[0][0], BUNDLE_TOPIC, _BUNDLE_KEY, headers, value, self._now


def _correlation_of(cause: Envelope | None) -> str | None:
    if cause is None:
        return None
    return cause.correlation_id or str(cause.id)


def _traceparent_of(cause: Envelope | None) -> str | None:
    # A batch has many causes: each event goes on in the trace of its own.
    return None if cause is None else _child_of(cause.traceparent)


def _child_of(traceparent: str | None) -> str | None:
    return None if traceparent is None else child_traceparent(traceparent)
