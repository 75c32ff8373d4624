from datetime import datetime, timedelta

import pytest

from services.inventory.domain.classes import AbcClass
from services.inventory.domain.count_lists import Candidate, ChosenLine, Schedule, choose_lines
from tests.unit.inventory.builders import NOON

CLASSES = {"A1": AbcClass.A, "A2": AbcClass.A, "B1": AbcClass.B}
A, B, C = AbcClass.A, AbcClass.B, AbcClass.C


def days_ago(days: float) -> datetime:
    return NOON - timedelta(days=days)


def chosen(
    *candidates: Candidate, size: int = 9, only_due: bool = True, abc_class: AbcClass | None = None
) -> list[ChosenLine]:
    return choose_lines(
        candidates, CLASSES, now=NOON, schedule=Schedule(), size=size, abc_class=abc_class, only_due=only_due
    )


class TestChooseLines:
    @pytest.mark.parametrize(("sku", "days"), [("A1", 30), ("B1", 90), ("ANY", 180)])
    def test_take_each_class_in_its_time(self, sku: str, days: int) -> None:
        assert chosen(Candidate(sku, days_ago(days - 1))) == []
        assert [line.reason for line in chosen(Candidate(sku, days_ago(days)))] == ["due"]

    def test_take_what_was_never_counted_the_better_class_first(self) -> None:
        assert chosen(Candidate("C1"), Candidate("B1"), Candidate("A1")) == [
            ChosenLine("A1", A, "due"),
            ChosenLine("B1", B, "due"),
            ChosenLine("C1", C, "due"),
        ]

    def test_take_what_is_wrong_for_certain_before_all_else(self) -> None:
        counted_today = Candidate("C1", NOON, shortfall=2)

        assert chosen(Candidate("A1"), counted_today)[0] == ChosenLine("C1", C, "shortfall")

    def test_take_what_was_off_again_after_a_third_of_the_time(self) -> None:
        off = Candidate("A1", days_ago(10), discrepancy=-3)

        assert chosen(Candidate("A2", days_ago(31)), off) == [
            ChosenLine("A1", A, "discrepancy"),
            ChosenLine("A2", A, "due"),
        ]
        assert chosen(off._replace(counted_at=days_ago(9))) == []

    def test_take_what_is_furthest_over_its_time(self) -> None:
        lines = chosen(Candidate("A1", days_ago(45)), Candidate("B1", days_ago(180)), Candidate("A2", days_ago(31)))

        assert [line.sku for line in lines] == ["B1", "A1", "A2"]

    def test_take_no_more_than_asked_for(self) -> None:
        assert [line.sku for line in chosen(Candidate("C1"), Candidate("A1"), size=1)] == ["A1"]

    def test_take_what_is_not_due_if_asked_for(self) -> None:
        lines = chosen(Candidate("A1", days_ago(1)), Candidate("B1", days_ago(1)), only_due=False, abc_class=A)

        assert lines == [ChosenLine("A1", A, "requested")]
