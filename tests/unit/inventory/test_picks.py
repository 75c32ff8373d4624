from datetime import date
from uuid import UUID

from services.inventory.domain.lots import NO_LOT, Lot
from services.inventory.domain.picks import Pick, picks_of
from tests.unit.inventory.builders import ARMCHAIR

FIRST, SECOND = UUID(int=1), UUID(int=2)
SOON = Lot("SOON", 3, expires_on=date(2024, 6, 10))
LATE = Lot("LATE", 5, expires_on=date(2024, 9, 1))
ANY = Lot(NO_LOT, 2)


def picks(order_id: UUID, *lots: Lot) -> list[Pick]:
    return picks_of(order_id, sku=ARMCHAIR, warehouse="LON", holders=[(FIRST, 2), (SECOND, 4)], lots=lots)


class TestPicksOf:
    def test_take_what_expires_first(self) -> None:
        assert picks(FIRST, LATE, SOON) == [Pick(ARMCHAIR, "LON", 2, "SOON", SOON.expires_on)]

    def test_take_what_orders_before_it_leave(self) -> None:
        assert picks(SECOND, LATE, SOON) == [
            Pick(ARMCHAIR, "LON", 1, "SOON", SOON.expires_on),
            Pick(ARMCHAIR, "LON", 3, "LATE", LATE.expires_on),
        ]

    def test_take_any_unit_where_no_lot_is_known(self) -> None:
        assert picks(SECOND, ANY, SOON) == [
            Pick(ARMCHAIR, "LON", 1, "SOON", SOON.expires_on),
            Pick(ARMCHAIR, "LON", 3),
        ]

    def test_are_none_for_an_order_that_holds_nothing(self) -> None:
        assert picks(UUID(int=3), SOON) == []
