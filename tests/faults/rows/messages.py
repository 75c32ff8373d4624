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
        event=GoodsReceived(
            sku=SKUS[0], warehouse="NORTH", quantity=7, occurred_at=datetime(2026, 1, 5, 9, tzinfo=UTC)
        ),
        time=datetime(2026, 1, 5, 9, tzinfo=UTC),
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
    await arena.until("inventory", booked, timeout_seconds=30)
    letters = await read_everything(arena.bootstrap_servers, ["inventory.intake.dlq"])
    reasons = {dict(letter.headers)["dlq-reason"].decode() for letter in letters}
    expect(len(letters) >= len(records), f"only {len(letters)} of {len(records)} were set aside")
    return f"{len(records)} set aside as {', '.join(sorted(reasons))}; the next was booked"


@row("F44", "slow consumer", expects="lag, but no memory, and nobody else waits", shows=("I12",))
async def slow_consumer(arena: Arena) -> str:
    name = "logistics-consumer"
    await arena.stack.restart(name, {"QUAYSIDE_FAILPOINTS": "consumer.before-handling=sleep:2@1+"})
    before = resident_bytes(arena.nemesis.pid(name))
    reserved = "SELECT count(*) FROM orders WHERE status <> 'approved'"
    others = await arena.value("orders", reserved)
    await asyncio.sleep(12)
    growth = (resident_bytes(arena.nemesis.pid(name)) - before) / _MEBIBYTE
    moved = await arena.value("orders", reserved) - others
    await arena.stack.restart(name)
    expect(growth < 64, f"it grew by {growth:.0f} MiB")
    expect(moved > 0, "the others stood still")
    return f"grew by {growth:.0f} MiB; {moved} orders went on meanwhile"
