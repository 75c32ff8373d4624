"""Goods received: enough for most of the demand, the same every time."""

from collections import Counter

from bench.replay.geography import WAREHOUSES
from bench.replay.supply import plan_supply
from bench.replay.timeline import Script


class TestPlanSupply:
    def test_plans_nothing_for_no_sales(self) -> None:
        supply = plan_supply((), seed="empty")

        assert (supply.opening, supply.later) == ((), ())

    def test_meets_most_of_the_demand_but_not_all(self, script: Script) -> None:
        supply = script.supply

        share = supply.units_supplied / supply.units_demanded
        assert 0.96 < share < 0.9999

    def test_never_supplies_more_than_is_demanded(self, script: Script) -> None:
        demanded: Counter[str] = Counter()
        for sale in script.sales:
            for line in sale.lines:
                demanded[line.sku] += line.quantity
        supplied: Counter[str] = Counter()
        for delivery in (*script.supply.opening, *script.supply.later):
            supplied[delivery.sku] += delivery.quantity

        assert supplied <= demanded

    def test_brings_part_of_it_later(self, script: Script) -> None:
        assert all(item.received_at < script.begins_at for item in script.supply.opening)
        assert all(item.received_at >= script.begins_at for item in script.supply.later)
        assert len(script.supply.later) > len(script.supply.opening)

    def test_has_work_for_every_warehouse(self, script: Script) -> None:
        units: Counter[str] = Counter()
        for delivery in script.supply.opening:
            units[delivery.warehouse] += delivery.quantity

        assert units.keys() == {site.code for site in WAREHOUSES}
        assert min(units.values()) > units.total() / 20

    def test_names_no_delivery_twice(self, script: Script) -> None:
        deliveries = (*script.supply.opening, *script.supply.later)

        names = {(item.sku, item.warehouse, item.number) for item in deliveries}
        assert len(names) == len(deliveries)

    def test_is_the_same_every_time(self, script: Script) -> None:
        assert plan_supply(script.sales, seed=script.dataset) == script.supply
