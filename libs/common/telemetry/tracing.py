"""
Trace and correlation ids that follow one business action through HTTP, the outbox and Kafka.

Ids exist on every path, sampled or not, because logs, problems and events carry them. A span is recorded, and
OpenTelemetry's machinery entered, only for the sampled share; the rest costs two context variables.
"""

import random
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.util.types import Attributes

# A batch of 500 events would make a span larger than any backend accepts.
LINKS_MAX: Final = 32

_TRACEPARENT_LENGTH: Final = 55
_SAMPLED: Final = 0x01
_HEX: Final = frozenset("0123456789abcdef")
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """One position in one trace, as W3C Trace Context names it."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The `traceparent` header that makes a receiver continue here."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


@dataclass(slots=True)
class _Tracing:
    """How this process traces: set once by `configure_tracing`."""

    tracer: trace.Tracer | None = None
    provider: TracerProvider | None = None
    sample_ratio: float = 0.0


_tracing = _Tracing()
_trace_context: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)
_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)
# Ids need to be unique, not secret; the default generator is seeded by the system and much faster.
_random = random.Random()  # noqa: S311


def configure_tracing(
    service: str,
    *,
    sample_ratio: float,
    otlp_endpoint: str | None,
    span_processor: SpanProcessor | None = None,
) -> None:
    """
    Decide what share of traces is recorded, and where to.

    Without an endpoint (and without a `span_processor`, which tests pass) nothing is recorded; ids are made all
    the same.
    """
    if span_processor is None and otlp_endpoint is not None and sample_ratio > 0:
        # Imported here: the exporter pulls in a protobuf runtime that no other process should pay for.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        span_processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint))
    if span_processor is None:
        _tracing.tracer, _tracing.provider, _tracing.sample_ratio = None, None, 0.0
        return
    # Sampling is decided below before OpenTelemetry is entered, so the provider records all it is given.
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(span_processor)
    _tracing.provider = provider
    _tracing.tracer = provider.get_tracer("quayside")
    _tracing.sample_ratio = sample_ratio


def flush_tracing() -> None:
    """Send what is still buffered; called once when the process stops."""
    if _tracing.provider is not None:
        _tracing.provider.shutdown()


def extract(traceparent: str | None) -> TraceContext | None:
    """Parse a `traceparent` value; None if there is none or it is not valid."""
    if traceparent is None or len(traceparent) < _TRACEPARENT_LENGTH:
        return None
    version, trace_id, span_id, flags = (
        traceparent[:2],
        traceparent[3:35],
        traceparent[36:52],
        traceparent[53:55],
    )
    separators = traceparent[2] + traceparent[35] + traceparent[52]
    well_formed = (
        separators == "---"
        and version != "ff"
        and (len(traceparent) == _TRACEPARENT_LENGTH or version != "00")
        and _HEX.issuperset(version + trace_id + span_id + flags)
    )
    if not well_formed or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))


def current_traceparent() -> str | None:
    """Return the `traceparent` to send with a message or a request made now."""
    context = _trace_context.get()
    return None if context is None else context.traceparent


def current_trace_id() -> str | None:
    """Return the 32 hexadecimal digits under which this action is found in traces and logs."""
    context = _trace_context.get()
    return None if context is None else f"{context.trace_id:032x}"


def child_traceparent(traceparent: str | None) -> str:
    """Return a new position in the same trace, or in a new one if `traceparent` is absent or invalid."""
    if _tracing.tracer is None and traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        # Nothing is decided here, so nothing needs to be taken apart: this runs once for each published event.
        return f"{traceparent[:36]}{_random.getrandbits(64) or 1:016x}-00"
    return _next_context(extract(traceparent)).traceparent


def current_correlation_id() -> str | None:
    """Return the id that ties together all that one caller's action set off."""
    return _correlation_id.get()


def bind_correlation_id(value: str | None) -> Token[str | None]:
    """Set the correlation id of this task; `unbind_correlation_id(token)` restores the former one."""
    return _correlation_id.set(value)


def unbind_correlation_id(token: Token[str | None]) -> None:
    """Restore what `bind_correlation_id` replaced."""
    _correlation_id.reset(token)


@contextmanager
def correlated(value: str | None, *, traceparent: str | None = None) -> Iterator[None]:
    """Run a block under a correlation id and, if a valid `traceparent` is given, at a new position in its trace."""
    token = _correlation_id.set(value)
    parent = extract(traceparent)
    trace_token = _trace_context.set(_next_context(parent)) if parent is not None else None
    try:
        yield
    finally:
        if trace_token is not None:
            _trace_context.reset(trace_token)
        _correlation_id.reset(token)


@contextmanager
def http_request_span(method: str, traceparent: str | None) -> Iterator[Span | None]:
    """Continue the caller's trace, or begin one, for the time of an HTTP request."""
    parent = extract(traceparent)
    context = _next_context(parent)
    if not context.sampled:
        token = _trace_context.set(context)
        try:
            yield None
        finally:
            _trace_context.reset(token)
        return
    with _recorded(f"HTTP {method}", parent, SpanKind.SERVER, (), {"http.request.method": method}) as span:
        yield span


@contextmanager
def event_batch_span(group: str, traceparents: Iterable[str | None], *, records: int) -> Iterator[Span | None]:
    """
    Trace the handling of a batch of events.

    A batch of one continues its event's trace; a larger one is its own trace, linked to at most 32 of its events,
    because a span has one parent and none of them is more the cause than the others.
    """
    # Where nothing is recorded, only a batch of one has a trace to go on with.
    looked_at = traceparents if records == 1 or _tracing.tracer is not None else ()
    origins = [origin for origin in map(extract, looked_at) if origin is not None]
    parent = origins[0] if records == 1 and origins else None
    context = _next_context(parent, sampled_elsewhere=any(origin.sampled for origin in origins))
    if not context.sampled:
        token = _trace_context.set(context)
        try:
            yield None
        finally:
            _trace_context.reset(token)
        return
    links = () if parent is not None else tuple(origins[:LINKS_MAX])
    attributes: Attributes = {
        "messaging.consumer.group.name": group,
        "messaging.batch.message_count": records,
    }
    with _recorded(f"handle {group}", parent, SpanKind.CONSUMER, links, attributes) as span:
        yield span


def _next_context(parent: TraceContext | None, *, sampled_elsewhere: bool = False) -> TraceContext:
    span_id = _random.getrandbits(64) or 1
    if parent is not None:
        # A caller may ask for sampling only where this process samples at all.
        return TraceContext(parent.trace_id, span_id, parent.sampled and _tracing.tracer is not None)
    sampled = _tracing.tracer is not None and (sampled_elsewhere or _random.random() < _tracing.sample_ratio)
    return TraceContext(_random.getrandbits(128) or 1, span_id, sampled)


@contextmanager
def _recorded(
    name: str,
    parent: TraceContext | None,
    kind: SpanKind,
    links: tuple[TraceContext, ...],
    attributes: Attributes,
) -> Iterator[Span]:
    assert _tracing.tracer is not None  # noqa: S101 - a context is sampled only where there is a tracer
    parent_context = trace.set_span_in_context(NonRecordingSpan(_span_context(parent))) if parent is not None else None
    with _tracing.tracer.start_as_current_span(
        name,
        context=parent_context,
        kind=kind,
        links=[Link(_span_context(link)) for link in links],
        attributes=attributes,
    ) as span:
        identity = span.get_span_context()
        token = _trace_context.set(TraceContext(identity.trace_id, identity.span_id, sampled=True))
        try:
            yield span
        finally:
            _trace_context.reset(token)


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        trace_id=context.trace_id,
        span_id=context.span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT),
    )
