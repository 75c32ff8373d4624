"""Any trading of a SKU costs what a model in exact fractions says."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain.costs import IN_TRANSIT, MICROS_PER_MINOR, PARTS_PER_UNIT, CostedMovement, Goods, SkuCost
from services.inventory.domain.stock import MovementKind
from tests.unit.inventory.builders import NOON
from tests.unit.inventory.cost_model import CostModel, Load, Money

CURRENCIES: Final = ("GBP", "EUR")
# What thirty roundings to a millionth of a minor unit can make of amounts of a few thousand.
TOLERANCE_MINOR: Final = Fraction(1, 1000)
TOLERANCE_UNITS: Final = Fraction(1, 10**9)


@st.composite
def trading(draw: st.DrawFn) -> list[CostedMovement]:
    """One movement an hour or two of one SKU in two warehouses; nothing happens at the same moment."""
    found = []
    hour = 0
    for number in range(draw(st.integers(1, 30))):
        hour += draw(st.integers(1, 30))
        kind = draw(st.sampled_from(MovementKind))
        units = draw(st.integers(1, 12))
        cost = draw(st.none() | st.integers(0, 999)) if kind is MovementKind.RECEIPT else None
        is_coming = kind in {MovementKind.RECEIPT, MovementKind.RETURN, MovementKind.TRANSFER_IN}
        is_found = kind is MovementKind.ADJUST and draw(st.booleans())
        found.append(
            CostedMovement(
                UUID(int=number),
                0,
                kind,
                draw(st.sampled_from(["LON", "GLA"])),
                units if is_coming or is_found else -units,
                NOON + timedelta(hours=hour),
                UUID(int=draw(st.integers(0, 2))) if kind.value.startswith("transfer") else None,
                cost,
                None if cost is None else draw(st.sampled_from(CURRENCIES)),
                draw(st.integers(0, 20)) if kind is MovementKind.COUNT else None,
            )
        )
    return found


def modelled(movements: Sequence[CostedMovement]) -> CostModel:
    model = CostModel()
    for one in movements:
        shelf, units = model.shelves[one.warehouse], abs(one.units)
        match one.kind:
            case MovementKind.RECEIPT:
                shelf.buy(units, one.unit_cost_minor, one.currency)
            case MovementKind.SHIP | MovementKind.PICK:
                shelf.sell(units)
            case MovementKind.RETURN:
                shelf.take_back(units)
            case MovementKind.TRANSFER_OUT:
                model.dispatch(one.transfer_id, one.warehouse, units)
            case MovementKind.TRANSFER_IN:
                model.arrive(one.transfer_id, one.warehouse, units)
            case MovementKind.COUNT:
                assert one.counted is not None
                shelf.count(one.counted)
            case MovementKind.SHORTFALL:
                pass  # of the books, not of the goods
            case _:
                shelf.adjust(one.units)
    return model


def folded(movements: Sequence[CostedMovement]) -> SkuCost:
    days = defaultdict(list)
    for one in movements:
        days[one.occurred_at.date()].append(one)
    cost = SkuCost()
    for day, happened in days.items():
        cost.fold_day(day, happened)
    return cost


def assert_same_value(values: Mapping[str, int], money: Money, *, of: str) -> None:
    for currency in CURRENCIES:
        minor = Fraction(values.get(currency, 0), MICROS_PER_MINOR)
        expected = money.get(currency, Fraction(0))
        assert abs(minor - expected) <= TOLERANCE_MINOR, f"{of}: {float(minor)} {currency}, not {float(expected)}"


def assert_same_load(goods: Goods, load: Load, *, of: str) -> None:
    assert goods.units == load.units
    assert abs(Fraction(goods.uncosted_parts, PARTS_PER_UNIT) - load.unknown) <= TOLERANCE_UNITS
    assert_same_value(goods.values, load.value, of=of)


class TestAnyTrading:
    @given(trading())
    def test_costs_what_the_model_says(self, movements: list[CostedMovement]) -> None:
        cost, model = folded(movements), modelled(movements)

        for warehouse, shelf in model.shelves.items():
            stock = cost.stocks.get(warehouse)
            if stock is None:
                continue
            assert stock.balance == shelf.balance
            assert_same_load(stock.goods, shelf.there, of=f"value in {warehouse}")
            for book in ("received", "sold", "returned", "adjusted", "transferred"):
                assert_same_value(getattr(stock, book).values, getattr(shelf, book), of=f"{book} in {warehouse}")
        transit = cost.stocks[IN_TRANSIT].goods if IN_TRANSIT in cost.stocks else Goods()
        assert_same_load(transit, model.in_transit, of="value in transit")
