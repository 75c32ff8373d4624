"""Counts that wait, count lists and lots, while everything else goes on."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from services.inventory.domain.count_lists import Schedule
from services.inventory.domain.counts import CountLimits
from services.inventory.domain.stock_policy import StockPolicy
from services.inventory.handlers.count_lists import make_daily_lists
from services.inventory.handlers.counts import Verdict, decide_count
from services.inventory.handlers.holds import expire_holds
from services.inventory.handlers.lots import block_expired_lots
from services.inventory.handlers.stock_policies import put_stock_policy
from tests.integration.inventory.interleaving import Frame, codes, order_numbers, times, units
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

    @rule(limit=st.sampled_from((None, 0, 3)))
    def the_shop_is_more_or_less_careful(self, limit: int | None) -> None:
        self.shop.count_limits = CountLimits(units=limit)

    @rule(verdict=st.sampled_from(("approve", "reject")), data=st.data())
    def a_count_is_decided(self, verdict: Verdict, data: st.DataObject) -> None:
        pending = self.run(self.shop.rows("SELECT event_id FROM held_counts WHERE status = 'pending' ORDER BY 1"))
        if pending:
            event_id = data.draw(st.sampled_from([row["event_id"] for row in pending]))
            self.run(self._decide(event_id, verdict))

    @rule()
    def count_lists_are_made(self) -> None:
        self.run(self._make_lists())

    @rule(tracks_lots=st.booleans(), days=st.integers(0, 3))
    def lamps_track_lots_or_not(self, tracks_lots: bool, days: int) -> None:  # noqa: FBT001
        self.run(self._set_policy_of_lamps(StockPolicy(tracks_lots=tracks_lots, shelf_life_days_min=days)))

    @rule(quantity=units, lot=lots, at=codes, when=times)
    def a_lot_arrives(self, quantity: int, lot: str, at: str, when: Any) -> None:
        expires_on = NOON.date() + timedelta(days=LOTS[lot])
        self.report(envelope(received(quantity, LAMP, at=at, when=when, lot=lot, expires_on=expires_on)))

    @rule(quantity=units, lot=st.none() | lots, at=codes, when=times)
    def units_of_lots_leave(self, quantity: int, lot: str | None, at: str, when: Any) -> None:
        self.report(
            envelope(picked(quantity, LAMP, at=at, when=when, lot=lot)),
            envelope(written_off(1, LAMP, at=at, when=when, lot=lot)),
        )

    @rule(quantity=st.integers(0, 9), at=codes, when=times)
    def lots_are_counted(self, quantity: int, at: str, when: Any) -> None:
        self.report(envelope(counted(quantity, LAMP, at=at, when=when)))

    @rule(number=order_numbers, quantity=units, when=times)
    def a_lamp_is_ordered(self, number: int, quantity: int, when: Any) -> None:
        self.happen(envelope(approved((LAMP, quantity), order_id=UUID(int=number)), at=when))

    @rule(days=st.integers(1, 4))
    def days_go_by(self, days: int) -> None:
        self.shop.clock.advance(timedelta(days=days))
        self.run(self._end_the_day())

    @invariant()
    def lots_are_what_is_on_hand(self) -> None:
        statement = """
            SELECT levels.on_hand, levels.reserved, levels.blocked, coalesce(sum(lots.units), 0) AS units,
                   coalesce(sum(lots.units) FILTER (WHERE lots.is_blocked), 0) AS units_blocked, tracks_lots
            FROM stock_items JOIN stock_levels AS levels USING (sku) LEFT JOIN stock_lots AS lots USING (sku, warehouse)
            GROUP BY levels.sku, levels.warehouse, tracks_lots
        """
        for level in self.run(self.shop.rows(statement)):
            assert level["units"] == (level["on_hand"] if level["tracks_lots"] else 0)
            assert level["blocked"] == level["units_blocked"]
            assert level["reserved"] <= level["on_hand"] - level["blocked"]

    @invariant()
    def no_count_waits_that_was_overtaken(self) -> None:
        statement = """
            SELECT 1 FROM held_counts AS held JOIN stock_levels AS levels USING (sku, warehouse)
            WHERE held.status = 'pending' AND (held.counted_at, held.event_id) < (levels.counted_at, levels.counted_by)
        """
        assert self.run(self.shop.rows(statement)) == []

    @invariant()
    def nothing_is_on_two_lists(self) -> None:
        statement = """
            SELECT sku, warehouse FROM count_list_lines JOIN count_lists USING (list_id)
            WHERE event_id IS NULL AND status IN ('open', 'counting') GROUP BY sku, warehouse HAVING count(*) > 1
        """
        assert self.run(self.shop.rows(statement)) == []

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
