import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from fractions import Fraction
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain.costs import (
    IN_TRANSIT,
    MICROS_PER_MINOR,
    PARTS_PER_UNIT,
    CostedMovement,
    SkuCost,
    StockCost,
    cost_of,
    state_of,
)
from services.inventory.domain.stock import MovementKind
from tests.unit.inventory.builders import NOON, minutes

TRUCK = UUID(int=7)


def bought(units: int, cost: int | None, when: datetime = NOON, *, at: str = "LON", in_: str = "GBP") -> CostedMovement:
    currency = None if cost is None else in_
    return CostedMovement(uuid4(), 0, MovementKind.RECEIPT, at, units, when, None, cost, currency)


def moved(
    kind: str, units: int, when: datetime, *, at: str = "LON", by: UUID | None = None, counted: int | None = None
) -> CostedMovement:
    return CostedMovement(uuid4(), 0, MovementKind(kind), at, units, when, by, counted=counted)


def folded(movements: Iterable[CostedMovement], cost: SkuCost | None = None) -> SkuCost:
    days = defaultdict(list)
    for one in movements:
        days[one.occurred_at.date()].append(one)
    cost = cost or SkuCost()
    for day in sorted(days):
        cost.fold_day(day, days[day])
    return cost


def london(*movements: CostedMovement) -> StockCost:
    return folded(movements).stocks["LON"]


def pence(values: dict[str, int], currency: str = "GBP") -> float:
    """Return what can be written as a float of any amount that a test names."""
    return float(Fraction(values.get(currency, 0), MICROS_PER_MINOR))


class TestAverage:
    def test_is_weighted_by_units(self) -> None:
        stock = london(bought(10, 100), bought(30, 200, minutes(1)))

        assert (stock.goods.units, pence(stock.goods.values)) == (40, 7000)

    def test_is_what_units_leave_at(self) -> None:
        stock = london(bought(10, 100), bought(30, 200, minutes(1)), moved("ship", -4, minutes(2)))

        assert pence(stock.sold.values) == 700
        assert pence(stock.goods.values) == 6300

    def test_follows_when_things_happened_and_not_when_they_were_told(self) -> None:
        late = bought(10, 300, minutes(1))
        stock = london(moved("pick", -10, minutes(2)), bought(10, 100), late)

        assert pence(stock.sold.values) == 2000

    def test_leaves_no_rest_behind(self) -> None:
        stock = london(
            bought(3, 100), bought(4, 33, minutes(1)), *(moved("ship", -1, minutes(2 + n)) for n in range(7))
        )

        assert stock.goods.values.get("GBP", 0) == 0
        assert pence(stock.sold.values) == 432

    def test_of_a_return_is_that_of_what_is_there(self) -> None:
        stock = london(bought(10, 100), moved("ship", -2, minutes(1)), moved("return", 1, minutes(2)))

        assert (stock.goods.units, pence(stock.goods.values), pence(stock.returned.values)) == (9, 900, 100)

    def test_of_a_return_to_an_empty_shelf_is_the_last_one(self) -> None:
        stock = london(bought(2, 150), moved("ship", -2, minutes(1)), moved("return", 1, minutes(2)))

        assert (stock.goods.units, pence(stock.goods.values)) == (1, 150)

    def test_of_each_currency_is_kept_by_itself(self) -> None:
        stock = london(bought(10, 100), bought(10, 300, minutes(1), in_="EUR"), moved("ship", -5, minutes(2)))

        assert (pence(stock.sold.values), pence(stock.sold.values, "EUR")) == (250, 750)


class TestUnknownCosts:
    def test_come_in_at_the_average(self) -> None:
        stock = london(bought(10, 100), bought(5, None, minutes(1)))

        assert (stock.goods.units, pence(stock.goods.values), stock.unpriced_units) == (15, 1500, 5)

    def test_are_said_where_there_is_no_average(self) -> None:
        stock = london(bought(6, None), bought(2, 100, minutes(1)), moved("ship", -4, minutes(2)))

        assert (stock.goods.units, stock.goods.uncosted_parts, pence(stock.goods.values)) == (
            4,
            3 * PARTS_PER_UNIT,
            100,
        )

    @pytest.mark.parametrize("parcel_units", [1, 2, 5, 80])
    def test_leave_in_proportion_however_many_leave_at_once(self, parcel_units: int) -> None:
        parcels = [moved("ship", -parcel_units, minutes(2 + n)) for n in range(80 // parcel_units)]
        stock = london(bought(10, None), bought(90, 100, minutes(1)), *parcels)

        assert (stock.goods.units, stock.goods.uncosted_parts) == (20, 2 * PARTS_PER_UNIT)
        assert (pence(stock.goods.values), pence(stock.sold.values)) == (1800, 7200)

    def test_leave_in_parts_of_units(self) -> None:
        stock = london(bought(3, None), bought(1, 100, minutes(1)), moved("ship", -1, minutes(2)))

        assert (stock.goods.uncosted_parts, pence(stock.sold.values)) == (9 * PARTS_PER_UNIT // 4, 25)

    def test_come_in_at_the_last_average_where_all_that_is_there_is_uncosted(self) -> None:
        cost = folded(
            [
                bought(2, 100),
                bought(3, None, at="GLA"),
                moved("ship", -2, minutes(1)),
                moved("transfer-out", -3, minutes(2), at="GLA", by=TRUCK),
                moved("transfer-in", 3, minutes(3), by=TRUCK),
                bought(1, None, minutes(4)),
            ]
        )

        stock = cost.stocks["LON"]
        assert (stock.goods.uncosted_parts, pence(stock.goods.values)) == (3 * PARTS_PER_UNIT, 100)

    def test_say_nothing_of_the_average_of_the_others(self) -> None:
        stock = london(
            bought(3, None), bought(1, 100, minutes(1)), moved("ship", -1, minutes(2)), moved("return", 1, minutes(3))
        )

        assert pence(stock.returned.values) == 100


class TestOwedUnits:
    def test_are_covered_by_the_next_arrival(self) -> None:
        stock = london(moved("pick", -3, NOON), bought(10, 100, minutes(1)))

        assert (stock.goods.units, pence(stock.goods.values)) == (7, 700)
        assert (stock.sold.units, pence(stock.sold.values)) == (3, 300)


class TestCounts:
    def test_set_what_is_there(self) -> None:
        stock = london(bought(10, 100), moved("count", -2, minutes(1), counted=8))

        assert (stock.goods.units, pence(stock.goods.values), pence(stock.adjusted.values)) == (8, 800, -200)

    def test_have_seen_what_is_reported_late(self) -> None:
        in_order = london(bought(10, 100), moved("count", -2, minutes(1), counted=8))
        late = london(moved("count", 8, minutes(1), counted=8), bought(10, 100), moved("count", -10, minutes(1)))

        assert (in_order.goods, in_order.adjusted) == (late.goods, late.adjusted)


class TestTransfers:
    def test_carry_their_cost(self) -> None:
        cost = folded(
            [
                bought(10, 100),
                bought(10, 500, at="GLA"),
                moved("transfer-out", -4, minutes(1), by=TRUCK),
                moved("transfer-in", 3, minutes(5), at="GLA", by=TRUCK),
            ]
        )

        assert pence(cost.stocks["LON"].goods.values) == 600
        assert pence(cost.stocks["GLA"].goods.values) == 5300
        on_their_way = cost.stocks[IN_TRANSIT].goods
        assert (on_their_way.units, pence(on_their_way.values)) == (1, 100)

    def test_that_nobody_sent_come_in_at_the_average(self) -> None:
        stock = london(bought(10, 100), moved("transfer-in", 5, minutes(1), by=TRUCK))

        assert (stock.goods.units, pence(stock.goods.values)) == (15, 1500)


class TestDays:
    def test_add_up_what_was_there(self) -> None:
        later = NOON + timedelta(days=10)
        stock = london(bought(10, 100), moved("ship", -10, NOON + timedelta(days=4)), bought(1, 100, later))

        assert stock.unit_days == 4 * 10 + 6 * 0 + 1
        assert pence(stock.value_days) == 4 * 1000 + 100
        assert stock.empty_days == 6
        assert (stock.first_day, stock.last_sold_on) == (date(2024, 6, 1), date(2024, 6, 5))


_KINDS = st.sampled_from(["receipt", "ship", "pick", "return", "adjust", "write-off", "transfer-out", "transfer-in"])


@st.composite
def _movements(draw: st.DrawFn) -> list[CostedMovement]:
    found = []
    for number in range(draw(st.integers(1, 30))):
        kind = MovementKind(draw(_KINDS))
        units = draw(st.integers(1, 9))
        cost = draw(st.none() | st.integers(0, 999)) if kind is MovementKind.RECEIPT else None
        sign = 1 if kind.value in {"receipt", "return", "transfer-in"} else -1
        found.append(
            CostedMovement(
                UUID(int=number),
                0,
                kind,
                draw(st.sampled_from(["LON", "GLA"])),
                sign * units,
                NOON + timedelta(hours=draw(st.integers(0, 240))),
                UUID(int=draw(st.integers(0, 2))) if kind.value.startswith("transfer") else None,
                cost,
                None if cost is None else draw(st.sampled_from(["GBP", "EUR"])),
            )
        )
    return found


class TestFold:
    @given(_movements(), st.randoms())
    def test_does_not_depend_on_the_order_of_arrival(self, movements: list[CostedMovement], random: object) -> None:
        shuffled = list(movements)
        random.shuffle(shuffled)  # type: ignore[attr-defined]

        assert folded(shuffled) == folded(movements)

    @given(_movements())
    def test_conserves_units_and_value(self, movements: list[CostedMovement]) -> None:
        cost = folded(movements)

        for stock in cost.stocks.values():
            assert stock.balance == (
                stock.received.units
                - stock.sold.units
                + stock.returned.units
                + stock.adjusted.units
                + stock.transferred.units
            )
            for currency in ("GBP", "EUR"):
                flows = (
                    stock.received.values.get(currency, 0)
                    - stock.sold.values.get(currency, 0)
                    + stock.returned.values.get(currency, 0)
                    + stock.adjusted.values.get(currency, 0)
                    + stock.transferred.values.get(currency, 0)
                )
                assert stock.goods.values.get(currency, 0) == flows
            assert 0 <= stock.goods.uncosted_parts <= stock.goods.units * PARTS_PER_UNIT
            assert all(micros >= 0 for micros in stock.goods.values.values())
        transit = cost.stocks.get(IN_TRANSIT)
        if transit is not None:
            assert transit.goods.units == sum(goods.units for goods in cost.transfers.values())

    @given(_movements(), st.integers(0, 10))
    def test_goes_on_from_any_day(self, movements: list[CostedMovement], days: int) -> None:
        until = NOON.date() + timedelta(days=days)
        before = folded(one for one in movements if one.occurred_at.date() < until)

        kept = cost_of(json.loads(json.dumps(state_of(before))))
        resumed = folded((one for one in movements if one.occurred_at.date() >= until), kept)

        assert resumed == folded(movements)

    @pytest.mark.parametrize("units", [1, 7, 1_000_000_000])
    def test_is_exact_whatever_the_amounts(self, units: int) -> None:
        stock = london(bought(units, 2**53 - 1), bought(units, 1, minutes(1)), moved("ship", -units, minutes(2)))

        assert stock.sold.values["GBP"] + stock.goods.values["GBP"] == units * 2**53 * MICROS_PER_MINOR
