"""Running levels, and what is late."""

from datetime import timedelta
from uuid import UUID

from services.inventory.api.timeline import CAUSES
from services.inventory.domain.stock import MovementKind
from services.inventory.domain.timeline import LedgerLine, running
from tests.unit.inventory.builders import NOON, minutes


def line(units: int, *, happened: float, arrived: float | None = None, at: str = "LON") -> LedgerLine:
    return LedgerLine(
        id=1,
        event_id=UUID(int=1),
        leg=0,
        kind="receipt",
        warehouse=at,
        delta_on_hand=units,
        occurred_at=minutes(happened),
        recorded_at=minutes(happened if arrived is None else arrived),
    )


class TestRunning:
    def test_adds_up_by_warehouse_and_in_total_from_what_was_there(self) -> None:
        entries = running(
            [line(5, happened=1), line(7, happened=2, at="MAN"), line(-3, happened=3)],
            opening={"LON": 10, "GLA": 1},
            late_before={},
        )

        assert [(entry.on_hand, entry.on_hand_total) for entry in entries] == [(15, 16), (7, 23), (12, 20)]

    def test_calls_late_what_arrived_after_something_that_happened_later_in_the_same_warehouse(self) -> None:
        entries = running(
            [line(1, happened=1, arrived=180), line(1, happened=2, at="MAN"), line(1, happened=3), line(1, happened=3)],
            opening={},
            late_before={},
        )

        assert [entry.is_late for entry in entries] == [True, False, False, False]

    def test_knows_what_was_recorded_behind_the_page(self) -> None:
        [entry] = running(
            [line(1, happened=1, arrived=9)], opening={}, late_before={"LON": NOON + timedelta(minutes=8)}
        )

        assert entry.is_late


class TestCauses:
    def test_explain_movements_of_every_kind(self) -> None:
        assert set(CAUSES) == set(MovementKind)
