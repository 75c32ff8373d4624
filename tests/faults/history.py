"""What clients asked and what they were told: one line each, written as it happens."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One request and its answer.

    `operation` is what the client wants (`order`, `stock-events`, `hold`, …) and `key` the name under which it wants it
    once; several attempts may share it. `status` is 0 if there was no answer; then `error` says why, and nobody knows
    whether it had its effect. `sent_at` and `ended_at` are seconds of a monotonic clock.
    """

    operation: str
    key: str
    sent_at: float
    ended_at: float
    status: int
    error: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]

    @property
    def is_accepted(self) -> bool:
        """Whether the service said that it is done."""
        return 200 <= self.status < 300


class History:
    """The attempts of a run, in memory and in a file."""

    def __init__(self, file: Path) -> None:
        """Nothing is written before `with`."""
        self.file = file
        self.attempts: list[Attempt] = []

    def __enter__(self) -> Self:
        self._lines = self.file.open("w", encoding="utf-8")
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lines.close()

    def note(self, attempt: Attempt) -> None:
        """Add an attempt that has ended."""
        self.attempts.append(attempt)
        self._lines.write(json.dumps(asdict(attempt)) + "\n")

    def of(self, operation: str) -> Iterator[Attempt]:
        """Return the attempts of an operation, in the order in which they ended."""
        return (attempt for attempt in self.attempts if attempt.operation == operation)

    def accepted(self, operation: str) -> dict[str, Attempt]:
        """Return by key the first attempt of each operation that was accepted."""
        found: dict[str, Attempt] = {}
        for attempt in self.of(operation):
            if attempt.is_accepted:
                found.setdefault(attempt.key, attempt)
        return found
