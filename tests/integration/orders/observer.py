"""What follows orders, over a shop: its consumer group and its jobs, without Kafka."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from libs.common.db import Transaction
from libs.common.decisions.storage import PostgresDecisionLog
from libs.common.events.base import Envelope
from libs.common.outbox import OutboxWriter
from services.orders.bootstrap.policies import promise_policy
from services.orders.consumers import InsightHandler
from services.orders.handlers.insights import Following, ModelHolder
from services.orders.settings import OrdersSettings
from services.orders.storage import insights
from services.orders.storage.journeys import PostgresJourneys
from tests.integration.orders.shop import Shop

FOLLOWED = {
    "order.held-for-review",
    "order.backordered",
    "order.confirmed",
    "order.refused",
    "order.cancelled",
    "order.shipped",
    "order.delivered",
    "order.settled",
    "refund.issued",
    "return.requested",
}


@dataclass
class Observer:
    """Follows the orders of a shop."""

    shop: Shop
    settings: OrdersSettings
    holder: ModelHolder = field(default_factory=ModelHolder)

    @property
    def following(self) -> Following:
        return Following(policy=promise_policy(self.settings), holder=self.holder)

    def _outbox(self, transaction: Transaction) -> OutboxWriter:
        return OutboxWriter(transaction, source="orders", clock=self.shop.clock)

    async def follow(self, envelopes: Sequence[Envelope] | None = None) -> None:
        """Hand on everything that was published, again and again: following is idempotent."""
        if envelopes is None:
            envelopes = [one for one in await self.shop.published() if one.event.type in FOLLOWED]
        handler = InsightHandler(
            self.following,
            clock=self.shop.clock,
            bind=PostgresJourneys,
            outbox=self._outbox,
            decisions=PostgresDecisionLog,
        )
        async with self.shop.database.transaction() as transaction:
            await handler(envelopes, transaction)

    async def rescore(self) -> int:
        async with self.shop.database.transaction() as transaction:
            return await self.following.rescore(
                journeys=PostgresJourneys(transaction),
                outbox=self._outbox(transaction),
                decisions=PostgresDecisionLog(transaction),
                now=self.shop.clock.now(),
                limit=100,
            )

    async def summarise(self) -> None:
        async with self.shop.database.transaction() as transaction:
            await insights.summarise(transaction, now=self.shop.clock.now())
        async with self.shop.database.transaction() as transaction:
            await insights.summarise_cohorts(transaction)

    async def learn(self) -> None:
        async with self.shop.database.transaction() as transaction:
            self.holder.model = await insights.learn(transaction, learning_days=100)

    async def delay(self, order_id: Any) -> dict[str, Any]:
        response = await self.shop.get(f"/orders/{order_id}/delay")
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body
