"""Orders taken by the file, beside a writer that copies the same rows."""

from typing import Final

import asyncpg
import msgspec

from bench.replay.progress import Steps
from bench.speed.backlog import until_published
from bench.speed.http_load import closed_loop, request_of
from bench.speed.isolation import Isolated
from bench.speed.limits.order_batches import Template, copy_orders, templates_of
from bench.speed.limits.order_rows import read_rows
from bench.speed.placed_orders import order_bodies
from bench.speed.repetition import UnexpectedAnswers, checked, repeated, sample_of
from bench.speed.results import Row, Sample, Target
from bench.speed.rig import Rig, Site
from bench.speed.scale import Scale

# What the service takes into one transaction.
_BATCH: Final = 500
_PATH: Final = "/v1/orders/import"
_CHANNEL: Final = "bazaar"
_OK: Final = 200
_COUNT: Final = "SELECT count(*) FROM orders"


async def importing(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Upload orders as one NDJSON file with every role of orders running."""
    count = scale.imported_orders
    async with rig.site("orders-import", "orders") as site, Isolated() as isolated:
        limit_url = await site.copy_database("orders", "limit")
        await site.start("orders", "api")
        templates = await _templates(site, isolated)
        await site.start("orders", *site.roles("orders", without="api"))
        database = await asyncpg.connect(site.database_urls["orders"])

        async def ours(repetition: int) -> Sample:
            upload = _upload(site, count, sku_count=scale.stock_skus, seed=repetition)
            known = await database.fetchval(_COUNT)
            meter = site.cpu_meter()
            meter.start()
            loaded = await isolated.run(closed_loop, site.urls["orders"], [upload], connections=1, operations=1)
            placed = await database.fetchval(_COUNT) - known
            if placed != count:
                raise UnexpectedAnswers(f"{placed} of {count} orders are there")
            await until_published(database)
            uploaded = checked(loaded, cpu_seconds=meter.used_seconds(), status=_OK)
            # The latency is the whole file's, which is not what is counted here.
            return Sample(operations=count, seconds=uploaded.seconds, cpu_seconds=uploaded.cpu_seconds)

        async def copied(repetition: int) -> Sample:
            meter = site.limit_meter()
            meter.start()
            timed = await isolated.run(
                copy_orders,
                limit_url,
                templates=templates,
                operations=count,
                batch=_BATCH,
                name=f"copied-{repetition}",
            )
            return sample_of(timed, program="program", cpu_seconds=meter.used_seconds(), of=["postgres"])

        try:
            with steps.step("Orders by the file", total=2 * (scale.repetitions + 1)) as step:
                mine, its = await repeated({"orders": ours, "batched COPY": copied}, scale=scale, step=step)
        finally:
            await database.close()
    return [
        Row(
            figure="orders-import",
            title="orders as an NDJSON file",
            unit="orders",
            ours=mine,
            limit=its,
            targets=[Target(kind="ratio", value=0.5)],
            conditions=f"a file of {count:,} orders of 3 lines; every role of orders runs",
        )
    ]


def _upload(site: Site, count: int, *, sku_count: int, seed: int) -> bytes:
    bodies = order_bodies(count, sku_count=sku_count, seed=seed)
    return request_of(
        "POST",
        _PATH,
        key=site.key("storefront"),
        body=msgspec.json.Encoder().encode_lines([{**body, "channel": _CHANNEL} for body in bodies]),
        content_type="application/x-ndjson",
    )


async def _templates(site: Site, isolated: Isolated) -> list[Template]:
    """Import one order and return the rows that it left."""
    url = site.database_urls["orders"]
    before = await read_rows(url)
    loaded = await isolated.run(
        closed_loop, site.urls["orders"], [_upload(site, 1, sku_count=3, seed=-1)], connections=1, operations=1
    )
    checked(loaded, cpu_seconds={}, status=_OK)
    after = await read_rows(url)
    connection = await asyncpg.connect(url)
    try:
        [(order_id, reference)] = await connection.fetch("SELECT id, reference FROM orders")
    finally:
        await connection.close()
    return templates_of(before, after, order_id=order_id, reference=reference)
