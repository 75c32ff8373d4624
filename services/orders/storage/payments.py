"""The payment steps that wait to be carried out."""

from collections.abc import Sequence
from datetime import datetime

from libs.common.db import Transaction
from services.orders.domain.order import OrderStatus
from services.orders.domain.state import StepKind
from services.orders.handlers.ports import PaymentCommand

# SKIP LOCKED: executors share the work instead of waiting for each other. The lease outlives the transaction.
# MATERIALIZED: as a subquery of IN, some plans run the search once for each row, and each run locks rows of its own.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT id FROM payment_commands WHERE provider = $4 AND status = 'pending' AND due_at <= $1
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE payment_commands SET attempts = attempts + 1, due_at = $2
    FROM due WHERE payment_commands.id = due.id
    RETURNING payment_commands.id, order_id, kind, amount_minor, attempts, token, authorisation_id,
              payment_commands.created_at
)
SELECT claimed.id, claimed.order_id, orders.status AS order_status, orders.updated_at AS order_changed_at,
       claimed.kind, claimed.amount_minor, payments.currency, coalesce(claimed.token, payments.token) AS token,
       claimed.attempts,
       -- Only what an edit costs more has a token of its own.
       claimed.token IS NOT NULL AND NOT EXISTS (
           SELECT FROM order_edits
           WHERE order_edits.order_id = claimed.order_id AND order_edits.status = 'requested'
                 AND order_edits.edited_at <= claimed.created_at
       ) AS is_given_up,
       CASE WHEN claimed.authorisation_id IS NULL THEN payments.reference
            ELSE (SELECT coalesce(own.reference, payments.reference) FROM payment_commands AS own
                  WHERE own.id = claimed.authorisation_id)
       END AS reference,
       CASE WHEN claimed.authorisation_id IS NULL
            THEN payments.authorised_minor - payments.captured_minor - payments.voided_minor
            ELSE (
                SELECT own.amount_minor - coalesce((
                    SELECT sum(moved.amount_minor) FROM payment_commands AS moved
                    WHERE moved.order_id = own.order_id AND moved.kind IN ('capture', 'void')
                          AND moved.status IN ('succeeded', 'waived')
                          AND (moved.authorisation_id = own.id
                               OR (moved.authorisation_id IS NULL AND own.reference IS NULL))
                ), 0)::bigint FROM payment_commands AS own WHERE own.id = claimed.authorisation_id
            )
       END AS held_minor,
       CASE WHEN claimed.kind = 'refund' THEN (
           SELECT captures.id FROM payment_commands AS captures
           LEFT JOIN payment_commands AS own ON own.id = claimed.authorisation_id
           WHERE captures.order_id = claimed.order_id AND captures.kind = 'capture' AND captures.status = 'succeeded'
                 AND (own.id IS NULL OR captures.authorisation_id = own.id
                      OR (captures.authorisation_id IS NULL AND own.reference IS NULL))
           ORDER BY captures.created_at, captures.id LIMIT 1
       ) END AS captured_by
FROM claimed JOIN orders ON orders.id = claimed.order_id JOIN payments ON payments.order_id = claimed.order_id
ORDER BY claimed.id
"""
# Whoever claimed the command after our lease ended has counted an attempt: then it is no longer ours to move.
_RESCHEDULE = """
UPDATE payment_commands SET due_at = later.due_at
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[]) AS later (id, attempts, due_at)
WHERE payment_commands.id = later.id AND payment_commands.attempts = later.attempts
      AND payment_commands.status = 'pending'
"""


class PostgresPaymentCommands:
    """The payment steps, as the executors of one transaction see them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def claim(
        self, *, provider: str, now: datetime, leased_until: datetime, limit: int
    ) -> Sequence[PaymentCommand]:
        """Take due commands that nobody else has (see `PaymentCommands.claim`)."""
        driver = await self._transaction.driver()
        return [
            PaymentCommand(
                id=row["id"],
                order_id=row["order_id"],
                order_status=OrderStatus(row["order_status"]),
                order_changed_at=row["order_changed_at"],
                kind=StepKind(row["kind"]),
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                token=row["token"],
                reference=row["reference"],
                held_minor=row["held_minor"],
                captured_by=row["captured_by"],
                attempts=row["attempts"],
                is_given_up=row["is_given_up"],
            )
            for row in await driver.fetch(_CLAIM, now, leased_until, limit, provider)
        ]

    async def reschedule(self, due: Sequence[tuple[PaymentCommand, datetime]]) -> None:
        """Set when claimed commands are to be looked at again (see `PaymentCommands.reschedule`)."""
        driver = await self._transaction.driver()
        await driver.execute(
            _RESCHEDULE,
            [command.id for command, _ in due],
            [command.attempts for command, _ in due],
            [due_at for _, due_at in due],
        )
