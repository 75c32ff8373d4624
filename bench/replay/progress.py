"""What a person sees while the replay runs: bars on a terminal, lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

_LINE_SECONDS = 10.0


class Step(Protocol):
    """One step under way."""

    def advance(self, by: int = 1) -> None:
        """Say that `by` more of it are done."""
        ...

    def note(self, text: str) -> None:
        """Say something about where it is."""
        ...


class Steps(Protocol):
    """Opens steps; several may be open at once."""

    def step(self, name: str, *, total: int | None = None) -> AbstractContextManager[Step]:
        """Show a step until the block ends; `total` is how many there are to do, if known."""
        ...


@contextmanager
def shown_steps(console: Console) -> Iterator[Steps]:
    """Choose the way of showing that the console can do."""
    if not console.is_terminal:
        yield _PlainSteps(console)
        return
    columns = (
        SpinnerColumn("line"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _BarSteps(progress)


class _BarSteps:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextmanager
    def step(self, name: str, *, total: int | None = None) -> Iterator[Step]:
        bar = _Bar(self._progress, self._progress.add_task(name, total=total, note=""))
        yield bar
        bar.stop()


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, by: int = 1) -> None:
        self._progress.advance(self._task, by)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)

    def stop(self) -> None:
        self._progress.stop_task(self._task)


class _PlainSteps:
    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, name: str, *, total: int | None = None) -> Iterator[Step]:
        started_at = monotonic()
        line = _Line(name, total=total, write=self._write)
        yield line
        done = f"{line.done:,} in " if total is not None else ""
        self._write(f"{name}: {done}{monotonic() - started_at:.1f} s")

    def _write(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Line:
    """A step that says where it is every few seconds, so that a log shows life without filling."""

    def __init__(self, name: str, *, total: int | None, write: Callable[[str], None]) -> None:
        self._name = name
        self._total = total
        self._write = write
        self._note = ""
        self._written_at = monotonic()
        self.done = 0

    def advance(self, by: int = 1) -> None:
        self.done += by
        self._show_if_due()

    def note(self, text: str) -> None:
        self._note = text
        self._show_if_due()

    def _show_if_due(self) -> None:
        if monotonic() - self._written_at >= _LINE_SECONDS:
            self._written_at = monotonic()
            progress = f"{self.done:,} of {self._total:,}" if self._total is not None else ""
            self._write(f"{self._name}: {', '.join(filter(None, (progress, self._note)))}")
