"""Messages: repeated, out of order, malformed, too slow to handle."""

import asyncio
from datetime import UTC, datetime

from libs.common.events.base import Envelope, encode
from libs.common.events.inventory import GoodsReceived
from libs.common.events.topics import INVENTORY_RESERVATION, LOGISTICS_SHIPMENT, ORDERS_ORDER
from libs.common.ids import new_id
from tests.faults.arena import Arena
from tests.faults.bus import INJECTED_HEADER, produce, read_everything, repeat
from tests.faults.matrix import expect, row
from tests.faults.nemesis import resident_bytes
from tests.faults.workload import SKUS

_MEBIBYTE = 1024 * 1024
_MONDAY = datetime(2026, 1, 5, 9, tzinfo=UTC)
# A death lasts until the group no longer counts on the dead: 12 s, and a second or two to start.
_DEATHS_SECONDS_MAX = 300.0
_BUSINESS_TOPICS = tuple(topic.name for topic in (ORDERS_ORDER, INVENTORY_RESERVATION, LOGISTICS_SHIPMENT))
# What can stand where the body of an event belongs.
_BODIES = {
    "tombstone": None,
    "empty": b"",
    "truncated": b'{"sku": "FAULT-001", "warehouse',
    "invalid-utf8": b'{"sku": "\xff\xfe"}',
    "deep": b"[" * 100_000,
    "wrong-type": b'{"sku": 1, "warehouse": "NORTH", "quantity": "many"}',
    "number": b"1e400",
    "nan": b'{"quantity": NaN}',
    "binary": bytes(range(256)),
    "huge-number": b'{"sku": "FAULT-001", "warehouse": "NORTH", "quantity": 1' + b"0" * 400 + b"}",
}


@row("F40", "everything comes again, several times", expects="no second effect", shows=("I5", "I1", "I4"))
async def repeated(arena: Arena) -> str:
    records = await read_everything(arena.bootstrap_servers, _BUSINESS_TOPICS, last=300)
    for _ in range(5):
        await repeat(arena.bootstrap_servers, records)
    return f"{len(records)} records five times"


@row("F41", "old versions after new ones", expects="they change nothing", shows=("I3", "I5"))
async def backwards(arena: Arena) -> str:
    records = await read_everything(arena.bootstrap_servers, _BUSINESS_TOPICS, last=300)
    await repeat(arena.bootstrap_servers, reversed(records))
    return f"{len(records)} records backwards"


@row("F42", "what is no event", expects="set aside with a reason, the next is handled", shows=("I11",))
async def poison(arena: Arena) -> str:
    good = Envelope(
        id=new_id(),
        event=GoodsReceived(sku=SKUS[0], warehouse="NORTH", quantity=7, occurred_at=_MONDAY),
        time=_MONDAY,
        source="faults",
    )
    record = encode(good)
    run = new_id()
    records = []
    for name, body in _BODIES.items():
        arena.injected.add(mark := f"{name}-{run}")
        headers = [(key, value) for key, value in record.headers if key != "ce_id"]
        headers += [("ce_id", str(new_id()).encode()), (INJECTED_HEADER, mark.encode())]
        records.append((record.topic, record.key, body, headers))
    for name, kept in {"no-headers": (), "unknown-type": ("ce_type",)}.items():
        arena.injected.add(mark := f"{name}-{run}")
        headers = [(key, b"goods.vanished") for key, _ in record.headers if key in kept]
        records.append((record.topic, record.key, record.value, [*headers, (INJECTED_HEADER, mark.encode())]))
    await produce(arena.bootstrap_servers, [*records, (record.topic, record.key, record.value, record.headers)])
    booked = f"SELECT count(*) FROM stock_movements WHERE event_id = '{good.id}'"  # noqa: S608 - our own id
    await arena.until("inventory", booked)
    letters = await read_everything(arena.bootstrap_servers, ["inventory.intake.dlq"])
    reasons = {dict(letter.headers)["dlq-reason"].decode() for letter in letters}
    expect(len(letters) >= len(records), f"only {len(letters)} of {len(records)} were set aside")
    # Before another row ends the process that has counted them.
    await arena.witness.look("inventory-consumer")
    return f"{len(records)} set aside as {', '.join(sorted(reasons))}; the next was booked"


@row(
    "F43",
    "poison that kills who touches it",
    expects="set aside after so many deaths, what is behind it flows",
    shows=("I11", "I12", "I5"),
)
async def deadly(arena: Arena) -> str:
    name = "inventory-consumer"
    events = [
        Envelope(
            id=new_id(),
            event=GoodsReceived(sku=SKUS[0], warehouse="NORTH", quantity=3, occurred_at=_MONDAY),
            time=_MONDAY,
            source="faults",
        )
        for _ in range(6)
    ]
    poison, last = events[2], events[-1]
    arena.injected.add(mark := f"deadly-{poison.id}")
    records = []
    for one in events:
        record = encode(one)
        injected = [(INJECTED_HEADER, mark.encode())] if one is poison else []
        records.append((record.topic, record.key, record.value, [*record.headers, *injected]))
    await arena.stack.restart(name, {"QUAYSIDE_FAILPOINTS": f"consumer.before-handling[{poison.id}]=exit@1+"})
    restarts = arena.stack.supervisor.restarts(name)
    started_at = arena.clock.monotonic_seconds()
    await produce(arena.bootstrap_servers, records)
    booked = "SELECT count(*) FROM stock_movements WHERE event_id = '{}'"
    await arena.until("inventory", booked.format(last.id), timeout_seconds=_DEATHS_SECONDS_MAX)
    seconds = arena.clock.monotonic_seconds() - started_at
    deaths = arena.stack.supervisor.restarts(name) - restarts
    await arena.witness.look(name)
    await arena.stack.restart(name)
    expect(not await arena.value("inventory", booked.format(poison.id)), "what kills was booked")
    letters = await read_everything(arena.bootstrap_servers, ["inventory.intake.dlq"])
    reasons = {
        dict(one.headers)["dlq-reason"].decode()
        for one in letters
        if dict(one.headers).get(INJECTED_HEADER) == mark.encode()
    }
    # Twice, if the process dies once more before it has told how far it is.
    expect(reasons == {"process-died"}, f"it was set aside as {reasons}")
    return f"set aside after {deaths} deaths, and what was behind it was booked {seconds:.0f} s after it came"


@row("F44", "slow consumer", expects="lag, but no memory, and nobody else waits", shows=("I12",))
async def slow_consumer(arena: Arena) -> str:
    name = "logistics-consumer"
    await arena.stack.restart(name, {"QUAYSIDE_FAILPOINTS": "consumer.before-handling=sleep:2@1+"})
    before = resident_bytes(arena.nemesis.pid(name))
    reserved = "SELECT count(*) FROM orders WHERE status <> 'approved'"
    others = await arena.value("orders", reserved)
    await asyncio.sleep(12)
    moved = await arena.until("orders", reserved, lambda count: count > others) - others
    growth = (resident_bytes(arena.nemesis.pid(name)) - before) / _MEBIBYTE
    await arena.stack.restart(name)
    expect(growth < 64, f"it grew by {growth:.0f} MiB")
    return f"grew by {growth:.0f} MiB; {moved} orders went on meanwhile"
