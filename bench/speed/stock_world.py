"""Warehouses with stock, and what happens to it: the same for the service and for its limits."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import asyncpg
import msgspec

from libs.common.events.base import Envelope
from libs.common.events.inventory import (
    GoodsAdjusted,
    GoodsPicked,
    GoodsReceived,
    StockLevelChanged,
    WarehouseLevel,
    WarehouseRegistered,
    WarehouseReport,
)
from libs.common.ids import new_id

# Degrees of latitude and longitude by warehouse.
PLACES: Final = {"AMS": (52.4, 4.9), "BER": (52.5, 13.4), "LYS": (45.8, 4.8), "MAD": (40.4, -3.7)}
WAREHOUSES: Final = tuple(PLACES)
UNITS_PER_LEVEL: Final = 1_000_000
_BEGINNING: Final = datetime(2025, 1, 1, tzinfo=UTC)
_SOURCE: Final = "bench"

_ADD_WAREHOUSES: Final = """
INSERT INTO warehouses (code, version, name, country, latitude, longitude, priority, is_active, changed_at)
SELECT code, 1, code, 'NL', latitude, longitude, 0, true, $4
FROM unnest($1::text[], $2::float8[], $3::float8[]) AS places (code, latitude, longitude)
"""
_ADD_ITEMS: Final = "INSERT INTO stock_items (sku, version) SELECT unnest($1::text[]), 1"
_ADD_LEVELS: Final = """
INSERT INTO stock_levels (sku, warehouse, on_hand, reserved, in_transit, shortfall)
SELECT sku, warehouse, $3::bigint, 0, 0, 0 FROM unnest($1::text[]) AS sku, unnest($2::text[]) AS warehouse
"""
_ADD_MOVEMENTS: Final = """
INSERT INTO stock_movements (event_id, leg, kind, sku, warehouse, delta_on_hand, occurred_at, recorded_at)
SELECT gen_random_uuid(), 0, 'receipt', sku, warehouse, on_hand, $1, $1 FROM stock_levels
"""


def skus(count: int) -> list[str]:
    """Return `count` SKUs."""
    return [f"SKU-{number:06}" for number in range(count)]


async def stock_up(database_url: str, *, sku_count: int) -> None:
    """Put units of every SKU into every warehouse, with the ledger that explains them."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            latitudes, longitudes = zip(*PLACES.values(), strict=True)
            await connection.execute(_ADD_WAREHOUSES, WAREHOUSES, latitudes, longitudes, _BEGINNING)
            await connection.execute(_ADD_ITEMS, skus(sku_count))
            await connection.execute(_ADD_LEVELS, skus(sku_count), WAREHOUSES, UNITS_PER_LEVEL)
            await connection.execute(_ADD_MOVEMENTS, _BEGINNING)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def warehouse_reports(count: int, *, sku_count: int, seed: int) -> Iterator[Envelope]:
    """Yield what warehouses report in a busy hour: half arrivals, nearly half picks, some corrections."""
    random = Random(seed)  # noqa: S311 - a draw of data, the same in every run
    names = skus(sku_count)
    # Each warehouse counts on from where it was in the repetition before.
    sequences = dict.fromkeys(WAREHOUSES, seed * count)
    for number in range(count):
        occurred_at = _BEGINNING + timedelta(milliseconds=number)
        warehouse = random.choice(WAREHOUSES)
        sequences[warehouse] += 1
        yield Envelope(
            id=new_id(),
            event=_report(
                random,
                sku=random.choice(names),
                warehouse=warehouse,
                occurred_at=occurred_at,
                sequence=sequences[warehouse],
            ),
            time=occurred_at,
            source=_SOURCE,
        )


def _report(random: Random, *, sku: str, warehouse: str, occurred_at: datetime, sequence: int) -> WarehouseReport:
    draw = random.random()
    if draw < 0.5:  # noqa: PLR2004 - the shares are said above
        return GoodsReceived(
            sku=sku, warehouse=warehouse, occurred_at=occurred_at, sequence=sequence, quantity=random.randint(1, 40)
        )
    if draw < 0.95:  # noqa: PLR2004
        return GoodsPicked(
            sku=sku, warehouse=warehouse, occurred_at=occurred_at, sequence=sequence, quantity=random.randint(1, 5)
        )
    return GoodsAdjusted(
        sku=sku, warehouse=warehouse, occurred_at=occurred_at, sequence=sequence, delta=-1, reason="damaged"
    )


Movement = tuple[str, str, str, int, datetime, int]


def as_movements(envelopes: Sequence[Envelope]) -> list[Movement]:
    """Return (kind, sku, warehouse, delta, occurred at, sequence) of each report, as a ledger has them."""
    return [_movement(envelope) for envelope in envelopes]


def _movement(envelope: Envelope) -> Movement:
    match envelope.event:
        case GoodsReceived(sku=sku, warehouse=warehouse, quantity=units) as event:
            kind = "receipt"
        case GoodsPicked(sku=sku, warehouse=warehouse, quantity=quantity) as event:
            kind, units = "pick", -quantity
        case GoodsAdjusted(sku=sku, warehouse=warehouse, delta=units) as event:
            kind = "adjust"
        case other:
            raise TypeError(other.type)
    return kind, sku, warehouse, units, event.occurred_at, event.sequence or 0


def announced_levels(sku_count: int) -> Iterator[Envelope]:
    """Yield what the service would have published about the stock that `stock_up` puts there."""
    levels = [WarehouseLevel(warehouse=code, on_hand=UNITS_PER_LEVEL, reserved=0) for code in WAREHOUSES]
    for sku in skus(sku_count):
        event = StockLevelChanged(sku=sku, levels=levels)
        yield Envelope(id=new_id(), event=event, time=_BEGINNING, source="inventory", aggregate_version=1)


def announced_warehouses() -> Iterator[Envelope]:
    """Yield what the service would have published about the warehouses."""
    for code, (latitude, longitude) in PLACES.items():
        event = WarehouseRegistered(warehouse=code, name=code, country="NL", latitude=latitude, longitude=longitude)
        yield Envelope(id=new_id(), event=event, time=_BEGINNING, source="inventory", aggregate_version=1)


def posted(envelope: Envelope) -> bytes:
    """Return a report as a warehouse posts it."""
    event = envelope.event
    return msgspec.json.encode({"type": event.type, "id": envelope.id, **msgspec.structs.asdict(event)})


def arrivals(count: int, *, sku_count: int) -> Iterator[bytes]:
    """Yield reports of one unit that arrived at the first warehouse, of one SKU after the other."""
    names = skus(sku_count)
    for number in range(count):
        event = GoodsReceived(
            sku=names[number % sku_count], warehouse=WAREHOUSES[0], occurred_at=_BEGINNING, quantity=1
        )
        yield posted(Envelope(id=new_id(), event=event, time=_BEGINNING, source=_SOURCE))
