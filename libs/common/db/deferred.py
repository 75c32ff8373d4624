"""Many small writes as one statement: a round trip and a wake-up for all of them instead of for each."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import asyncpg

_PARAMETER: Final = re.compile(r"\$(\d+)")
_TARGET: Final = re.compile(r"\s*(?P<kind>INSERT INTO|UPDATE|DELETE FROM)\s+(?P<table>\w+)")
_CONFLICT: Final = re.compile(r"\bON\s+CONFLICT\b")
_INSERT: Final = "INSERT INTO"
_CHANGE: Final = "UPDATE"


class DeferredStatements:
    """Data-modifying statements that are written together (see `Transaction.defer`)."""

    __slots__ = ("_arguments", "_statements")

    def __init__(self) -> None:
        """Begin with none."""
        self._statements: list[str] = []
        self._arguments: list[Sequence[object]] = []

    def __bool__(self) -> bool:
        """Answer whether anything waits to be written."""
        return bool(self._statements)

    def add(self, statement: str, arguments: Sequence[object]) -> None:
        """Add a statement with parameters $1, $2, ..."""
        self._statements.append(statement)
        self._arguments.append(arguments)

    async def write(self, driver: asyncpg.Connection) -> None:
        """Write everything and begin anew."""
        statements, arguments = self._statements, self._arguments
        self._statements, self._arguments = [], []
        for first, end in _rounds(tuple(statements)):
            parts = tuple(zip(statements[first:end], map(len, arguments[first:end]), strict=True))
            await driver.execute(_together(parts), *(one for some in arguments[first:end] for one in some))


@lru_cache(maxsize=500)
def _rounds(statements: tuple[str, ...]) -> list[tuple[int, int]]:
    """
    Return which statements, from one up to another, can be one.

    PostgreSQL does not say which of two changes to a row in one statement stays, so there is one change to a table in
    each; only new rows never meet.
    """
    rounds: list[tuple[int, int]] = []
    first, kinds = 0, dict[str, str]()
    for number, statement in enumerate(statements):
        found = _TARGET.match(statement)
        if found is None:
            msg = f"not an INSERT, UPDATE or DELETE: {statement[:40]!r}"
            raise ValueError(msg)
        kind = _CHANGE if _CONFLICT.search(statement) else found["kind"]
        table = found["table"]
        if table in kinds and not (kind == kinds[table] == _INSERT):
            rounds.append((first, number))
            first, kinds = number, {}
        kinds[table] = kind
    rounds.append((first, len(statements)))
    return rounds


@lru_cache(maxsize=500)
def _together(parts: tuple[tuple[str, int], ...]) -> str:
    """Return one statement out of some, each with the number of its parameters."""
    if len(parts) == 1:
        return parts[0][0]
    clauses, before = [], 0
    for number, (statement, parameters) in enumerate(parts):
        clauses.append(f"deferred_{number} AS ({_shifted(statement, by=before)})")
        before += parameters
    return f"WITH {', '.join(clauses)} SELECT"


def _shifted(statement: str, *, by: int) -> str:
    return _PARAMETER.sub(lambda found: f"${int(found[1]) + by}", statement)
