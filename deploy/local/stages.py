"""What a person sees while the stack starts: each stage, whether it is done, how long it took."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Stages(Protocol):
    def stage(self, name: str) -> AbstractContextManager[None]: ...


class SilentStages:
    """For tests: nobody watches."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        del name
        return nullcontext()


class PlainStages:
    """One line when a stage is done, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started_at = monotonic()
        yield
        self._console.print(f"{name}: {monotonic() - started_at:.1f} s", highlight=False)


class LiveStages:
    """A moving line for every stage under way, several at once; a lasting one when it is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started_at = monotonic()
        task = self._progress.add_task(name, total=None)
        try:
            yield
        finally:
            self._progress.remove_task(task)
        self._progress.console.print(f"{name}: {monotonic() - started_at:.1f} s", highlight=False)


@contextmanager
def shown_stages(console: Console) -> Iterator[Stages]:
    if not console.is_terminal:
        yield PlainStages(console)
        return
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield LiveStages(progress)
