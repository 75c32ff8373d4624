"""What was measured, as it is shown and as it is written to a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.speed.machine import Machine
from bench.speed.statistics import Latency, median

# The name, among what a sample has besides rates, of the memory of the largest process.
MEBIBYTES: Final = "mebibytes"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """
    One repetition: how many operations in how long, and the processor seconds of each process meanwhile.

    `extra` are further rates of the same repetition, by name.
    """

    operations: int
    seconds: float
    cpu_seconds: Mapping[str, float]
    latency: Latency | None = None
    extra: Mapping[str, float] = {}

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    def cpu_microseconds(self) -> dict[str, float]:
        """Return the processor time of an operation by process, those that took none left out."""
        each = {name: seconds / self.operations * 1e6 for name, seconds in self.cpu_seconds.items()}
        return {name: value for name, value in each.items() if round(value, 1) > 0}


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """All repetitions of one program, the warm-up left out."""

    name: str
    samples: Sequence[Sample]

    @property
    def rate(self) -> float:
        """The median rate."""
        return median(sample.rate for sample in self.samples)

    @property
    def middle(self) -> Sample:
        """The repetition whose rate is nearest to the median: what is shown besides the rate is all of it."""
        rate = self.rate
        return min(self.samples, key=lambda sample: abs(sample.rate - rate))

    @property
    def p50_ms(self) -> float | None:
        """The median of the repetitions' medians, None if latencies were not measured."""
        values = [sample.latency.p50_ms for sample in self.samples if sample.latency]
        return median(values) if values else None

    @property
    def p99_ms(self) -> float | None:
        """The median of the repetitions' 99th percentiles."""
        values = [sample.latency.p99_ms for sample in self.samples if sample.latency]
        return median(values) if values else None

    @property
    def mebibytes(self) -> float | None:
        """The most memory that a process had, None if that was not measured."""
        return max((sample.extra[MEBIBYTES] for sample in self.samples if MEBIBYTES in sample.extra), default=None)

    @property
    def cpu_microseconds_total(self) -> float:
        """The median processor time of an operation in all processes together."""
        return median(sum(sample.cpu_microseconds().values()) for sample in self.samples)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure must reach: a ratio to the limit, a rate, or a p99 that it must stay below."""

    kind: Literal["ratio", "rate", "p99_ms", "mebibytes"]
    value: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure beside its limit; `conditions` say what was measured, in words."""

    figure: str
    title: str
    unit: str
    ours: Series
    conditions: str
    limit: Series | None = None
    targets: Sequence[Target] = ()
    histogram: Sequence[tuple[float, int]] = ()

    @property
    def ratio(self) -> float | None:
        """Our median rate in terms of the limit's."""
        return self.ours.rate / self.limit.rate if self.limit else None

    @property
    def cpu_ratio(self) -> float | None:
        """The limit's processor time for an operation in terms of ours: the ratio that other load leaves alone."""
        if self.limit is None or not self.ours.cpu_microseconds_total:
            return None
        return self.limit.cpu_microseconds_total / self.ours.cpu_microseconds_total

    def reached(self, target: Target) -> bool | None:
        """Tell whether the target is reached; None if what it is about was not measured."""
        match target.kind:
            case "ratio":
                return None if self.ratio is None else self.ratio >= target.value
            case "rate":
                return self.ours.rate >= target.value
            case "p99_ms":
                return None if self.ours.p99_ms is None else self.ours.p99_ms < target.value
            case "mebibytes":
                return None if self.ours.mebibytes is None else self.ours.mebibytes < target.value


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    measured_at: str
    machine: Machine
    repetitions: int
    rows: Sequence[Row]
    # The figures that could not be measured, with the reason.
    failures: Mapping[str, str]

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(self, order="deterministic")))
