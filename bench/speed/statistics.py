"""The arithmetic of figures: percentiles, medians, histograms."""

import math
from collections.abc import Iterable, Sequence

import msgspec


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long single operations took, in milliseconds."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class NothingMeasured(ValueError):
    """There is no figure without a measurement."""


def percentile(ordered: Sequence[float], share: float) -> float:
    """
    Return the smallest value that at least `share` of the sorted values do not exceed (nearest rank).

    :raises NothingMeasured: if there are none.
    """
    if not ordered:
        raise NothingMeasured
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """
    Return the middle value, or the mean of the two in the middle.

    :raises NothingMeasured: if there are none.
    """
    ordered = sorted(values)
    if not ordered:
        raise NothingMeasured
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def latency_of(seconds: Iterable[float]) -> Latency:
    """
    Sum up latencies.

    :raises NothingMeasured: if there are none.
    """
    ordered = sorted(value * 1000 for value in seconds)
    return Latency(
        count=len(ordered),
        p50_ms=percentile(ordered, 0.5),
        p90_ms=percentile(ordered, 0.9),
        p99_ms=percentile(ordered, 0.99),
        p999_ms=percentile(ordered, 0.999),
        max_ms=percentile(ordered, 1),
    )


def histogram(seconds: Iterable[float], *, bounds_ms: Sequence[float]) -> list[tuple[float, int]]:
    """Count latencies by upper bound in milliseconds; the last bound is infinite."""
    counts = [0] * (len(bounds_ms) + 1)
    for value in seconds:
        milliseconds = value * 1000
        place = next((index for index, bound in enumerate(bounds_ms) if milliseconds <= bound), len(bounds_ms))
        counts[place] += 1
    return list(zip((*bounds_ms, math.inf), counts, strict=True))
