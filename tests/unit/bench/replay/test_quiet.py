"""How long a replay waits for what still moves: in looks of a second each, of a clock that the test moves."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any, cast

import pytest
from rich.console import Console

from bench.replay import quiet
from bench.replay.progress import shown_steps
from bench.replay.quiet import Movement, wait_until_quiet
from bench.replay.settings import ReplaySettings
from libs.common.clock import FixedClock

TIMEOUT_SECONDS = 5.0


class Looks:
    """Shows one movement after the other, a second apart; the last one for ever. An error is raised."""

    def __init__(self, movements: Iterable[int | Exception]) -> None:
        self._movements = list(movements)
        self.count = 0
        self.clock = FixedClock(datetime(2026, 3, 2, tzinfo=UTC))

    async def look(self, _settings: object) -> Movement:
        found = self._movements[min(self.count, len(self._movements) - 1)]
        self.count += 1
        if isinstance(found, Exception):
            raise found
        return Movement(orders=found, payments=0, outbox_events=0, lag_records=0)

    async def rest(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO())


async def wait(
    console: Console, monkeypatch: pytest.MonkeyPatch, movements: Iterable[int | Exception], *, is_patient: bool
) -> tuple[int, int]:
    """Return what still moved when the wait was over, and after how many looks that was."""
    looks = Looks(movements)
    monkeypatch.setattr(quiet, "_look", looks.look)
    monkeypatch.setattr(asyncio, "sleep", looks.rest)
    with shown_steps(console) as steps:
        left = await wait_until_quiet(
            cast("ReplaySettings", None),
            steps=steps,
            clock=looks.clock,
            timeout_seconds=TIMEOUT_SECONDS,
            is_patient=is_patient,
        )
    return left.total, looks.count


FEWER_AND_FEWER: Any = range(20, -1, -1)


class TestWaiting:
    @pytest.mark.parametrize("is_patient", [True, False])
    async def test_ends_at_the_third_quiet_look_in_a_row(
        self,
        console: Console,
        monkeypatch: pytest.MonkeyPatch,
        is_patient: bool,  # noqa: FBT001 - a table's column
    ) -> None:
        assert await wait(console, monkeypatch, [0, 1, 0], is_patient=is_patient) == (0, 5)

    async def test_ends_when_the_time_is_up(self, console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
        left, looks = await wait(console, monkeypatch, FEWER_AND_FEWER, is_patient=False)

        assert (left, looks) == (15, 6)

    async def test_goes_on_for_the_patient_while_it_becomes_less(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert await wait(console, monkeypatch, FEWER_AND_FEWER, is_patient=True) == (0, 23)

    async def test_ends_for_the_patient_too_when_it_becomes_no_less(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Up and down is not less: the least so far counts.
        assert await wait(console, monkeypatch, [9, 7, 8, 7, 8, 7, 8, 7], is_patient=True) == (8, 7)

    async def test_outlives_a_stack_that_does_not_answer(
        self, console: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert await wait(console, monkeypatch, [0, 0, OSError(), 0], is_patient=False) == (0, 6)
        with pytest.raises(TimeoutError):
            await wait(console, monkeypatch, [TimeoutError()], is_patient=True)
