"""What a check of the whole system says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant: whether it holds, and the figures by which that was decided."""

    invariant: str
    holds: bool
    figures: str
