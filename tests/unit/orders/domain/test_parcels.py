from libs.common.events.shapes import Allocation
from services.orders.domain.order import OrderLine
from services.orders.domain.parcels import value_by_warehouse


def line(number: int, sku: str, quantity: int, unit_price_minor: int) -> OrderLine:
    return OrderLine(line=number, sku=sku, quantity=quantity, unit_price_minor=unit_price_minor)


def allocation(warehouse: str, sku: str, quantity: int) -> Allocation:
    return Allocation(warehouse=warehouse, sku=sku, quantity=quantity)


class TestValueByWarehouse:
    def test_goes_by_the_units_that_each_holds(self) -> None:
        values = value_by_warehouse(
            [line(1, "CHAIR", 3, 500)], [allocation("LON", "CHAIR", 2), allocation("MAN", "CHAIR", 1)]
        )

        assert values == {"LON": 1000, "MAN": 500}

    def test_spreads_the_price_of_a_bundle_over_its_parts_to_the_last_penny(self) -> None:
        values = value_by_warehouse(
            [line(1, "SET", 1, 1000), line(2, "LAMP", 1, 300)],
            [allocation("LON", "CHAIR", 1), allocation("LON", "LAMP", 2), allocation("MAN", "LAMP", 1)],
        )

        # One of the lamps is on a line of its own, the chair and the two others are the set.
        assert values == {"LON": 300 + 666, "MAN": 334}
