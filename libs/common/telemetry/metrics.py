"""Metric families that all services share; each service adds its own business metrics beside these."""

import asyncio
import platform

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.responses import Response

UNMATCHED_ROUTE = "unmatched"

# From a hit in memory (half a millisecond) to the longest wait a client is allowed.
_REQUEST_SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
_HANDLING_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH_RECORDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)

http_request_duration_seconds = Histogram(
    "http_request_duration_seconds",
    "Time from the request's head to the response's last byte.",
    ["service", "method", "route", "status"],
    buckets=_REQUEST_SECONDS,
)
http_requests_in_flight = Gauge(
    "http_requests_in_flight",
    "Requests being answered now, without open event streams.",
    ["service"],
)
http_requests_shed_total = Counter(
    "http_requests_shed_total",
    "Requests refused because too many were in flight.",
    ["service"],
)
event_handling_duration_seconds = Histogram(
    "event_handling_duration_seconds",
    "Time to handle one batch of events, from decode to commit.",
    ["service", "group", "event_type", "outcome"],
    buckets=_HANDLING_SECONDS,
)
event_batch_records = Histogram(
    "event_batch_records",
    "Records handled together in one transaction.",
    ["service", "group"],
    buckets=_BATCH_RECORDS,
)
outbox_pending_events = Gauge(
    "outbox_pending_events",
    "Events written but not yet published.",
    ["service"],
)
outbox_oldest_event_age_seconds = Gauge(
    "outbox_oldest_event_age_seconds",
    "Age of the oldest event that is not yet published.",
    ["service"],
)
outbox_published_events_total = Counter(
    "outbox_published_events_total",
    "Events acknowledged by the broker.",
    ["service", "topic"],
)
relay_takeovers_total = Counter(
    "relay_takeovers_total",
    "Times this process took the relaying over from another one.",
    ["service"],
)
consumer_lag_records = Gauge(
    "consumer_lag_records",
    "Records between the committed offset and the end of the partition.",
    ["service", "group", "topic", "partition"],
)
consumer_duplicates_dropped_total = Counter(
    "consumer_duplicates_dropped_total",
    "Events that had been applied before and had no second effect.",
    ["service", "group"],
)
consumer_commit_failures_total = Counter(
    "consumer_commit_failures_total",
    "Offset commits that the broker refused.",
    ["service", "group"],
)
consumer_rebalances_total = Counter(
    "consumer_rebalances_total",
    "Times partitions were taken from or given to this process.",
    ["service", "group"],
)
consumer_records_expired_total = Counter(
    "consumer_records_expired_total",
    "Records that a topic's retention took away before the group had read them.",
    ["service", "group", "topic"],
)
consumer_suspicions_total = Counter(
    "consumer_suspicions_total",
    "Partitions that were taken over from a process that died while it handled them: read one record at a time.",
    ["service", "group"],
)
consumer_retries_total = Counter(
    "consumer_retries_total",
    "Batches tried again after a passing fault.",
    ["service", "group", "reason"],
)
transient_faults_total = Counter(
    "transient_faults_total",
    "Faults that pass by themselves (deadlock, serialization, lock-timeout, pool-timeout, connection, ...): tried again"
    " by a consumer, a job or a relay, answered with 503 by an API.",
    ["place", "fault"],
)
dead_letters_total = Counter(
    "dead_letters_total",
    "Events set aside because they can never be applied.",
    ["service", "group", "reason"],
)
kafka_client_c_extension = Gauge(
    "kafka_client_c_extension",
    "1 if the Kafka client decodes records in C, 0 if in Python (several times slower).",
)
event_loop_lag_seconds = Gauge(
    "event_loop_lag_seconds",
    "How much later than asked the event loop last woke a sleeper.",
    ["service"],
)
build_info = Gauge(
    "build_info",
    "Always 1; the labels say what runs.",
    ["service", "version", "python"],
)


def set_build_info(service: str, version: str) -> None:
    """Publish which version of a service this process runs."""
    build_info.labels(service, version, platform.python_version()).set(1)


async def observe_event_loop_lag(service: str, *, interval_seconds: float = 1.0) -> None:
    """Measure the event loop's lag until cancelled; every process runs one of these."""
    gauge = event_loop_lag_seconds.labels(service)
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + interval_seconds
        await asyncio.sleep(interval_seconds)
        gauge.set(max(0.0, loop.time() - due))


def metrics_response(registry: CollectorRegistry = REGISTRY) -> Response:
    """Render every metric of this process in Prometheus' text format."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
