"""The days that a report is about: asked for in the same way of every report."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Final

from fastapi import Query

from libs.common.errors import Invalid
from libs.common.http.query import IsoDate

PERIOD_DAYS_DEFAULT: Final = 28
PERIOD_DAYS_MAX: Final = 3_660

Since = Annotated[
    IsoDate | None,
    Query(description=f"First day of the period (UTC); by default there are {PERIOD_DAYS_DEFAULT} days in all."),
]
Until = Annotated[IsoDate | None, Query(description="Last day of the period, included; today by default.")]


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both included."""

    since: date
    until: date


def period_of(since: date | None, until: date | None, *, today: date) -> Period:
    """
    Return the days that are asked for.

    :raises Invalid: if the first is after the last, or they are more than `PERIOD_DAYS_MAX`.
    """
    last = until or today
    if last.toordinal() <= PERIOD_DAYS_MAX:
        raise Invalid("The day is too early.", field="until")
    first = since or last - timedelta(days=PERIOD_DAYS_DEFAULT - 1)
    if first > last:
        raise Invalid("The first day is after the last, which is today unless `until` says another.", field="since")
    if (last - first).days >= PERIOD_DAYS_MAX:
        raise Invalid(f"A period has at most {PERIOD_DAYS_MAX} days.", field="since")
    return Period(first, last)
