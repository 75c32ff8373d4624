"""Events, their envelope, and the one place where both are encoded and decoded (CloudEvents 1.0, Kafka binary mode)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from libs.common.ids import parse_id

Headers: TypeAlias = Sequence[tuple[str, bytes]]

UndecodableReason = Literal["malformed", "unknown-type", "missing-header", "schema-mismatch"]

_SPEC_VERSION = b"1.0"
_CONTENT_TYPE = b"application/json"
_encoder = msgspec.json.Encoder()
_ENVELOPE_HEADERS = (
    "ce_id",
    "ce_time",
    "ce_source",
    "aggregate_version",
    "correlation_id",
    "causation_id",
    "traceparent",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """
    One Kafka topic: one aggregate of one service.

    `key` is the event field that orders events (the Kafka message key), `subject` the field that names the
    aggregate whose `aggregate_version` counts them; the two differ only where several aggregates share an order.
    """

    name: str
    owner: str
    key: str
    subject: str
    summary: str
    partitions: int = 12
    is_compacted: bool = False
    retention_hours: int = 24 * 30


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """
    Something that happened, as its owner publishes it.

    Subclasses set `type` (`<noun>.<past-participle>`) and `topic`. Fields may only be added, with a default;
    readers ignore fields they do not know. No personal data: ids only.
    """

    type: ClassVar[str]
    topic: ClassVar[Topic]
    version: ClassVar[int] = 1

    @property
    def key(self) -> str:
        """Return what orders this event among others of its topic."""
        return str(getattr(self, self.topic.key))

    @property
    def subject(self) -> str:
        """Return the id of the aggregate that this event belongs to."""
        return str(getattr(self, self.topic.subject))


class Undecodable(Exception):
    """A record that no retry can turn into an event; it belongs in the dead letters."""

    def __init__(self, reason: UndecodableReason, detail: str) -> None:
        """`reason` is one of a closed set, because dashboards count by it."""
        super().__init__(f"{reason}: {detail}")
        self.reason: UndecodableReason = reason
        self.detail = detail


# A struct: a dataclass takes seven times as long to make, and there is one for every event.
class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """An event with what identifies, orders and traces it."""

    id: UUID
    event: Event
    time: datetime
    source: str
    # Counts the events of one aggregate from 1 without gaps; None for streams that have no aggregate state.
    aggregate_version: int | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


class WireRecord(NamedTuple):
    """What is handed to the bus: bytes and where they go."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def encode(envelope: Envelope) -> WireRecord:
    """Write an envelope as a Kafka record."""
    event = envelope.event
    topic = event.topic
    key = _bytes_of(getattr(event, topic.key))
    headers = [
        *_headers_of(type(event), envelope.source),
        ("ce_id", str(envelope.id).encode()),
        ("ce_subject", key if topic.subject == topic.key else _bytes_of(getattr(event, topic.subject))),
        _time_header(envelope.time),
    ]
    if envelope.aggregate_version is not None:
        headers.append(("aggregate_version", b"%d" % envelope.aggregate_version))
    if envelope.correlation_id is not None:
        headers.append(("correlation_id", envelope.correlation_id.encode()))
    if envelope.causation_id is not None:
        headers.append(("causation_id", envelope.causation_id.encode()))
    if envelope.traceparent is not None:
        headers.append(("traceparent", envelope.traceparent.encode()))
    return WireRecord(topic.name, key, _encoder.encode(event), headers)


@lru_cache(maxsize=1024)
def _headers_of(event_class: type[Event], source: str) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that all events of one type share."""
    return (
        ("ce_specversion", _SPEC_VERSION),
        ("ce_type", event_class.type.encode()),
        ("ce_dataschema", f"/events/{event_class.type}/v{event_class.version}".encode()),
        ("content-type", _CONTENT_TYPE),
        ("ce_source", source.encode()),
    )


# The events of a transaction have one time.
@lru_cache(maxsize=256)
def _time_header(time: datetime) -> tuple[str, bytes]:
    return "ce_time", time.isoformat().encode()


def _bytes_of(value: object) -> bytes:
    """Return the text of an event's key; that of an id in a third of the time that `str` takes."""
    return _encoder.encode(value)[1:-1] if isinstance(value, UUID) else str(value).encode()


class EventReader:
    """Decodes records into envelopes for a known set of event classes."""

    def __init__(self, event_classes: Iterable[type[Event]]) -> None:
        """Accept the events that a reader may meet, one class per type."""
        self._decoders = {event_class.type: msgspec.json.Decoder(event_class) for event_class in event_classes}
        self._decoders_by_header = {event_type.encode(): decoder for event_type, decoder in self._decoders.items()}

    def knows(self, headers: Headers) -> bool:
        """Tell whether the record's type is one of this reader's, without decoding it."""
        return _text(dict(headers), "ce_type") in self._decoders

    def decode(self, value: bytes | None, headers: Headers) -> Envelope:
        """
        Read one record.

        :raises Undecodable: if it is malformed, of an unknown type, or lacks what identifies it.
        """
        fields = dict(headers)
        event_type = _required(fields, "ce_type")
        if event_type not in self._decoders:
            raise Undecodable("unknown-type", event_type[:100])
        return _decode(self._decoders[event_type], value, fields)

    def decode_known(self, value: bytes | None, headers: Headers) -> Envelope | None:
        """
        Read one record if its type is one of this reader's, else return None.

        :raises Undecodable: if it is malformed, or lacks what identifies it.
        """
        fields = dict(headers)
        decoder = self._decoders_by_header.get(fields.get("ce_type", b""))
        if decoder is None:
            # A type that is not even text is an error, another reader's is not.
            _text(fields, "ce_type")
            return None
        return _decode(decoder, value, fields)


def _decode(decoder: msgspec.json.Decoder[Event], value: bytes | None, fields: Mapping[str, bytes]) -> Envelope:
    if not value:
        raise Undecodable("malformed", "empty value")
    try:
        event = decoder.decode(value)
    except msgspec.ValidationError as error:
        raise Undecodable("schema-mismatch", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable("malformed", str(error)) from error
    topic = event.topic
    if _has_nul(getattr(event, topic.key)) or (topic.subject != topic.key and _has_nul(getattr(event, topic.subject))):
        raise Undecodable("schema-mismatch", "the key holds a NUL character")
    # Once for each event that anybody reads: a call less for each header is a third of the time.
    try:
        texts = {name: raw.decode() for name, raw in fields.items()}
    except (UnicodeDecodeError, AttributeError):
        # A header need not be text, nor have a value: only those count that are read.
        texts = {name: text for name in _ENVELOPE_HEADERS if (text := _text(fields, name)) is not None}
    text_of = texts.get
    return Envelope(
        id=_uuid(_present(texts, "ce_id")),
        event=event,
        time=_time(_present(texts, "ce_time")),
        source=text_of("ce_source") or "",
        aggregate_version=_version(text_of("aggregate_version")),
        correlation_id=text_of("correlation_id"),
        causation_id=text_of("causation_id"),
        traceparent=text_of("traceparent"),
    )


def _has_nul(key: object) -> bool:
    return isinstance(key, str) and "\x00" in key


def _text(fields: Mapping[str, bytes], name: str) -> str | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Undecodable("malformed", f"header {name} is not UTF-8") from error


def _required(fields: Mapping[str, bytes], name: str) -> str:
    text = _text(fields, name)
    if not text:
        raise Undecodable("missing-header", name)
    return text


def _present(texts: Mapping[str, str], name: str) -> str:
    text = texts.get(name)
    if not text:
        raise Undecodable("missing-header", name)
    return text


def _uuid(text: str) -> UUID:
    try:
        return parse_id(text)
    except ValueError as error:
        raise Undecodable("malformed", "ce_id is not a UUID") from error


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is UTC:
            return moment
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    # The second for the last hours of the year 9999, west of Greenwich.
    except (ValueError, OverflowError) as error:
        raise Undecodable("malformed", "ce_time is not an RFC 3339 time") from error


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    # isdecimal() alone also accepts digits of other scripts, which int() would read.
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):  # noqa: PLR2004 - fits a bigint
        raise Undecodable("malformed", "aggregate_version is not a whole number")
    return int(text)
