import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest

from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import ExpectedArrival, StockLevelChanged, WarehouseChanged, WarehouseLevel
from services.inventory.handlers.availability import Availability
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR, NOON, minutes


def a_change(
    version: int,
    *levels: tuple[str, int, int],
    at: datetime = NOON,
    expected: Sequence[ExpectedArrival] = (),
    sku: str = ARMCHAIR,
) -> Envelope:
    event = StockLevelChanged(
        sku=sku,
        levels=[WarehouseLevel(warehouse=code, on_hand=there, reserved=held) for code, there, held in levels],
        expected=list(expected),
    )
    return _envelope(event, version, at)


def an_arrival(after_minutes: float, units: int = 10, *, at: str = "LON", kind: str = "purchase") -> ExpectedArrival:
    return ExpectedArrival(warehouse=at, at=minutes(after_minutes), units=units, kind=kind)


def a_warehouse(version: int, *, is_active: bool = True, ships_orders: bool = True) -> Envelope:
    event = WarehouseChanged(
        warehouse="MAN",
        name="Manchester",
        country="GB",
        latitude=53.5,
        longitude=-2.2,
        is_active=is_active,
        ships_orders=ships_orders,
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
            "restock": None,
        }

    def test_of_what_nobody_ever_stocked_is_nothing(self) -> None:
        assert _shown(Availability()) == {"sku": ARMCHAIR, "available": 0, "warehouses": [], "restock": None}

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

    def test_counts_no_store_that_does_not_ship_but_shows_what_it_has(self) -> None:
        availability = Availability()
        availability.apply(a_change(1, ("LON", 5, 2), ("MAN", 7, 0)))

        availability.apply(a_warehouse(1, ships_orders=False))

        assert _shown(availability)["available"] == 3
        assert {"warehouse": "MAN", "available": 7} in _shown(availability)["warehouses"]


class TestRestock:
    def test_is_the_soonest_arrival(self) -> None:
        availability = Availability()

        availability.apply(a_change(1, expected=[an_arrival(10, 4, kind="transfer"), an_arrival(20)]))

        assert _shown(availability)["restock"] == {"at": "2024-06-01T12:10:00Z", "units": 4, "kind": "transfer"}

    def test_is_gone_when_its_time_has_passed_without_an_arrival(self) -> None:
        availability = Availability()
        availability.apply(a_change(1, expected=[an_arrival(10), an_arrival(20)]))

        availability.pass_time(minutes(10))
        assert _shown(availability)["restock"]["at"] == "2024-06-01T12:20:00Z"
        availability.pass_time(minutes(21))

        assert _shown(availability)["restock"] is None

    def test_is_none_where_orders_are_not_sent_from(self) -> None:
        availability = Availability()
        availability.apply(a_change(1, expected=[an_arrival(10, at="MAN")]))

        availability.apply(a_warehouse(1, is_active=False))

        assert _shown(availability)["restock"] is None


class TestWatch:
    async def test_begins_with_everything_and_goes_on_with_what_changes(self) -> None:
        availability = Availability()
        availability.apply(a_change(1, ("LON", 5, 0)))

        with availability.watch([ARMCHAIR, MIRROR]) as watch:
            assert await watch.changed() == [ARMCHAIR, MIRROR]
            availability.apply(a_change(1, ("LON", 1, 0), sku=LAMP))
            availability.apply(a_change(1, ("LON", 1, 0), sku=MIRROR))

            assert await watch.changed() == [MIRROR]

    async def test_tells_a_slow_reader_of_each_sku_once(self) -> None:
        availability = Availability()
        with availability.watch([ARMCHAIR, MIRROR]) as watch:
            await watch.changed()
            for version in range(1, 1_000):
                availability.apply(a_change(version, ("LON", version, 0)))

            assert await watch.changed() == [ARMCHAIR]

    async def test_is_not_woken_by_what_looks_the_same(self) -> None:
        availability = Availability()
        availability.apply(a_change(1, ("LON", 5, 1)))
        with availability.watch([ARMCHAIR]) as watch:
            await watch.changed()
            assert _shown(availability)["available"] == 4

            availability.apply(a_change(2, ("LON", 6, 2)))

            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await watch.changed()

    async def test_ends_with_its_context(self) -> None:
        availability = Availability()
        with availability.watch([ARMCHAIR]) as watch:
            await watch.changed()

        availability.apply(a_change(1, ("LON", 5, 0)))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await watch.changed()


def _shown(availability: Availability) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(availability.encoded(ARMCHAIR))
    return shown


def _envelope(event: Event, version: int, at: datetime = NOON) -> Envelope:
    return Envelope(id=uuid4(), event=event, time=at, source="test", aggregate_version=version)
