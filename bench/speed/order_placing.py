"""Orders placed one by one over HTTP, beside a constant from the same server and beside one commit for each."""

from typing import Final

import asyncpg

from bench.replay.progress import Steps
from bench.speed.backlog import until_published
from bench.speed.http_load import closed_loop
from bench.speed.isolation import Isolated
from bench.speed.limits.order_rows import insert_one_by_one, read_rows, reference_of, statement_of
from bench.speed.placed_orders import order_bodies, order_request, order_requests
from bench.speed.repetition import checked, repeated, sample_of
from bench.speed.results import Row, Sample, Target
from bench.speed.rig import Rig, Site
from bench.speed.scale import Scale
from bench.speed.servers.constant import PATH
from deploy.local.postgres import packaged_programs
from libs.common.ids import new_id

_CONNECTIONS: Final = 64
_ORDERS_PATH: Final = "/v1/orders"
_SERVER: Final = "bench.speed.servers.orders"
_CREATED: Final = 201


async def placing(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Post orders over keep-alive connections, each answered when it is durable."""
    async with rig.site("orders", "orders") as site, Isolated() as isolated:
        database_url = await site.copy_database("orders", "limit")
        await site.start("orders", "api", module=_SERVER)
        statement = await _statement(site, isolated)
        await site.start("orders", *site.roles("orders", without="api"))
        database = await asyncpg.connect(site.database_urls["orders"])

        def requests(path: str, seed: int) -> list[bytes]:
            return order_requests(
                scale.orders, sku_count=scale.stock_skus, seed=seed, path=path, key=site.key("storefront")
            )

        async def ours(repetition: int) -> Sample:
            sent = requests(_ORDERS_PATH, repetition)
            meter = site.cpu_meter()
            meter.start()
            loaded = await isolated.run(
                closed_loop, site.urls["orders"], sent, connections=_CONNECTIONS, operations=len(sent)
            )
            await until_published(database)
            return checked(loaded, cpu_seconds=meter.used_seconds(), status=_CREATED)

        async def constant(repetition: int) -> Sample:
            sent = requests(PATH, repetition)
            meter = site.limit_meter()
            meter.start()
            loaded = await isolated.run(
                closed_loop, site.urls["orders"], sent, connections=_CONNECTIONS, operations=len(sent)
            )
            return checked(loaded, cpu_seconds=meter.used_seconds(), status=_CREATED)

        async def one_commit_each(_repetition: int) -> Sample:
            meter = site.limit_meter()
            meter.start()
            timed = await isolated.run(
                insert_one_by_one,
                database_url,
                programs=str(packaged_programs()),
                statement=statement,
                operations=scale.orders,
                clients=_CONNECTIONS,
            )
            return sample_of(timed, program="pgbench", cpu_seconds=meter.used_seconds(), of=["postgres"])

        try:
            with steps.step("Orders placed", total=3 * (scale.repetitions + 1)) as step:
                mine, answered, committed = await repeated(
                    {"orders": ours, "constant answer": constant, "pgbench, one commit each": one_commit_each},
                    scale=scale,
                    step=step,
                )
        finally:
            await database.close()
    conditions = f"{scale.orders:,} orders of 3 lines, {_CONNECTIONS} connections; every role of orders runs"
    return [
        Row(
            figure=f"orders {name}",
            title=f"orders placed, {against}",
            unit="orders",
            ours=mine,
            limit=limit,
            targets=[Target(kind="ratio", value=required)],
            conditions=conditions,
        )
        for name, against, limit, required in (
            ("constant", "beside a constant", answered, 0.5),
            ("pgbench", "beside pgbench", committed, 0.35),
        )
    ]


async def _statement(site: Site, isolated: Isolated) -> str:
    """Place one order and return the statement that writes the rows of such an order."""
    url = site.database_urls["orders"]
    before = await read_rows(url)
    request_id = new_id()
    [body] = order_bodies(1, sku_count=3, seed=0)
    body["reference"] = reference_of(request_id)
    request = order_request(body, path=_ORDERS_PATH, key=site.key("storefront"), idempotency_key=request_id)
    placed = await isolated.run(closed_loop, site.urls["orders"], [request], connections=1, operations=1)
    checked(placed, cpu_seconds={}, status=_CREATED)
    after = await read_rows(url)
    connection = await asyncpg.connect(url)
    try:
        order_id = await connection.fetchval("SELECT id FROM orders")
    finally:
        await connection.close()
    return statement_of(before, after, order_id=order_id, request_id=request_id)
