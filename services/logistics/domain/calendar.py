"""
Business days and times, all in UTC.

Monday to Friday are business days; public holidays are not known, so an estimate over one is a day early.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final

# Carriers promise a day, not an hour: an estimate is the end of that day's round.
DELIVERED_BY: Final = time(18, 0, tzinfo=UTC)

# Business days that a store has to set aside an order that is collected there.
COLLECTION_DAYS: Final = 1

_SATURDAY: Final = 5
_DAYS_PER_WEEK: Final = 7
_BUSINESS_DAYS_PER_WEEK: Final = 5
# No order waits longer between being placed and being confirmed, back orders included.
_CONFIRMED_WITHIN: Final = timedelta(days=90)


def ready_at(*, placed_at: datetime, confirmed_at: datetime) -> datetime:
    """
    Return the business time from which a confirmed order can be shipped.

    It is the time of confirmation, except for orders that were imported or replayed from another time: they
    are confirmed today but live, with all that is said about them, in the time they were placed in.
    """
    is_same_period = placed_at <= confirmed_at <= placed_at + _CONFIRMED_WITHIN
    return confirmed_at if is_same_period else placed_at


def is_business_day(day: date) -> bool:
    """Tell whether carriers work on `day`."""
    return day.weekday() < _SATURDAY


def add_business_days(day: date, days: int) -> date:
    """Return the business day that is `days` business days after `day`; 0 gives `day` or the next one."""
    if not is_business_day(day):
        # From a weekend, Monday is already the first business day.
        day += timedelta(days=_DAYS_PER_WEEK - day.weekday())
        days = max(0, days - 1)
    weeks, rest = divmod(days, _BUSINESS_DAYS_PER_WEEK)
    day += timedelta(weeks=weeks)
    for _ in range(rest):
        day += timedelta(days=1)
        while not is_business_day(day):
            day += timedelta(days=1)
    return day


def shipping_day(ready: datetime, cut_off: time) -> date:
    """Return the day on which a carrier that collects at `cut_off` takes what is ready at `ready`."""
    today = ready.astimezone(UTC)
    if is_business_day(today.date()) and today.timetz().replace(tzinfo=None) <= cut_off:
        return today.date()
    return add_business_days(today.date() + timedelta(days=1), 0)


def delivery_time(day: date) -> datetime:
    """Return when a parcel expected on `day` is expected at the latest."""
    return datetime.combine(day, DELIVERED_BY)
