"""Writes new orders, and what became of locked ones, as arrays: one statement for each table that is concerned."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.db import Transaction
from services.orders.domain.charges import Charge
from services.orders.domain.order import Address, NewOrder, OrderStatus
from services.orders.domain.state import OrderState, PaymentStep, Shipment, TimerKind
from services.orders.handlers.ports import Change
from services.orders.storage.new_rows import NewRows
from services.orders.storage.promotions import give_back_uses

_ORDERS = NewRows(
    "orders",
    {
        "id": "uuid",
        "status": "text",
        "version": "bigint",
        "revision": "bigint",
        "sequence": "int",
        "status_reason": "text",
        "deadline_at": "timestamptz",
        "customer_id": "text",
        "channel": "text",
        "reference": "text",
        "currency": "text",
        "total_minor": "bigint",
        "country": "text",
        "latitude": "float8",
        "longitude": "float8",
        "on_shortage": "text",
        "is_split_allowed": "bool",
        "correlation_id": "text",
        "traceparent": "text",
        "placed_at": "timestamptz",
        "received_at": "timestamptz",
        "updated_at": "timestamptz",
        "collect_at": "text",
        "hold_id": "uuid",
    },
)
_LINES = NewRows(
    "order_lines",
    {
        "order_id": "uuid",
        "line": "int",
        "sku": "text",
        "quantity": "int",
        "unit_price_minor": "bigint",
        "charged_minor": "bigint",
    },
)
_FINDINGS = NewRows(
    "order_findings",
    {
        "order_id": "uuid",
        "position": "int",
        "kind": "text",
        "consequence": "text",
        "line": "int",
        "sku": "text",
        "expected_minor": "bigint",
        "offered_minor": "bigint",
        "code": "text",
    },
)
_CHARGES = NewRows(
    "order_charges",
    {
        "order_id": "uuid",
        "position": "int",
        "kind": "text",
        "code": "text",
        "amount_minor": "bigint",
        "lines": "jsonb",
        "jurisdiction": "text",
        "rate_ppm": "int",
        "is_inclusive": "bool",
        "base": "text",
        "rounding": "text",
    },
)
_PAYMENTS = NewRows(
    "payments",
    {
        "order_id": "uuid",
        "provider": "text",
        "capture_at": "text",
        "token": "text",
        "currency": "text",
        "total_minor": "bigint",
    },
)
_ADDRESSES = NewRows("order_addresses", {"order_id": "uuid", "address": "jsonb"})
_TIMELINE = NewRows(
    "order_timeline",
    {
        "order_id": "uuid",
        "sequence": "int",
        "stage": "text",
        "entered_at": "timestamptz",
        "cause": "text",
        "cause_id": "uuid",
        "detail": "text",
    },
)
_TIMERS = NewRows("order_timers", {"order_id": "uuid", "kind": "text", "due_at": "timestamptz"})
_CLEAR_TIMERS = """
DELETE FROM order_timers USING unnest($1::uuid[], $2::text[]) AS gone (order_id, kind)
WHERE order_timers.order_id = gone.order_id AND order_timers.kind = gone.kind
"""
_SET_TIMERS = """
INSERT INTO order_timers (order_id, kind, due_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[])
ON CONFLICT (order_id, kind) DO UPDATE SET due_at = excluded.due_at
"""
_UPDATE_ORDERS = """
UPDATE orders SET status = changed.status, version = changed.version, sequence = changed.sequence,
                  status_reason = changed.status_reason, deadline_at = changed.deadline_at,
                  stuck_since = changed.stuck_since, stock_version = changed.stock_version,
                  expected_at = changed.expected_at, revision = orders.revision + 1, updated_at = $10
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::int[], $5::text[], $6::timestamptz[], $7::timestamptz[],
            $8::bigint[], $9::timestamptz[])
     AS changed (id, status, version, sequence, status_reason, deadline_at, stuck_since, stock_version, expected_at)
WHERE orders.id = changed.id
"""
_UPDATE_PAYMENTS = """
UPDATE payments SET version = changed.version, reference = changed.reference,
                    authorised_minor = changed.authorised_minor, captured_minor = changed.captured_minor,
                    refunded_minor = changed.refunded_minor, voided_minor = changed.voided_minor
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
     AS changed (order_id, version, reference, authorised_minor, captured_minor, refunded_minor, voided_minor)
WHERE payments.order_id = changed.order_id
"""
_UPDATE_REMAINDERS = """
UPDATE payments SET remainder_minor = changed.remainder_minor, remainder_status = changed.remainder_status,
                    remainder_returned_minor = changed.remainder_returned_minor
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[])
     AS changed (order_id, remainder_minor, remainder_status, remainder_returned_minor)
WHERE payments.order_id = changed.order_id
"""
_INSERT_ORIGINS = """
INSERT INTO order_origins (order_id, origin_id, is_remainder, prepaid_minor, keeps)
SELECT order_id, origin_id, is_remainder, prepaid_minor, keeps::jsonb
FROM unnest($1::uuid[], $2::uuid[], $3::bool[], $4::bigint[], $5::text[])
     AS derived (order_id, origin_id, is_remainder, prepaid_minor, keeps)
"""
_INSERT_STEPS = """
INSERT INTO payment_commands (id, order_id, provider, kind, amount_minor, status, return_id, shipment_id,
                              authorisation_id, due_at, created_at, resolved_at)
SELECT step.id, order_id, payments.provider, step.kind, step.amount_minor, step.status, step.return_id,
       step.shipment_id, step.authorisation_id, $8::timestamptz, $8::timestamptz,
       CASE WHEN step.status IN ('waiting', 'pending') THEN NULL ELSE $8::timestamptz END
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::uuid[], $7::uuid[], $9::uuid[])
     AS step (id, order_id, kind, amount_minor, status, return_id, shipment_id, authorisation_id)
JOIN payments USING (order_id)
"""
_UPDATE_STEPS = """
UPDATE payment_commands
SET status = step.status,
    due_at = CASE WHEN payment_commands.status = 'waiting' THEN $3::timestamptz ELSE payment_commands.due_at END,
    resolved_at = CASE WHEN step.status IN ('waiting', 'pending') THEN NULL ELSE $3::timestamptz END
FROM unnest($1::uuid[], $2::text[]) AS step (id, status)
WHERE payment_commands.id = step.id
"""
_REFER = """
UPDATE payment_commands SET reference = named.reference
FROM unnest($1::uuid[], $2::text[]) AS named (id, reference) WHERE payment_commands.id = named.id
"""
_UPSERT_SHIPMENTS = """
INSERT INTO order_shipments (order_id, shipment_id, warehouse, status, dispatched_at, delivered_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
ON CONFLICT (order_id, shipment_id) DO UPDATE
SET warehouse = excluded.warehouse, status = excluded.status,
    dispatched_at = excluded.dispatched_at, delivered_at = excluded.delivered_at
"""
_INSERT_ALLOCATIONS = """
INSERT INTO order_allocations (order_id, warehouses, allocations, missing)
SELECT order_id, ARRAY(SELECT jsonb_array_elements_text(warehouses::jsonb)), allocations::jsonb, missing::jsonb
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS one (order_id, warehouses, allocations, missing)
ON CONFLICT (order_id) DO UPDATE
SET warehouses = excluded.warehouses, allocations = excluded.allocations, missing = excluded.missing
"""
_DELETE_ALLOCATIONS = "DELETE FROM order_allocations WHERE order_id = ANY($1::uuid[])"
_INSERT_SHORTAGES = """
INSERT INTO order_shortages (order_id, sequence, stage, shortages)
SELECT order_id, sequence, stage, shortages::jsonb
FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[]) AS told (order_id, sequence, stage, shortages)
"""
# A parcel is of one order, and told of once, whatever is said of it later.
_INSERT_UNSTOPPED = """
INSERT INTO unstopped_parcels (shipment_id, order_id, noted_at)
SELECT shipment_id, order_id, $3 FROM unnest($1::uuid[], $2::uuid[]) AS noted (shipment_id, order_id)
ON CONFLICT DO NOTHING
"""
_INSERT_TRANSFERS = """
INSERT INTO ledger_transfers (order_id, step_id, fact, debit, credit, amount_minor, currency, booked_at)
SELECT *, $8 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
"""

_ENDED = frozenset({OrderStatus.REFUSED, OrderStatus.CANCELLED})
_NO_ADDRESS = Address()
_encode = msgspec.json.encode


async def insert_orders(transaction: Transaction, placed: Sequence[tuple[NewOrder, Change]], *, now: datetime) -> None:
    """Insert new orders with all that belongs to them."""
    orders = [order for order, _ in placed]
    changes = [change for _, change in placed]
    await _ORDERS.insert(transaction, [_order_row(change.after, now) for change in changes])
    await _LINES.insert(
        transaction,
        [
            (order.id, line.line, line.sku, line.quantity, line.unit_price_minor, line.charged_minor)
            for order in orders
            for line in order.lines
        ],
    )
    await _FINDINGS.insert(
        transaction,
        [
            (
                order.id,
                number,
                one.kind.value,
                one.consequence.value,
                one.line,
                one.sku,
                one.expected_minor,
                one.offered_minor,
                one.code,
            )
            for order in orders
            for number, one in enumerate(order.findings, start=1)
        ],
    )
    await _CHARGES.insert(
        transaction,
        [
            _charge_row(order.id, number, charge)
            for order in orders
            for number, charge in enumerate(order.charges, start=1)
        ],
    )
    await _PAYMENTS.insert(transaction, [_payment_row(order) for order in orders])
    await _ADDRESSES.insert(
        transaction, [(order.id, _encode(order.address).decode()) for order in orders if order.address != _NO_ADDRESS]
    )
    _insert_origins(transaction, orders)
    await _TIMELINE.insert(transaction, _timeline_rows(changes))
    _give_back_promotions(transaction, [change for order, change in placed if order.charges], now=now)
    # A new order has no timer that a new one could replace.
    await _TIMERS.insert(
        transaction, [(order_id, kind.value, due_at) for order_id, kind, due_at in _set_timers_of(changes)]
    )


async def insert_charges(transaction: Transaction, order_id: UUID, charges: Sequence[Charge]) -> None:
    """Insert what an order costs besides its goods."""
    await _CHARGES.insert(
        transaction, [_charge_row(order_id, number, charge) for number, charge in enumerate(charges, start=1)]
    )


async def save_changes(transaction: Transaction, changes: Sequence[Change], *, now: datetime) -> None:
    """Write what differs between the states before and after."""
    _update_orders(transaction, [one.after for one in changes if one.after is not one.before], now=now)
    _update_payments(transaction, [one.after for one in changes if one.after.payment != one.before.payment])
    _write_steps(transaction, changes, now=now)
    _write_shipments(transaction, changes)
    _write_allocations(transaction, changes)
    _write_transfers(transaction, changes, now=now)
    await _TIMELINE.insert(transaction, _timeline_rows(changes))
    _insert_shortages(transaction, changes)
    _insert_unstopped(transaction, changes, now=now)
    _give_back_promotions(transaction, changes, now=now)
    _clear_timers(transaction, changes)
    _set_timers(transaction, changes)


def _order_row(state: OrderState, now: datetime) -> tuple[object, ...]:
    facts = state.facts
    return (
        state.id,
        state.status.value,
        state.version,
        1,
        state.sequence,
        state.status_reason,
        state.deadline_at,
        facts.customer_id,
        facts.channel,
        facts.reference,
        facts.currency,
        facts.total_minor,
        facts.destination.country,
        facts.destination.latitude,
        facts.destination.longitude,
        facts.on_shortage,
        facts.is_split_allowed,
        facts.correlation_id,
        facts.traceparent,
        facts.placed_at,
        facts.received_at,
        now,
        facts.collect_at,
        facts.hold_id,
    )


def _charge_row(order_id: UUID, number: int, charge: Charge) -> tuple[object, ...]:
    tax = charge.tax
    of_tax = (
        (None, None, None, None, None)
        if tax is None
        else (tax.jurisdiction, tax.rate_ppm, tax.is_inclusive, tax.base.value, tax.rounding.value)
    )
    lines = _encode(charge.lines).decode()
    return order_id, number, charge.kind.value, charge.code, charge.amount_minor, lines, *of_tax


def _payment_row(order: NewOrder) -> tuple[object, ...]:
    terms, facts = order.payment_terms, order.facts
    return order.id, terms.provider, terms.capture_at.value, order.payment_token, facts.currency, facts.total_minor


def _insert_origins(transaction: Transaction, orders: Iterable[NewOrder]) -> None:
    derived = [(order, order.facts.origin) for order in orders if order.facts.origin is not None]
    if derived:
        transaction.defer(
            _INSERT_ORIGINS,
            [order.id for order, _ in derived],
            [origin.order_id for _, origin in derived],
            [order.facts.is_remainder for order, _ in derived],
            [origin.prepaid_minor for _, origin in derived],
            [_encode(origin.keeps).decode() for _, origin in derived],
        )


def _update_orders(transaction: Transaction, states: Sequence[OrderState], *, now: datetime) -> None:
    if states:
        transaction.defer(
            _UPDATE_ORDERS,
            [state.id for state in states],
            [state.status.value for state in states],
            [state.version for state in states],
            [state.sequence for state in states],
            [state.status_reason for state in states],
            [state.deadline_at for state in states],
            [state.stuck_since for state in states],
            [state.stock_version for state in states],
            [state.expected_at for state in states],
            now,
        )


def _update_payments(transaction: Transaction, states: Sequence[OrderState]) -> None:
    if states:
        payments = [state.payment for state in states]
        transaction.defer(
            _UPDATE_PAYMENTS,
            [state.id for state in states],
            [payment.version for payment in payments],
            [payment.reference for payment in payments],
            [payment.authorised_minor for payment in payments],
            [payment.captured_minor for payment in payments],
            [payment.refunded_minor for payment in payments],
            [payment.voided_minor for payment in payments],
        )
        divided = [(state.id, one) for state in states if (one := state.payment.remainder) is not None]
        if divided:
            transaction.defer(
                _UPDATE_REMAINDERS,
                [order_id for order_id, _ in divided],
                [one.value_minor for _, one in divided],
                [one.status.value for _, one in divided],
                [one.returned_minor for _, one in divided],
            )


def _write_steps(transaction: Transaction, changes: Iterable[Change], *, now: datetime) -> None:
    new: list[tuple[UUID, PaymentStep]] = []
    changed: list[PaymentStep] = []
    for change in changes:
        if change.after.steps is not change.before.steps:
            before = {step.id: step for step in change.before.steps}
            new.extend((change.after.id, step) for step in change.after.steps if step.id not in before)
            changed.extend(step for step in change.after.steps if step != before.get(step.id, step))
    if new:
        transaction.defer(
            _INSERT_STEPS,
            [step.id for _, step in new],
            [order_id for order_id, _ in new],
            [step.kind.value for _, step in new],
            [step.amount_minor for _, step in new],
            [step.status.value for _, step in new],
            [step.return_id for _, step in new],
            [step.shipment_id for _, step in new],
            now,
            [step.authorisation_id for _, step in new],
        )
    if changed:
        transaction.defer(_UPDATE_STEPS, [step.id for step in changed], [step.status.value for step in changed], now)
        if referred := [step for step in changed if step.reference is not None]:
            transaction.defer(_REFER, [step.id for step in referred], [step.reference for step in referred])


def _write_shipments(transaction: Transaction, changes: Iterable[Change]) -> None:
    found: list[tuple[UUID, Shipment]] = []
    for change in changes:
        if change.after.shipments is not change.before.shipments:
            before = set(change.before.shipments)
            found.extend((change.after.id, parcel) for parcel in change.after.shipments if parcel not in before)
    if found:
        transaction.defer(
            _UPSERT_SHIPMENTS,
            [order_id for order_id, _ in found],
            [parcel.id for _, parcel in found],
            [parcel.warehouse for _, parcel in found],
            [parcel.status.value for _, parcel in found],
            [parcel.dispatched_at for _, parcel in found],
            [parcel.delivered_at for _, parcel in found],
        )


def _write_allocations(transaction: Transaction, changes: Iterable[Change]) -> None:
    reserved: list[OrderState] = []
    unreserved: list[UUID] = []
    for change in changes:
        before, after = change.before, change.after
        is_other = (
            after.warehouses is not before.warehouses
            or after.allocations != before.allocations
            or after.missing != before.missing
        )
        if after.warehouses and is_other:
            reserved.append(after)
        elif before.warehouses and not after.warehouses:
            unreserved.append(after.id)
    if unreserved:
        transaction.defer(_DELETE_ALLOCATIONS, unreserved)
    if reserved:
        transaction.defer(
            _INSERT_ALLOCATIONS,
            [state.id for state in reserved],
            [_encode(state.warehouses).decode() for state in reserved],
            [_encode(state.allocations).decode() for state in reserved],
            [_encode(state.missing).decode() if state.missing else None for state in reserved],
        )


def _write_transfers(transaction: Transaction, changes: Iterable[Change], *, now: datetime) -> None:
    booked = [(change.after, transfer) for change in changes for transfer in change.transfers]
    if booked:
        transaction.defer(
            _INSERT_TRANSFERS,
            [state.id for state, _ in booked],
            [transfer.step_id for _, transfer in booked],
            [transfer.fact.value for _, transfer in booked],
            [transfer.debit.value for _, transfer in booked],
            [transfer.credit.value for _, transfer in booked],
            [transfer.amount_minor for _, transfer in booked],
            [state.facts.currency for state, _ in booked],
            now,
        )


def _timeline_rows(changes: Iterable[Change]) -> list[tuple[object, ...]]:
    return [
        (
            change.after.id,
            entry.sequence,
            entry.stage.value,
            entry.entered_at,
            entry.cause,
            cause_id,
            entry.detail,
        )
        for change in changes
        for entry, cause_id in change.entered
    ]


def _give_back_promotions(transaction: Transaction, changes: Iterable[Change], *, now: datetime) -> None:
    unpaid = [
        one.after.id
        for one in changes
        if one.after.status in _ENDED and one.before.status not in _ENDED and not one.after.payment.captured_minor
    ]
    if unpaid:
        give_back_uses(transaction, unpaid, now=now)


def _insert_shortages(transaction: Transaction, changes: Iterable[Change]) -> None:
    short = [(one.after.id, entry) for one in changes for entry, _ in one.entered if entry.shortages]
    if short:
        transaction.defer(
            _INSERT_SHORTAGES,
            [order_id for order_id, _ in short],
            [entry.sequence for _, entry in short],
            [entry.stage.value for _, entry in short],
            [_encode(entry.shortages).decode() for _, entry in short],
        )


def _insert_unstopped(transaction: Transaction, changes: Iterable[Change], *, now: datetime) -> None:
    noted = [(one.after.id, shipment_id) for one in changes for shipment_id in one.unstopped]
    if noted:
        transaction.defer(
            _INSERT_UNSTOPPED, [shipment_id for _, shipment_id in noted], [order_id for order_id, _ in noted], now
        )


def _clear_timers(transaction: Transaction, changes: Iterable[Change]) -> None:
    gone = [(one.after.id, kind) for one in changes for kind, due_at in one.timers.items() if due_at is None]
    if gone:
        transaction.defer(_CLEAR_TIMERS, [order_id for order_id, _ in gone], [kind.value for _, kind in gone])


def _set_timers(transaction: Transaction, changes: Iterable[Change]) -> None:
    rows = _set_timers_of(changes)
    if rows:
        transaction.defer(
            _SET_TIMERS,
            [order_id for order_id, _, _ in rows],
            [kind.value for _, kind, _ in rows],
            [due_at for _, _, due_at in rows],
        )


def _set_timers_of(changes: Iterable[Change]) -> list[tuple[UUID, TimerKind, datetime]]:
    return [
        (one.after.id, kind, due_at) for one in changes for kind, due_at in one.timers.items() if due_at is not None
    ]
