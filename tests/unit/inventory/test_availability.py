import json
from datetime import datetime
from uuid import uuid4

from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import StockLevelChanged, WarehouseChanged, WarehouseLevel
from services.inventory.handlers.availability import Availability
from tests.unit.inventory.builders import ARMCHAIR, NOON, minutes


def a_change(version: int, *levels: tuple[str, int, int], at: datetime = NOON) -> Envelope:
    event = StockLevelChanged(
        sku=ARMCHAIR,
        levels=[WarehouseLevel(warehouse=code, on_hand=there, reserved=held) for code, there, held in levels],
    )
    return _envelope(event, version, at)


def a_warehouse(version: int, *, is_active: bool) -> Envelope:
    event = WarehouseChanged(
        warehouse="MAN", name="Manchester", country="GB", latitude=53.5, longitude=-2.2, is_active=is_active
    )
    return _envelope(event, version)


class TestAvailability:
    def test_is_what_is_there_and_not_held(self) -> None:
        availability = Availability()

        availability.apply(a_change(1, ("LON", 5, 2), ("MAN", 1, 1)))

        assert _shown(availability) == {
            "sku": ARMCHAIR,
            "available": 3,
            "warehouses": [{"warehouse": "LON", "available": 3}, {"warehouse": "MAN", "available": 0}],
        }

    def test_of_what_nobody_ever_stocked_is_nothing(self) -> None:
        assert _shown(Availability()) == {"sku": ARMCHAIR, "available": 0, "warehouses": []}

    def test_does_not_go_back_to_an_older_state(self) -> None:
        availability = Availability()
        availability.apply(a_change(2, ("LON", 5, 0), at=minutes(2)))

        availability.apply(a_change(1, ("LON", 9, 0), at=minutes(1)))

        assert _shown(availability)["available"] == 5
        assert availability.as_of == minutes(2)

    def test_leaves_out_warehouses_that_are_not_active(self) -> None:
        availability = Availability()
        availability.apply(a_warehouse(1, is_active=True))
        availability.apply(a_change(1, ("LON", 5, 2), ("MAN", 7, 0)))

        availability.apply(a_warehouse(2, is_active=False))
        assert _shown(availability)["available"] == 3
        availability.apply(a_warehouse(3, is_active=True))

        assert _shown(availability)["available"] == 10


def _shown(availability: Availability) -> dict[str, object]:
    shown: dict[str, object] = json.loads(availability.encoded(ARMCHAIR))
    return shown


def _envelope(event: Event, version: int, at: datetime = NOON) -> Envelope:
    return Envelope(id=uuid4(), event=event, time=at, source="test", aggregate_version=version)
