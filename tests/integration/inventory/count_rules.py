"""Counts that wait, count lists and lots, while everything else goes on."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from services.inventory.domain.count_lists import Schedule
from services.inventory.domain.counts import CountLimits
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.count_lists import make_daily_lists
from services.inventory.handlers.counts import Verdict, decide_count
from services.inventory.handlers.holds import expire_holds
from services.inventory.handlers.lots import block_expired_lots
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.interleaving import Frame, codes, times, units
from tests.unit.inventory.builders import (
    LAMP,
    NOON,
    approved,
    counted,
    envelope,
    picked,
    received,
    written_off,
)

# By how many days after noon they expire.
LOTS = {"GONE": -1, "SOON": 2, "LATE": 9}
lots = st.sampled_from(sorted(LOTS))


class CountRules(Frame):
    """Counts are held back and decided, lists are made, and lots come, go and expire."""

    faults: ClassVar[Mapping[str, str]] = {
        "lots are not what is on hand": """
            SELECT * FROM (
                SELECT levels.sku, levels.warehouse, levels.on_hand, levels.reserved, levels.blocked, tracks_lots,
                       coalesce(sum(lots.units), 0) AS units,
                       coalesce(sum(lots.units) FILTER (WHERE lots.is_blocked), 0) AS units_blocked
                FROM stock_items JOIN stock_levels AS levels USING (sku)
                LEFT JOIN stock_lots AS lots USING (sku, warehouse) GROUP BY levels.sku, levels.warehouse, tracks_lots
            ) AS folded
            WHERE units <> CASE WHEN tracks_lots THEN on_hand ELSE 0 END OR blocked <> units_blocked
                OR reserved > on_hand - blocked
        """,
        "a count waits that was overtaken": """
            SELECT event_id FROM held_counts AS held JOIN stock_levels AS levels USING (sku, warehouse)
            WHERE held.status = 'pending' AND (held.counted_at, held.event_id) < (levels.counted_at, levels.counted_by)
        """,
        "something is on two lists": """
            SELECT sku, warehouse FROM count_list_lines JOIN count_lists USING (list_id)
            WHERE event_id IS NULL AND status IN ('open', 'counting') GROUP BY sku, warehouse HAVING count(*) > 1
        """,
    }

    @rule(limit=st.sampled_from((None, 0, 3)), verdict=st.sampled_from(("approve", "reject")), data=st.data())
    def a_count_is_decided(self, limit: int | None, verdict: Verdict, data: st.DataObject) -> None:
        self.shop.count_limits = CountLimits(units=limit)
        pending = self.run(self.shop.rows("SELECT event_id FROM held_counts WHERE status = 'pending' ORDER BY 1"))
        if pending:
            event_id = data.draw(st.sampled_from([row["event_id"] for row in pending]))
            self.run(self._decide(event_id, verdict))

    @rule(tracks_lots=st.booleans(), days=st.integers(0, 3))
    def lamps_track_lots_or_not(self, tracks_lots: bool, days: int) -> None:  # noqa: FBT001
        self.run(self._set_policy_of_lamps(StockPolicy(tracks_lots=tracks_lots, shelf_life_days_min=days)))

    @rule(data=st.data(), quantity=units, lot=lots, at=codes, when=times)
    def lots_come_and_go(self, data: st.DataObject, quantity: int, lot: str, at: str, when: Any) -> None:
        expires_on = NOON.date() + timedelta(days=LOTS[lot])
        self.report(envelope(received(quantity, LAMP, at=at, when=when, lot=lot, expires_on=expires_on)))
        left = data.draw(st.none() | lots)
        match data.draw(st.sampled_from(("picked", "written off", "counted", "ordered", "nothing"))):
            case "picked":
                self.report(envelope(picked(quantity, LAMP, at=at, when=when, lot=left)))
            case "written off":
                self.report(envelope(written_off(1, LAMP, at=at, when=when, lot=left)))
            case "counted":
                self.report(envelope(counted(quantity + 1, LAMP, at=at, when=when)))
            case "ordered":
                self.happen(envelope(approved((LAMP, quantity), order_id=self.drawn_id()), at=when))
            case _:
                return

    @rule(days=st.integers(1, 4))
    def days_go_by(self, days: int) -> None:
        self.shop.clock.advance(timedelta(days=days))
        self.run(self._end_the_day())
        self.run(self._make_lists())

    async def _decide(self, event_id: UUID, verdict: Verdict) -> None:
        async with self.database.transaction() as transaction:
            tools = self.shop.adapters.tools_of(transaction)
            await decide_count(event_id, verdict=verdict, decided_by="manager", reason="recounted", tools=tools)

    async def _make_lists(self) -> None:
        async with self.database.transaction() as transaction:
            tools = self.shop.adapters.tools_of(transaction)
            await make_daily_lists(lines_per_day=2, schedule=Schedule(), tools=tools)

    async def _set_policy_of_lamps(self, policy: StockPolicy) -> None:
        async with self.database.transaction() as transaction:
            await put_stock_policy(LAMP, policy, tools=self.shop.adapters.tools_of(transaction))

    async def _end_the_day(self) -> None:
        async with self.database.transaction() as transaction:
            await expire_holds(self.shop.adapters.tools_of(transaction))
        blocked = True
        while blocked:
            async with self.database.transaction() as transaction:
                blocked = await block_expired_lots(self.shop.adapters.tools_of(transaction)) is not None
