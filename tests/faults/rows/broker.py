"""Kafka and the network before it: dead, hung, far away, one-way, reshuffled."""

import asyncio
from collections.abc import Sequence

from libs.common.events.topics import (
    INVENTORY_FACILITY,
    INVENTORY_RESERVATION,
    LOGISTICS_SHIPMENT,
    ORDERS_ORDER,
    ORDERS_RETURN,
)
from tests.faults.arena import RECOVERY_SECONDS_MAX, Arena
from tests.faults.bus import add_partitions, admin, partitions_of, read_everything, rewind
from tests.faults.matrix import expect, row
from tests.faults.nemesis import resident_bytes
from tests.faults.proxy import Direction, Weather
from tests.faults.quiet import SilentSteps
from tests.faults.workload import SCARCE_SKU, SKUS
from tests.support.eventually import eventually

_MEBIBYTE = 1024 * 1024
_GROWTH_BYTES_MAX = 64 * _MEBIBYTE
# Longer than a publish may take before its producer is given up.
_HANG_SECONDS = 35.0
_WAITING_ORDERS, _GOODS_FOR_ALL = 12, 2_000
_HANDLED = "SELECT count(*) FROM inbox_events WHERE consumer_group = $1 AND event_id::text = ANY($2::text[])"


@row("F29", "broker killed", expects="outboxes grow and drain, consumers resume", shows=("I5", "I6", "I7", "I12"))
async def broker_killed(arena: Arena) -> str:
    started_at = arena.clock.monotonic_seconds()
    await arena.nemesis.kill_and_wait("kafka")
    return f"back after {arena.clock.monotonic_seconds() - started_at:.1f} s"


@row("F30", "broker away", expects="orders are accepted all the same, memory stays", shows=("I7", "I10", "I12"))
async def broker_away(arena: Arena) -> str:
    before = {name: resident_bytes(arena.nemesis.pid(name)) for name in arena.services}
    async with arena.nemesis.stopped("kafka"):
        for _ in range(10):
            attempt = await arena.workload.place_order({SKUS[1]: 1})
            expect(attempt.is_accepted, f"an order was refused: {attempt}")
            await asyncio.sleep(1.5)
        waiting = await arena.value("orders", "SELECT count(*) FROM outbox_events")
        expect(waiting > 0, "nothing waits in the outbox")
    growth = max(resident_bytes(arena.nemesis.pid(name)) - size for name, size in before.items())
    expect(growth < _GROWTH_BYTES_MAX, f"a process grew by {growth / _MEBIBYTE:.0f} MiB")
    return f"{waiting} events waited; no process grew by more than {growth / _MEBIBYTE:.0f} MiB"


@row("F31", "broker hangs", expects="publishing gives up and goes on with a new producer", shows=("I6", "I7", "I12"))
async def broker_paused(arena: Arena) -> str:
    with arena.nemesis.paused("kafka"):
        await asyncio.sleep(_HANG_SECONDS)
    return f"stood still for {_HANG_SECONDS:.0f} s"


@row("F32", "nothing comes back from the broker", expects="as if it hung", shows=("I5", "I7", "I12"))
async def one_way(arena: Arena) -> str:
    with arena.kafka.bad(Weather(black_hole=Direction.TO_CLIENT)):
        await asyncio.sleep(15)
    # And then the connections are gone, but nobody says so.
    arena.kafka.strand()
    return "15 s one way, then every connection half open"


@row("F33", "bad lines to the servers", expects="slower, nothing lost", shows=("I6", "I7", "I10"))
async def bad_line(arena: Arena) -> str:
    resets = arena.kafka.resets, arena.postgres.resets
    with (
        arena.kafka.bad(Weather(latency_seconds=0.1, jitter_seconds=0.1, reset_ratio=0.01, slice_bytes=1_400)),
        arena.postgres.bad(Weather(latency_seconds=0.01, jitter_seconds=0.01, reset_ratio=0.002)),
    ):
        await asyncio.sleep(15)
    return (
        f"200 ± 100 ms to Kafka and back, {arena.kafka.resets - resets[0]} resets; "
        f"20 ± 10 ms to PostgreSQL and back, {arena.postgres.resets - resets[1]} resets"
    )


@row("F34", "members come and go", expects="it goes on, duplicates at most", shows=("I5",))
async def rebalance_storm(arena: Arena) -> str:
    async def rebalances(name: str) -> float:
        await arena.witness.look(name)
        return arena.witness.total("consumer_rebalances_total", process=name)

    async def until_another(name: str, before: float) -> None:
        await eventually(lambda: rebalances(name), lambda count: count > before)

    async def come_and_go(name: str) -> float:
        first = await rebalances(name)
        for _ in range(2):
            before = await rebalances(name)
            replica = await arena.stack.add_replica(name)
            await until_another(name, before)
            before = await rebalances(name)
            await arena.stack.stop(replica)
            await until_another(name, before)
        return await rebalances(name) - first

    met = sum(await asyncio.gather(*map(come_and_go, ("orders-consumer", "inventory-consumer"))))
    return f"{met:.0f} rebalances"


@row("F35", "a group's offsets are lost", expects="everything comes again, nothing is done again", shows=("I5",))
async def offsets_lost(arena: Arena) -> str:
    groups = {
        "orders.saga": ("orders", (INVENTORY_RESERVATION, LOGISTICS_SHIPMENT)),
        "inventory.reservations": ("inventory", (ORDERS_ORDER, LOGISTICS_SHIPMENT, ORDERS_RETURN)),
        "logistics.planning": ("logistics", (ORDERS_ORDER, INVENTORY_FACILITY)),
    }

    def dropped(group: str) -> float:
        return arena.witness.total("consumer_duplicates_dropped_total", f'group="{group}"')

    before = {group: dropped(group) for group in groups}
    handled = {}
    async with arena.nemesis.stopped(*(f"{service}-consumer" for service, _ in groups.values())):
        for group, (service, topics) in groups.items():
            names = [topic.name for topic in topics]
            # Inventory knows an order by its reservation, and counts nothing: the invariants tell what it does again.
            if service != "inventory":
                handled[group] = await _handled(arena, service, group, names)
                expect(handled[group] > 0, f"{group} has handled nothing")
            await rewind(arena.bootstrap_servers, group, names)

    async def to_drop() -> float:
        return sum(max(0.0, count - dropped(group) + before[group]) for group, count in handled.items())

    await eventually(to_drop, lambda count: count == 0, timeout_seconds=RECOVERY_SECONDS_MAX)
    return f"all {sum(handled.values())} came again and were dropped"


async def _handled(arena: Arena, service: str, group: str, topics: Sequence[str]) -> int:
    """Return how many of the events that lie in topics a group has handled."""
    records = await read_everything(arena.bootstrap_servers, topics)
    ids = {dict(record.headers).get("ce_id", b"").decode(errors="replace") for record in records}
    return await arena.value(service, _HANDLED, group, list(ids))


@row("F36", "topics get more partitions", expects="drained first, nothing overtakes", shows=("I6", "I12"))
async def more_partitions(arena: Arena) -> str:
    # These go on after the change, and so lie in two partitions each.
    waiting = [(await arena.workload.place_order({SCARCE_SKU: 1})).answer["id"] for _ in range(_WAITING_ORDERS)]
    # As docs/reliability.md says: keys move to other partitions, so what is under way must have been read.
    await arena.settle(SilentSteps())
    topics = [topic.name for topic in (ORDERS_ORDER, INVENTORY_RESERVATION, LOGISTICS_SHIPMENT)]
    await add_partitions(arena.bootstrap_servers, dict.fromkeys(topics, 18))
    async with admin(arena.bootstrap_servers) as client:
        count = len(await partitions_of(client, topics[:1]))
    expect(count == 18, f"there are {count} partitions")
    # A producer learns of them only after a while, and would part the events of one key until then.
    await asyncio.gather(
        *(arena.nemesis.terminate(f"{service}-relay") for service in ("orders", "inventory", "logistics"))
    )
    arena.workload.flow()
    # More than the orders that wait may want, of which those of earlier rounds come first.
    goods = arena.workload.stock_wish([(SCARCE_SKU, "NORTH", _GOODS_FOR_ALL)])
    expect((await arena.clients.insist(goods)).is_accepted, "the goods were refused")
    still_waiting = "SELECT count(*) FROM orders WHERE status = 'backordered' AND id::text IN ('{}')"
    await arena.until("orders", still_waiting.format("', '".join(waiting)), lambda orders: orders == 0)
    return f"12 to 18 partitions amid the lives of {len(waiting)} orders"
