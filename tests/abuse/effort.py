"""How much is tried."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Whether everything is tried, as `make abuse` does, or what there is time for in a run of all tests."""

    is_thorough: bool
