"""Every figure by its name, in the order in which they are measured."""

from collections.abc import Awaitable, Callable, Mapping

from bench.replay.progress import Steps
from bench.speed import availability, order_flow, order_import, order_placing, reservations, stock_intake
from bench.speed.results import Row
from bench.speed.rig import Rig
from bench.speed.scale import Scale

Measuring = Callable[[Rig, Scale, Steps], Awaitable[list[Row]]]

FIGURES: Mapping[str, Measuring] = {
    "stock-events": stock_intake.from_the_bus,
    "stock-events-http": stock_intake.over_http,
    "reservations": reservations.over_many_skus,
    "hot-sku": reservations.of_one_hot_sku,
    "availability": availability.reads,
    "visibility": availability.visibility,
    "orders": order_placing.placing,
    "orders-import": order_import.importing,
    "order-flow": order_flow.placed_to_confirmed,
    "order-life": order_flow.placed_to_settled,
}


class UnknownFigure(ValueError):
    """There is no figure of this name."""


def chosen(names: str) -> dict[str, Measuring]:
    """
    Return the figures that are named, separated by commas or spaces; all of them if none is.

    :raises UnknownFigure: if there is none of a name.
    """
    wanted = names.replace(",", " ").split()
    unknown = [name for name in wanted if name not in FIGURES]
    if unknown:
        raise UnknownFigure(f"no figure {', '.join(unknown)}: there are {', '.join(FIGURES)}")
    return {name: measuring for name, measuring in FIGURES.items() if not wanted or name in wanted}
