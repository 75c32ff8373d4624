"""
What is on the dashboards: one for each service, and one for the business.

`python -m deploy.grafana.dashboards` writes them to `deploy/grafana/dashboards`, from where Grafana reads them.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.grafana.expressions import measured, per_second, quantile, within
from deploy.grafana.layout import Dashboard, Panel, Query, Row, Shape, Unit, render
from deploy.grafana.service_rows import DRIFT, LATE, MONEY, OWN_ROWS, SERVED, STAGES, STUCK
from deploy.local.services import SERVICES, Service

DIRECTORY: Final = Path(__file__).parent / "dashboards"

_NO_PROBES: Final = 'route!~"/healthz|/readyz|/metrics"'
_NO_STREAMS: Final = 'route!~"/healthz|/readyz|/metrics|.*/events|.*/stream"'


def dashboards() -> Iterator[Dashboard]:
    """Return every dashboard."""
    yield _business()
    for service in SERVICES:
        yield _of_service(service)


def files() -> dict[Path, str]:
    """Return the text of every dashboard by the file it belongs in."""
    return {
        DIRECTORY / f"{dashboard.name}.json": json.dumps(render(dashboard), indent=2) + "\n"
        for dashboard in dashboards()
    }


def main() -> int:
    """Write the dashboards, and remove those that are no more."""
    wanted = files()
    DIRECTORY.mkdir(exist_ok=True)
    for stale in set(DIRECTORY.glob("*.json")) - wanted.keys():
        stale.unlink()
    for file, text in wanted.items():
        file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {len(wanted)} dashboards\n")
    return 0


# Rows that all services share


def _of_service(service: Service) -> Dashboard:
    return Dashboard(
        name=service.name,
        title=f"Quayside {service.name}",
        description=f"What the processes of {service.name} do. Alerts and what to do on them: docs/operations.md.",
        rows=(_now(service), _http(service), _bus(service), *OWN_ROWS[service.name], _processes(service)),
    )


def _now(service: Service) -> Row:
    mine = f'service="{service.name}"'
    panels = [
        Panel(
            title="Processes that answer",
            description="Fewer than you run: the log of the missing one says why it ended.",
            queries=(Query(f'sum(up{{process=~"{service.name}-.+"}})'),),
            shape=Shape.STAT,
        ),
        Panel(
            title="Errors",
            description="Share of requests that failed by our fault. Above 1 %: see which routes in the row below, and "
            "the log for the cause. All routes at once: the database.",
            queries=(Query(f"service:http_errors:ratio_rate5m{{{mine}}}"),),
            unit=Unit.RATIO,
            shape=Shape.STAT,
            alarm=0.01,
        ),
        Panel(
            title="Slowest 1 %",
            description="99 of 100 answers take less. If it grows with the requests, add API processes; if it grows "
            "alone, look at the database.",
            queries=(Query(f"service:http_request_duration_seconds:p99_5m{{{mine}}}"),),
            unit=Unit.SECONDS,
            shape=Shape.STAT,
        ),
    ]
    if "consumer" in service.roles:
        panels += [
            Panel(
                title="Lag",
                description="Records not yet handled, over all groups. Growing for minutes: scale the worker, unless "
                "it retries (row below).",
                queries=(Query(f"sum(group:consumer_lag_records:sum{{{mine}}})"),),
                shape=Shape.STAT,
                alarm=5000,
            ),
            Panel(
                title="Dead letters, last hour",
                description="Records set aside. List them with `python -m libs.common.messaging replay GROUP "
                "--dry-run`, mend the cause, replay.",
                queries=(Query(within("dead_letters_total", where=mine)),),
                shape=Shape.STAT,
                alarm=1,
            ),
        ]
    if "relay" in service.roles:
        panels.append(
            Panel(
                title="Oldest unpublished event",
                description="Normally far below a second. Above 30 s: does a relay run, does the broker answer, is a "
                "key blocked (relay.key_blocked in the log)?",
                queries=(Query(f"max(outbox_oldest_event_age_seconds{{{mine}}})"),),
                unit=Unit.SECONDS,
                shape=Shape.STAT,
                alarm=30,
            )
        )
    return Row("Now", tuple(panels))


def _http(service: Service) -> Row:
    mine = f'service="{service.name}"'
    return Row(
        "HTTP",
        (
            Panel(
                title="Requests by route",
                description="Without probes. A fall to nothing means that callers do not reach us: look in front of "
                "the service first.",
                queries=(
                    per_second("http_request_duration_seconds_count", "method", "route", where=f"{mine}, {_NO_PROBES}"),
                ),
                unit=Unit.REQUESTS_PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Slowest 1 % by route",
                description="Without event streams, which last as long as somebody listens. One slow route: its "
                "query; all of them: the database or too little CPU.",
                queries=(quantile(0.99, "http_request_duration_seconds", "route", where=f"{mine}, {_NO_STREAMS}"),),
                unit=Unit.SECONDS,
            ),
            Panel(
                title="Errors by route and status",
                description="5xx are ours: see the log. 4xx are the callers': many 401 are a key that was rotated, "
                "many 429 a caller above its rate. Shed: too many requests in flight, add API processes.",
                queries=(
                    per_second(
                        "http_request_duration_seconds_count", "route", "status", where=f'{mine}, status=~"[45].."'
                    ),
                    Query(f"sum(rate(http_requests_shed_total{{{mine}}}[$__rate_interval]))", "shed"),
                ),
                unit=Unit.REQUESTS_PER_SECOND,
            ),
        ),
    )


def _bus(service: Service) -> Row:
    mine = f'service="{service.name}"'
    panels: list[Panel] = []
    if "consumer" in service.roles:
        panels += [
            Panel(
                title="Lag by group",
                description="Growing while records are handled: scale the worker, up to the 12 partitions of a topic. "
                "Growing while none are: the group waits, see retries.",
                queries=(Query(f"group:consumer_lag_records:sum{{{mine}}}", "{{group}}"),),
            ),
            Panel(
                title="Events handled",
                description="Nothing here while there is lag: the group waits for its database or is out of members.",
                queries=(per_second("event_handling_duration_seconds_count", "group", "event_type", where=mine),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
            Panel(
                title="Duplicates dropped and batches retried",
                description="Duplicates follow restarts and are harmless. Retries that go on: the database does not "
                "answer (transient) or a handler fails (handler-failed, dead letters will follow).",
                queries=(
                    Query(
                        f"sum by (group) (rate(consumer_duplicates_dropped_total{{{mine}}}[$__rate_interval]))",
                        "{{group}} duplicates",
                    ),
                    Query(
                        f"sum by (group, reason) (rate(consumer_retries_total{{{mine}}}[$__rate_interval]))",
                        "{{group}} retries: {{reason}}",
                    ),
                ),
                unit=Unit.PER_SECOND,
            ),
            Panel(
                title="Dead letters",
                description="By group and reason, since the processes started. malformed, schema-mismatch, refused: "
                "ask the sender. handler-failed: our fault, the log has the traceback. Mend, then replay.",
                queries=(Query(f"sum by (group, reason) (dead_letters_total{{{mine}}})", "{{group}} {{reason}}"),),
            ),
        ]
    if "relay" in service.roles:
        panels += [
            Panel(
                title="Outbox: events pending",
                description="Committed and not yet published. A hill that shrinks is a burst; one that only grows is "
                "a relay that does not publish.",
                queries=(Query(f"max(outbox_pending_events{{{mine}}})", "pending"),),
            ),
            Panel(
                title="Outbox: age of the oldest event",
                description="The other services know nothing newer than this. Above 30 s: see OutboxOld in "
                "docs/operations.md.",
                queries=(Query(f"max(outbox_oldest_event_age_seconds{{{mine}}})", "age"),),
                unit=Unit.SECONDS,
                alarm=30,
            ),
            Panel(
                title="Events published by topic",
                description="Nothing while events are pending: does the broker answer?",
                queries=(per_second("outbox_published_events_total", "topic", where=mine),),
                unit=Unit.PER_SECOND,
                shape=Shape.STACK,
            ),
        ]
    return Row("Bus", tuple(panels))


def _processes(service: Service) -> Row:
    mine = f'service="{service.name}"'
    panels = [
        Panel(
            title="Event loop lag",
            description="How late a process wakes. Above 1 s something blocks it, and heartbeats will be missed: look "
            "for CPU limits first, then for a long computation.",
            queries=(
                Query(f"max by (process, instance) (event_loop_lag_seconds{{{mine}}})", "{{process}} {{instance}}"),
            ),
            unit=Unit.SECONDS,
            alarm=1,
        ),
        Panel(
            title="Requests in flight",
            description="At 1000 a process refuses more (REQUESTS_IN_FLIGHT_MAX). Add API processes before that.",
            queries=(
                Query(f"max by (process, instance) (http_requests_in_flight{{{mine}}})", "{{process}} {{instance}}"),
            ),
            alarm=1000,
        ),
    ]
    changes = []
    if "consumer" in service.roles:
        changes += [
            Query(f"sum(increase(consumer_rebalances_total{{{mine}}}[5m]))", "rebalances"),
            Query(f"sum(increase(consumer_commit_failures_total{{{mine}}}[5m]))", "refused commits"),
        ]
    if "relay" in service.roles:
        changes.append(Query(f"sum(increase(relay_takeovers_total{{{mine}}}[5m]))", "relay takeovers"))
    if changes:
        panels.append(
            Panel(
                title="Changes of hands, in 5 minutes",
                description="Normal when processes start and stop. All the time: processes die, or are too slow for "
                "the group's session.",
                queries=tuple(changes),
            )
        )
    return Row("Processes", tuple(panels))


def _business() -> Dashboard:
    return Dashboard(
        name="business",
        title="Quayside business",
        description="How the shop is doing, and whether it can be trusted. What to do on alerts: docs/operations.md.",
        rows=(_BUSINESS_NOW, _BUSINESS_ORDERS, _BUSINESS_GOODS, _BUSINESS_BUS),
    )


_BUSINESS_NOW: Final = Row(
    "Now",
    (
        Panel(
            title="Alerts that fire",
            description="Each has its action in Prometheus under Alerts, and in docs/operations.md.",
            queries=(Query('count(ALERTS{alertstate="firing"}) or vector(0)'),),
            shape=Shape.STAT,
            alarm=1,
        ),
        *DRIFT,
        STUCK,
        Panel(
            title="Backorders",
            description="Orders that wait for stock. Growing: goods are late, or arrivals are not reported.",
            queries=(Query("max(inventory_waiting_orders)"),),
            shape=Shape.STAT,
        ),
        LATE,
    ),
)

_BUSINESS_ORDERS: Final = Row(
    "Orders",
    (
        Panel(
            title="Orders placed per hour",
            description="Far below the usual hour: look at the storefront and at the errors of the orders service.",
            queries=(Query("sum by (currency) (increase(orders_placed_total[1h]))", "{{currency}}"),),
            shape=Shape.STACK,
        ),
        STAGES,
        MONEY,
    ),
)

_BUSINESS_GOODS: Final = Row(
    "Goods and buyers",
    (
        Panel(
            title="What became of orders' stock, per hour",
            description="Many backordered or rejected: reorder. unreserved: units were held that were not there.",
            queries=(Query("sum by (outcome) (increase(inventory_reservations_total[1h]))", "{{outcome}}"),),
        ),
        Panel(
            title="Deliveries per hour",
            description="Many late: see the carriers on the logistics dashboard.",
            queries=(Query("sum by (punctuality) (increase(logistics_deliveries_total[1h]))", "{{punctuality}}"),),
            shape=Shape.STACK,
        ),
        SERVED,
    ),
)

_BUSINESS_BUS: Final = Row(
    "Bus",
    (
        Panel(
            title="Lag by group",
            description="How far services are behind each other. Growing for minutes: scale the worker of that group.",
            queries=(Query("group:consumer_lag_records:sum", "{{group}}"),),
            alarm=5000,
        ),
        Panel(
            title="Oldest unpublished event by service",
            description="What is committed there is unknown elsewhere. Above 30 s: relay or broker.",
            queries=(measured("outbox_oldest_event_age_seconds", "service"),),
            unit=Unit.SECONDS,
            alarm=30,
        ),
        Panel(
            title="Errors by service",
            description="Share of requests that failed by our fault; the service's dashboard shows which.",
            queries=(Query("service:http_errors:ratio_rate5m", "{{service}}"),),
            unit=Unit.RATIO,
            alarm=0.01,
        ),
    ),
)


if __name__ == "__main__":
    sys.exit(main())
