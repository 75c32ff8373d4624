"""Reminders, their notifications, and the contacts of customers."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from libs.common.db import Database, Transaction
from libs.common.sealing import Seal
from services.orders.domain.reminders import (
    Audience,
    Channel,
    Condition,
    Notification,
    NotificationStatus,
    ReminderRule,
    notification_id,
)
from services.orders.handlers.reminders import NotificationView, ReminderUnit
from services.orders.storage.webhooks import PostgresWebhooks

Result = TypeVar("Result")

_IN_STAGE = """
SELECT orders.id AS order_id, orders.id AS subject_id, entered_at AS since, orders.placed_at, orders.received_at
FROM orders JOIN order_timeline way ON way.order_id = orders.id AND way.sequence = orders.sequence
WHERE orders.status = '{status}'
"""
_OPEN_JOURNEYS = """
SELECT order_id, order_id AS subject_id, {since} AS since, orders.placed_at, orders.received_at
FROM order_journeys JOIN orders ON orders.id = order_id
WHERE rescore_at IS NOT NULL {condition}
"""
# What each condition is true of, and since when.
_TRUE: Final[Mapping[Condition, str]] = {
    Condition.PAYMENT_PENDING: _IN_STAGE.format(status="reserved"),
    Condition.REVIEW_WAITING: _IN_STAGE.format(status="held"),
    Condition.SHIP_BY_NEAR: _OPEN_JOURNEYS.format(since="ship_by", condition="AND dispatched_at IS NULL"),
    Condition.LATE: _OPEN_JOURNEYS.format(since="promised_by", condition=""),
    Condition.RETURN_NOT_SENT: """
SELECT order_id, returns.id AS subject_id, requested_at AS since, orders.placed_at, orders.received_at
FROM returns JOIN orders ON orders.id = order_id
WHERE returns.status = 'requested'
""",
    # A parcel that failed is on its way to nobody any more.
    Condition.PARCEL_NOT_STOPPED: """
SELECT order_id, shipment_id AS subject_id, noted_at AS since, orders.placed_at, orders.received_at
FROM unstopped_parcels JOIN order_shipments parcel USING (order_id, shipment_id) JOIN orders ON orders.id = order_id
WHERE parcel.status IN ('dispatched', 'delivered')
""",
}
# Orders imported with their history lie in the past: nobody waits for a reminder of them.
_FIND = """
SELECT order_id, subject_id FROM ({true}) candidates
WHERE since <= $1 AND since > $2 AND placed_at > received_at - interval '1 day'
      AND NOT EXISTS (SELECT FROM reminders WHERE rule = $3 AND reminders.subject_id = candidates.subject_id)
ORDER BY since LIMIT $4
"""
_STILL_TRUE = "SELECT subject_id FROM ({true}) candidates WHERE subject_id = ANY($1::uuid[])"
_ADD = """
WITH made AS (
    INSERT INTO reminders (rule, subject_id, order_id, created_at)
    SELECT $1, subject_id, order_id, $4 FROM unnest($2::uuid[], $3::uuid[]) AS found (order_id, subject_id)
    ORDER BY subject_id ON CONFLICT DO NOTHING RETURNING subject_id
), told AS (
    INSERT INTO notifications (id, rule, condition, audience, channel, order_id, subject_id, status, due_at, created_at)
    SELECT id, $1, $5, $6, channel, order_id, subject_id, 'pending', $7, $4
    FROM unnest($8::uuid[], $9::text[], $10::uuid[], $11::uuid[]) AS entry (id, channel, order_id, subject_id)
    JOIN made USING (subject_id)
)
SELECT count(*) FROM made
"""
_CLAIM = """
WITH chosen AS (
    SELECT id FROM notifications WHERE status = 'pending' AND due_at <= $1
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE notifications SET attempts = attempts + 1, due_at = $2 FROM chosen WHERE notifications.id = chosen.id
RETURNING notifications.id, rule, condition, audience, channel, order_id, subject_id, attempts
"""
_CONCLUDE = """
UPDATE notifications
SET status = $3, last_outcome = $4, due_at = $5, sent_at = CASE WHEN $3 = 'sent' THEN $6::timestamptz END
WHERE id = $1 AND attempts = $2 AND status = 'pending'
"""
_ADDRESSES = """
SELECT orders.id, email FROM orders JOIN customer_contacts USING (customer_id) WHERE orders.id = ANY($1::uuid[])
"""
_OF_ORDER = """
SELECT rule, audience, channel, status, subject_id, attempts, created_at, due_at, sent_at, last_outcome
FROM notifications WHERE order_id = $1 ORDER BY created_at, id
"""
_SET_CONTACT = """
INSERT INTO customer_contacts (customer_id, email, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (customer_id) DO UPDATE SET email = excluded.email, updated_at = excluded.updated_at
"""


class PostgresReminders:
    """The reminders, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`, which somebody else commits."""
        self._transaction = transaction

    async def find(
        self, rule: ReminderRule, *, now: datetime, fresh: timedelta, limit: int
    ) -> Sequence[tuple[UUID, UUID]]:
        """Return what a rule is true of (see `Reminders.find`)."""
        since = now + rule.after if rule.condition is Condition.SHIP_BY_NEAR else now - rule.after
        driver = await self._transaction.driver()
        query = _FIND.format(true=_TRUE[rule.condition])
        rows = await driver.fetch(query, since, since - fresh, rule.name, limit)
        return [(row["order_id"], row["subject_id"]) for row in rows]

    async def add(
        self, rule: ReminderRule, found: Sequence[tuple[UUID, UUID]], *, now: datetime, due_at: datetime
    ) -> int:
        """Store reminders with their notifications (see `Reminders.add`)."""
        driver = await self._transaction.driver()
        each = [(channel, order_id, subject_id) for order_id, subject_id in found for channel in rule.channels]
        return int(
            await driver.fetchval(
                _ADD,
                rule.name,
                [order_id for order_id, _ in found],
                [subject_id for _, subject_id in found],
                now,
                rule.condition.value,
                rule.audience.value,
                due_at,
                [notification_id(rule.name, subject_id, channel) for channel, _, subject_id in each],
                [channel.value for channel, _, _ in each],
                [order_id for _, order_id, _ in each],
                [subject_id for _, _, subject_id in each],
            )
        )

    async def claim(self, *, now: datetime, leased_until: datetime, limit: int) -> Sequence[Notification]:
        """Take due notifications that nobody has."""
        driver = await self._transaction.driver()
        return [
            Notification(
                id=row["id"],
                rule=row["rule"],
                condition=Condition(row["condition"]),
                audience=Audience(row["audience"]),
                channel=Channel(row["channel"]),
                order_id=row["order_id"],
                subject_id=row["subject_id"],
                attempts=row["attempts"],
            )
            for row in await driver.fetch(_CLAIM, now, leased_until, limit)
        ]

    async def still_true(self, condition: Condition, subject_ids: Collection[UUID]) -> Collection[UUID]:
        """Return those of which the condition still holds."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_STILL_TRUE.format(true=_TRUE[condition]), list(subject_ids))
        return [row["subject_id"] for row in rows]

    async def conclude(
        self,
        notification: Notification,
        status: NotificationStatus,
        *,
        outcome: str,
        now: datetime,
        due_at: datetime | None,
    ) -> None:
        """Store what became of a claimed notification."""
        driver = await self._transaction.driver()
        await driver.execute(_CONCLUDE, notification.id, notification.attempts, status.value, str(outcome), due_at, now)

    async def addresses(self, order_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return the e-mail addresses of the customers of orders, as far as they are known."""
        driver = await self._transaction.driver()
        return {row["id"]: row["email"] for row in await driver.fetch(_ADDRESSES, list(order_ids))}

    async def of_order(self, order_id: UUID) -> Sequence[NotificationView]:
        """Return what was sent, or waits to be, about an order."""
        driver = await self._transaction.driver()
        return [
            NotificationView(
                **{
                    **dict(row),
                    "audience": Audience(row["audience"]),
                    "channel": Channel(row["channel"]),
                    "status": NotificationStatus(row["status"]),
                }
            )
            for row in await driver.fetch(_OF_ORDER, order_id)
        ]

    async def set_contact(self, customer_id: str, *, email: str, now: datetime) -> None:
        """Keep how a customer is reached."""
        driver = await self._transaction.driver()
        await driver.execute(_SET_CONTACT, customer_id, email, now)

    async def contact(self, customer_id: str) -> str | None:
        """Return a customer's e-mail address."""
        driver = await self._transaction.driver()
        email: str | None = await driver.fetchval(
            "SELECT email FROM customer_contacts WHERE customer_id = $1", customer_id
        )
        return email

    async def forget_contact(self, customer_id: str) -> None:
        """Erase how a customer was reached."""
        driver = await self._transaction.driver()
        await driver.execute("DELETE FROM customer_contacts WHERE customer_id = $1", customer_id)


class PostgresReminderUnits:
    """Opens transactions on reminders and webhooks."""

    def __init__(self, database: Database, *, seal: Seal) -> None:
        """Nothing connects yet; `seal` is for the signing secrets of webhooks."""
        self._database = database
        self._seal = seal

    async def run(self, work: Callable[[ReminderUnit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        return await self._database.run(
            lambda transaction: work(
                ReminderUnit(PostgresReminders(transaction), PostgresWebhooks(transaction, seal=self._seal))
            )
        )
