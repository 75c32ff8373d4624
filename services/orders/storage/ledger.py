"""The ledger, and what it is compared with."""

from collections.abc import Sequence
from uuid import UUID

from libs.common.db import Transaction
from services.orders.domain.ledger import Account, Fact
from services.orders.handlers.ledger import BookedTransfer
from services.orders.handlers.settlement import OrderMoney

_OF_ORDER = """
SELECT step_id, fact, debit, credit, amount_minor, currency, booked_at
FROM ledger_transfers WHERE order_id = $1 ORDER BY booked_at, step_id, fact
"""
# The ledger's key begins with the order, so that each of these is one search in its index.
_PAGE = """
SELECT payments.order_id, orders.status, payments.provider, payments.reference, payments.currency,
       orders.total_minor, authorised_minor, captured_minor, refunded_minor, voided_minor,
       EXISTS (
           SELECT FROM payment_commands
           WHERE payment_commands.order_id = payments.order_id AND payment_commands.status IN ('waiting', 'pending')
       ) AS is_in_flight,
       ARRAY(
           SELECT payment_commands.reference FROM payment_commands
           WHERE payment_commands.order_id = payments.order_id AND payment_commands.reference IS NOT NULL
       ) AS further_references,
       coalesce(ledger.clearing_minor, 0) AS ledger_clearing_minor,
       coalesce(ledger.held_minor, 0) AS ledger_held_minor
FROM payments
JOIN orders ON orders.id = payments.order_id
CROSS JOIN LATERAL (
    SELECT (sum(amount_minor) FILTER (WHERE debit = 'provider-clearing'))::bigint
           - coalesce(sum(amount_minor) FILTER (WHERE credit = 'provider-clearing'), 0)::bigint AS clearing_minor,
           (sum(amount_minor) FILTER (WHERE debit = 'held-by-provider'))::bigint
           - coalesce(sum(amount_minor) FILTER (WHERE credit = 'held-by-provider'), 0)::bigint AS held_minor
    FROM ledger_transfers WHERE ledger_transfers.order_id = payments.order_id
) AS ledger
WHERE payments.order_id > $1 AND payments.order_id < $2
ORDER BY payments.order_id LIMIT $3
"""
_KNOWN = """
SELECT reference FROM payments WHERE provider = $1 AND reference = ANY($2::text[])
UNION ALL SELECT reference FROM payment_commands WHERE provider = $1 AND reference = ANY($2::text[])
"""


class PostgresLedger:
    """The ledger, as one transaction sees it."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def of_order(self, order_id: UUID) -> Sequence[BookedTransfer]:
        """Return what was booked for an order, oldest first."""
        driver = await self._transaction.driver()
        return [
            BookedTransfer(
                step_id=row["step_id"],
                fact=Fact(row["fact"]),
                debit=Account(row["debit"]),
                credit=Account(row["credit"]),
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                booked_at=row["booked_at"],
            )
            for row in await driver.fetch(_OF_ORDER, order_id)
        ]

    async def page(self, *, after: UUID, before: UUID, limit: int) -> Sequence[OrderMoney]:
        """Return the money of orders between two ids, with what the ledger says of it."""
        driver = await self._transaction.driver()
        return [OrderMoney(**row) for row in await driver.fetch(_PAGE, after, before, limit)]

    async def known(self, provider: str, references: Sequence[str]) -> set[str]:
        """Return those of a provider's references that belong to an order."""
        driver = await self._transaction.driver()
        return {row["reference"] for row in await driver.fetch(_KNOWN, provider, list(references))}
