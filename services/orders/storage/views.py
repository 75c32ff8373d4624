"""The read side: columns to values, keyset pages."""

from collections.abc import Collection, Sequence
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from libs.common.events.shapes import Shortage
from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase, TaxRounding
from services.orders.domain.findings import OrderFinding
from services.orders.domain.order import OrderLine, OrderStatus
from services.orders.handlers.queries import LinkedOrder, OrderFilter, OrderView, Progress, ShipmentView, TimelineEntry

_ORDER = """
SELECT orders.id, orders.version, orders.revision, status, status_reason, deadline_at, customer_id, channel,
       orders.reference, orders.currency, orders.total_minor, placed_at, received_at,
       authorised_minor, captured_minor, refunded_minor, voided_minor, on_shortage, expected_at,
       order_origins.origin_id,
       (
           SELECT array_agg((linked.id, linked.channel) ORDER BY linked.id)
           FROM order_origins came JOIN orders linked ON linked.id = came.order_id WHERE came.origin_id = orders.id
       ) AS linked_orders,
       (
           SELECT jsonb_agg(to_jsonb(order_findings) ORDER BY position)::text
           FROM order_findings WHERE order_findings.order_id = orders.id
       ) AS findings,
       (
           SELECT jsonb_agg(to_jsonb(order_charges) ORDER BY position)::text
           FROM order_charges WHERE order_charges.order_id = orders.id
       ) AS charges,
       (
           SELECT latest.shortages::text
           FROM (
               SELECT stage, shortages FROM order_shortages
               WHERE order_shortages.order_id = orders.id ORDER BY order_shortages.sequence DESC LIMIT 1
           ) AS latest
           WHERE CASE latest.stage
               WHEN 'reserved' THEN status IN ('reserved', 'confirmed') AND EXISTS (
                   SELECT FROM order_allocations
                   WHERE order_allocations.order_id = orders.id AND missing IS NOT NULL
               )
               ELSE latest.stage = status
           END
       ) AS shortages
FROM orders JOIN payments ON payments.order_id = orders.id
LEFT JOIN order_origins ON order_origins.order_id = orders.id
"""
_FIND = f"{_ORDER} WHERE orders.id = $1"
_LINES = """
SELECT order_id, line, sku, quantity, unit_price_minor, returned_quantity, charged_minor
FROM order_lines WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, line
"""
_SHIPMENTS = """
SELECT order_id, shipment_id, warehouse, status
FROM order_shipments WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, shipment_id
"""
_TIMELINE = """
SELECT sequence, order_timeline.stage, entered_at, cause, cause_id, detail, shortages::text
FROM order_timeline LEFT JOIN order_shortages USING (order_id, sequence)
WHERE order_id = $1 AND sequence > $2 ORDER BY sequence
"""
_PROGRESS = "SELECT id, status, sequence FROM orders WHERE id = ANY($1::uuid[])"


class _ChargeRow(msgspec.Struct):
    kind: ChargeKind
    code: str
    amount_minor: int
    lines: tuple[int, ...]
    jurisdiction: str | None
    rate_ppm: int | None
    is_inclusive: bool | None
    base: TaxBase | None
    rounding: TaxRounding | None


_decode_findings = msgspec.json.Decoder(tuple[OrderFinding, ...]).decode
_decode_charges = msgspec.json.Decoder(tuple[_ChargeRow, ...]).decode
_decode_shortages = msgspec.json.Decoder(tuple[Shortage, ...]).decode
_AFTER_EVERY_ID = UUID(int=2**128 - 1)


class PostgresOrderViews:
    """The read side, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def find(self, order_id: UUID) -> OrderView | None:
        """Return an order."""
        driver = await self._transaction.driver()
        views = await _with_parts(driver, await driver.fetch(_FIND, order_id))
        return views[0] if views else None

    async def page(self, wanted: OrderFilter, *, limit: int) -> Sequence[OrderView]:
        """Return orders, newest first."""
        # Only the conditions there are, so that each query has one index to go by.
        conditions = ["orders.id < $1"]
        arguments: list[object] = [wanted.before_id or _AFTER_EVERY_ID, limit]
        for column, value in (("status", wanted.status), ("customer_id", wanted.customer_id)):
            if value is not None:
                arguments.append(value)
                conditions.append(f"{column} = ${len(arguments)}")
        driver = await self._transaction.driver()
        query = f"{_ORDER} WHERE {' AND '.join(conditions)} ORDER BY orders.id DESC LIMIT $2"
        rows = await driver.fetch(query, *arguments)
        return await _with_parts(driver, rows)

    async def timeline(self, order_id: UUID, *, after: int = 0) -> Sequence[TimelineEntry]:
        """Return the stages that an order entered after the one numbered `after`."""
        driver = await self._transaction.driver()
        return [
            TimelineEntry(
                sequence=row["sequence"],
                stage=OrderStatus(row["stage"]),
                entered_at=row["entered_at"],
                cause=row["cause"],
                cause_id=row["cause_id"],
                detail=row["detail"],
                shortages=_decode_shortages(row["shortages"]) if row["shortages"] else (),
            )
            for row in await driver.fetch(_TIMELINE, order_id, after)
        ]

    async def progress(self, order_ids: Collection[UUID]) -> Sequence[Progress]:
        """Return how far orders are."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_PROGRESS, list(order_ids))
        return [Progress(row["id"], OrderStatus(row["status"]), row["sequence"]) for row in rows]


async def _with_parts(driver: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> list[OrderView]:
    if not rows:
        return []
    order_ids = [row["id"] for row in rows]
    lines: dict[UUID, list[OrderLine]] = {order_id: [] for order_id in order_ids}
    for row in await driver.fetch(_LINES, order_ids):
        order_id, line, sku, quantity, unit_price_minor, returned_quantity, charged_minor = row.values()
        lines[order_id].append(
            OrderLine(
                line=line,
                sku=sku,
                quantity=quantity,
                unit_price_minor=unit_price_minor,
                returned_quantity=returned_quantity,
                charged_minor=charged_minor,
            )
        )
    shipments: dict[UUID, list[ShipmentView]] = {order_id: [] for order_id in order_ids}
    for row in await driver.fetch(_SHIPMENTS, order_ids):
        order_id, shipment_id, warehouse, status = row.values()
        shipments[order_id].append(ShipmentView(shipment_id=shipment_id, warehouse=warehouse, status=status))
    return [_view(row, lines[row["id"]], shipments[row["id"]]) for row in rows]


def _charge(row: _ChargeRow) -> Charge:
    tax = None
    if row.rate_ppm is not None:
        tax = Tax(
            jurisdiction=row.jurisdiction or "",
            rate_ppm=row.rate_ppm,
            is_inclusive=bool(row.is_inclusive),
            base=row.base or TaxBase.GOODS,
            rounding=row.rounding or TaxRounding.ORDER,
        )
    return Charge(kind=row.kind, code=row.code, amount_minor=row.amount_minor, lines=row.lines, tax=tax)


def _view(row: asyncpg.Record, lines: Sequence[OrderLine], shipments: Sequence[ShipmentView]) -> OrderView:
    fields = dict(row)
    fields["status"] = OrderStatus(row["status"])
    fields["charges"] = tuple(map(_charge, _decode_charges(row["charges"]))) if row["charges"] else ()
    fields["shortages"] = _decode_shortages(row["shortages"]) if row["shortages"] else ()
    fields["findings"] = _decode_findings(row["findings"]) if row["findings"] else ()
    fields["linked_orders"] = tuple(
        LinkedOrder(order_id=order_id, channel=channel) for order_id, channel in row["linked_orders"] or ()
    )
    return OrderView(**fields, lines=tuple(lines), shipments=tuple(shipments))
