"""Repeating: a warm-up that is forgotten, then ours and the limit in turn, so that both meet the same machine."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter

from bench.replay.progress import Step
from bench.speed.http_load import Loaded
from bench.speed.limits.timing import Timed
from bench.speed.results import Sample, Series
from bench.speed.scale import Scale
from bench.speed.statistics import latency_of

# Measures once; the number counts the repetitions from 0, which is the warm-up.
Measure = Callable[[int], Awaitable[Sample]]


async def repeated(measures: Mapping[str, Measure], *, scale: Scale, step: Step) -> list[Series]:
    """
    Measure everything in turn, again and again; return a series for each measure, in their order.

    There is one repetition at least, and no further one once the figure has had its time.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    started_at = perf_counter()
    for repetition in range(scale.repetitions + 1):
        if repetition > 1 and perf_counter() - started_at > scale.figure_seconds_max:
            step.note(f"no time for more than {repetition - 1} of {scale.repetitions} repetitions")
            break
        for name, measure in measures.items():
            sample = await measure(repetition)
            step.advance()
            step.note(f"{name}: {sample.rate:,.0f}/s{' (warm-up)' if repetition == 0 else ''}")
            if repetition:
                samples[name].append(sample)
    return [Series(name=name, samples=taken) for name, taken in samples.items()]


def sample_of(timed: Timed, *, program: str, cpu_seconds: Mapping[str, float], of: Sequence[str]) -> Sample:
    """Turn a program's own measurement into a sample, with the processor time of the processes `of` it meanwhile."""
    return Sample(
        operations=timed.operations,
        seconds=timed.seconds,
        cpu_seconds={program: timed.cpu_seconds, **{name: cpu_seconds[name] for name in of if name in cpu_seconds}},
        latency=latency_of(timed.latencies) if timed.latencies else None,
    )


class UnexpectedAnswers(Exception):
    """A server refused what it was to do, so that its speed says nothing."""


def checked(loaded: Loaded, *, cpu_seconds: Mapping[str, float], status: int) -> Sample:
    """
    Turn a load into a sample, the client's own processor time included.

    :raises UnexpectedAnswers: if one of the answers has another status.
    """
    if set(loaded.statuses) != {status}:
        raise UnexpectedAnswers(f"answers by status: {dict(loaded.statuses)}")
    return Sample(
        operations=len(loaded.latencies),
        seconds=loaded.seconds,
        cpu_seconds={**cpu_seconds, "client": loaded.cpu_seconds},
        latency=latency_of(loaded.latencies),
    )
