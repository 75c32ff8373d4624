"""Making count lists: for whoever asks for one, and by itself for every warehouse and day."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from libs.common.ids import new_id
from services.inventory.domain.classes import AbcClass, abc_classes
from services.inventory.domain.count_lists import (
    ChosenLine,
    CountList,
    CountListClosed,
    CountListNotFound,
    CountListStatus,
    NothingToCount,
    Schedule,
    choose_lines,
)
from services.inventory.domain.stock_policy import UnknownWarehouse
from services.inventory.handlers.ports import Tools

# What a SKU is worth to the shop is judged by a year, so that every season counts.
_CONSUMPTION: Final = timedelta(days=365)
_BY_ITSELF: Final = "inventory"


async def make_count_list(
    warehouse: str, *, size: int, abc_class: AbcClass | None, created_by: str, schedule: Schedule, tools: Tools
) -> CountList:
    """
    Make a list of the `size` SKUs of a warehouse that are most urgently to be counted, due or not.

    :raises UnknownWarehouse: if the warehouse is not registered.
    :raises NothingToCount: if there is nothing that is not on another list.
    """
    if warehouse not in {one.code for one in await tools.warehouses.all()}:
        raise UnknownWarehouse("No warehouse is registered under this code.", field="/warehouse")
    lines = await _choose(warehouse, size=size, abc_class=abc_class, only_due=False, schedule=schedule, tools=tools)
    if not lines:
        raise NothingToCount("There is nothing to count that is not on a list already.")
    made = _new_list(warehouse, lines, abc_class=abc_class, created_by=created_by, tools=tools)
    await tools.count_lists.add(made, lines)
    return made


async def make_daily_lists(*, lines_per_day: int, schedule: Schedule, tools: Tools) -> int:
    """Make today's list of what is due in each warehouse that has none yet; return how many lists were made."""
    today = tools.clock.now().date()
    made = 0
    for warehouse in await tools.warehouses.all():
        if not warehouse.is_active or await tools.count_lists.has_list(warehouse.code, today):
            continue
        lines = await _choose(
            warehouse.code, size=lines_per_day, abc_class=None, only_due=True, schedule=schedule, tools=tools
        )
        if lines:
            one = _new_list(warehouse.code, lines, abc_class=None, created_by=_BY_ITSELF, tools=tools, is_daily=True)
            made += await tools.count_lists.add(one, lines)
    return made


async def cancel_count_list(list_id: UUID, *, tools: Tools) -> None:
    """
    Close a list that nobody will count any more; what it has not counted may go onto other lists.

    :raises CountListNotFound: if there is none.
    :raises CountListClosed: if it is done or cancelled.
    """
    found = await tools.count_lists.lock(list_id)
    if found is None:
        raise CountListNotFound("There is no count list with this id.")
    if found not in {CountListStatus.OPEN, CountListStatus.COUNTING}:
        raise CountListClosed(f"The list is {found} already.")
    await tools.count_lists.cancel(list_id, cancelled_at=tools.clock.now())


async def _choose(
    warehouse: str, *, size: int, abc_class: AbcClass | None, only_due: bool, schedule: Schedule, tools: Tools
) -> list[ChosenLine]:
    now = tools.clock.now()
    classes = await tools.count_lists.classes()
    if not classes:
        classes = abc_classes(await tools.count_lists.consumption(warehouse, since=now - _CONSUMPTION))
    return choose_lines(
        await tools.count_lists.candidates(warehouse),
        classes,
        now=now,
        schedule=schedule,
        size=size,
        abc_class=abc_class,
        only_due=only_due,
    )


def _new_list(
    warehouse: str,
    lines: Sequence[ChosenLine],
    *,
    abc_class: AbcClass | None,
    created_by: str,
    tools: Tools,
    is_daily: bool = False,
) -> CountList:
    now = tools.clock.now()
    return CountList(
        id=new_id(),
        warehouse=warehouse,
        day=now.date() if is_daily else None,
        abc_class=abc_class,
        status=CountListStatus.OPEN,
        created_at=now,
        created_by=created_by,
        lines_total=len(lines),
    )
