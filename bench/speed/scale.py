"""How much is measured: as much as the figures ask for, or a little to see that the bench works."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The sizes of a run; those of a repetition where not said otherwise."""

    repetitions: int = 3
    # No further repetition is begun after this, so that a slow machine is done within 20 minutes too.
    figure_seconds_max: float = 90.0
    stock_skus: int = 5_000
    stock_events: int = 40_000
    reservation_skus: int = 1_000
    reservations: int = 45_000
    hot_reservations: int = 120_000
    single_reservations: int = 2_000
    reads: int = 20_000
    open_load_seconds: float = 10.0
    orders: int = 6_000
    imported_orders: int = 10_000
    # Orders a second that are tried first, and how long each rate is kept up.
    flow_rate_first: float = 60.0
    flow_seconds: float = 8.0
    flow_rates_max: int = 12
    # Orders that the whole flow must have seen before memory is read at its end.
    flow_orders: int = 0


SMALL = Scale(
    repetitions=1,
    stock_skus=100,
    stock_events=12_000,
    reservation_skus=100,
    reservations=6_000,
    hot_reservations=6_000,
    single_reservations=100,
    reads=300,
    open_load_seconds=0.2,
    orders=300,
    imported_orders=1_200,
    flow_rate_first=5,
    flow_seconds=2,
    flow_rates_max=1,
)
