"""What the routes about delays and figures work with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, TypeVar, cast

from fastapi import Depends, Query
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.errors import Invalid
from libs.common.http.query import IsoDate
from services.orders.domain.delays import WorkCalendar
from services.orders.handlers.insight_queries import InsightReads

Result = TypeVar("Result")

_DAYS_DEFAULT = 28
_DAYS_MAX = 3 * 366


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightDesk:
    """Reads sums and journeys."""

    database: Database
    bind: Callable[[Transaction], InsightReads]
    clock: Clock
    calendar: WorkCalendar

    async def read(self, work: Callable[[InsightReads], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction."""
        return await self.database.run(lambda transaction: work(self.bind(transaction)))


def _desk_of(request: Request) -> InsightDesk:
    return cast("InsightDesk", request.app.state.insights)


Desk = Annotated[InsightDesk, Depends(_desk_of)]


@dataclass(frozen=True, slots=True)
class Period:
    """Days on which orders were placed, both included."""

    first: date
    last: date


def _period(
    desk: Desk,
    first: Annotated[
        IsoDate | None, Query(alias="from", description="The first day, by when orders were placed.")
    ] = None,
    last: Annotated[IsoDate | None, Query(alias="to", description="The last day, included; today by default.")] = None,
) -> Period:
    """
    Return the days that are asked for: four weeks unless both are given.

    :raises Invalid: if they are in the wrong order or further apart than three years.
    """
    end = last or (first + timedelta(days=_DAYS_DEFAULT - 1) if first and first.year < date.max.year else None)
    end = end or desk.clock.now().date()
    if end.year < 2:  # noqa: PLR2004 - there is no year before the first
        raise Invalid("The day is too long ago.", field="to")
    start = first or end - timedelta(days=_DAYS_DEFAULT - 1)
    if start > end:
        raise Invalid("The first day is after the last.", field="from")
    if end - start > timedelta(days=_DAYS_MAX):
        raise Invalid("The days are more than three years apart.", field="to")
    return Period(start, end)


PeriodOfQuery = Annotated[Period, Depends(_period)]
