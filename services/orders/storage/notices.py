"""What payment providers have told, and the commands that it is about."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from libs.common.db import Transaction
from services.orders.domain.state import StepKind
from services.orders.handlers.ports import KnownCommand, Notice

_ADD = """
INSERT INTO payment_notices (provider, event_id, received_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
_COMMANDS = """
SELECT payment_commands.id, payment_commands.order_id, payments.provider, kind, amount_minor, currency
FROM payment_commands JOIN payments ON payments.order_id = payment_commands.order_id
WHERE payment_commands.id = ANY($1::uuid[])
"""
_PURGE = "DELETE FROM payment_notices WHERE received_at < $1"


class PostgresPaymentNotices:
    """The notices, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def add(self, notice: Notice, *, now: datetime) -> bool:
        """Note a notice; return whether it is new."""
        driver = await self._transaction.driver()
        return str(await driver.execute(_ADD, notice.provider, notice.event_id, now)) == "INSERT 0 1"

    async def commands(self, command_ids: Sequence[UUID]) -> Mapping[UUID, KnownCommand]:
        """Return those of the commands that exist."""
        if not command_ids:
            return {}
        driver = await self._transaction.driver()
        return {
            row["id"]: KnownCommand(
                id=row["id"],
                order_id=row["order_id"],
                provider=row["provider"],
                kind=StepKind(row["kind"]),
                amount_minor=row["amount_minor"],
                currency=row["currency"],
            )
            for row in await driver.fetch(_COMMANDS, list(command_ids))
        }


async def purge_notices(transaction: Transaction, *, before: datetime) -> int:
    """Forget notices that are too old to be accepted again; return how many."""
    driver = await transaction.driver()
    return int((await driver.execute(_PURGE, before)).rpartition(" ")[2])
