"""A fair share for each caller: token buckets, exact within one process."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.clock import Clock, SystemClock
from libs.common.http.problems import RateLimited

# A bucket holds two seconds' worth, so that a caller that was idle may catch up at once.
BURST_SECONDS: Final = 2.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_seconds: float


class RateLimiter:
    """
    Token buckets for each (caller, kind of request).

    Callers are those of the key file, so the table is as small as that file. Nothing here is shared between
    processes: with n processes a caller has n times its share.
    """

    def __init__(self, per_second_by_kind: Mapping[str, float], *, clock: Clock | None = None) -> None:
        """Limit each kind to its rate; a kind that is absent or has the rate 0 is not limited."""
        self._rates = {kind: rate for kind, rate in per_second_by_kind.items() if rate > 0}
        self._policies = {
            kind: f'"{kind}";q={self._burst(rate):.0f};w={BURST_SECONDS:.0f}' for kind, rate in self._rates.items()
        }
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._clock = clock or SystemClock()

    def take(self, caller: str, kind: str) -> tuple[str, str] | None:
        """
        Take one token; return the `RateLimit-Policy` and `RateLimit` header values, or None if not limited.

        :raises RateLimited: if the bucket is empty.
        """
        rate = self._rates.get(kind)
        if rate is None:
            return None
        now = self._clock.monotonic_seconds()
        burst = self._burst(rate)
        bucket = self._buckets.get((caller, kind))
        if bucket is None:
            bucket = self._buckets[caller, kind] = _Bucket(burst, now)
        tokens = min(burst, bucket.tokens + (now - bucket.filled_at_seconds) * rate)
        bucket.filled_at_seconds = now
        if tokens < 1:
            bucket.tokens = tokens
            raise self._refusal(kind, wait_seconds=(1 - tokens) / rate)
        bucket.tokens = tokens - 1
        return self._policies[kind], f'"{kind}";r={int(tokens - 1)};t=1'

    def _refusal(self, kind: str, *, wait_seconds: float) -> RateLimited:
        retry_after = max(1, math.ceil(wait_seconds))
        return RateLimited(
            f"More {kind} requests were sent than this key's share.",
            retry_after_seconds=retry_after,
            headers={
                "RateLimit-Policy": self._policies[kind],
                "RateLimit": f'"{kind}";r=0;t={retry_after}',
            },
        )

    @staticmethod
    def _burst(rate: float) -> float:
        return max(1.0, rate * BURST_SECONDS)
