import random
from datetime import date, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.base import Envelope
from services.inventory.domain.lots import (
    NO_LOT,
    Lot,
    LotLine,
    LotMissing,
    blocked_units,
    check_lot,
    expiries_of,
    fold_lots,
    line_of,
)
from services.inventory.domain.stock import Movement, MovementKind, StockItem, stock_of
from services.inventory.domain.stock_events import Facts, apply_report, report_of
from tests.unit.inventory.builders import (
    ARMCHAIR,
    NOON,
    adjusted,
    counted,
    envelope,
    minutes,
    picked,
    received,
    written_off,
)

TODAY = NOON.date()
ORDER = UUID(int=99)


def day(number: int) -> date:
    """Return the day so many days after that of noon."""
    return TODAY + timedelta(days=number)


def a_line(number: int, units: int, lot: str | None = None, **more: Any) -> LotLine:
    """Return a line of `units` that came or went so many minutes after noon."""
    kind = MovementKind.RECEIPT if units > 0 else MovementKind.PICK
    line = LotLine(UUID(int=number + 100), 0, kind, units, minutes(number), lot=lot)
    return line._replace(**more)


def folded(*lines: LotLine, shelf_life_days_min: int = 0) -> dict[str, int]:
    lots = fold_lots(lines, expiries_of(lines), shelf_life_days_min=shelf_life_days_min)
    return {lot.lot: lot.units for lot in lots}


SOON = a_line(0, 5, "SOON", expires_on=day(3))
LATE = a_line(1, 5, "LATE", expires_on=day(30))
GONE = a_line(2, 5, "GONE", expires_on=day(-1))


class TestFold:
    def test_takes_the_lot_that_expires_first(self) -> None:
        assert folded(LATE, SOON, a_line(9, -7)) == {"LATE": 3}

    def test_takes_the_lot_that_is_named(self) -> None:
        assert folded(SOON, LATE, a_line(9, -3, "LATE")) == {"SOON": 5, "LATE": 2}

    def test_takes_others_when_the_named_lot_has_too_few(self) -> None:
        assert folded(SOON, LATE, a_line(9, -7, "LATE")) == {"SOON": 3}

    def test_does_not_take_what_came_later(self) -> None:
        assert folded(LATE, SOON._replace(occurred_at=minutes(20)), a_line(9, -2)) == {"SOON": 5, "LATE": 3}

    def test_takes_what_has_expired_only_when_nothing_else_is_there(self) -> None:
        assert folded(GONE, SOON, a_line(9, -4)) == {"GONE": 5, "SOON": 1}
        assert folded(GONE, SOON, a_line(9, -7)) == {"GONE": 3}

    def test_takes_what_expires_too_soon_only_when_nothing_else_is_there(self) -> None:
        assert folded(SOON, LATE, a_line(9, -4), shelf_life_days_min=7) == {"SOON": 5, "LATE": 1}

    def test_writes_off_what_has_expired(self) -> None:
        assert folded(GONE, SOON, a_line(9, -4, kind=MovementKind.WRITE_OFF)) == {"GONE": 1, "SOON": 5}

    def test_ships_the_lots_that_were_packed_for_the_order(self) -> None:
        packed = a_line(5, 0, "LATE", kind=MovementKind.PICK, order_id=ORDER, picked=2)
        shipped = a_line(9, -3, kind=MovementKind.SHIP, order_id=ORDER)

        assert folded(SOON, LATE, packed, shipped) == {"SOON": 4, "LATE": 3}

    def test_has_what_nobody_named_under_no_lot(self) -> None:
        assert folded(SOON, a_line(3, 2), a_line(9, -6)) == {NO_LOT: 1}

    def test_makes_up_what_left_before_it_came(self) -> None:
        assert folded(a_line(-5, -2), SOON) == {"SOON": 3}

    def test_believes_a_count_whatever_was_booked(self) -> None:
        count = a_line(9, 0, kind=MovementKind.COUNT, counted=4)
        correction = a_line(10, -3, kind=MovementKind.COUNT)

        assert folded(SOON, LATE, count, correction) == {"LATE": 4}

    def test_has_a_surplus_of_a_count_under_no_lot_or_the_one_named(self) -> None:
        assert folded(SOON, a_line(9, 0, kind=MovementKind.COUNT, counted=6)) == {"SOON": 5, NO_LOT: 1}
        assert folded(SOON, a_line(9, 0, "SOON", kind=MovementKind.COUNT, counted=6)) == {"SOON": 6}

    def test_goes_by_the_earliest_date_that_was_said_of_a_lot(self) -> None:
        lines = [SOON, a_line(4, 1, "SOON", expires_on=day(2))]

        assert expiries_of(lines) == {"SOON": day(2)}


class TestLot:
    @pytest.mark.parametrize(("days", "is_usable"), [(-1, True), (0, True), (1, False)])
    def test_may_be_used_on_its_last_day(self, days: int, is_usable: bool) -> None:  # noqa: FBT001
        assert Lot("L", 1, expires_on=TODAY).is_usable(day(days), 0) is is_usable

    def test_has_to_keep_for_as_long_as_the_shop_says(self) -> None:
        lot = Lot("L", 4, expires_on=day(10))

        assert (lot.is_usable(TODAY, 10), lot.is_usable(TODAY, 11)) == (True, False)
        assert lot.usable_until(10) == TODAY
        assert blocked_units([lot, Lot(NO_LOT, 3)], TODAY, shelf_life_days_min=11) == 4


class TestCheckLot:
    @pytest.mark.parametrize(
        ("report", "field"),
        [(received(1), "lot"), (received(1, lot="L1"), "expires_on")],
    )
    def test_asks_for_what_is_missing(self, report: object, field: str) -> None:
        with pytest.raises(LotMissing) as refusal:
            check_lot(report)  # type: ignore[arg-type]

        assert refusal.value.field == field

    def test_asks_for_nothing_where_units_go(self) -> None:
        check_lot(picked(1))


lots = st.sampled_from([None, "SOON", "LATE", "GONE"])
expiries = {"SOON": day(3), "LATE": day(30), "GONE": day(-1)}
times = st.integers(-60, 60).map(minutes)
units = st.integers(1, 9)
receipts = st.builds(
    lambda units, when, lot: received(units, when=when, lot=lot, expires_on=expiries[lot] if lot else None),
    units,
    times,
    lots,
)
reports = st.one_of(
    receipts,
    receipts,
    st.builds(lambda units, when: picked(units, when=when), units, times),
    st.builds(lambda units, when, lot: written_off(units, when=when, lot=lot), units, times, lots),
    st.builds(lambda units, when: adjusted(units, when=when), st.integers(-9, 9).filter(bool), times),
    st.builds(lambda units, when: counted(units, when=when), st.integers(0, 9), times),
)
histories = st.lists(reports, max_size=12).map(
    lambda events: [envelope(event, event_id=UUID(int=number)) for number, event in enumerate(events)]
)


class TestAnyHistory:
    @given(histories, st.randoms(use_true_random=False))
    def test_leaves_the_same_lots_in_whatever_order_it_is_told(
        self, history: list[Envelope], chance: random.Random
    ) -> None:
        told = list(history)
        chance.shuffle(told)

        _, ledger = _told(history)
        _, other = _told(told)

        assert folded(*ledger, shelf_life_days_min=1) == folded(*other, shelf_life_days_min=1)

    @given(histories)
    def test_leaves_lots_that_together_are_what_is_on_hand(self, history: list[Envelope]) -> None:
        item, ledger = _told(history)

        assert sum(folded(*ledger).values()) == sum(level.on_hand for level in item.levels.values())

    @given(st.lists(receipts, min_size=1, max_size=6), units)
    def test_never_takes_a_later_lot_while_an_earlier_one_may_be_used(self, arrivals: list[object], out: int) -> None:
        lines = [
            a_line(number, one.quantity, one.lot, expires_on=one.expires_on)  # type: ignore[attr-defined]
            for number, one in enumerate(arrivals)
        ]
        before = fold_lots(lines, expiries_of(lines))
        after = folded(*lines, a_line(99, -out))

        usable = [lot for lot in before if lot.is_usable(TODAY, 0)]
        touched = [lot.lot for lot in before if after.get(lot.lot, 0) < lot.units]
        for earlier, later in pairwise(usable):
            assert later.lot not in touched or after.get(earlier.lot, 0) == 0
        if "GONE" in touched:
            assert all(after.get(lot.lot, 0) == 0 for lot in usable)


def _told(history: list[Envelope]) -> tuple[StockItem, list[LotLine]]:
    """Apply a history report by report, and return what it leaves with its ledger."""
    item = StockItem(ARMCHAIR)
    ledger: list[Movement] = []
    for one in history:
        stock = stock_of([item])
        since = sum(
            movement.delta_on_hand
            for movement in ledger
            if movement.occurred_at > report_of(one).occurred_at and movement.kind is not MovementKind.SHORTFALL
        )
        apply_report(stock, one, Facts(units_since={one.id: since}))
        ledger.extend(stock.movements)
    return item, [line_of(movement) for movement in ledger]
