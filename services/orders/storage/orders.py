"""Loads and stores the orders of a transaction: a fixed number of statements, however many orders."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import asyncpg
import msgspec

from libs.common.db import Transaction
from libs.common.events.shapes import Allocation, Destination, SkuQuantity
from services.orders.domain.order import (
    DERIVED_CHANNELS,
    Address,
    CaptureMoment,
    NewOrder,
    OrderFacts,
    OrderLine,
    OrderStatus,
    Origin,
    PaymentTerms,
)
from services.orders.domain.state import (
    OrderState,
    Payment,
    PaymentStep,
    PendingEdit,
    Remainder,
    RemainderStatus,
    Shipment,
    ShipmentStatus,
    StepKind,
    StepStatus,
)
from services.orders.handlers.ports import Change
from services.orders.storage.changes import insert_orders, save_changes

# An order and its remainder tell each other what happens, so that whoever locks one has both.
_LOCK = """
SELECT id, status, version, sequence, stock_version, status_reason, deadline_at, stuck_since, customer_id, channel,
       reference, currency, total_minor, country, latitude, longitude, on_shortage, is_split_allowed, correlation_id,
       traceparent, placed_at, received_at, collect_at, hold_id, expected_at
FROM orders WHERE id = ANY($1::uuid[] || ARRAY(
    SELECT origin_id FROM order_origins WHERE order_id = ANY($1::uuid[]) AND (is_remainder OR prepaid_minor > 0)
    UNION ALL SELECT order_id FROM order_origins WHERE origin_id = ANY($1::uuid[]) AND is_remainder
)) ORDER BY id FOR UPDATE
"""
_LOCK_FREE = f"{_LOCK} SKIP LOCKED"
# Read after the lock, in statements of their own: one statement would see these rows as they were before the wait.
_PAYMENTS = """
SELECT order_id, version, capture_at, reference, remainder_minor, remainder_status, remainder_returned_minor,
       authorised_minor, captured_minor, refunded_minor, voided_minor
FROM payments WHERE order_id = ANY($1::uuid[])
"""
_STEPS = """
SELECT id, order_id, kind, amount_minor, status, return_id, shipment_id, authorisation_id, reference
FROM payment_commands WHERE order_id = ANY($1::uuid[]) ORDER BY created_at, id
"""
_SHIPMENTS = """
SELECT order_id, shipment_id, warehouse, status, dispatched_at, delivered_at
FROM order_shipments WHERE order_id = ANY($1::uuid[]) ORDER BY shipment_id
"""
_ALLOCATIONS = """
SELECT order_id, warehouses,
       CASE WHEN order_id = ANY($2::uuid[]) OR (order_id = ANY($3::uuid[]) AND cardinality(warehouses) > 1)
            THEN allocations::text END AS allocations, missing::text
FROM order_allocations WHERE order_id = ANY($1::uuid[])
"""
_PENDING_EDITS = """
SELECT id, order_id, reason, lines_after::text AS lines_after, total_after_minor
FROM order_edits WHERE order_id = ANY($1::uuid[]) AND status = 'requested'
"""
_ALLOCATED = "SELECT allocations::text, missing::text FROM order_allocations WHERE order_id = $1"
_ORIGINS = """
SELECT order_id, origin_id, prepaid_minor, keeps::text FROM order_origins WHERE order_id = ANY($1::uuid[])
"""
_UNITS = """
SELECT order_id, sku, sum(quantity)::bigint AS quantity
FROM order_lines WHERE order_id = ANY($1::uuid[]) GROUP BY order_id, sku ORDER BY order_id, min(line)
"""
_PRICED_LINES = """
SELECT order_id, line, sku, quantity, unit_price_minor, charged_minor
FROM order_lines WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, line
"""
_LINES = """
SELECT line, sku, quantity, unit_price_minor, returned_quantity, charged_minor
FROM order_lines WHERE order_id = $1 ORDER BY line
"""
_ADD_RETURNED = """
UPDATE order_lines SET returned_quantity = order_lines.returned_quantity + back.quantity
FROM unnest($2::int[], $3::int[]) AS back (line, quantity)
WHERE order_lines.order_id = $1 AND order_lines.line = back.line
"""

Item = TypeVar("Item")

_UNDER_REVIEW = frozenset({OrderStatus.RECEIVED, OrderStatus.HELD})
# Nothing was asked of the provider, no warehouse is known and no parcel exists before these stages.
_BEFORE_STOCK = _UNDER_REVIEW | {OrderStatus.APPROVED}
# Parcels may leave one by one, each charged for what is in it.
_LEAVING = frozenset({OrderStatus.BACKORDERED, OrderStatus.CONFIRMED, OrderStatus.EDITING, OrderStatus.CANCELLING})
# What is held is needed whole: to ask for its price, or to have it sent anew.
_WITH_ALLOCATIONS = frozenset({OrderStatus.RESERVED, OrderStatus.EDITING})
_decode_address = msgspec.json.Decoder(Address).decode
_decode_units = msgspec.json.Decoder(tuple[SkuQuantity, ...]).decode
_decode_lines = msgspec.json.Decoder(tuple[OrderLine, ...]).decode
_decode_allocations = msgspec.json.Decoder(tuple[Allocation, ...]).decode


class PostgresOrders:
    """The orders of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def lock(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist, locked in the order of their ids (see `Orders.lock`)."""
        return await self._load(_LOCK, order_ids)

    async def lock_free(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist and that nobody else has locked (see `Orders.lock_free`)."""
        return await self._load(_LOCK_FREE, order_ids)

    async def add(self, placed: Sequence[tuple[NewOrder, Change]], *, now: datetime) -> None:
        """Store new orders."""
        await insert_orders(self._transaction, placed, now=now)

    async def save(self, changes: Sequence[Change], *, now: datetime) -> None:
        """Store what became of locked orders."""
        await save_changes(self._transaction, changes, now=now)

    async def lines_of(self, order_id: UUID) -> Sequence[OrderLine]:
        """Return the lines of a locked order."""
        driver = await self._transaction.driver()
        return [OrderLine(**row) for row in await driver.fetch(_LINES, order_id)]

    async def allocations_of(self, order_id: UUID) -> tuple[Sequence[Allocation], Sequence[SkuQuantity]]:
        """Return what warehouses hold, or held, for a locked order (see `Orders.allocations_of`)."""
        driver = await self._transaction.driver()
        found = await driver.fetchrow(_ALLOCATED, order_id)
        if found is None:
            return (), ()
        missing = found["missing"]
        return _decode_allocations(found["allocations"]), () if missing is None else _decode_units(missing)

    async def address_of(self, order_id: UUID) -> Address:
        """Return where a locked order goes (see `Orders.address_of`)."""
        driver = await self._transaction.driver()
        found = await driver.fetchval("SELECT address::text FROM order_addresses WHERE order_id = $1", order_id)
        return Address() if found is None else _decode_address(found)

    async def payment_terms_of(self, order_id: UUID) -> PaymentTerms:
        """Return who moves a locked order's money, and when."""
        driver = await self._transaction.driver()
        [found] = await driver.fetch("SELECT provider, capture_at FROM payments WHERE order_id = $1", order_id)
        return PaymentTerms(provider=found["provider"], capture_at=CaptureMoment(found["capture_at"]))

    async def add_returned(self, order_id: UUID, quantities: Mapping[int, int]) -> None:
        """Add to the returned quantities of lines (see `Orders.add_returned`)."""
        if not quantities:
            return
        driver = await self._transaction.driver()
        await driver.execute(_ADD_RETURNED, order_id, list(quantities), list(quantities.values()))
        await driver.execute("UPDATE orders SET revision = revision + 1 WHERE id = $1", order_id)

    async def _load(self, lock: str, order_ids: Collection[UUID]) -> dict[UUID, OrderState]:
        driver = await self._transaction.driver()
        rows = await driver.fetch(lock, list(order_ids))
        if not rows:
            return {}
        parts = await _parts_of(driver, rows)
        return {row["id"]: _state(row, parts) for row in rows}


@dataclass(slots=True)
class _Parts:
    """What belongs to the orders of one load, by order."""

    payments: dict[UUID, Payment] = field(default_factory=dict)
    steps: dict[UUID, tuple[PaymentStep, ...]] = field(default_factory=dict)
    shipments: dict[UUID, tuple[Shipment, ...]] = field(default_factory=dict)
    warehouses: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    allocations: dict[UUID, tuple[Allocation, ...]] = field(default_factory=dict)
    priced_lines: dict[UUID, tuple[OrderLine, ...]] = field(default_factory=dict)
    units: dict[UUID, list[SkuQuantity]] = field(default_factory=dict)
    missing: dict[UUID, tuple[SkuQuantity, ...]] = field(default_factory=dict)
    origins: dict[UUID, Origin] = field(default_factory=dict)
    edits: dict[UUID, PendingEdit] = field(default_factory=dict)


async def _parts_of(driver: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> _Parts:
    parts = _Parts()
    under_review = [row["id"] for row in rows if row["status"] in _UNDER_REVIEW]
    if under_review:
        for row in await driver.fetch(_UNITS, under_review):
            units = SkuQuantity(sku=row["sku"], quantity=row["quantity"])
            parts.units.setdefault(row["order_id"], []).append(units)
    derived = [row["id"] for row in rows if row["channel"] in DERIVED_CHANNELS]
    if derived:
        for row in await driver.fetch(_ORIGINS, derived):
            parts.origins[row["order_id"]] = Origin(
                order_id=row["origin_id"], prepaid_minor=row["prepaid_minor"], keeps=_decode_allocations(row["keeps"])
            )
    with_stock = [row["id"] for row in rows if row["status"] not in _BEFORE_STOCK]
    if not with_stock:
        return parts
    for row in await driver.fetch(_PAYMENTS, with_stock):
        order_id, *amounts = row.values()
        version, capture_at, reference, remainder_minor, remainder_status, returned_minor, *minor = amounts
        parts.payments[order_id] = Payment(
            version=version,
            capture_at=CaptureMoment(capture_at),
            reference=reference,
            remainder=None
            if remainder_minor is None
            else Remainder(
                value_minor=remainder_minor, status=RemainderStatus(remainder_status), returned_minor=returned_minor
            ),
            **dict(zip(_AMOUNTS, minor, strict=True)),
        )
    for row in await driver.fetch(_STEPS, with_stock):
        _append(parts.steps, row["order_id"], _step(row))
    for row in await driver.fetch(_SHIPMENTS, with_stock):
        _append(parts.shipments, row["order_id"], _shipment(row))
    await _load_goods(driver, rows, with_stock, parts)
    await _load_edits(driver, [row["id"] for row in rows if row["status"] == OrderStatus.EDITING], parts)
    return parts


async def _load_edits(driver: asyncpg.Connection, edited: Sequence[UUID], parts: _Parts) -> None:
    if not edited:
        return
    for row in await driver.fetch(_PENDING_EDITS, edited):
        parts.edits[row["order_id"]] = PendingEdit(
            id=row["id"],
            reason=row["reason"],
            lines=_decode_lines(row["lines_after"]),
            total_minor=row["total_after_minor"],
        )


async def _load_goods(
    driver: asyncpg.Connection, rows: Sequence[asyncpg.Record], with_stock: Sequence[UUID], parts: _Parts
) -> None:
    """Load which warehouses send the orders, and what and at which price only where that is needed."""
    reserved = [row["id"] for row in rows if row["status"] in _WITH_ALLOCATIONS or _may_be_divided(row)]
    leaving = [row["id"] for row in rows if row["status"] in _LEAVING]
    in_parts: list[UUID] = []
    for row in await driver.fetch(_ALLOCATIONS, with_stock, reserved, leaving):
        order_id = row["order_id"]
        parts.warehouses[order_id] = tuple(row["warehouses"])
        if row["allocations"] is not None:
            parts.allocations[order_id] = _decode_allocations(row["allocations"])
            if row["missing"] is not None:
                parts.missing[order_id] = _decode_units(row["missing"])
            if len(row["warehouses"]) > 1 or row["missing"] is not None:
                in_parts.append(order_id)
    if in_parts:
        for row in await driver.fetch(_PRICED_LINES, in_parts):
            order_id, *columns = row.values()
            _append(parts.priced_lines, order_id, OrderLine(**dict(zip(_PRICED, columns, strict=True))))


def _may_be_divided(row: asyncpg.Record) -> bool:
    return row["on_shortage"] == "split" and row["status"] in _LEAVING


_AMOUNTS = ("authorised_minor", "captured_minor", "refunded_minor", "voided_minor")
_PRICED = ("line", "sku", "quantity", "unit_price_minor", "charged_minor")
_NO_PAYMENT = Payment()


def _state(row: asyncpg.Record, parts: _Parts) -> OrderState:
    order_id = row["id"]
    return OrderState(
        id=order_id,
        facts=_facts(row, parts.origins.get(order_id)),
        status=OrderStatus(row["status"]),
        version=row["version"],
        sequence=row["sequence"],
        stock_version=row["stock_version"],
        status_reason=row["status_reason"],
        deadline_at=row["deadline_at"],
        stuck_since=row["stuck_since"],
        payment=parts.payments.get(order_id, _NO_PAYMENT),
        steps=parts.steps.get(order_id, ()),
        shipments=parts.shipments.get(order_id, ()),
        warehouses=parts.warehouses.get(order_id, ()),
        lines=tuple(parts.units.get(order_id, ())),
        priced_lines=parts.priced_lines.get(order_id, ()),
        allocations=parts.allocations.get(order_id, ()),
        missing=parts.missing.get(order_id, ()),
        expected_at=row["expected_at"],
        edit=parts.edits.get(order_id),
    )


def _facts(row: asyncpg.Record, origin: Origin | None) -> OrderFacts:
    return OrderFacts(
        customer_id=row["customer_id"],
        channel=row["channel"],
        reference=row["reference"],
        currency=row["currency"],
        total_minor=row["total_minor"],
        placed_at=row["placed_at"],
        received_at=row["received_at"],
        destination=Destination(country=row["country"], latitude=row["latitude"], longitude=row["longitude"]),
        on_shortage=row["on_shortage"],
        is_split_allowed=row["is_split_allowed"],
        correlation_id=row["correlation_id"],
        traceparent=row["traceparent"],
        collect_at=row["collect_at"],
        hold_id=row["hold_id"],
        origin=origin,
    )


def _step(row: asyncpg.Record) -> PaymentStep:
    return PaymentStep(
        id=row["id"],
        kind=StepKind(row["kind"]),
        amount_minor=row["amount_minor"],
        status=StepStatus(row["status"]),
        return_id=row["return_id"],
        shipment_id=row["shipment_id"],
        authorisation_id=row["authorisation_id"],
        reference=row["reference"],
    )


def _shipment(row: asyncpg.Record) -> Shipment:
    return Shipment(
        id=row["shipment_id"],
        status=ShipmentStatus(row["status"]),
        warehouse=row["warehouse"],
        dispatched_at=row["dispatched_at"],
        delivered_at=row["delivered_at"],
    )


def _append(found: dict[UUID, tuple[Item, ...]], order_id: UUID, item: Item) -> None:
    found[order_id] = (*found.get(order_id, ()), item)
