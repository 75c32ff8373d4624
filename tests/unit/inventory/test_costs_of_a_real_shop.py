"""The costs of real sales, compared to the penny with a second computation that shares nothing with the first."""

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import islice
from pathlib import Path
from uuid import UUID

import bench.replay
from bench.replay.facts import interpret
from bench.replay.geography import destination, nearest_warehouse
from bench.replay.rows import read_rows
from bench.replay.supply import plan_supply
from services.inventory.domain.classes import abc_classes
from services.inventory.domain.costs import MICROS_PER_MINOR, CostedMovement, SkuCost
from services.inventory.domain.stock import MovementKind

SAMPLE = Path(bench.replay.__file__).parent / "data" / "online_retail_sample.csv.xz"
# The first weeks: the whole sample gives the same answer and takes seconds.
ROWS = 15_000


def movements_of_sample() -> dict[str, list[CostedMovement]]:
    """Return what came (at a cost derived from its price and delivery) and what was sold, by SKU."""
    sales = interpret(islice(read_rows(SAMPLE), ROWS)).sales
    prices = {line.sku: line.unit_price_minor for sale in sales for line in sale.lines}
    found: dict[str, list[CostedMovement]] = defaultdict(list)
    number = 0
    supply = plan_supply(sales, seed="costs")
    for delivery in (*supply.opening, *supply.later):
        number += 1
        cost = prices[delivery.sku] * (50 + delivery.number * 7) // 100
        found[delivery.sku].append(
            CostedMovement(
                UUID(int=number),
                0,
                MovementKind.RECEIPT,
                delivery.warehouse,
                delivery.quantity,
                delivery.received_at,
                unit_cost_minor=cost,
                currency="GBP",
            )
        )
    for sale in sales:
        warehouse = nearest_warehouse(destination(country=sale.country, customer=sale.customer))
        for line in sale.lines:
            number += 1
            found[line.sku].append(
                CostedMovement(UUID(int=number), 0, MovementKind.SHIP, warehouse, -line.quantity, sale.placed_at)
            )
    return found


def recomputed(movements: list[CostedMovement]) -> tuple[Fraction, Fraction]:
    """Return the value of stock and the cost of goods sold, in exact fractions of a penny."""
    units: Counter[str] = Counter()
    owed: Counter[str] = Counter()
    value: dict[str, Fraction] = defaultdict(Fraction)
    sold = Fraction()
    for one in sorted(movements, key=lambda one: (one.occurred_at, one.units < 0, one.event_id)):
        at = one.warehouse
        if one.units > 0:
            covered = min(owed[at], one.units)
            owed[at] -= covered
            sold += covered * (one.unit_cost_minor or 0)
            units[at] += one.units - covered
            value[at] += (one.units - covered) * (one.unit_cost_minor or 0)
        else:
            taken = min(units[at], -one.units)
            cost = value[at] * Fraction(taken, units[at]) if taken else Fraction()
            sold, value[at] = sold + cost, value[at] - cost
            units[at] -= taken
            owed[at] += -one.units - taken
    return sum(value.values(), Fraction()), sold


class TestRealSales:
    def test_cost_the_same_to_the_penny_when_computed_twice(self) -> None:
        consumption: dict[str, int] = {}
        expected: dict[str, Fraction] = {}
        by_sku = movements_of_sample()
        for sku, movements in by_sku.items():
            cost = SkuCost()
            days = defaultdict(list)
            for one in movements:
                days[one.occurred_at.date()].append(one)
            for day in sorted(days):
                cost.fold_day(day, days[day])
            value = sum(stock.goods.values.get("GBP", 0) for stock in cost.stocks.values())
            sold = sum(stock.sold.values.get("GBP", 0) for stock in cost.stocks.values())
            plain_value, plain_sold = recomputed(movements)
            assert round(Fraction(value, MICROS_PER_MINOR)) == round(plain_value), sku
            assert round(Fraction(sold, MICROS_PER_MINOR)) == round(plain_sold), sku
            consumption[sku] = sold
            expected[sku] = plain_sold

        assert len(by_sku) > 1_000
        classes = abc_classes({sku: micros / MICROS_PER_MINOR for sku, micros in consumption.items()})
        before, total = Fraction(), sum(expected.values(), Fraction())
        for sku in sorted(expected, key=lambda sku: (-round(expected[sku], 4), sku)):
            wanted = "A" if before < total * Fraction(80, 100) else "B" if before < total * Fraction(95, 100) else "C"
            assert classes[sku].value == (wanted if expected[sku] else "C"), sku
            before += expected[sku]
