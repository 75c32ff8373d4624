"""The books of the orders service beside those of the file, one invoice at a time."""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg

from bench.proof.file import Books, Invoice

# Revenue and refunds from the entries of the ledger, the rest from what orders and payments say of themselves.
_ORDERS = """
SELECT orders.reference, orders.status, orders.total_minor,
       (SELECT coalesce(sum(quantity * unit_price_minor), 0) FROM order_lines WHERE order_id = orders.id)::bigint
           AS lines_minor,
       (SELECT coalesce(sum(quantity), 0) FROM order_lines WHERE order_id = orders.id)::bigint AS units,
       (SELECT coalesce(sum(returned_quantity), 0) FROM order_lines WHERE order_id = orders.id)::bigint AS units_back,
       captured_minor - refunded_minor AS kept_minor, authorised_minor - captured_minor - voided_minor AS held_minor,
       (
           SELECT coalesce(sum(CASE WHEN credit = 'revenue' THEN amount_minor WHEN debit = 'revenue' THEN -amount_minor
                               WHEN debit = 'refunds' THEN -amount_minor ELSE 0 END), 0)
           FROM ledger_transfers WHERE order_id = orders.id
       )::bigint AS booked_minor
FROM orders JOIN payments ON payments.order_id = orders.id
WHERE starts_with(orders.reference, $1)
"""

_UNDER_WAY = """
SELECT count(*) FROM orders
WHERE status NOT IN ('settled', 'refused', 'cancelled') AND NOT starts_with(coalesce(reference, ''), $1)
"""


class Crowded(Exception):
    """Other orders are under way, and would be served from what comes in for those that are to be compared."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where the two differ."""

    invoice: str
    what: str
    file: object
    orders: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of the comparison; amounts are in minor units."""

    books: Books
    orders: int
    by_outcome: Mapping[str, int]
    revenue_minor: int
    mismatches: tuple[Mismatch, ...]

    @property
    def holds(self) -> bool:
        """Whether the shop's books say what the file says."""
        is_equal = self.revenue_minor == self.books.net_of_sales_minor
        return not self.mismatches and is_equal and self.books.is_consistent


async def require_no_others(orders: asyncpg.Connection, *, dataset: str) -> None:
    """
    See that goods which come in for the data set's orders are for these alone.

    :raises Crowded: if other orders are not over.
    """
    count = await orders.fetchval(_UNDER_WAY, f"{dataset}/")
    if count:
        raise Crowded(
            f"{count:,} other orders are not over: goods that come in would go to those that wait, and nothing could"
            " be proved. Begin with an empty shop: make clean, then make run REPLAY=0."
        )


async def compare(books: Books, orders: asyncpg.Connection, *, dataset: str) -> Proof:
    """Compare the file's sales with the orders that carry the data set's name and their invoice's as a reference."""
    prefix = f"{dataset}/"
    found: dict[str, asyncpg.Record] = {}
    mismatches: list[Mismatch] = []
    outcomes: dict[str, int] = {}
    for row in await orders.fetch(_ORDERS, prefix):
        number = row["reference"].removeprefix(prefix)
        if number in found:
            mismatches.append(Mismatch(number, "orders", 1, 2))
        if number not in books.invoices:
            mismatches.append(Mismatch(number, "orders", 0, 1))
        found[number] = row
    for number, invoice in sorted(books.invoices.items()):
        if number not in found:
            mismatches.append(Mismatch(number, "orders", 1, 0))
            continue
        outcome = _outcome(found[number])
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        mismatches.extend(_differences(invoice, found[number], outcome))
    return Proof(
        books=books,
        orders=len(found),
        by_outcome=outcomes,
        revenue_minor=sum(row["booked_minor"] for row in found.values()),
        mismatches=tuple(mismatches),
    )


def _outcome(row: asyncpg.Record) -> str:
    """Say in a word where an order ended: what came back whole is returned, however it was delivered."""
    if row["status"] == "settled" and row["units_back"]:
        return "returned" if row["units_back"] == row["units"] else "returned in part"
    return str(row["status"])


def _expected(invoice: Invoice) -> tuple[str, ...]:
    """Say where an invoice must have ended; whether one that was called off had left by then the file does not know."""
    back, units = sum(line.taken_back for line in invoice.lines), sum(line.units for line in invoice.lines)
    if back == units:
        return ("cancelled", "returned") if invoice.is_called_off else ("returned",)
    return ("returned in part",) if back else ("settled",)


def _differences(invoice: Invoice, row: asyncpg.Record, outcome: str) -> list[Mismatch]:
    kept_minor = invoice.total_minor - invoice.taken_back_minor
    units = sum(line.units for line in invoice.lines)
    units_back = sum(line.taken_back for line in invoice.lines)
    expected = _expected(invoice)
    checks = [
        ("ends as", " or ".join(expected), outcome if outcome not in expected else " or ".join(expected)),
        ("units", units, row["units"]),
        ("price of its lines", invoice.total_minor, row["lines_minor"]),
        ("total", invoice.total_minor, row["total_minor"]),
        ("revenue in the ledger", kept_minor, row["booked_minor"]),
        ("money kept", kept_minor, row["kept_minor"]),
        ("money still held", 0, row["held_minor"]),
    ]
    if outcome != "cancelled":
        checks.append(("units taken back", units_back, row["units_back"]))
    return [Mismatch(invoice.number, what, file, orders) for what, file, orders in checks if file != orders]
