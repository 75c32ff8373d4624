"""Returns in the database."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db import Transaction
from services.orders.domain.returns import (
    InspectedUnits,
    ReasonCode,
    Return,
    ReturnLine,
    ReturnStatus,
    WantedInstead,
)

_OF_ORDER = "SELECT id FROM returns WHERE order_id = $1 ORDER BY id"
_ORDER_OF = "SELECT order_id FROM returns WHERE id = $1"
_RETURNS = """
SELECT id, order_id, status, version, reason, currency, requested_at, warehouse, received_at,
       reason_code, label_carrier, label_reference, inspected_at, inspected_by, inspection::text, exchange_for::text,
       exchange_order_id, payment_token, exchange_due_minor
FROM returns WHERE id = ANY($1::uuid[]) ORDER BY id
"""
# The latest lines first, as they were chosen: a receipt fills them in the same order.
_LINES = """
SELECT return_id, line, sku, quantity, unit_price_minor, received_quantity, restocked_quantity, written_off_quantity,
       refund_minor
FROM return_lines WHERE return_id = ANY($1::uuid[]) ORDER BY return_id, line DESC
"""
_INSERT = """
INSERT INTO returns (id, order_id, status, version, reason, currency, refund_minor, requested_at, reason_code,
                     exchange_for, payment_token, exchange_due_minor)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12)
"""
_INSERT_LINES = """
INSERT INTO return_lines (return_id, line, sku, quantity, unit_price_minor, refund_minor)
SELECT $1, * FROM unnest($2::int[], $3::text[], $4::int[], $5::bigint[], $6::bigint[])
"""
_UPDATE = """
UPDATE returns SET status = changed.status, version = changed.version, refund_minor = changed.refund_minor,
                   warehouse = changed.warehouse, received_at = changed.received_at,
                   label_carrier = changed.label_carrier, label_reference = changed.label_reference,
                   inspected_at = changed.inspected_at, inspected_by = changed.inspected_by,
                   inspection = changed.inspection::jsonb, exchange_for = changed.exchange_for::jsonb,
                   exchange_order_id = changed.exchange_order_id,
                   closed_at = CASE WHEN changed.status = 'closed' THEN $7::timestamptz END
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::timestamptz[],
            $8::text[], $9::text[], $10::timestamptz[], $11::text[], $12::text[], $13::uuid[], $14::text[])
     AS changed (id, status, version, refund_minor, warehouse, received_at, label_carrier, label_reference,
                 inspected_at, inspected_by, inspection, exchange_order_id, exchange_for)
WHERE returns.id = changed.id
"""
_UPDATE_LINES = """
UPDATE return_lines SET received_quantity = changed.received_quantity,
                        restocked_quantity = changed.restocked_quantity,
                        written_off_quantity = changed.written_off_quantity, refund_minor = changed.refund_minor
FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::int[], $6::bigint[])
     AS changed (return_id, line, received_quantity, restocked_quantity, written_off_quantity, refund_minor)
WHERE return_lines.return_id = changed.return_id AND return_lines.line = changed.line
"""
_MEASURE = """
SELECT status, count(*) AS returns, min(coalesce(inspected_at, received_at, requested_at)) AS since
FROM returns WHERE status <> 'closed' GROUP BY status
"""
_RECEIVED = """
SELECT line, sum(received_quantity)::int AS units
FROM return_lines JOIN returns ON returns.id = return_lines.return_id
WHERE returns.order_id = $1 AND returns.id <> $2 GROUP BY line
"""

# What is given for goods that will not be sent is given back as money, and counted as that. So is what goes back for
# those that come back, but for what their own order was paid with.
_EXCHANGES = """
SELECT order_id, prepaid_minor
       - (SELECT coalesce(sum(refund_minor), 0) FROM returns
          WHERE returns.order_id = order_origins.order_id AND inspected_at IS NOT NULL)
       + (SELECT coalesce(sum(amount_minor), 0) FROM payment_commands
          WHERE payment_commands.order_id = order_origins.order_id AND kind = 'refund' AND return_id IS NOT NULL
                AND payment_commands.status <> 'withdrawn') AS minor
FROM order_origins JOIN orders ON orders.id = order_id
WHERE origin_id = $1 AND NOT is_remainder AND prepaid_minor > 0 AND orders.status NOT IN ('refused', 'cancelled')
"""


class PostgresReturns:
    """The returns, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def order_of(self, return_id: UUID) -> UUID | None:
        """Return the order that a return belongs to."""
        driver = await self._transaction.driver()
        order_id: UUID | None = await driver.fetchval(_ORDER_OF, return_id)
        return order_id

    async def of_order(self, order_id: UUID) -> Sequence[UUID]:
        """Return the returns of an order."""
        driver = await self._transaction.driver()
        return [row["id"] for row in await driver.fetch(_OF_ORDER, order_id)]

    async def get(self, return_ids: Collection[UUID]) -> Sequence[Return]:
        """Return those that exist."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_RETURNS, list(return_ids))
        lines: dict[UUID, list[ReturnLine]] = {row["id"]: [] for row in rows}
        for line in await driver.fetch(_LINES, list(lines)):
            return_id, *values = line.values()
            lines[return_id].append(ReturnLine(**dict(zip(_LINE_FIELDS, values, strict=True))))
        return [
            Return(
                id=row["id"],
                order_id=row["order_id"],
                status=ReturnStatus(row["status"]),
                version=row["version"],
                reason=row["reason"],
                currency=row["currency"],
                lines=tuple(lines[row["id"]]),
                requested_at=row["requested_at"],
                warehouse=row["warehouse"],
                received_at=row["received_at"],
                reason_code=ReasonCode(row["reason_code"]),
                label_carrier=row["label_carrier"],
                label_reference=row["label_reference"],
                inspected_at=row["inspected_at"],
                inspected_by=row["inspected_by"],
                inspection=() if row["inspection"] is None else _decode_inspection(row["inspection"]),
                exchange_for=() if row["exchange_for"] is None else _decode_wanted(row["exchange_for"]),
                exchange_order_id=row["exchange_order_id"],
                payment_token=row["payment_token"],
                exchange_due_minor=row["exchange_due_minor"],
            )
            for row in rows
        ]

    async def received_units(self, order_id: UUID, *, other_than: UUID) -> Mapping[int, int]:
        """Return how many units of each line of a locked order came back with its other returns."""
        driver = await self._transaction.driver()
        return {row["line"]: row["units"] for row in await driver.fetch(_RECEIVED, order_id, other_than)}

    async def exchanges_of(self, order_id: UUID) -> Mapping[UUID, int]:
        """Return what was sent for goods that came back of a locked order (see `Returns.exchanges_of`)."""
        driver = await self._transaction.driver()
        return {row["order_id"]: int(row["minor"]) for row in await driver.fetch(_EXCHANGES, order_id)}

    async def add(self, one: Return) -> None:
        """Store a new return."""
        driver = await self._transaction.driver()
        await driver.execute(
            _INSERT,
            one.id,
            one.order_id,
            one.status.value,
            one.version,
            one.reason,
            one.currency,
            one.refund_minor,
            one.requested_at,
            one.reason_code.value,
            _encode(one.exchange_for).decode() if one.exchange_for else None,
            one.payment_token,
            one.exchange_due_minor,
        )
        await driver.execute(
            _INSERT_LINES,
            one.id,
            [line.line for line in one.lines],
            [line.sku for line in one.lines],
            [line.quantity for line in one.lines],
            [line.unit_price_minor for line in one.lines],
            [line.refund_minor for line in one.lines],
        )

    async def save(self, returns: Sequence[Return], *, now: datetime) -> None:
        """Store what became of returns."""
        driver = await self._transaction.driver()
        await driver.execute(
            _UPDATE,
            [one.id for one in returns],
            [one.status.value for one in returns],
            [one.version for one in returns],
            [one.refund_minor for one in returns],
            [one.warehouse for one in returns],
            [one.received_at for one in returns],
            now,
            [one.label_carrier for one in returns],
            [one.label_reference for one in returns],
            [one.inspected_at for one in returns],
            [one.inspected_by for one in returns],
            [_encode(one.inspection).decode() if one.inspection else None for one in returns],
            [one.exchange_order_id for one in returns],
            [_encode(one.exchange_for).decode() if one.exchange_for else None for one in returns],
        )
        lines = [(one.id, line) for one in returns for line in one.lines]
        await driver.execute(
            _UPDATE_LINES,
            [return_id for return_id, _ in lines],
            [line.line for _, line in lines],
            [line.received_quantity for _, line in lines],
            [line.restocked_quantity for _, line in lines],
            [line.written_off_quantity for _, line in lines],
            [line.refund_minor for _, line in lines],
        )


_LINE_FIELDS = (
    "line",
    "sku",
    "quantity",
    "unit_price_minor",
    "received_quantity",
    "restocked_quantity",
    "written_off_quantity",
    "refund_minor",
)
_encode = msgspec.json.encode
_decode_inspection = msgspec.json.Decoder(tuple[InspectedUnits, ...]).decode
_decode_wanted = msgspec.json.Decoder(tuple[WantedInstead, ...]).decode


async def measure_returns(transaction: Transaction, *, now: datetime) -> dict[ReturnStatus, tuple[int, float]]:
    """Return for each stage how many returns are in it, and for how many seconds the oldest of them has been."""
    driver = await transaction.driver()
    found: dict[ReturnStatus, tuple[int, float]] = {
        status: (0, 0.0) for status in ReturnStatus if status is not ReturnStatus.CLOSED
    }
    for row in await driver.fetch(_MEASURE):
        found[ReturnStatus(row["status"])] = row["returns"], (now - row["since"]).total_seconds()
    return found
