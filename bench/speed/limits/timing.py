"""How a limit's program measures itself: the time that passed and the processor time it took."""

from dataclasses import dataclass
from time import perf_counter, process_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a program did; `latencies` are the seconds of single operations where they were measured."""

    operations: int
    seconds: float
    cpu_seconds: float
    latencies: tuple[float, ...] = ()


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        """Start."""
        self._started_at = perf_counter()
        self._cpu_started_at = process_time()

    def timed(self, operations: int, latencies: tuple[float, ...] = ()) -> Timed:
        """Say what was done since the start."""
        return Timed(
            operations=operations,
            seconds=perf_counter() - self._started_at,
            cpu_seconds=process_time() - self._cpu_started_at,
            latencies=latencies,
        )
