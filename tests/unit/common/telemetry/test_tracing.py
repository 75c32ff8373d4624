from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.common.telemetry.tracing import (
    LINKS_MAX,
    bind_correlation_id,
    child_traceparent,
    configure_tracing,
    correlated,
    current_correlation_id,
    current_trace_id,
    current_traceparent,
    event_batch_span,
    extract,
    http_request_span,
    unbind_correlation_id,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    configure_tracing("orders", sample_ratio=0, otlp_endpoint=None)
    yield
    configure_tracing("orders", sample_ratio=0, otlp_endpoint=None)


@pytest.fixture
def exported() -> InMemorySpanExporter:
    """Record every trace."""
    exporter = InMemorySpanExporter()
    configure_tracing("orders", sample_ratio=1, otlp_endpoint=None, span_processor=SimpleSpanProcessor(exporter))
    return exporter


class TestExtract:
    def test_reads_a_traceparent(self) -> None:
        context = extract(SAMPLED)

        assert context is not None
        assert context.sampled
        assert context.traceparent == SAMPLED

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "00-abc",
            f"00-{'0' * 32}-{PARENT}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"ff-{TRACE}-{PARENT}-01",
            f"00-{TRACE.upper()}-{PARENT}-01",
            f"00_{TRACE}_{PARENT}_01",
            f"00-{TRACE}-{PARENT}-01-more",
            f"00-{'z' * 32}-{PARENT}-01",
        ],
    )
    def test_takes_anything_else_for_none(self, value: str | None) -> None:
        assert extract(value) is None

    def test_reads_later_versions_as_far_as_it_knows_them(self) -> None:
        assert extract(f"01-{TRACE}-{PARENT}-01-later") is not None


class TestHttpRequestSpan:
    def test_continues_the_callers_trace_at_a_new_position(self) -> None:
        with http_request_span("GET", UNSAMPLED):
            inside = current_traceparent()

        assert inside is not None
        assert inside.split("-")[1] == TRACE
        assert inside.split("-")[2] != PARENT

    def test_begins_a_valid_trace_without_a_caller_even_if_nothing_is_exported(self) -> None:
        with http_request_span("GET", None):
            inside = current_traceparent()

        assert extract(inside) is not None

    def test_leaves_nothing_behind(self) -> None:
        with http_request_span("GET", None):
            pass

        assert current_traceparent() is None
        assert current_trace_id() is None

    def test_does_not_let_a_caller_ask_for_sampling_where_nothing_is_exported(self) -> None:
        with http_request_span("GET", SAMPLED) as span:
            inside = current_traceparent()

        assert span is None
        assert inside is not None
        assert inside.endswith("-00")

    def test_records_a_sampled_request_as_a_child_of_the_callers(self, exported: InMemorySpanExporter) -> None:
        with http_request_span("GET", SAMPLED):
            inside = current_traceparent()

        [span] = exported.get_finished_spans()
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == PARENT
        assert span.context is not None
        assert inside == f"00-{TRACE}-{span.context.span_id:016x}-01"


class TestEventBatchSpan:
    def test_of_one_event_continues_its_trace(self) -> None:
        with event_batch_span("inventory.reservations", [UNSAMPLED], records=1):
            assert current_trace_id() == TRACE

    def test_of_many_events_is_a_trace_of_its_own(self) -> None:
        with event_batch_span("inventory.reservations", [UNSAMPLED, None], records=2):
            assert current_trace_id() not in {None, TRACE}

    def test_links_no_more_events_than_a_backend_accepts(self, exported: InMemorySpanExporter) -> None:
        traceparents = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 501)]

        with event_batch_span("inventory.reservations", traceparents, records=500):
            pass

        [span] = exported.get_finished_spans()
        assert len(span.links) == LINKS_MAX


class TestChildTraceparent:
    def test_keeps_the_trace_and_changes_the_position(self) -> None:
        child = child_traceparent(UNSAMPLED)

        assert child.startswith(f"00-{TRACE}-")
        assert child != UNSAMPLED

    def test_begins_a_trace_where_there_is_none(self) -> None:
        assert extract(child_traceparent(None)) is not None


class TestCorrelationId:
    def test_is_restored_when_unbound(self) -> None:
        outer = bind_correlation_id("outer")
        inner = bind_correlation_id("inner")

        unbind_correlation_id(inner)

        assert current_correlation_id() == "outer"
        unbind_correlation_id(outer)
        assert current_correlation_id() is None

    def test_holds_for_a_block(self) -> None:
        with correlated("c-1"):
            assert current_correlation_id() == "c-1"

        assert current_correlation_id() is None
