"""The rows of the matrix: what is done to the system, what is expected of it, and what came of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from tests.faults.arena import Arena

Injection: TypeAlias = "Callable[[Arena], Awaitable[str]]"
Outcome = Literal["held", "broken", "not run"]


class Broken(Exception):
    """The system did not do what the row expects of it."""


class NotRun(Exception):
    """The fault cannot be injected here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault; `inject` returns what was seen, or raises `Broken` or `NotRun`."""

    id: str
    title: str
    expectation: str
    invariants: tuple[str, ...]
    inject: Injection


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a row."""

    row: Row
    outcome: Outcome
    seen: str
    seconds: float


ROWS: dict[str, Row] = {}


def row(fault: str, title: str, *, expects: str, shows: Sequence[str]) -> Callable[[Injection], Injection]:
    """Declare a function to be the row of a fault."""

    def declare(inject: Injection) -> Injection:
        assert fault not in ROWS, f"{fault} is declared twice"
        ROWS[fault] = Row(id=fault, title=title, expectation=expects, invariants=tuple(shows), inject=inject)
        return inject

    return declare


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - as assert takes it
    """
    Go on if what a row expects holds.

    :raises Broken: saying what was seen instead.
    """
    if not holds:
        raise Broken(otherwise)
