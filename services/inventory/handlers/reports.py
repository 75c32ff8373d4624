"""What is asked for of stock and its cost: figures of a period, and the classes of SKUs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from services.inventory.domain.classes import AbcClass, XyzClass, abc_classes, variation_of, xyz_class
from services.inventory.domain.demand import DemandByPair
from services.inventory.domain.stock_figures import Figures

CLASS_WEEKS: Final = 52
_CLASS_PAGE_SKUS: Final = 500


class Grouping(StrEnum):
    """What a row of a report stands for."""

    LEVEL = "level"
    WAREHOUSE = "warehouse"
    TOTAL = "total"


class Place(NamedTuple):
    """Behind which row a page begins."""

    sku: str = ""
    warehouse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The days of a report, both included."""

    since: date
    until: date

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.until - self.since).days + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which stock a report is about; all of it where a filter is None. `idle_since`: nothing was sold from then on."""

    sku: str | None = None
    warehouse: str | None = None
    has_units: bool = False
    idle_since: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkuClass:
    """The classes of a SKU, by its consumption in the weeks before `classed_at`, in the currency of most of it."""

    sku: str
    abc: AbcClass
    xyz: XyzClass
    currency: str
    consumption_minor: Decimal
    consumption_units: int
    variation: float | None
    classed_at: datetime


class Consumption(NamedTuple):
    """What was consumed of a SKU: its cost in the currency of most of it (none: ""), and units."""

    currency: str
    minor: Decimal
    units: int


class Reports(Protocol):
    """Reads figures, in one transaction with a limit on its time."""

    async def figures(
        self, period: Period, filters: Filters, *, by: Grouping, after: Place, limit: int | None
    ) -> list[Figures]:
        """Return figures in the order of SKU and warehouse, those behind `after`."""
        ...

    async def classes(
        self, *, abc: AbcClass | None, xyz: XyzClass | None, sku: str | None, after_sku: str, limit: int
    ) -> list[SkuClass]:
        """Return the classes of SKUs in the order of their codes."""
        ...


class ClassBooks(Protocol):
    """What classes are made of, in one transaction."""

    async def skus(self, *, after_sku: str, limit: int) -> list[str]:
        """Return SKUs in the order of their codes."""
        ...

    async def consumption(self, skus: Collection[str], period: Period) -> Mapping[str, Consumption]:
        """Return what was consumed of SKUs."""
        ...

    async def weekly_demand(self, skus: Collection[str], *, until: datetime, weeks: int) -> DemandByPair:
        """Return the demand for SKUs week by week."""
        ...

    async def save_classes(self, classes: Sequence[SkuClass]) -> None:
        """Replace all classes."""
        ...


async def class_skus(books: ClassBooks, period: Period, *, now: datetime) -> list[SkuClass]:
    """
    Class every SKU anew by what the period consumed of it.

    ABC compares SKUs of the same currency only: amounts of different ones have no common scale.
    """
    consumed: dict[str, Consumption] = {}
    steadiness: dict[str, tuple[XyzClass, float | None]] = {}
    after = ""
    while skus := await books.skus(after_sku=after, limit=_CLASS_PAGE_SKUS):
        after = skus[-1]
        found = await books.consumption(skus, period)
        consumed.update((sku, found.get(sku, Consumption("", Decimal(0), 0))) for sku in skus)
        weeks = _weeks_of(await books.weekly_demand(skus, until=now, weeks=CLASS_WEEKS))
        steadiness.update((sku, (xyz_class(weeks.get(sku, ())), variation_of(weeks.get(sku, ())))) for sku in skus)
    by_currency: dict[str, dict[str, float]] = {}
    for sku, one in consumed.items():
        by_currency.setdefault(one.currency, {})[sku] = float(one.minor)
    abc = {sku: one for values in by_currency.values() for sku, one in abc_classes(values).items()}
    classes = [
        SkuClass(
            sku=sku,
            abc=abc[sku],
            xyz=steadiness[sku][0],
            currency=one.currency,
            consumption_minor=one.minor,
            consumption_units=one.units,
            variation=steadiness[sku][1],
            classed_at=now,
        )
        for sku, one in consumed.items()
    ]
    await books.save_classes(classes)
    return classes


def _weeks_of(demand: DemandByPair) -> dict[str, list[int]]:
    """Add up the warehouses of each SKU, in the weeks since it is known."""
    weeks: dict[str, list[int]] = {}
    known: dict[str, int] = {}
    for pair, one in demand.items():
        sums = weeks.setdefault(pair.sku, [0] * len(one.units))
        for week, units in enumerate(one.units):
            sums[week] += units
        known[pair.sku] = max(known.get(pair.sku, 1), min(len(one.units), round(one.observed_days / 7 + 0.5)))
    return {sku: sums[-known[sku] :] for sku, sums in weeks.items()}
