from datetime import date, timedelta
from decimal import Decimal

import pytest

from services.inventory.domain.ageing import Ageing, AgeingBy, AgeingRow, Layer, buckets_of
from tests.unit.inventory.builders import ARMCHAIR, NOON

TODAY = NOON.date()


def a_layer(days_old: int | None = None, keeps_days: int | None = None, units: int = 1) -> Layer:
    return Layer(
        ARMCHAIR,
        "LON",
        units,
        received_at=None if days_old is None else NOON - timedelta(days=days_old),
        expires_on=None if keeps_days is None else TODAY + timedelta(days=keeps_days),
        unit_cost_minor=Decimal("10.25"),
        currency="GBP",
    )


class TestLayer:
    @pytest.mark.parametrize(
        ("days", "bucket"),
        [(0, "0-30"), (30, "0-30"), (31, "31-60"), (365, "181-365"), (366, ">365"), (None, "unknown")],
    )
    def test_is_as_old_as_its_receipt(self, days: int | None, bucket: str) -> None:
        assert a_layer(days).bucket(AgeingBy.RECEIPT, TODAY) == bucket

    @pytest.mark.parametrize(
        ("days", "bucket"),
        [(-1, "expired"), (0, "0-7"), (7, "0-7"), (8, "8-30"), (180, "91-180"), (181, ">180"), (None, "never")],
    )
    def test_keeps_until_it_expires(self, days: int | None, bucket: str) -> None:
        assert a_layer(keeps_days=days).bucket(AgeingBy.EXPIRY, TODAY) == bucket


class TestAgeing:
    def test_adds_up_units_and_value_by_warehouse_and_age(self) -> None:
        ageing = Ageing(AgeingBy.RECEIPT, TODAY)

        ageing.add([a_layer(400), a_layer(3, units=2)])
        unknown = a_layer(5)._replace(unit_cost_minor=None, currency=None)
        ageing.add([a_layer(5), unknown, unknown._replace(warehouse="GLA")])
        ageing.add([a_layer(6)._replace(unit_cost_minor=Decimal(2), currency="EUR")])

        assert ageing.rows() == [
            AgeingRow("GLA", "0-30", 1, 1, {}),
            AgeingRow("LON", "0-30", 5, 1, {"EUR": 2, "GBP": 31}),
            AgeingRow("LON", ">365", 1, 0, {"GBP": 10}),
        ]

    def test_knows_a_place_for_every_age(self) -> None:
        for by in AgeingBy:
            ages = [a_layer(days, days).bucket(by, date(2024, 6, 1)) for days in (-1, 0, 20, 50, 80, 100, 300, 999)]
            assert set(ages) <= set(buckets_of(by))
