from uuid import UUID

from libs.common.events.shapes import Allocation
from services.inventory.domain.reservations import Reservation, ReservationStatus, Terms
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, NOON, TO_LONDON


def a_reservation(*held: tuple[str, str, int], waits_for: dict[str, int] | None = None) -> Reservation:
    reservation = Reservation(
        order_id=UUID(int=1),
        status=ReservationStatus.WAITING,
        terms=Terms(approved_at=NOON, destination=TO_LONDON),
        wanted=waits_for or {},
    )
    if held:
        reservation.hold(_allocation(*one) for one in held)
    return reservation


class TestShip:
    def test_commits_the_order_once_everything_has_left(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 2), (MIRROR, "MAN", 1))

        statuses = []
        for line in ((ARMCHAIR, "LON", 2), (MIRROR, "MAN", 1)):
            assert reservation.ship(*line) == [_allocation(*line)]
            statuses.append(reservation.status)

        assert statuses == [ReservationStatus.HELD, ReservationStatus.COMMITTED]

    def test_of_a_part_leaves_the_rest_held(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 3))

        reservation.ship(ARMCHAIR, "LON", 1)

        assert reservation.held() == [_allocation(ARMCHAIR, "LON", 2)]

    def test_from_another_warehouse_lets_go_of_what_the_first_held(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 2))

        freed = reservation.ship(ARMCHAIR, "MAN", 2)

        assert freed == [_allocation(ARMCHAIR, "LON", 2)]
        assert reservation.status is ReservationStatus.COMMITTED

    def test_while_it_waits_makes_it_wait_for_less(self) -> None:
        reservation = a_reservation(waits_for={ARMCHAIR: 3})

        freed = reservation.ship(ARMCHAIR, "LON", 2)

        assert freed == []
        assert reservation.wanted == {ARMCHAIR: 1}

    def test_after_its_release_takes_nothing_more(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 2))
        reservation.release()

        freed = reservation.ship(ARMCHAIR, "LON", 2)

        assert freed == []
        assert reservation.status is ReservationStatus.RELEASED


class TestPartWith:
    def test_leaves_what_is_kept_and_has_not_left_yet(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 5))
        reservation.ship(ARMCHAIR, "LON", 1)

        given = reservation.part_with({ARMCHAIR: 3}, {(ARMCHAIR, "LON"): 2})

        assert given == [_allocation(ARMCHAIR, "LON", 3)]
        assert reservation.held() == [_allocation(ARMCHAIR, "LON", 1)]


class TestRelease:
    def test_keeps_what_has_left(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 3))
        reservation.ship(ARMCHAIR, "LON", 1)

        freed = reservation.release()

        assert freed == [_allocation(ARMCHAIR, "LON", 2)]
        assert reservation.lines[ARMCHAIR, "LON"].committed == 1


class TestUnreserve:
    def test_waits_for_what_had_not_left_yet(self) -> None:
        reservation = a_reservation((ARMCHAIR, "LON", 2), (ARMCHAIR, "MAN", 1))
        reservation.ship(ARMCHAIR, "MAN", 1)

        reservation.unreserve(ARMCHAIR, "LON", 1)

        assert reservation.status is ReservationStatus.WAITING
        assert reservation.wanted == {ARMCHAIR: 2}
        assert reservation.held() == []


def _allocation(sku: str, warehouse: str, quantity: int) -> Allocation:
    return Allocation(warehouse=warehouse, sku=sku, quantity=quantity)
