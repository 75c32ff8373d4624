"""Runs rows in rounds: faults while the shop goes on, then quiet, then the questions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

from bench.replay.progress import Steps
from bench.replay.quiet import FAULTS
from deploy.local.process import NotReadyInTime
from tests.faults.arena import Arena, NeverQuiet
from tests.faults.checker import Judged
from tests.faults.matrix import Broken, NotRun, Outcome, Result, Row
from tests.faults.rows import ROWS
from tests.support.eventually import NeverHappened


@dataclass(slots=True)
class Report:
    """What came of a run."""

    results: list[Result] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    recovery_seconds: list[float] = field(default_factory=list)
    operations: int = 0

    @property
    def broken(self) -> list[Result]:
        """Return the rows that broke."""
        return [result for result in self.results if result.outcome == "broken"]


async def play(arena: Arena, rounds: Sequence[Sequence[str]], steps: Steps) -> Report:
    """Run the rows of each round one after the other, then let the shop rest and ask everything."""
    report = Report()
    for number, faults in enumerate(rounds, start=1):
        arena.workload.flow()
        results = [await _inject(arena, ROWS[fault]) for fault in faults]
        arena.say(f"round {number}: quiet")
        problem = await _recover(arena, report, steps)
        judged = await arena.judge() if not problem else []
        report.judged = judged or report.judged
        off = [one for one in judged if not one.verdict.holds]
        for one in off:
            arena.say(f"  {one.invariant} BROKEN: {one.verdict.invariant}: {one.verdict.figures}")
        report.results.extend(_blamed(results, off, problem))
    report.operations = len(arena.history.attempts)
    return report


async def _inject(arena: Arena, row: Row) -> Result:
    started_at = arena.clock.monotonic_seconds()
    outcome: Outcome = "held"
    try:
        seen = await row.inject(arena)
    except NotRun as reason:
        outcome, seen = "not run", str(reason)
    # A server that does not answer when it should breaks its row, and not the rows that follow.
    except (Broken, NeverHappened, NotReadyInTime, httpx.HTTPError, ExceptionGroup, *FAULTS) as problem:
        outcome, seen = "broken", f"{type(problem).__name__}: {problem}"
    try:
        await arena.heal()
    except NotReadyInTime as problem:
        outcome, seen = "broken", f"it did not come back: {problem}"
    seconds = arena.clock.monotonic_seconds() - started_at
    arena.say(f"{row.id} {row.title}: {outcome} ({seconds:.0f} s) {seen}")
    return Result(row=row, outcome=outcome, seen=seen, seconds=seconds)


async def _recover(arena: Arena, report: Report, steps: Steps) -> str:
    try:
        report.recovery_seconds.append(await arena.settle(steps))
    except NeverQuiet as problem:
        arena.say(f"  I12 BROKEN: {problem}")
        return f"I12: not quiet again in time: {problem}"
    return ""


def _blamed(results: Sequence[Result], off: Sequence[Judged], problem: str) -> list[Result]:
    """Put what is broken down to the rows of the round that show the invariant, or to all if none does."""
    blamed = list(results)
    complaints = [(one.invariant, f"{one.invariant}: {one.verdict.invariant}: {one.verdict.figures}") for one in off]
    if problem:
        complaints.append(("I12", problem))
    for invariant, complaint in complaints:
        concerned = [one for one in blamed if invariant in one.row.invariants and one.outcome != "not run"]
        for result in concerned or list(blamed):
            place = blamed.index(result)
            blamed[place] = Result(row=result.row, outcome="broken", seen=complaint, seconds=result.seconds)
    return blamed
