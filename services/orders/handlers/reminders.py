"""Reminding: find what is due, once each, and send it as soon as it may disturb."""

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol, TypeVar
from uuid import UUID

import msgspec

from libs.common.clock import Clock
from libs.common.telemetry.logs import get_logger
from services.orders import metrics
from services.orders.domain.reminders import (
    REMINDER_TYPE,
    Audience,
    Channel,
    Condition,
    Notification,
    NotificationStatus,
    QuietHours,
    ReminderRule,
    words,
)
from services.orders.domain.webhooks import RETRY_SCHEDULE, matches
from services.orders.handlers.webhooks import NewDelivery, Webhooks

Result = TypeVar("Result")

# What became true longer ago than this is no news: rules that are switched on do not wake the dead.
FRESH: Final = timedelta(days=7)
_FOUND_MAX: Final = 500
_SENT_MAX: Final = 50
_LEASE: Final = timedelta(minutes=5)

log = get_logger()


class Outcome(StrEnum):
    """What a notifier did: sent, has nobody to send to, or could not this time."""

    SENT = "sent"
    NO_RECIPIENT = "no-recipient"
    UNAVAILABLE = "unavailable"


class Notifier(Protocol):
    """A way to tell somebody something; whatever goes wrong is an outcome, never an exception."""

    async def send(self, notification: Notification, *, recipients: Sequence[str]) -> Outcome:
        """Send it; the same notification twice is the same message."""
        ...


class LogNotifier:
    """Writes reminders into the log, ids only; `outcome` is what that counts as."""

    def __init__(self, outcome: Outcome = Outcome.SENT) -> None:
        """Where it stands in for a channel that is not set up, nobody is reached by it."""
        self._outcome = outcome

    async def send(self, notification: Notification, *, recipients: Sequence[str]) -> Outcome:
        """Write a line."""
        log.info(
            "reminder",
            rule=notification.rule,
            audience=notification.audience.value,
            order_id=str(notification.order_id),
            subject_id=str(notification.subject_id),
            recipients=len(recipients),
        )
        return self._outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationView:
    """A notification as it is shown; the recipient is not."""

    rule: str
    audience: Audience
    channel: Channel
    status: NotificationStatus
    subject_id: UUID
    attempts: int
    created_at: datetime
    due_at: datetime | None
    sent_at: datetime | None
    last_outcome: str | None


class Reminders(Protocol):
    """Reminders that were decided, their notifications, and how customers are reached."""

    async def find(
        self, rule: ReminderRule, *, now: datetime, fresh: timedelta, limit: int
    ) -> Sequence[tuple[UUID, UUID]]:
        """Return order and subject of what a rule is true of and nobody was reminded of yet."""
        ...

    async def add(
        self, rule: ReminderRule, found: Sequence[tuple[UUID, UUID]], *, now: datetime, due_at: datetime
    ) -> int:
        """Store reminders with their notifications; those that another replica stored are left out. Return how many."""
        ...

    async def claim(self, *, now: datetime, leased_until: datetime, limit: int) -> Sequence[Notification]:
        """Take due notifications that nobody has."""
        ...

    async def still_true(self, condition: Condition, subject_ids: Collection[UUID]) -> Collection[UUID]:
        """Return those of which the condition still holds."""
        ...

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
        ...

    async def addresses(self, order_ids: Collection[UUID]) -> Mapping[UUID, str]:
        """Return the e-mail addresses of the customers of orders, as far as they are known."""
        ...


@dataclass(frozen=True, slots=True)
class ReminderUnit:
    """One transaction."""

    reminders: Reminders
    webhooks: Webhooks


class ReminderUnits(Protocol):
    """Opens transactions."""

    async def run(self, work: Callable[[ReminderUnit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        ...


class ReminderWatch:
    """Finds what is due; any number of replicas may, the first to store a reminder makes it."""

    def __init__(
        self, units: ReminderUnits, rules: Sequence[ReminderRule], *, quiet_hours: QuietHours, clock: Clock
    ) -> None:
        """Nothing happens before `work`."""
        self._units = units
        self._rules = rules
        self._quiet_hours = quiet_hours
        self._clock = clock

    async def work(self) -> int:
        """Decide about what is due now, and return how many reminders that made."""
        return sum([await self._apply(rule) for rule in self._rules])

    async def _apply(self, rule: ReminderRule) -> int:
        now = self._clock.now()
        due_at = self._quiet_hours.next_allowed(now) if rule.heeds_quiet_hours else now

        async def work(unit: ReminderUnit) -> int:
            found = await unit.reminders.find(rule, now=now, fresh=FRESH, limit=_FOUND_MAX)
            return await unit.reminders.add(rule, found, now=now, due_at=due_at) if found else 0

        made = await self._units.run(work)
        metrics.orders_reminders_total.labels(rule.condition, rule.audience).inc(made)
        return made


class ReminderSender:
    """Sends what is due; a notification belongs to one replica for as long as its lease lasts."""

    def __init__(
        self,
        units: ReminderUnits,
        notifiers: Mapping[Channel, Notifier],
        *,
        operators: Sequence[str],
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Webhooks need no notifier: they are queued for the endpoints in the same transaction."""
        self._units = units
        self._notifiers = notifiers
        self._operators = operators
        self._clock = clock
        self._jitter = jitter

    async def work(self) -> int:
        """Send what is due, and return how much that was."""
        now = self._clock.now()
        claimed = await self._units.run(
            lambda unit: unit.reminders.claim(now=now, leased_until=now + _LEASE, limit=_SENT_MAX)
        )
        for notification in claimed:
            await self._send(notification)
        return len(claimed)

    async def _send(self, notification: Notification) -> None:
        async def prepare(unit: ReminderUnit) -> Sequence[str] | None:
            """Return the recipients, or None if it is settled already."""
            now = self._clock.now()
            if not await unit.reminders.still_true(notification.condition, [notification.subject_id]):
                await self._conclude(notification, NotificationStatus.WITHDRAWN, "withdrawn", now, unit)
                return None
            if notification.channel is Channel.WEBHOOK:
                told = await _queue_webhooks(notification, unit.webhooks, now=now)
                outcome = Outcome.SENT if told else Outcome.NO_RECIPIENT
                await self._conclude(notification, NotificationStatus.SENT, outcome, now, unit)
                return None
            if notification.audience is Audience.OPERATOR:
                return self._operators
            return list((await unit.reminders.addresses([notification.order_id])).values())

        recipients = await self._units.run(prepare)
        if recipients is None:
            return
        outcome = await self._notifiers[notification.channel].send(notification, recipients=recipients)
        now = self._clock.now()
        if outcome is Outcome.UNAVAILABLE:
            await self._units.run(lambda unit: self._postpone(notification, now, unit))
        else:
            await self._units.run(
                lambda unit: self._conclude(notification, NotificationStatus.SENT, outcome, now, unit)
            )

    async def _postpone(self, notification: Notification, now: datetime, unit: ReminderUnit) -> None:
        if notification.attempts >= len(RETRY_SCHEDULE):
            await self._conclude(notification, NotificationStatus.FAILED, Outcome.UNAVAILABLE, now, unit)
            return
        due_at = now + RETRY_SCHEDULE[notification.attempts] * (1 + self._jitter() / 10)
        await unit.reminders.conclude(
            notification, NotificationStatus.PENDING, outcome=Outcome.UNAVAILABLE, now=now, due_at=due_at
        )
        metrics.orders_notifications_total.labels(notification.channel, Outcome.UNAVAILABLE).inc()

    async def _conclude(
        self, notification: Notification, status: NotificationStatus, outcome: str, now: datetime, unit: ReminderUnit
    ) -> None:
        await unit.reminders.conclude(notification, status, outcome=outcome, now=now, due_at=None)
        metrics.orders_notifications_total.labels(notification.channel, outcome).inc()


async def _queue_webhooks(notification: Notification, webhooks: Webhooks, *, now: datetime) -> int:
    endpoints = [one for one in await webhooks.lock_active() if matches(one.event_types, REMINDER_TYPE)]
    if not endpoints:
        return 0
    subject, _ = words(notification)
    payload = msgspec.json.encode(
        {
            "type": REMINDER_TYPE,
            "timestamp": now,
            "data": {
                "order_id": notification.order_id,
                "subject_id": notification.subject_id,
                "rule": notification.rule,
                "condition": notification.condition,
                "audience": notification.audience,
                "subject": subject,
            },
        }
    )
    return await webhooks.enqueue(
        [
            NewDelivery(
                endpoint_id=endpoint.id,
                event_id=notification.id,
                order_id=notification.order_id,
                type=REMINDER_TYPE,
                payload=payload,
            )
            for endpoint in endpoints
        ],
        now=now,
    )
