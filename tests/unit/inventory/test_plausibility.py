from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from libs.common.events.inventory import GoodsReceived, TransferDispatched, WarehouseReport
from services.inventory.domain.plausibility import InvalidStockEvent, Plausibility, UnknownWarehouse, check_report
from tests.unit.inventory.builders import NOON, adjusted, counted, picked, received, written_off

PLAUSIBILITY = Plausibility.at(NOON, warehouses={"LON", "MAN"}, age_years_max=10)


def a_transfer(**changes: Any) -> TransferDispatched:
    transfer = TransferDispatched(
        sku="SKU",
        warehouse="LON",
        occurred_at=NOON,
        transfer_id=uuid4(),
        destination="MAN",
        quantity=1,
    )
    return msgspec.structs.replace(transfer, **changes)


def a_receipt(**changes: Any) -> GoodsReceived:
    return msgspec.structs.replace(received(1), **changes)


class TestCheckReport:
    @pytest.mark.parametrize(
        "report",
        [
            received(1),
            picked(1),
            adjusted(-1),
            counted(0),
            a_transfer(),
            a_receipt(unit_cost_minor=0, currency="GBP"),
            a_receipt(occurred_at=NOON - timedelta(days=3650)),
            a_receipt(occurred_at=NOON + timedelta(hours=23)),
            a_receipt(sku="Größe 42/blau"),
        ],
    )
    def test_believes_what_can_be(self, report: WarehouseReport) -> None:
        check_report(report, PLAUSIBILITY)

    @pytest.mark.parametrize(
        ("report", "field"),
        [
            pytest.param(a_receipt(sku=""), "sku", id="no SKU"),
            pytest.param(a_receipt(sku="x" * 129), "sku", id="a SKU too long"),
            pytest.param(a_receipt(sku="A\tB"), "sku", id="a SKU that nobody can type"),
            pytest.param(a_receipt(sku=" A"), "sku", id="a SKU with a space before it"),
            pytest.param(a_receipt(quantity=0), "quantity", id="nothing"),
            pytest.param(a_receipt(quantity=-1), "quantity", id="less than nothing"),
            pytest.param(a_receipt(quantity=2**63), "quantity", id="more than fits"),
            pytest.param(a_receipt(sequence=0), "sequence", id="sequences begin at 1"),
            pytest.param(a_receipt(reference=""), "reference", id="an empty reference"),
            pytest.param(a_receipt(unit_cost_minor=5), "currency", id="a cost without a currency"),
            pytest.param(a_receipt(currency="GBP"), "unit_cost_minor", id="a currency without a cost"),
            pytest.param(a_receipt(unit_cost_minor=5, currency="pounds"), "currency", id="no currency"),
            pytest.param(a_receipt(unit_cost_minor=5, currency="QQQ"), "currency", id="a currency that is none"),
            pytest.param(a_receipt(unit_cost_minor=-5, currency="GBP"), "unit_cost_minor", id="a negative cost"),
            pytest.param(a_receipt(occurred_at=datetime(2024, 6, 1)), "occurred_at", id="no offset"),  # noqa: DTZ001
            pytest.param(a_receipt(occurred_at=NOON - timedelta(days=3660)), "occurred_at", id="ten years ago"),
            pytest.param(a_receipt(occurred_at=NOON + timedelta(hours=25)), "occurred_at", id="tomorrow"),
            pytest.param(adjusted(0), "delta", id="an adjustment of nothing"),
            pytest.param(counted(-1), "counted", id="a count below nothing"),
            pytest.param(written_off(0), "quantity", id="a write-off of nothing"),
            pytest.param(written_off(1, lot="L" * 65), "lot", id="an overlong lot"),
            pytest.param(a_receipt(expires_on=date(2024, 7, 1)), "lot", id="an expiry without a lot"),
            pytest.param(a_receipt(lot="L1", expires_on=date(9999, 12, 31)), "expires_on", id="an expiry far off"),
            pytest.param(a_transfer(destination="LON"), "destination", id="a transfer to itself"),
            pytest.param(a_transfer(destination="NOWHERE"), "destination", id="a transfer to nowhere"),
        ],
    )
    def test_names_the_field_that_cannot_be(self, report: WarehouseReport, field: str) -> None:
        with pytest.raises(InvalidStockEvent) as refusal:
            check_report(report, PLAUSIBILITY)

        assert refusal.value.field == field

    def test_knows_the_registered_warehouses(self) -> None:
        with pytest.raises(UnknownWarehouse):
            check_report(a_receipt(warehouse="GLA"), PLAUSIBILITY)
