"""What is broken is put down to the rows that show it, and a system that never comes to rest breaks its round."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.replay.verdict import Verdict
from libs.common.clock import SystemClock
from tests.faults import rounds
from tests.faults.arena import Arena, NeverQuiet
from tests.faults.checker import Judged
from tests.faults.matrix import Broken, NotRun, Row
from tests.faults.quiet import SilentSteps
from tests.faults.rounds import play


async def _harmless(_arena: Arena) -> str:
    return "nothing happened"


async def _breaking(_arena: Arena) -> str:
    raise Broken("it did not do what is expected")


async def _unanswered(_arena: Arena) -> str:
    raise ConnectionRefusedError


async def _impossible(_arena: Arena) -> str:
    raise NotRun("nobody may do this here")


INJECTIONS = {"books": _harmless, "rest": _harmless, "breaks": _breaking, "alone": _unanswered, "cannot": _impossible}
SHOWS = {"books": ("I2",), "rest": ("I12",), "breaks": ("I1",), "alone": ("I1",), "cannot": ("I2", "I12")}


class Stage:
    """Where rows are played on, by itself."""

    def __init__(self) -> None:
        self.workload = SimpleNamespace(flow=lambda: None)
        self.history = SimpleNamespace(attempts=[])
        self.clock = SystemClock()
        self.say = lambda _text: None
        self.moves = False
        self.off: tuple[str, ...] = ()

    async def heal(self) -> None:
        pass

    async def settle(self, _steps: object) -> float:
        if self.moves:
            raise NeverQuiet("1 order under way")
        return 1.0

    async def judge(self) -> list[Judged]:
        return [Judged(one, Verdict(f"{one} holds", one not in self.off, "")) for one in ("I2", "I5", "I12")]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    rows = {
        name: Row(id=name, title=name, expectation="", invariants=SHOWS[name], inject=inject)
        for name, inject in INJECTIONS.items()
    }
    monkeypatch.setattr(rounds, "ROWS", rows)
    return Stage()


async def outcomes(stage: Stage) -> dict[str, str]:
    report = await play(cast("Any", stage), [list(INJECTIONS)], SilentSteps())
    return {result.row.id: result.outcome for result in report.results}


HELD = {"books": "held", "rest": "held", "breaks": "broken", "alone": "broken", "cannot": "not run"}


async def test_rows_hold_unless_they_say_otherwise(stage: Stage) -> None:
    assert await outcomes(stage) == HELD


async def test_an_invariant_that_is_broken_breaks_the_rows_that_show_it(stage: Stage) -> None:
    stage.off = ("I2",)

    assert await outcomes(stage) == HELD | {"books": "broken"}


async def test_one_that_no_row_shows_breaks_them_all(stage: Stage) -> None:
    stage.off = ("I5",)

    assert set((await outcomes(stage)).values()) == {"broken"}


async def test_what_never_comes_to_rest_breaks_the_rows_that_show_it(stage: Stage) -> None:
    stage.moves = True

    assert await outcomes(stage) == HELD | {"rest": "broken"}
