"""Reservations a second while a backlog of orders is drained: over many SKUs, and all for one."""

from typing import Final

from bench.replay.progress import Steps
from bench.speed.approved_orders import as_event, wanted_orders
from bench.speed.backlog import drain, publish_backlog
from bench.speed.isolation import Isolated
from bench.speed.limits.hot_sku import reserve_one_by_one
from bench.speed.limits.reservations import reserve_in_batches
from bench.speed.repetition import repeated, sample_of
from bench.speed.results import Row, Sample, Target
from bench.speed.rig import Rig, Site
from bench.speed.scale import Scale
from bench.speed.stock_world import stock_up
from libs.common.events.base import encode
from libs.common.events.topics import INVENTORY_RESERVATION, ORDERS_ORDER
from libs.common.outbox.writer import encode_headers

# What the service takes into one transaction at most.
_BATCH: Final = 500
_GROUP: Final = "inventory.reservations"
_LINES: Final = 3
_CLIENTS: Final = 64


async def over_many_skus(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Drain orders of three lines, beside one statement for each batch."""
    async with rig.site("reservations", "inventory") as site, Isolated() as isolated:
        database_url = await _stocked(site, sku_count=scale.reservation_skus)

        async def ours(repetition: int) -> Sample:
            return await _drained(
                site, orders=scale.reservations, sku_count=scale.reservation_skus, lines=_LINES, seed=repetition
            )

        async def limit(repetition: int) -> Sample:
            meter = site.limit_meter()
            meter.start()
            timed = await isolated.run(
                reserve_in_batches,
                database_url,
                operations=scale.reservations,
                sku_count=scale.reservation_skus,
                lines=_LINES,
                seed=repetition,
                batch=_BATCH,
                headers=_headers(),
            )
            return sample_of(timed, program="program", cpu_seconds=meter.used_seconds(), of=["postgres"])

        with steps.step("Reservations over many SKUs", total=2 * (scale.repetitions + 1)) as step:
            mine, its = await repeated({"inventory": ours, "one statement a batch": limit}, scale=scale, step=step)
    return [
        Row(
            figure="reservations",
            title="reservations from Kafka",
            unit="orders",
            ours=mine,
            limit=its,
            targets=[Target(kind="ratio", value=0.5)],
            conditions=f"{scale.reservations:,} orders of {_LINES} lines, {scale.reservation_skus:,} SKUs x 4"
            " warehouses; every role of inventory runs",
        )
    ]


async def of_one_hot_sku(rig: Rig, scale: Scale, steps: Steps) -> list[Row]:
    """Drain orders for one SKU, beside one commit for each."""
    async with rig.site("hot-sku", "inventory") as site, Isolated() as isolated:
        database_url = await _stocked(site, sku_count=1)

        async def ours(repetition: int) -> Sample:
            return await _drained(site, orders=scale.hot_reservations, sku_count=1, lines=1, seed=repetition)

        async def usual(repetition: int) -> Sample:
            return await committed_alone(repetition, is_one_statement=False)

        async def shortest(repetition: int) -> Sample:
            return await committed_alone(repetition + scale.repetitions + 1, is_one_statement=True)

        async def committed_alone(seed: int, *, is_one_statement: bool) -> Sample:
            meter = site.limit_meter()
            meter.start()
            timed = await isolated.run(
                reserve_one_by_one,
                database_url,
                operations=scale.single_reservations,
                clients=_CLIENTS,
                seed=seed,
                is_one_statement=is_one_statement,
            )
            return sample_of(timed, program="program", cpu_seconds=meter.used_seconds(), of=["postgres"])

        measured = {"inventory": ours, "the usual design": usual, "one statement each": shortest}
        with steps.step("Reservations of one hot SKU", total=3 * (scale.repetitions + 1)) as step:
            mine, of_usual, of_shortest = await repeated(measured, scale=scale, step=step)
    conditions = (
        f"{scale.hot_reservations:,} orders of one line from Kafka, beside {scale.single_reservations:,}"
        f" by {_CLIENTS} clients that commit each alone; every role of inventory runs"
    )
    return [
        Row(
            figure="hot-sku",
            title=title,
            unit="orders",
            ours=mine,
            limit=its,
            targets=targets,
            conditions=conditions,
        )
        for title, its, targets in (
            ("one hot SKU, beside lock, insert, update", of_usual, [Target(kind="ratio", value=20)]),
            ("one hot SKU, beside one statement each", of_shortest, list[Target]()),
        )
    ]


async def _stocked(site: Site, *, sku_count: int) -> str:
    """Stock up, start all but the consumer, and return the URL of a copy of the database for the limit."""
    await stock_up(site.database_urls["inventory"], sku_count=sku_count)
    database_url = await site.copy_database("inventory", "limit")
    await site.start("inventory", *site.roles("inventory", without="consumer"))
    return database_url


async def _drained(site: Site, *, orders: int, sku_count: int, lines: int, seed: int) -> Sample:
    wanted = wanted_orders(orders, sku_count=sku_count, lines=lines, seed=seed)
    await publish_backlog(site, [as_event(one) for one in wanted])
    sample = await drain(
        site,
        service="inventory",
        consumer_group=_GROUP,
        topic=ORDERS_ORDER,
        published=INVENTORY_RESERVATION,
        operations=orders,
    )
    await site.stop(site.process("inventory", "consumer"))
    return sample


def _headers() -> bytes:
    [wanted] = wanted_orders(1, sku_count=1, lines=1, seed=0)
    return encode_headers(encode(as_event(wanted)).headers)
