"""Processes and their host: killed, paused, starved, replaced."""

import asyncio
import resource
import sys
from collections.abc import Mapping

from tests.faults.arena import Arena
from tests.faults.matrix import expect, row
from tests.faults.nemesis import open_files, resident_bytes
from tests.faults.quiet import SilentSteps
from tests.faults.workload import SKUS
from tests.support.eventually import eventually

_DEATHS_SECONDS_MAX = 240.0
_TAKEOVER_SECONDS_MAX = 120.0
_PAUSE_SECONDS = 16.0
_SKEW_SECONDS = 3600
# Half an hour off the hour, and half an hour of daylight saving.
_FAR_ZONE, _HOME_ZONE = "Australia/Lord_Howe", "UTC"
_LEASES = "SELECT count(*) FROM relay_leases"
_OLDEST_PENDING = "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::int FROM outbox_events"
_UNRESERVED = "SELECT count(*) FROM orders WHERE status IN ('approved', 'reserved')"
_SAGA_STAGES = ("approved", "reserved", "confirmed", "shipped", "delivered", "settled")


async def die_at(arena: Arena, traps: Mapping[str, str], *, deaths: int) -> str:
    """
    Let processes die again and again at named places (see libs.common.failpoints), then be whole again.

    Each must have died, and all together so many times.
    """
    supervisor = arena.stack.supervisor
    await asyncio.gather(
        *(arena.stack.restart(name, {"QUAYSIDE_FAILPOINTS": places}) for name, places in traps.items())
    )
    before = {name: supervisor.restarts(name) for name in traps}

    async def died() -> list[int]:
        return [supervisor.restarts(name) - before[name] for name in traps]

    try:
        await eventually(
            died, lambda counts: min(counts) > 0 and sum(counts) >= deaths, timeout_seconds=_DEATHS_SECONDS_MAX
        )
    finally:
        counts = await died()
        await asyncio.gather(*(arena.stack.restart(name) for name in traps))
    return f"{sum(counts)} deaths"


@row("F1", "API killed amid requests", expects="a retry with the same key gives one order", shows=("I3", "I9", "I10"))
async def api_killed(arena: Arena) -> str:
    kills = 3
    for _ in range(kills):
        for api in ("orders-api", "inventory-api"):
            await arena.nemesis.moment(0.01, 0.5)
            await arena.nemesis.kill(api)
        await arena.nemesis.ready("orders-api", "inventory-api")
        await arena.nemesis.moment(0.2, 0.5)
    return f"{2 * kills} kills"


@row("F2", "API dies between commit and answer", expects="a retry gets the stored answer", shows=("I9", "I10"))
async def api_dies_before_answering(arena: Arena) -> str:
    return await die_at(
        arena,
        {"orders-api": "api.before-answer[orders]=exit@3", "inventory-api": "api.before-answer[inventory]=exit@3"},
        deaths=4,
    )


@row("F3", "relay dies between publish and delete", expects="published twice, done once", shows=("I5", "I6", "I7"))
async def relay_dies_after_publishing(arena: Arena) -> str:
    return await die_at(
        arena, {"orders-relay": "relay.after-publish=exit@3", "inventory-relay": "relay.after-publish=exit@3"}, deaths=4
    )


@row("F4", "relay dies before it publishes", expects="its successor publishes what is there", shows=("I7", "I12"))
async def relay_dies_before_publishing(arena: Arena) -> str:
    seen = await die_at(
        arena,
        {"orders-relay": "relay.before-publish=exit@3", "logistics-relay": "relay.before-publish=exit@2"},
        deaths=4,
    )
    seconds = await arena.until("orders", _OLDEST_PENDING, lambda age: age < 2)
    return f"{seen}, then nothing older than {seconds + 1} s in the outbox"


@row("F5", "consumer dies between its commits", expects="the inbox drops what comes again", shows=("I5",))
async def consumer_dies_before_offsets(arena: Arena) -> str:
    before = arena.witness.total("consumer_duplicates_dropped_total")
    seen = await die_at(
        arena,
        {
            "orders-consumer": "consumer.after-commit=exit@3",
            "inventory-consumer": "consumer.after-commit[inventory.reservations]=exit@3",
            "logistics-consumer": "consumer.after-commit=exit@2",
        },
        deaths=4,
    )
    # Those that died before anybody looked are not among them.
    dropped = arena.witness.total("consumer_duplicates_dropped_total") - before
    return f"{seen}, {dropped:.0f} duplicates seen dropped"


@row("F6", "consumer dies amid its transaction", expects="rolled back, then done once", shows=("I2", "I5"))
async def consumer_dies_before_commit(arena: Arena) -> str:
    return await die_at(
        arena,
        {
            "orders-consumer": "consumer.before-commit=exit@3",
            "inventory-consumer": "consumer.before-commit=exit@3",
            "recommender-consumer": "consumer.before-commit=exit@3",
        },
        deaths=4,
    )


@row("F7", "relay stands still", expects="another takes over; its late words are duplicates", shows=("I5", "I6"))
async def relay_paused(arena: Arena) -> str:
    replica = await arena.stack.add_replica("orders-relay")
    before = await arena.value("orders", _LEASES)
    started_at = arena.clock.monotonic_seconds()
    # The first stands still amid its work; the replica has waited for that.
    with arena.nemesis.paused("orders-relay"):
        await arena.until("orders", _LEASES, lambda epoch: epoch > before, timeout_seconds=_TAKEOVER_SECONDS_MAX)
        seconds = arena.clock.monotonic_seconds() - started_at
        await asyncio.sleep(3)
    await arena.stack.stop(replica)
    return f"taken over after {seconds:.0f} s"


@row(
    "F8", "consumer stands still past its session", expects="its commit fails, it rejoins, nothing twice", shows=("I5",)
)
async def consumer_paused(arena: Arena) -> str:
    before = arena.witness.total("consumer_commit_failures_total")
    await arena.stack.restart(
        "orders-consumer", {"QUAYSIDE_FAILPOINTS": f"consumer.after-commit[orders.saga]=block:{_PAUSE_SECONDS:.0f}@5"}
    )

    async def failed() -> float:
        return arena.witness.total("consumer_commit_failures_total") - before

    failures = await eventually(failed, timeout_seconds=_DEATHS_SECONDS_MAX)
    await arena.stack.restart("orders-consumer")
    return f"{failures:.0f} commits failed"


@row("F9", "saga dies at every stage", expects="it goes on from its rows", shows=("I3", "I4"))
async def saga_dies(arena: Arena) -> str:
    # What has piled up comes by the dozen in one record, meets a trap twice, and is rightly taken for what kills.
    await arena.workload.pause()
    await arena.until("orders", _UNRESERVED, lambda orders: orders == 0)
    arena.workload.flow()
    seen = []
    for moment in ("before", "after"):
        # Each life ends at another stage: the hits are as far apart as orders come to them.
        traps = ";".join(f"saga.{moment}-commit[{stage}]=exit@2" for stage in _SAGA_STAGES)
        seen.append(await die_at(arena, dict.fromkeys(("orders-consumer", "orders-jobs"), traps), deaths=6))
    return " and ".join(seen)


@row("F10", "event loop blocked", expects="the lag shows, nothing is lost", shows=("I12",))
async def loop_blocked(arena: Arena) -> str:
    names = ("inventory-consumer", "logistics-consumer", "recommender-consumer")
    with arena.nemesis.paused(*names):
        await asyncio.sleep(3)
        # Asked while they stand still, they answer before they measure again.
        looks = asyncio.gather(*(arena.witness.gauge(name, "event_loop_lag_seconds") for name in names))
        await asyncio.sleep(1)
    lags = await looks
    expect(max(lags) > 1, f"the gauge never showed it: {lags}")
    return f"the gauge showed {max(lags):.1f} s"


@row("F11", "told to stop under load", expects="it drains, says goodbye and ends within 20 s", shows=("I10",))
async def told_to_stop(arena: Arena) -> str:
    async def stop(name: str) -> float:
        farewells = farewell_count(arena, name)
        started_at = arena.clock.monotonic_seconds()
        await arena.nemesis.terminate(name)
        expect(farewell_count(arena, name) > farewells, f"{name} did not end in good order")
        return arena.clock.monotonic_seconds() - started_at

    names = ("orders-api", "inventory-api", "orders-consumer", "inventory-relay", "orders-jobs")
    slowest = max(await asyncio.gather(*map(stop, names)))
    return f"the slowest was ready again after {slowest:.1f} s"


@row("F12", "no memory", expects="it lives or is replaced; no event pays for it", shows=("I10", "I11"))
async def out_of_memory(arena: Arena) -> str:
    name = "orders-consumer"
    size = resident_bytes(arena.nemesis.pid(name))
    restarts = arena.stack.supervisor.restarts(name)
    with arena.nemesis.limited(name, resource.RLIMIT_AS, size // 2):
        await asyncio.sleep(12)
    await arena.nemesis.ready(name)
    return f"replaced {arena.stack.supervisor.restarts(name) - restarts} times"


@row("F13", "no file descriptors", expects="connections wait or are refused; none leaks", shows=("I10",))
async def out_of_files(arena: Arena) -> str:
    name = "orders-api"
    pid = arena.nemesis.pid(name)
    before = open_files(pid)
    address = arena.stack.addresses.process_urls[name].removeprefix("http://").split(":")
    with arena.nemesis.limited(name, resource.RLIMIT_NOFILE, before + 3):
        connections = [await asyncio.open_connection(address[0], int(address[1])) for _ in range(40)]
        await asyncio.sleep(4)
        for _, writer in connections:
            writer.close()
    await arena.nemesis.ready(name)
    expect(arena.nemesis.pid(name) == pid, "it died of it")

    async def files() -> int:
        return open_files(pid)

    after = await eventually(files, lambda count: count <= before + 40)
    return f"{before} files before, {after} after"


@row("F14", "no processor time", expects="slower, but nobody leaves its group for good", shows=("I12",))
async def starved(arena: Arena) -> str:
    before = arena.witness.total("consumer_commit_failures_total")
    busy = [
        await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", "while True: pass") for _ in range(4)
    ]
    try:
        await asyncio.sleep(12)
    finally:
        for process in busy:
            process.kill()
            await process.wait()
    failures = arena.witness.total("consumer_commit_failures_total") - before
    return f"4 busy neighbours for 12 s, {failures:.0f} commits failed"


@row("F15", "rolling restart", expects="callers notice nothing but retries", shows=("I10", "I5"))
async def rolling_restart(arena: Arena) -> str:
    names = arena.services
    for start in range(0, len(names), 4):
        await asyncio.gather(*(arena.nemesis.terminate(name) for name in names[start : start + 4]))
    return f"{len(names)} processes"


@row(
    "F28",
    "clocks are wrong by an hour, in both ways, and time zones change",
    expects="leases, holds and deadlines work as ever",
    shows=("I3", "I5", "I8", "I12"),
)
async def clocks_wrong(arena: Arena) -> str:
    # Two hours between two services that tell each other times, and an hour between each and its database.
    skews = {"orders": _SKEW_SECONDS, "inventory": -_SKEW_SECONDS}
    held = arena.history.accepted("order")
    await _set_clocks(arena, skews, time_zone=_FAR_ZONE)
    arena.workload.flow()
    await asyncio.sleep(12)
    orders = len(arena.history.accepted("order").keys() - held.keys())
    # What was begun by a wrong clock ends by it: who mends a clock does so when all is quiet.
    seconds = await arena.settle(SilentSteps())
    await _set_clocks(arena, dict.fromkeys(skews, 0), time_zone=_HOME_ZONE)
    arena.workload.flow()
    expect(orders > 0, "nothing was ordered")
    return f"{orders} orders accepted, quiet again {seconds:.0f} s after the last, with the clocks still wrong"


async def _set_clocks(arena: Arena, skews: Mapping[str, int], *, time_zone: str) -> None:
    await arena.settle(SilentSteps())
    async with arena.database("postgres") as operator:
        await operator.execute(f"ALTER SYSTEM SET timezone = '{time_zone}'")
        await operator.execute("SELECT pg_reload_conf()")
    names = [(name, skew) for service, skew in skews.items() for name in arena.services if name.startswith(service)]
    for start in range(0, len(names), 4):
        await asyncio.gather(
            *(
                arena.stack.restart(
                    name, {"QUAYSIDE_FAILPOINTS": f"clock=skew:{skew}" if skew else "", "TZ": time_zone}
                )
                for name, skew in names[start : start + 4]
            )
        )


@row(
    "F68",
    "two of each role, of which one dies or stands still all the time",
    expects="the other goes on, and who comes back finds its work done",
    shows=("I1", "I2", "I5", "I6", "I7"),
)
async def two_of_each(arena: Arena) -> str:
    names = (
        "orders-consumer",
        "inventory-consumer",
        "orders-relay",
        "inventory-relay",
        "orders-jobs",
        "inventory-jobs",
    )
    replicas = await asyncio.gather(*(arena.stack.add_replica(name) for name in names))
    kills = 0
    # Longer than its session lasts: the partitions are its neighbour's when it wakes amid a batch.
    with arena.nemesis.paused("orders-consumer"):
        ends_at = arena.clock.monotonic_seconds() + _PAUSE_SECONDS
        while arena.clock.monotonic_seconds() < ends_at:
            await arena.nemesis.kill(arena.nemesis.random.choice([*names[1:], *replicas]))
            kills += 1
            await arena.nemesis.moment(0.5, 2)
    await arena.stack.stop(*replicas)
    return f"{kills} deaths beside one that stood still for {_PAUSE_SECONDS:.0f} s"


@row("F69", "API killed amid an upload", expects="what is sent again counts once", shows=("I10", "I2"))
async def killed_amid_upload(arena: Arena) -> str:
    wish = arena.workload.stock_wish([(sku, "SOUTH", 3) for sku in SKUS])
    is_under_way, is_dead = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as uploading:
        uploading.create_task(arena.clients.upload(wish, is_under_way, is_dead))
        await is_under_way.wait()
        await arena.nemesis.kill("inventory-api")
        is_dead.set()
    expect((await arena.clients.insist(wish)).is_accepted, "the rows were refused when they came again")
    return f"{len(SKUS)} rows, cut in the middle and sent again"


def farewell_count(arena: Arena, name: str) -> int:
    """Return how often a process has ended in good order by its log."""
    return arena.stack.supervisor.log(name).read_text("utf-8", errors="replace").count("process.stopped")
