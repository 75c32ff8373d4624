"""What must hold of orders and their money, computed from the tables of the orders service."""

import asyncpg

from bench.replay.databases import Databases
from bench.replay.verdict import Verdict

# A timer that is due is carried out within seconds; one that is long past was forgotten.
_WAITING = """
SELECT count(*) AS orders,
       count(*) FILTER (WHERE is_over) AS over,
       count(*) FILTER (WHERE NOT is_over AND is_timed) AS waiting,
       count(*) FILTER (WHERE NOT is_over AND NOT is_timed) AS forgotten
FROM (
    SELECT status IN ('settled', 'refused', 'cancelled') AS is_over,
           deadline_at IS NOT NULL AND EXISTS (
               SELECT FROM order_timers WHERE order_id = orders.id AND due_at > now() - interval '1 minute'
           ) AS is_timed
    FROM orders
) AS stages
"""
# Goods that left are owed for, less what came back, at what the order's own lines bear. A capture or refund that
# the provider has yet to carry out counts as done, because it will be.
_MONEY = """
WITH bought AS (
    SELECT order_id, sum(coalesce(charged_minor, quantity * unit_price_minor)) AS minor
    FROM order_lines GROUP BY order_id
), brought_back AS (
    SELECT returns.order_id,
           sum(coalesce(return_lines.refund_minor, received_quantity * order_lines.unit_price_minor)) AS minor
    FROM returns
    JOIN return_lines ON return_id = returns.id
    JOIN order_lines ON order_lines.order_id = returns.order_id AND order_lines.line = return_lines.line
    WHERE returns.status IN ('received', 'closed') GROUP BY returns.order_id
), under_way AS (
    SELECT order_id, sum(CASE kind WHEN 'capture' THEN amount_minor ELSE -amount_minor END) AS minor
    FROM payment_commands WHERE kind IN ('capture', 'refund') AND status IN ('waiting', 'pending') GROUP BY order_id
), accounts AS (
    SELECT orders.status, captured_minor, refunded_minor,
           authorised_minor - captured_minor - voided_minor AS held_minor,
           captured_minor - refunded_minor + coalesce(under_way.minor, 0) AS kept_minor,
           CASE WHEN orders.status IN ('shipped', 'delivered', 'settled')
                THEN coalesce(bought.minor, 0) - coalesce(brought_back.minor, 0)
                -- Some of its parcels may have left, each paid for as it did; never for more than was bought.
                WHEN orders.status = 'confirmed'
                THEN least(captured_minor - refunded_minor + coalesce(under_way.minor, 0), coalesce(bought.minor, 0))
                ELSE 0 END AS owed_minor,
           orders.total_minor <> coalesce(bought.minor, 0) AS is_total_wrong
    FROM orders
    JOIN payments ON payments.order_id = orders.id
    LEFT JOIN bought ON bought.order_id = orders.id
    LEFT JOIN brought_back ON brought_back.order_id = orders.id
    LEFT JOIN under_way ON under_way.order_id = orders.id
)
SELECT count(*) AS orders, coalesce(sum(captured_minor), 0)::bigint AS captured_minor,
       coalesce(sum(refunded_minor), 0)::bigint AS refunded_minor, coalesce(sum(owed_minor), 0)::bigint AS owed_minor,
       count(*) FILTER (WHERE kept_minor <> owed_minor OR is_total_wrong) AS off,
       count(*) FILTER (WHERE held_minor <> 0 AND status IN ('settled', 'refused', 'cancelled')) AS still_held
FROM accounts
"""
_WITHOUT_PAYMENT = "SELECT count(*) FROM orders WHERE NOT EXISTS (SELECT FROM payments WHERE order_id = orders.id)"
_PAID_TWICE = """
SELECT count(*) FROM (
    SELECT order_id, kind, return_id, shipment_id, authorisation_id FROM payment_commands
    WHERE status = 'succeeded' AND kind IN ('capture', 'refund')
    GROUP BY order_id, kind, return_id, shipment_id, authorisation_id HAVING count(*) > 1
) AS twice
"""


# The built-in provider is a system of its own that happens to live in the same database; another one is not asked.
_HAS_SANDBOX = "SELECT to_regclass('sandbox.sandbox_charges') IS NOT NULL"
# An order that became dearer has several charges. One that belongs to no order stands alone, and is off.
_AT_THE_PROVIDER = """
WITH ours AS (
    SELECT order_id, (authorised_minor::numeric, captured_minor::numeric, refunded_minor::numeric,
                      voided_minor::numeric) AS amounts
    FROM payments WHERE authorised_minor > 0
), names AS (
    SELECT reference, order_id FROM payments
    UNION
    SELECT reference, order_id FROM payment_commands
), theirs AS (
    SELECT order_id, count(*) AS charges,
           (sum(authorised_minor), sum(captured_minor), sum(refunded_minor), sum(voided_minor)) AS amounts
    FROM sandbox.sandbox_charges LEFT JOIN names USING (reference)
    GROUP BY order_id
)
SELECT coalesce(sum(charges), 0)::bigint AS charges,
       count(*) FILTER (WHERE ours.amounts IS DISTINCT FROM theirs.amounts) AS off
FROM ours FULL JOIN theirs USING (order_id)
"""


async def order_verdicts(databases: Databases) -> list[Verdict]:
    """Judge where the orders are and what was paid for them."""
    orders = databases["orders"]
    verdicts = [await _waiting(orders), *await _money(orders)]
    if await orders.fetchval(_HAS_SANDBOX):
        verdicts.append(await _provider(orders))
    return verdicts


async def _waiting(orders: asyncpg.Connection) -> Verdict:
    [row] = await orders.fetch(_WAITING)
    figures = f"{row['over']:,} over, {row['waiting']:,} waiting with a deadline, {row['forgotten']:,} without"
    return Verdict("every accepted order is over or waits with a deadline", row["forgotten"] == 0, figures)


async def _money(orders: asyncpg.Connection) -> list[Verdict]:
    [row] = await orders.fetch(_MONEY)
    off = row["off"] + await orders.fetchval(_WITHOUT_PAYMENT)
    paid_twice = await orders.fetchval(_PAID_TWICE)
    captured, refunded, owed = (pounds(row[name]) for name in ("captured_minor", "refunded_minor", "owed_minor"))
    return [
        Verdict(
            "captured - refunded = what each order owes",
            off == 0,
            f"{captured} - {refunded} = {owed}, {off:,} of {row['orders']:,} orders off",
        ),
        Verdict(
            "no amount is held for an order that is over", row["still_held"] == 0, f"{row['still_held']:,} orders off"
        ),
        Verdict("nothing was captured or refunded twice", paid_twice == 0, f"{paid_twice:,} payments twice"),
    ]


async def _provider(orders: asyncpg.Connection) -> Verdict:
    [row] = await orders.fetch(_AT_THE_PROVIDER)
    figures = f"{row['charges']:,} charges, {row['off']:,} differ"
    return Verdict("the payment provider moved what the orders say", row["off"] == 0, figures)


def pounds(minor: int) -> str:
    """Return an amount as people read it."""
    return f"£{minor // 100:,}.{minor % 100:02d}"
