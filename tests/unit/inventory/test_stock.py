import random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsAdjusted, GoodsCounted, GoodsPicked, GoodsReceived, GoodsWrittenOff
from services.inventory.domain.stock import Cause, Movement, MovementKind, Stock, StockItem, stock_of
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


def a_stock(*skus: str) -> Stock:
    return stock_of(StockItem(sku) for sku in skus or (ARMCHAIR,))


def a_cause(number: int = 1) -> Cause:
    return Cause(event_id=UUID(int=number), occurred_at=NOON)


class TestBook:
    def test_numbers_the_movements_of_one_event(self) -> None:
        stock = a_stock()

        stock.book(MovementKind.PICK, -2, sku=ARMCHAIR, warehouse="LON", cause=a_cause())

        assert [(one.leg, one.kind, one.delta_on_hand) for one in stock.movements] == [
            (0, MovementKind.PICK, -2),
            (1, MovementKind.SHORTFALL, 2),
        ]

    def test_never_takes_more_than_there_is(self) -> None:
        stock = a_stock()
        stock.book(MovementKind.RECEIPT, 3, sku=ARMCHAIR, warehouse="LON", cause=a_cause(1))

        stock.book(MovementKind.PICK, -5, sku=ARMCHAIR, warehouse="LON", cause=a_cause(2))

        level = stock.level(ARMCHAIR, "LON")
        assert (level.on_hand, level.shortfall) == (0, 2)


class TestFreed:
    def test_names_the_skus_of_which_there_is_more_to_promise(self) -> None:
        stock = a_stock(ARMCHAIR, "OTHER")
        stock.book(MovementKind.RECEIPT, 3, sku=ARMCHAIR, warehouse="LON", cause=a_cause(1))
        stock.book(MovementKind.PICK, -5, sku="OTHER", warehouse="LON", cause=a_cause(2))

        assert stock.freed() == {ARMCHAIR}

    def test_counts_what_was_let_go(self) -> None:
        item = StockItem(ARMCHAIR)
        stock = stock_of([item])
        stock.book(MovementKind.RECEIPT, 3, sku=ARMCHAIR, warehouse="LON", cause=a_cause())
        stock.hold(3, sku=ARMCHAIR, warehouse="LON")
        later = stock_of([item])

        later.hold(-1, sku=ARMCHAIR, warehouse="LON")

        assert later.freed() == {ARMCHAIR}


class TestChanges:
    def test_publish_only_what_is_not_as_it_was(self) -> None:
        item = StockItem(ARMCHAIR)
        stock_of([item]).book(MovementKind.RECEIPT, 3, sku=ARMCHAIR, warehouse="LON", cause=a_cause())
        stock = stock_of([item])

        stock.book(MovementKind.PICK, 0, sku=ARMCHAIR, warehouse="LON", cause=a_cause(2))

        changes = stock.changes()
        assert changes.items == []
        assert [(sku, warehouse) for sku, warehouse, _ in changes.levels] == [(ARMCHAIR, "LON")]


times = st.integers(-60, 60).map(minutes)
reports = st.one_of(
    st.builds(lambda units, when: received(units, when=when), st.integers(1, 9), times),
    st.builds(lambda units, when: picked(units, when=when), st.integers(1, 9), times),
    st.builds(lambda units, when: adjusted(units, when=when), st.integers(-9, 9).filter(bool), times),
    st.builds(lambda units, when: written_off(units, when=when), st.integers(1, 9), times),
    st.builds(lambda units, when: counted(units, when=when), st.integers(0, 9), times),
)
histories = st.lists(reports, max_size=12).map(
    lambda events: [envelope(event, event_id=UUID(int=number)) for number, event in enumerate(events)]
)


class TestAnyHistory:
    @given(histories, st.randoms(use_true_random=False), st.integers(1, 5))
    def test_ends_the_same_in_whatever_order_it_is_told(
        self, history: list[Envelope], chance: random.Random, batch_size: int
    ) -> None:
        told = list(history)
        chance.shuffle(told)

        assert _told(told, batch_size).levels == _told(history, len(history) or 1).levels

    @given(histories)
    def test_is_what_was_last_counted_and_what_came_and_went_since(self, history: list[Envelope]) -> None:
        counts = [
            (event.occurred_at, one.id, event.counted)
            for one in history
            if isinstance(event := one.event, GoodsCounted)
        ]
        counted_at, _, units_counted = max(counts, default=(minutes(-999), None, 0))
        balance = units_counted + sum(_units(one) for one in history if report_of(one).occurred_at > counted_at)

        item = _told(history, 3)

        if history:
            level = item.levels["LON"]
            assert (level.on_hand, level.shortfall) == (max(0, balance), max(0, -balance))


def _units(one: Envelope) -> int:
    match one.event:
        case GoodsReceived(quantity=units):
            return units
        case GoodsPicked(quantity=units) | GoodsWrittenOff(quantity=units):
            return -units
        case GoodsAdjusted(delta=units):
            return units
        case _:
            return 0


def _told(history: list[Envelope], batch_size: int) -> StockItem:
    """Apply a history batch by batch, as the applier does, keeping the ledger that it would read."""
    item = StockItem(ARMCHAIR)
    ledger: list[Movement] = []
    for start in range(0, len(history), batch_size):
        batch = history[start : start + batch_size]
        stock = stock_of([item])
        units_since = {
            one.id: sum(
                movement.delta_on_hand
                for movement in ledger
                if movement.occurred_at > report_of(one).occurred_at and movement.kind is not MovementKind.SHORTFALL
            )
            for one in batch
        }
        for one in batch:
            apply_report(stock, one, Facts(units_since=units_since))
        ledger.extend(stock.movements)
    if ledger:
        assert sum(movement.delta_on_hand for movement in ledger) == item.levels["LON"].on_hand
    return item
