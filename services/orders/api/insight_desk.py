"""What the routes about delays and figures work with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar, cast

from fastapi import Depends
from starlette.requests import Request

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.http.period import Period, Since, Until, period_of
from services.orders.domain.delays import WorkCalendar
from services.orders.handlers.insight_queries import InsightReads

Result = TypeVar("Result")


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


def _period(desk: Desk, since: Since = None, until: Until = None) -> Period:
    return period_of(since, until, today=desk.clock.now().date())


# Days on which orders were placed.
PeriodOfQuery = Annotated[Period, Depends(_period)]
