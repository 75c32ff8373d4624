"""PostgreSQL: killed, restarted, hung, locked, slow, changed under its users' feet."""

import asyncio
import signal
import subprocess
from contextlib import suppress
from urllib.parse import urlsplit

import asyncpg
import httpx

from deploy.local.postgres import packaged_programs
from tests.faults.arena import Arena
from tests.faults.bus import rewind
from tests.faults.checker import READERS
from tests.faults.matrix import Broken, expect, row
from tests.faults.quiet import SilentSteps
from tests.faults.rows.recovery import lose_the_disk
from tests.faults.workload import SKUS
from tests.support.eventually import NeverHappened, eventually

_NOBODY = "00000000-0000-4000-8000-000000000000"
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND usename = $1 ORDER BY random() LIMIT 1"
_SLEEPING_IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE state LIKE 'idle in transaction%' AND usename = datname AND state_change < now() - interval '2 seconds'
"""
_OLDEST_PENDING = "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0)::int FROM outbox_events"
_RECOMMENDER_GROUP = "recommender.behaviour"
_APPLIED = "SELECT count(*) FROM inbox_events"
_COUNTED = """
SELECT sku, neighbour, bought_weight, viewed_weight FROM item_pairs
UNION ALL SELECT sku, '', bought_weight, viewed_weight FROM items ORDER BY 1, 2
"""
_LOCK = "SELECT FROM stock_items WHERE sku = $1 FOR UPDATE"
_WAITING_FOR_LOCKS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
# The server's own limit for a transaction, and the moments after it on a slow machine.
_ANSWER_SECONDS_MAX = 60.0
# Whoever waits for a connection or a lock gives up after seconds: far from that limit, also on a slow machine.
_REFUSED_SECONDS_MAX = 20.0
_RESTARTS = 3
_LOCKED_SKU, _OTHER_SKU = SKUS[0], SKUS[1]


@row(
    "F16", "PostgreSQL crashes", expects="callers ask again, consumers wait, nothing is set aside", shows=("I10", "I7")
)
async def postgres_killed(arena: Arena) -> str:
    started_at = arena.clock.monotonic_seconds()
    await arena.nemesis.kill_and_wait("postgres")
    await arena.ready()
    return f"all ready again after {arena.clock.monotonic_seconds() - started_at:.1f} s"


@row("F17", "PostgreSQL restarts, again and again", expects="every pool connects again", shows=("I7", "I10"))
async def postgres_restarted(arena: Arena) -> str:
    # Its fast shutdown: sessions are ended, not waited for.
    for _ in range(_RESTARTS):
        await arena.nemesis.terminate("postgres", signal.SIGINT)
    started_at = arena.clock.monotonic_seconds()
    await arena.ready()
    return f"all ready {arena.clock.monotonic_seconds() - started_at:.1f} s after the last of {_RESTARTS}"


@row("F18", "PostgreSQL hangs", expects="every answer comes in time, 503 if nothing else", shows=("I10", "I12"))
async def postgres_paused(arena: Arena) -> str:
    with arena.nemesis.paused("postgres"):
        answers = await asyncio.gather(*(_read(arena, f"/v1/orders/{_NOBODY}", _ANSWER_SECONDS_MAX) for _ in range(30)))
    silent = sum(status == 0 for status, _ in answers)
    expect(not silent, f"{silent} of 30 reads were not answered within {_ANSWER_SECONDS_MAX:.0f} s")
    return f"reads answered within {max(seconds for _, seconds in answers):.1f} s"


@row("F19", "connections terminated", expects="tried again where that is safe", shows=("I5", "I10"))
async def backends_terminated(arena: Arena) -> str:
    terminated = 0
    async with arena.database("postgres") as connection:
        for _ in range(40):
            for service in ("orders", "inventory", "logistics"):
                pid = await connection.fetchval(_BACKENDS, service)
                terminated += bool(pid and await connection.fetchval("SELECT pg_terminate_backend($1)", pid))
            await asyncio.sleep(0.2)
    return f"{terminated} connections"


@row("F20", "no connection is free", expects="503 within seconds, then as before", shows=("I10",))
async def pool_exhausted(arena: Arena) -> str:
    async with arena.database("orders") as operator, operator.transaction():
        await operator.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        answers = await asyncio.gather(*(_read(arena, f"/v1/orders/{_NOBODY}", _ANSWER_SECONDS_MAX) for _ in range(60)))
    statuses = sorted({status for status, _ in answers})
    slowest = max(seconds for _, seconds in answers)
    expect(statuses == [503], f"answers {statuses}")
    expect(slowest < _REFUSED_SECONDS_MAX, f"the slowest took {slowest:.1f} s")

    async def works() -> int:
        return (await _read(arena, f"/v1/orders/{_NOBODY}", 10))[0]

    await eventually(works, lambda status: status == 404)
    return f"60 reads were told so within {slowest:.1f} s"


@row("F21", "deadlock", expects="one side is tried again, nothing is lost", shows=("I1", "I2"))
async def deadlock(arena: Arena) -> str:
    before = arena.witness.total("transient_faults_total", 'fault="deadlock"')

    async def deadlocks() -> float:
        return arena.witness.total("transient_faults_total", 'fault="deadlock"') - before

    # Who waits for the operator may be somebody who has locked nothing else, or nobody in time.
    for _ in range(12):
        async with asyncio.TaskGroup() as placing, arena.database("inventory") as operator:
            with suppress(asyncpg.DeadlockDetectedError, NeverHappened):
                async with operator.transaction():
                    # Against the order that everybody else keeps, and more patient than they are.
                    await operator.execute("SET LOCAL deadlock_timeout = '20s'")
                    await operator.execute(_LOCK, _OTHER_SKU)
                    placing.create_task(arena.workload.place_order({_LOCKED_SKU: 1, _OTHER_SKU: 1}))
                    await arena.until("inventory", _WAITING_FOR_LOCKS, timeout_seconds=10)
                    await operator.execute(_LOCK, _LOCKED_SKU)
        with suppress(NeverHappened):
            return f"{await eventually(deadlocks, timeout_seconds=5):.0f} met and tried again"
    raise Broken("no deadlock came about")


@row("F22", "rows locked by an operator", expects="who needs them waits; others are served", shows=("I1", "I12"))
async def rows_locked(arena: Arena) -> str:
    async with arena.database("inventory") as operator, operator.transaction():
        await operator.execute(_LOCK, _LOCKED_SKU)
        slowest = 0.0
        for _ in range(4):
            attempt = await arena.clients.insist(arena.workload.hold_wish({_OTHER_SKU: 1}, ttl_seconds=2))
            expect(attempt.is_accepted, f"a hold of another SKU was refused: {attempt}")
            slowest = max(slowest, attempt.ended_at - attempt.sent_at)
            await asyncio.sleep(1.5)
    return f"holds of another SKU took {slowest:.1f} s at most"


@row("F23", "a long snapshot", expects="outboxes drain all the same", shows=("I7",))
async def long_snapshot(arena: Arena) -> str:
    async with arena.database("orders") as reader, reader.transaction(isolation="repeatable_read", readonly=True):
        await reader.fetchval("SELECT count(*) FROM orders")
        await asyncio.sleep(12)
        age = await arena.until("orders", _OLDEST_PENDING, lambda seconds: seconds < 5)
    return f"oldest waiting event {age} s"


@row("F25", "slow disk", expects="slower commits, larger batches, no storm", shows=("I12",))
async def slow_commits(arena: Arena) -> str:
    async with arena.database("postgres") as operator:
        try:
            # The server's own way to wait before it flushes: 50 ms each.
            await operator.execute("ALTER SYSTEM SET commit_delay = 50000")
            await operator.execute("ALTER SYSTEM SET commit_siblings = 0")
            await operator.execute("SELECT pg_reload_conf()")
            await asyncio.sleep(10)
        finally:
            await operator.execute("ALTER SYSTEM RESET ALL")
            await operator.execute("SELECT pg_reload_conf()")
    return "50 ms a flush for 10 s"


@row("F26", "callers leave amid requests", expects="no connection stays in a transaction", shows=("I10",))
async def callers_leave(arena: Arena) -> str:
    left = 0
    for _ in range(20):
        attempts = [
            _leave_early(arena, arena.nemesis.random.uniform(0.001, 0.05)),
            _leave_early(arena, arena.nemesis.random.uniform(0.001, 0.05)),
            _read(arena, f"/v1/orders/{_NOBODY}", arena.nemesis.random.uniform(0.001, 0.02)),
            _read(arena, "/v1/orders?limit=50", arena.nemesis.random.uniform(0.001, 0.02)),
        ]
        left += sum(status == 0 for status, _ in await asyncio.gather(*attempts))
    await arena.until("postgres", _SLEEPING_IN_TRANSACTION, lambda count: count == 0, timeout_seconds=8)
    return f"{left} of 80 left"


@row("F27", "types change under prepared plans", expects="at most one retry", shows=("I10", "I11"))
async def stale_plans(arena: Arena) -> str:
    async with arena.database("orders") as operator:
        for column_type in ("varchar(255)", "text"):
            await _altered(operator, f"ALTER TABLE orders ALTER COLUMN customer_id TYPE {column_type}")
            await asyncio.sleep(2)
    async with arena.database("inventory") as operator:
        for column_type in ("varchar(255)", "text"):
            await _altered(operator, f"ALTER TABLE reservations ALTER COLUMN channel TYPE {column_type}")
            await asyncio.sleep(2)
    return "2 tables, there and back"


@row("F70", "somebody else takes every connection", expects="503, and as before when they are free", shows=("I10",))
async def connections_taken(arena: Arena) -> str:
    # Those of a service, which may not have what is kept back for administrators.
    url = arena.stack.addresses.database_urls["recommender"]
    taken: list[asyncpg.Connection] = []
    try:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                taken.append(await asyncpg.connect(url, timeout=10))
        # A successor has no connection yet; what lives keeps those it has.
        await arena.nemesis.kill("orders-api")
        await arena.nemesis.kill("orders-consumer")
        attempt = await arena.clients.attempt(arena.workload.order_wish({_OTHER_SKU: 1}))
        # It may have got one of those that came free by the deaths.
        expect(attempt.status in {0, 201, 503}, f"answered {attempt.status} without a connection")
        await asyncio.sleep(4)
    finally:
        for connection in taken:
            connection.terminate()
    started_at = arena.clock.monotonic_seconds()
    await arena.ready()
    placed = await arena.workload.place_order({_OTHER_SKU: 1})
    expect(placed.is_accepted, f"an order was refused: {placed}")
    return f"{len(taken)} connections taken, all ready {arena.clock.monotonic_seconds() - started_at:.1f} s after it"


@row("F66", "schema expanded under load", expects="nobody waits for long", shows=("I10",))
async def schema_expanded(arena: Arena) -> str:
    async with arena.database("orders") as operator:
        await _altered(operator, "ALTER TABLE orders ADD COLUMN fault_probe bigint NOT NULL DEFAULT 0")
        slowest = 0.0
        for _ in range(10):
            attempt = await arena.workload.place_order({_OTHER_SKU: 1})
            slowest = max(slowest, attempt.ended_at - attempt.sent_at)
        await _altered(operator, "ALTER TABLE orders DROP COLUMN fault_probe")
    expect(slowest < _REFUSED_SECONDS_MAX, f"an order took {slowest:.1f} s")
    return f"orders took {slowest:.2f} s at most"


@row(
    "F67",
    "a disk is lost, and a database restored from before what the bus holds",
    expects="with the log, nothing is lost; without, what came since is read again, and nothing twice",
    shows=("I1", "I2", "I4", "I5", "I6", "I7", "I9", "I10", "I12"),
)
async def restored(arena: Arena) -> str:
    return f"{await lose_the_disk(arena)}; {await restore_an_older_dump(arena)}"


async def restore_an_older_dump(arena: Arena) -> str:
    """Take one service back to a dump, and let it read again what came since."""
    # As docs/operations.md says. This database is written by what its group reads and by nothing else.
    service, processes = "recommender", [name for name in arena.services if name.startswith("recommender")]
    dump = arena.state / "recommender.dump"
    url = urlsplit(arena.stack.addresses.admin_url)._replace(path=f"/{service}").geturl()
    await arena.until(service, _APPLIED)
    await asyncio.to_thread(_run_postgres_program, "pg_dump", "--format=custom", f"--file={dump}", url)
    seen = await arena.value(service, _APPLIED)
    await arena.until(service, _APPLIED, lambda count: count > seen)
    await arena.settle(SilentSteps())
    before, applied = await _counted(arena), await arena.value(service, _APPLIED)
    async with arena.nemesis.stopped(*processes):
        await asyncio.to_thread(
            _run_postgres_program, "pg_restore", "--clean", "--if-exists", f"--dbname={url}", str(dump)
        )
        dumped = await arena.value(service, _APPLIED)
        expect(0 < dumped < applied, f"of {applied} events, {dumped} were in the dump")
        await rewind(arena.bootstrap_servers, _RECOMMENDER_GROUP, [topic.name for topic in READERS[_RECOMMENDER_GROUP]])
    await arena.until(service, _APPLIED, lambda count: count == applied)
    expect(await _counted(arena) == before, "it counts otherwise than before")
    arena.workload.flow()
    return f"{dumped} events were in the dump, {applied - dumped} came again; every count as before"


async def _counted(arena: Arena) -> list[tuple[str, str, int, int]]:
    async with arena.database("recommender") as connection:
        return [tuple(found) for found in await connection.fetch(_COUNTED)]


def _run_postgres_program(name: str, *arguments: str) -> None:
    done = subprocess.run([packaged_programs() / name, *arguments], capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"{name}: {done.stderr[:500]}")


async def _altered(operator: asyncpg.Connection, statement: str) -> None:
    """Change a table as a migration does: without making everybody wait behind it."""
    for _ in range(200):
        try:
            async with operator.transaction():
                await operator.execute("SET LOCAL lock_timeout = '300ms'")
                await operator.execute(statement)
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(0.1)
        else:
            return
    raise Broken(f"never got its lock: {statement}")


async def _read(arena: Arena, path: str, timeout_seconds: float) -> tuple[int, float]:
    """Return the status, 0 if there was none in time, and how long it took."""
    started_at = arena.clock.monotonic_seconds()
    status = 0
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            status = (await arena.clients.get("orders", path, timeout_seconds=timeout_seconds)).status_code
    return status, arena.clock.monotonic_seconds() - started_at


async def _leave_early(arena: Arena, timeout_seconds: float) -> tuple[int, float]:
    wish = arena.workload.order_wish({_OTHER_SKU: 1})
    status = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_seconds):
            status = (await arena.clients.attempt(wish)).status
    # It may have been carried out: ask until it is known.
    await arena.clients.insist(wish)
    return status, timeout_seconds
