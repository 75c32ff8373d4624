"""The timers of orders, and the figures of those that wait."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from libs.common.db import Transaction
from services.orders.domain.order import TERMINAL, OrderStatus
from services.orders.domain.state import StepKind, TimerKind

_DUE_ORDERS = """
SELECT order_id FROM order_timers WHERE due_at <= $1 GROUP BY order_id ORDER BY min(due_at) LIMIT $2
"""
_DUE_OF = """
SELECT order_id, kind FROM order_timers
WHERE order_id = ANY($1::uuid[]) AND due_at <= $2 ORDER BY due_at, order_id
"""
_OPEN_ORDERS = "SELECT status, count(*) FROM orders WHERE status = ANY($1::text[]) GROUP BY status"
_STUCK_ORDERS = "SELECT count(*) FROM orders WHERE stuck_since IS NOT NULL"
_OPEN_COMMANDS = "SELECT kind, count(*) FROM payment_commands WHERE status = 'pending' GROUP BY kind"


class PostgresTimers:
    """The timers, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def due_orders(self, *, now: datetime, limit: int) -> Sequence[UUID]:
        """Return orders with a timer that is due (see `Timers.due_orders`)."""
        driver = await self._transaction.driver()
        return [row["order_id"] for row in await driver.fetch(_DUE_ORDERS, now, limit)]

    async def due_of(self, order_ids: Collection[UUID], *, now: datetime) -> Sequence[tuple[UUID, TimerKind]]:
        """Return the due timers of locked orders."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_DUE_OF, list(order_ids), now)
        return [(row["order_id"], TimerKind(row["kind"])) for row in rows]


async def count_open_orders(transaction: Transaction) -> Mapping[OrderStatus, int]:
    """Return how many orders are in each stage that is not final."""
    driver = await transaction.driver()
    open_stages = [status for status in OrderStatus if status not in TERMINAL]
    rows = await driver.fetch(_OPEN_ORDERS, [status.value for status in open_stages])
    counted = {row["status"]: int(row["count"]) for row in rows}
    return {status: counted.get(status.value, 0) for status in open_stages}


async def count_stuck_orders(transaction: Transaction) -> int:
    """Return how many orders do not move though they should."""
    driver = await transaction.driver()
    return int(await driver.fetchval(_STUCK_ORDERS))


async def count_open_commands(transaction: Transaction) -> Mapping[StepKind, int]:
    """Return how many payment commands of each kind are not resolved."""
    driver = await transaction.driver()
    counted = {row["kind"]: int(row["count"]) for row in await driver.fetch(_OPEN_COMMANDS)}
    return {kind: counted.get(kind.value, 0) for kind in StepKind}
