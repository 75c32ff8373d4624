import asyncio

from prometheus_client import CollectorRegistry, Counter

from libs.common.telemetry import metrics
from tests.support.eventually import eventually


class TestMetricsResponse:
    def test_renders_the_text_format(self) -> None:
        registry = CollectorRegistry()
        Counter("orders_placed", "Orders placed.", registry=registry).inc(3)

        response = metrics.metrics_response(registry)

        assert response.headers["content-type"].startswith("text/plain")
        assert b"orders_placed_total 3.0" in bytes(response.body)

    def test_shows_the_version_that_runs(self) -> None:
        metrics.set_build_info("orders", "1.2.3")

        assert b'version="1.2.3"' in bytes(metrics.metrics_response().body)


class TestEventLoopLag:
    async def test_is_measured_until_cancelled(self) -> None:
        gauge = metrics.event_loop_lag_seconds.labels("lag-test")
        gauge.set(-1)

        async def measured() -> bool:
            lag: float = gauge._value.get()  # noqa: SLF001 - the client has no public reader of one value
            return lag >= 0

        async with asyncio.TaskGroup() as group:
            observer = group.create_task(metrics.observe_event_loop_lag("lag-test", interval_seconds=0.005))
            await eventually(measured)
            observer.cancel()

        assert observer.cancelled()


def test_no_shared_family_has_an_id_among_its_labels() -> None:
    families = [value for value in vars(metrics).values() if hasattr(value, "_labelnames")]

    labels = {label for family in families for label in family._labelnames}  # noqa: SLF001

    assert labels == {
        "service",
        "method",
        "route",
        "status",
        "group",
        "event_type",
        "outcome",
        "topic",
        "partition",
        "reason",
        "place",
        "fault",
        "version",
        "python",
    }
