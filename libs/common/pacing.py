"""
How long a loop that works in batches rests between two of them.

A transaction costs as much as a dozen of the events in it, and each batch wakes whoever comes after. A loop that takes
what is there as soon as it is there therefore costs most when the machine can least afford it: every loop of every
process runs all the time, on batches of one or two. A loop that rests in proportion to what its last batch took lets
the next one grow instead: on an idle machine batches are quick and rests are short, on a busy one both are long.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkPace:
    """
    The rests of one loop; by default none.

    Batches take at most `share_max` of the time, and at least `interval_seconds` lie between the beginnings of two of
    them; but no rest is longer than `rest_seconds_max` or the interval, whichever is longer. After a batch of
    `items_plenty` or more there is a backlog, and no rest.
    """

    interval_seconds: float = 0.0
    share_max: float = 1.0
    rest_seconds_max: float = math.inf
    items_plenty: float = math.inf

    def is_backlog(self, items: int) -> bool:
        """Tell whether a batch of so many shows that more are waiting."""
        return items >= self.items_plenty

    def rest_seconds(self, *, items: int, worked_seconds: float) -> float:
        """Return how long to rest after a batch of `items` that took `worked_seconds`."""
        if self.is_backlog(items):
            return 0.0
        in_proportion = min(worked_seconds * (1.0 / self.share_max - 1.0), self.rest_seconds_max)
        return max(in_proportion, self.interval_seconds - worked_seconds, 0.0)
