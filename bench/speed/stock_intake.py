"""Warehouse events applied a second, from the bus and over HTTP, beside hand-written SQL for the same rows."""

from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from bench.replay.progress import Steps
from bench.speed.backlog import drain, publish_backlog, until_published
from bench.speed.http_load import closed_loop, request_of
from bench.speed.isolation import Isolated
from bench.speed.limits.stock_events import apply_stock_events
from bench.speed.repetition import UnexpectedAnswers, checked, repeated, sample_of
from bench.speed.results import Row, Sample, Target
from bench.speed.rig import Rig, Site
from bench.speed.scale import Scale
from bench.speed.stock_world import posted, stock_up, warehouse_reports
from libs.common.events.base import Envelope, encode
from libs.common.events.inventory import StockLevelChanged
from libs.common.events.topics import INVENTORY_STOCK, INVENTORY_WAREHOUSE
from libs.common.ids import new_id
from libs.common.outbox.writer import encode_headers

# What the service takes into one transaction at most.
_BATCH: Final = 4_000
_GROUP: Final = "inventory.intake"
_UPLOAD_ROWS: Final = 5_000
_UPLOAD_CONNECTIONS: Final = 2
_RECORDED: Final = "SELECT count(*) FROM stock_movements"


async def from_the_bus(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Drain a backlog of warehouse events with every role of inventory running."""
    async with rig.site("stock-events", "inventory") as site, Isolated() as isolated:
        limit = await _limit(site, scale, isolated)
        await site.start("inventory", *site.roles("inventory", without="consumer"))

        async def ours(repetition: int) -> Sample:
            reports = list(warehouse_reports(scale.stock_events, sku_count=scale.stock_skus, seed=repetition))
            await publish_backlog(site, reports)
            sample = await drain(
                site,
                service="inventory",
                consumer_group=_GROUP,
                topic=INVENTORY_WAREHOUSE,
                published=INVENTORY_STOCK,
                operations=scale.stock_events,
            )
            await site.stop(site.process("inventory", "consumer"))
            return sample

        with steps.step("Warehouse events from Kafka", total=2 * (scale.repetitions + 1)) as step:
            mine, its = await repeated({"inventory": ours, "batched SQL": limit}, scale=scale, step=step)
    return [
        Row(
            figure="stock-events",
            title="warehouse events from Kafka",
            unit="events",
            ours=mine,
            limit=its,
            targets=[Target(kind="ratio", value=0.5)],
            conditions=_conditions(scale, "every role of inventory runs"),
        )
    ]


async def over_http(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Upload warehouse events as NDJSON with every role of inventory running."""
    async with rig.site("stock-events-http", "inventory") as site, Isolated() as isolated:
        limit = await _limit(site, scale, isolated)
        await site.start("inventory", *site.roles("inventory"))
        rows = min(_UPLOAD_ROWS, scale.stock_events // _UPLOAD_CONNECTIONS)

        async def ours(repetition: int) -> Sample:
            reports = warehouse_reports(scale.stock_events, sku_count=scale.stock_skus, seed=repetition)
            lines = [posted(report) for report in reports]
            uploads = [
                request_of(
                    "POST",
                    "/v1/stock-events",
                    key=site.key("warehouse"),
                    body=b"\n".join(lines[start : start + rows]),
                    content_type="application/x-ndjson",
                )
                for start in range(0, len(lines), rows)
            ]
            return await _uploaded(site, isolated, uploads, events=len(lines))

        with steps.step("Warehouse events over HTTP", total=2 * (scale.repetitions + 1)) as step:
            mine, its = await repeated({"inventory": ours, "batched SQL": limit}, scale=scale, step=step)
    return [
        Row(
            figure="stock-events-http",
            title="warehouse events as NDJSON",
            unit="events",
            ours=mine,
            limit=its,
            targets=[Target(kind="ratio", value=0.35)],
            conditions=_conditions(
                scale,
                f"uploads of {rows:,} rows on {_UPLOAD_CONNECTIONS} connections; every role of inventory runs",
            ),
        )
    ]


async def _uploaded(site: Site, isolated: Isolated, uploads: list[bytes], *, events: int) -> Sample:
    """Upload everything; the processor time ends when the relay has published all that followed."""
    database = await asyncpg.connect(site.database_urls["inventory"])
    try:
        recorded_before = await database.fetchval(_RECORDED)
        meter = site.cpu_meter()
        meter.start()
        loaded = await isolated.run(
            closed_loop,
            site.urls["inventory"],
            uploads,
            connections=_UPLOAD_CONNECTIONS,
            operations=len(uploads),
        )
        recorded = await database.fetchval(_RECORDED) - recorded_before
        if recorded != events:
            raise UnexpectedAnswers(f"{recorded} of {events} events are in the ledger")
        await until_published(database)
        cpu_seconds = meter.used_seconds()
    finally:
        await database.close()
    uploaded = checked(loaded, cpu_seconds=cpu_seconds, status=200)
    # Latencies are of whole uploads, which is not what is counted here.
    return Sample(operations=events, seconds=uploaded.seconds, cpu_seconds=uploaded.cpu_seconds)


async def _limit(site: Site, scale: Scale, isolated: Isolated) -> Callable[[int], Awaitable[Sample]]:
    """Stock up, copy the database while nothing is connected, and return the limit's measure on the copy."""
    await stock_up(site.database_urls["inventory"], sku_count=scale.stock_skus)
    database_url = await site.copy_database("inventory", "limit")
    headers = encode_headers(encode(_announcement()).headers)

    async def measure(repetition: int) -> Sample:
        meter = site.limit_meter()
        meter.start()
        timed = await isolated.run(
            apply_stock_events,
            database_url,
            operations=scale.stock_events,
            sku_count=scale.stock_skus,
            seed=repetition,
            batch=_BATCH,
            headers=headers,
        )
        return sample_of(timed, program="program", cpu_seconds=meter.used_seconds(), of=["postgres"])

    return measure


def _announcement() -> Envelope:
    """Return an event like those that the service publishes about a level."""
    event = StockLevelChanged(sku="SKU-000000", levels=[])
    moment = next(warehouse_reports(1, sku_count=1, seed=0)).time
    cause = str(new_id())
    return Envelope(
        id=new_id(),
        event=event,
        time=moment,
        source="inventory",
        aggregate_version=1,
        correlation_id=cause,
        causation_id=cause,
    )


def _conditions(scale: Scale, processes: str) -> str:
    return f"{scale.stock_events:,} events, {scale.stock_skus:,} SKUs x 4 warehouses; {processes}"
