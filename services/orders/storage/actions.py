"""What people have decided about orders."""

from collections.abc import Sequence
from uuid import UUID

from libs.common.db import Transaction
from services.orders.domain.order import OrderStatus
from services.orders.handlers.ports import OrderAction

_ADD = """
INSERT INTO order_actions (id, order_id, action, reason, principal, shipment_id, refund_minor, replacement_order_id,
                           status_before, status_after, acted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_OF_ORDER = """
SELECT id, order_id, action, reason, principal, shipment_id, refund_minor, replacement_order_id, status_before,
       status_after, acted_at
FROM order_actions WHERE order_id = $1 ORDER BY id
"""


class PostgresOrderActions:
    """The actions, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def add(self, action: OrderAction) -> None:
        """Keep an action."""
        driver = await self._transaction.driver()
        await driver.execute(
            _ADD,
            action.id,
            action.order_id,
            action.action,
            action.reason,
            action.principal,
            action.shipment_id,
            action.refund_minor,
            action.replacement_order_id,
            action.status_before.value,
            action.status_after.value,
            action.acted_at,
        )

    async def of_order(self, order_id: UUID) -> Sequence[OrderAction]:
        """Return an order's actions, oldest first."""
        driver = await self._transaction.driver()
        return [
            OrderAction(
                **{
                    **row,
                    "status_before": OrderStatus(row["status_before"]),
                    "status_after": OrderStatus(row["status_after"]),
                }
            )
            for row in await driver.fetch(_OF_ORDER, order_id)
        ]
