"""How much is measured: as much as the figures ask for, or a little to see that the bench works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of a run; those of a repetition where not said otherwise."""

    repetitions: int = 3
    stock_skus: int = 5_000
    stock_events: int = 40_000
    reservation_skus: int = 1_000
    reservations: int = 15_000
    hot_reservations: int = 15_000
    single_reservations: int = 2_000


SMALL = Scale(
    repetitions=1,
    stock_skus=200,
    stock_events=2_000,
    reservation_skus=100,
    reservations=1_000,
    hot_reservations=1_000,
    single_reservations=200,
)
