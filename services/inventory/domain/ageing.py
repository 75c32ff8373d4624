"""How long stock has been there, and how long it still keeps: units and value by age."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from services.inventory.domain.stock_figures import whole_minor

# The last day of each bucket, in days since receipt, and in days to expiry.
_SINCE_RECEIPT: Final = ((30, "0-30"), (60, "31-60"), (90, "61-90"), (180, "91-180"), (365, "181-365"))
_TO_EXPIRY: Final = ((-1, "expired"), (7, "0-7"), (30, "8-30"), (90, "31-90"), (180, "91-180"))
_OLDER: Final = ">365"
_LATER: Final = ">180"
_UNKNOWN: Final = "unknown"
_NEVER: Final = "never"


class AgeingBy(StrEnum):
    """What stock is grouped by: days since it was received, or days until it expires."""

    RECEIPT = "receipt"
    EXPIRY = "expiry"


class Layer(NamedTuple):
    """
    Units of a SKU that came into a warehouse together, and are still there.

    Of SKUs that track lots it is a lot. Of others, what is on hand is taken to be what came last (first in, first
    out), and what was only found, by a count, came at an unknown time. `unit_cost_minor` is None where nobody told.
    """

    sku: str
    warehouse: str
    units: int
    received_at: datetime | None = None
    lot: str | None = None
    expires_on: date | None = None
    unit_cost_minor: Decimal | None = None
    currency: str | None = None

    @property
    def value_minor(self) -> Decimal | None:
        """What the units cost."""
        return None if self.unit_cost_minor is None else self.unit_cost_minor * self.units

    def bucket(self, by: AgeingBy, today: date) -> str:
        """Return the group of ages that the units belong to."""
        if by is AgeingBy.EXPIRY:
            if self.expires_on is None:
                return _NEVER
            days, buckets, beyond = (self.expires_on - today).days, _TO_EXPIRY, _LATER
        else:
            if self.received_at is None:
                return _UNKNOWN
            days, buckets, beyond = (today - self.received_at.date()).days, _SINCE_RECEIPT, _OLDER
        return next((name for last, name in buckets if days <= last), beyond)


def buckets_of(by: AgeingBy) -> tuple[str, ...]:
    """Return the groups of ages in order."""
    if by is AgeingBy.EXPIRY:
        return (*(name for _, name in _TO_EXPIRY), _LATER, _NEVER)
    return (*(name for _, name in _SINCE_RECEIPT), _OLDER, _UNKNOWN)


class AgeingRow(NamedTuple):
    """Units of one age in one warehouse, of which the cost of `uncosted_units` is not known; values by currency."""

    warehouse: str
    bucket: str
    units: int
    uncosted_units: int
    values_minor: Mapping[str, int]


@dataclass(slots=True)
class Ageing:
    """A report in the making: layers in, a row for each warehouse and age out."""

    by: AgeingBy
    today: date
    _units: Counter[tuple[str, str]] = field(default_factory=Counter)
    _uncosted_units: Counter[tuple[str, str]] = field(default_factory=Counter)
    _values: dict[tuple[str, str], dict[str, Decimal]] = field(default_factory=dict)

    def add(self, layers: Iterable[Layer]) -> None:
        """Take layers in."""
        for layer in layers:
            key = (layer.warehouse, layer.bucket(self.by, self.today))
            self._units[key] += layer.units
            if layer.value_minor is None or layer.currency is None:
                self._uncosted_units[key] += layer.units
            else:
                values = self._values.setdefault(key, {})
                values[layer.currency] = values.get(layer.currency, Decimal(0)) + layer.value_minor

    def rows(self) -> list[AgeingRow]:
        """Return the report by warehouse, from the youngest stock, or the first to expire."""
        order = {bucket: place for place, bucket in enumerate(buckets_of(self.by))}
        return [
            AgeingRow(
                *key,
                units=self._units[key],
                uncosted_units=self._uncosted_units[key],
                values_minor={
                    currency: whole_minor(value) for currency, value in sorted(self._values.get(key, {}).items())
                },
            )
            for key in sorted(self._units, key=lambda key: (key[0], order[key[1]]))
        ]
