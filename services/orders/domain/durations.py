"""
How long things take: distributions as histograms on a logarithmic scale, learned by counting.

A group with few observations borrows from the group above it: the shares of its histogram are the posterior mean of a
multinomial under a Dirichlet prior with the mean of the group above and the weight of `strength` observations
(Gelman et al., Bayesian Data Analysis, 3rd ed., 3.4); in insurance the same is called credibility (Bühlmann 1967).
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Final

# The first bucket is below a minute; each further one is 2^(1/6), about 12 %, wider, the last beyond half a year.
BUCKETS: Final = 110
_FIRST_SECONDS: Final = 60.0
_STEPS_PER_DOUBLING: Final = 6
EDGES_SECONDS: Final[Sequence[float]] = (
    0.0,
    *(_FIRST_SECONDS * 2 ** (step / _STEPS_PER_DOUBLING) for step in range(BUCKETS)),
)
# What is counted for reports goes on in the same steps below a minute, in buckets below 0; the last of them, of what
# is shorter still, ends at 16 ms. Nothing that is promised depends on seconds: there, all below a minute is one bucket.
FINEST: Final = -71
_FINEST_SECONDS: Final = _FIRST_SECONDS * 2 ** (FINEST / _STEPS_PER_DOUBLING)
# In SQL, of an expression named `seconds`.
BUCKET_SQL: Final = (
    f"CASE WHEN seconds < {_FINEST_SECONDS} THEN {FINEST} ELSE least({BUCKETS - 1}, "
    f"1 + floor({_STEPS_PER_DOUBLING} * ln(seconds / {_FIRST_SECONDS}) / ln(2.0::double precision))::integer) END"
)
_CERTAIN: Final = 1e-9


def bucket_of(seconds: float) -> int:
    """Return the bucket that a duration is counted in."""
    if seconds < _FIRST_SECONDS:
        return 0
    return min(BUCKETS - 1, 1 + math.floor(_STEPS_PER_DOUBLING * math.log2(seconds / _FIRST_SECONDS)))


class Distribution:
    """A distribution of durations, uniform within each bucket."""

    __slots__ = ("_cumulative",)

    def __init__(self, shares: Sequence[float]) -> None:
        """`shares` are the probabilities of the buckets; they add up to 1."""
        self._cumulative = [0.0, *accumulate(shares)]

    @classmethod
    def log_normal(cls, median_seconds: float, sigma: float) -> "Distribution":
        """Return the log-normal distribution with this median and standard deviation of the logarithm."""
        below = [0.0]
        below += [
            0.5 * (1 + math.erf(math.log(edge / median_seconds) / (sigma * math.sqrt(2)))) for edge in EDGES_SECONDS[1:]
        ]
        below[-1] = 1.0
        return cls([upper - lower for lower, upper in pairwise(below)])

    def shares(self) -> Iterator[float]:
        """Return the probabilities of the buckets."""
        return (upper - lower for lower, upper in pairwise(self._cumulative))

    def below(self, seconds: float) -> float:
        """Return the probability of at most `seconds`."""
        if seconds <= 0:
            return 0.0
        bucket = bisect_right(EDGES_SECONDS, seconds) - 1
        if bucket >= BUCKETS:
            return 1.0
        low, high = EDGES_SECONDS[bucket], EDGES_SECONDS[bucket + 1]
        start, end = self._cumulative[bucket], self._cumulative[bucket + 1]
        return start + (end - start) * (seconds - low) / (high - low)

    def quantile(self, share: float) -> float:
        """Return the seconds that are exceeded with probability 1 - `share`."""
        wanted = share * self._cumulative[-1]
        bucket = min(max(bisect_right(self._cumulative, wanted) - 1, 0), BUCKETS - 1)
        start, end = self._cumulative[bucket], self._cumulative[bucket + 1]
        within = (wanted - start) / (end - start) if end > start else 1.0
        low, high = EDGES_SECONDS[bucket], EDGES_SECONDS[bucket + 1]
        return low + (high - low) * min(1.0, within)

    def beyond(self, seconds: float) -> Iterator[tuple[float, float]]:
        """Return durations above `seconds` with their probabilities, given that it took longer than that."""
        above = 1.0 - self.below(seconds)
        if above <= _CERTAIN:
            # Longer than anything seen: all that can be said is that it is not over.
            yield seconds, 1.0
            return
        first = max(0, bisect_right(EDGES_SECONDS, max(0.0, seconds)) - 1)
        low, passed = max(0.0, seconds), 1.0 - above
        for bucket in range(first, BUCKETS):
            high, reached = EDGES_SECONDS[bucket + 1], self._cumulative[bucket + 1]
            if reached > passed:
                yield (low + high) / 2, (reached - passed) / above
            low, passed = high, reached

    def sum_below(self, other: "Distribution", seconds: float, *, elapsed_seconds: float = 0.0) -> float:
        """
        Return the probability that this and then `other` take at most `seconds` together.

        The sum is taken over the buckets of this one, which already lasts for `elapsed_seconds`; the two are taken as
        independent.
        """
        likely = 0.0
        for first, share in self.beyond(elapsed_seconds):
            if first >= seconds:
                break
            likely += share * other.below(seconds - first)
        return likely

    def below_given(self, seconds: float, *, elapsed_seconds: float) -> float:
        """Return the probability of at most `seconds`, given that it took longer than `elapsed_seconds`."""
        above = 1.0 - self.below(elapsed_seconds)
        if seconds <= elapsed_seconds or above <= _CERTAIN:
            return 0.0
        return (self.below(seconds) - self.below(elapsed_seconds)) / above


def learned(counts: Mapping[int, int], above: Distribution, *, strength: float) -> Distribution:
    """Return what is believed of a group with these counts by bucket, whose parent is `above`."""
    total = sum(counts.values()) + strength
    return Distribution(
        [(counts.get(bucket, 0) + strength * share) / total for bucket, share in enumerate(above.shares())]
    )


def counted_quantile(counts: Mapping[int, int], share: float) -> float:
    """
    Return the seconds that a share of what was counted took at most, at least one observation.

    Within its bucket, those below 0 included, it is interpolated: it is off by 12 % at most, or by 16 ms.
    """
    wanted = share * sum(counts.values())
    passed = 0
    for bucket, count in sorted(counts.items()):
        if passed + count >= wanted:
            low = 0.0 if bucket == FINEST else _FIRST_SECONDS * 2 ** ((bucket - 1) / _STEPS_PER_DOUBLING)
            high = _FIRST_SECONDS * 2 ** (bucket / _STEPS_PER_DOUBLING)
            return low + (high - low) * (wanted - passed) / count
        passed += count
    return math.inf
