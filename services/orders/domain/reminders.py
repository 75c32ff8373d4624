"""Whom to remind of what, when, and in which words."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from libs.common.errors import NotFound
from libs.common.ids import named_id

# Webhooks hear of reminders under this type.
REMINDER_TYPE: Final = "reminder.due"
_NAMESPACE: Final = UUID("6c1f9a52-5f0e-5d8e-9d0b-0f1d8f2a7c35")


class Condition(StrEnum):
    """
    What somebody is reminded of.

    The time of a rule counts from when the stage was entered, the return announced, or the parcel heard to have left;
    for `ship-by-near` it is how long before the ship-by time, for `late` how long after the promise.
    """

    PAYMENT_PENDING = "payment-pending"
    REVIEW_WAITING = "review-waiting"
    SHIP_BY_NEAR = "ship-by-near"
    LATE = "late"
    RETURN_NOT_SENT = "return-not-sent"
    # It left although its order was ended: the goods are gone, and the money goes back.
    PARCEL_NOT_STOPPED = "parcel-not-stopped"


class Audience(StrEnum):
    """Who is reminded."""

    OPERATOR = "operator"
    CUSTOMER = "customer"


class Channel(StrEnum):
    """How."""

    EMAIL = "email"
    WEBHOOK = "webhook"
    LOG = "log"


class NotificationStatus(StrEnum):
    """Where a notification is; it is withdrawn if its reason is gone before it leaves."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class ContactNotFound(NotFound):
    """Nothing is known of how to reach this customer."""

    code: ClassVar[str] = "contact-not-found"

    def __init__(self) -> None:
        """Say so, without repeating who."""
        super().__init__("There is no contact of this customer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderRule:
    """One reminder; each order, return or parcel gets it once, under the rule's name."""

    name: str
    condition: Condition
    audience: Audience
    after: timedelta
    channels: tuple[Channel, ...]
    heeds_quiet_hours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """When nobody is disturbed; `start` may be after `end`: over night. None if they are the same."""

    time_zone: ZoneInfo
    start: time
    end: time

    def next_allowed(self, moment: datetime) -> datetime:
        """Return `moment`, or the end of the quiet hours that it falls into."""
        local = moment.astimezone(self.time_zone)
        now = local.time()
        over_night = self.start > self.end
        is_quiet = (now >= self.start or now < self.end) if over_night else self.start <= now < self.end
        if not is_quiet:
            return moment
        day = local.date() + timedelta(days=1 if over_night and now >= self.start else 0)
        # When the clocks are set back, the same time comes twice: in its second hour, the end is the second one.
        end = datetime.combine(day, self.end.replace(fold=local.fold), tzinfo=self.time_zone)
        return end.astimezone(moment.tzinfo)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A reminder on its way over one channel; `subject_id` is the return's or the parcel's id, or the order's."""

    id: UUID
    rule: str
    condition: Condition
    audience: Audience
    channel: Channel
    order_id: UUID
    subject_id: UUID
    attempts: int = 1


def notification_id(rule: str, subject_id: UUID, channel: Channel) -> UUID:
    """Return the id of a notification: the same reminder is the same message, however often it is decided."""
    return named_id(_NAMESPACE, f"{rule}/{subject_id}/{channel}")


_OPERATOR_SUBJECTS: Final = {
    Condition.PAYMENT_PENDING: "Payment pending",
    Condition.REVIEW_WAITING: "Review waiting",
    Condition.SHIP_BY_NEAR: "Has to leave soon",
    Condition.LATE: "Late",
    Condition.RETURN_NOT_SENT: "Return not received",
    Condition.PARCEL_NOT_STOPPED: "Left although cancelled",
}
_SUBJECTS: Final = {Condition.RETURN_NOT_SENT: "Return", Condition.PARCEL_NOT_STOPPED: "Parcel"}
_CUSTOMER_TEXTS: Final = {
    Condition.PAYMENT_PENDING: ("Your payment is still open", "we hold your goods, and wait for your payment."),
    Condition.REVIEW_WAITING: ("We are looking at your order", "we have to look at your order before we can send it."),
    Condition.SHIP_BY_NEAR: ("Your order leaves soon", "your order is about to leave our warehouse."),
    Condition.LATE: ("Your order is late", "your order has not arrived as promised. We are sorry, and on it."),
    Condition.RETURN_NOT_SENT: ("Your return", "you announced a return that has not reached us yet."),
    Condition.PARCEL_NOT_STOPPED: (
        "A parcel of your cancelled order",
        "your order was cancelled, but a parcel of it could not be stopped any more.",
    ),
}


def words(notification: Notification) -> tuple[str, str]:
    """Return subject and text; neither holds more about a person than the order's number."""
    order = f"Order {notification.order_id}"
    if notification.audience is Audience.OPERATOR:
        subject = f"{_OPERATOR_SUBJECTS[notification.condition]}: order {notification.order_id}"
        subject_kind = _SUBJECTS.get(notification.condition)
        about = "" if subject_kind is None else f"\n{subject_kind} {notification.subject_id}"
        return subject, f"{subject}\n\n{order}{about}\nRule: {notification.rule}\n"
    subject, text = _CUSTOMER_TEXTS[notification.condition]
    return subject, f"Hello,\n\n{text}\n\n{order}\n"
