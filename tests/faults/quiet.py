"""Steps that say nothing, for runs that have lines of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.replay.progress import Step, Steps


class SilentSteps(Steps):
    """Opens steps that nobody sees."""

    @contextmanager
    def step(self, name: str, *, total: int | None = None) -> Iterator[Step]:  # noqa: ARG002
        """Open a step."""
        yield _SilentStep()


class _SilentStep(Step):
    def advance(self, by: int = 1) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""
