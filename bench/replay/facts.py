"""What the rows mean: sales, cancellations, and what is left out, with its reason."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo

from bench.replay.rows import SourceRow
from libs.common.money import Money

CURRENCY = "GBP"

_SHOP_TIME_ZONE = ZoneInfo("Europe/London")
# Five digits and up to two letters are products; everything else is a fee, a voucher or a remark.
_GOODS_CODE = re.compile(r"\d{5}[A-Z]{0,2}")
# "Next Day Carriage" is a fee with a product's code.
_FEE_CODES = frozenset({"23444"})
_CANCELLATION_PREFIX = "C"
_ACCOUNTING_PREFIX = "A"


class Exclusion(StrEnum):
    """Why a row is not replayed."""

    ACCOUNTING = "accounting entry"
    NOT_GOODS = "postage, fee, voucher or manual entry"
    STOCK_ADJUSTMENT = "stock adjustment"
    NO_PRICE = "price zero or negative"
    UNEXPECTED_QUANTITY = "quantity does not fit the kind of invoice"


@dataclass(slots=True)
class Tally:
    """How much of something there is; `value` is exact, in pounds."""

    lines: int = 0
    units: int = 0
    value: Decimal = Decimal(0)

    def add(self, row: SourceRow) -> None:
        """Count one row."""
        self.lines += 1
        self.units += row.quantity
        self.value += row.value


@dataclass(frozen=True, slots=True)
class TradedLine:
    """Units of one SKU at one price: bought in a sale, given back in a cancellation."""

    sku: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """An order that a customer placed; equal lines stay separate lines."""

    invoice: str
    customer: str
    country: str
    placed_at: datetime
    lines: tuple[TradedLine, ...]

    @property
    def total_minor(self) -> int:
        """Return what the customer owes for it."""
        return sum(line.quantity * line.unit_price_minor for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """Goods of earlier sales that a customer does not keep; quantities are positive."""

    invoice: str
    customer: str
    cancelled_at: datetime
    lines: tuple[TradedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trading:
    """
    A data set interpreted: every row is in exactly one of the tallies.

    `descriptions` counts, for each SKU, the names under which it was sold.
    """

    sales: tuple[Sale, ...]
    cancellations: tuple[Cancellation, ...]
    descriptions: dict[str, Counter[str]]
    sold: Tally
    cancelled: Tally
    excluded: dict[Exclusion, Tally]

    @property
    def value(self) -> Decimal:
        """Return Σ quantity x unit price over all rows, kept and excluded."""
        left_out = sum((tally.value for tally in self.excluded.values()), Decimal(0))
        return self.sold.value + self.cancelled.value + left_out


def interpret(rows: Iterable[SourceRow]) -> Trading:
    """
    Turn rows into facts in the order of their times.

    An invoice with two timestamps was placed at the earlier one.
    """
    reading = _Reading()
    for row in rows:
        reading.take(row)
    return Trading(
        sales=tuple(sorted(map(_sale, reading.sales.values()), key=lambda sale: (sale.placed_at, sale.invoice))),
        cancellations=tuple(
            sorted(
                map(_cancellation, reading.cancellations.values()),
                key=lambda cancellation: (cancellation.cancelled_at, cancellation.invoice),
            )
        ),
        descriptions=dict(reading.descriptions),
        sold=reading.sold,
        cancelled=reading.cancelled,
        excluded=dict(reading.excluded),
    )


def exclusion(row: SourceRow) -> Exclusion | None:
    """Return why the row is left out, or None if it is a sale or a cancellation of goods."""
    if row.invoice.startswith(_ACCOUNTING_PREFIX):
        return Exclusion.ACCOUNTING
    if not _GOODS_CODE.fullmatch(_sku(row)) or row.stock_code in _FEE_CODES:
        return Exclusion.NOT_GOODS
    is_cancellation = row.invoice.startswith(_CANCELLATION_PREFIX)
    if not is_cancellation and row.quantity < 0 and row.unit_price == 0:
        return Exclusion.STOCK_ADJUSTMENT
    if row.unit_price <= 0:
        return Exclusion.NO_PRICE
    if row.quantity == 0 or is_cancellation != (row.quantity < 0):
        return Exclusion.UNEXPECTED_QUANTITY
    return None


@dataclass(slots=True)
class _Reading:
    sales: defaultdict[str, list[SourceRow]] = field(default_factory=lambda: defaultdict(list))
    cancellations: defaultdict[str, list[SourceRow]] = field(default_factory=lambda: defaultdict(list))
    descriptions: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    sold: Tally = field(default_factory=Tally)
    cancelled: Tally = field(default_factory=Tally)
    excluded: defaultdict[Exclusion, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def take(self, row: SourceRow) -> None:
        reason = exclusion(row)
        if reason is not None:
            self.excluded[reason].add(row)
        elif row.quantity > 0:
            self.sales[row.invoice].append(row)
            self.sold.add(row)
            if name := " ".join(row.description.split()):
                self.descriptions[_sku(row)][name] += 1
        else:
            self.cancellations[row.invoice].append(row)
            self.cancelled.add(row)


def _sale(rows: Sequence[SourceRow]) -> Sale:
    return Sale(
        invoice=rows[0].invoice,
        customer=_customer(rows[0]),
        country=rows[0].country,
        placed_at=min(_utc(row.invoiced_at) for row in rows),
        lines=tuple(map(_line, rows)),
    )


def _cancellation(rows: Sequence[SourceRow]) -> Cancellation:
    return Cancellation(
        invoice=rows[0].invoice,
        customer=_customer(rows[0]),
        cancelled_at=min(_utc(row.invoiced_at) for row in rows),
        lines=tuple(map(_line, rows)),
    )


def _line(row: SourceRow) -> TradedLine:
    return TradedLine(_sku(row), abs(row.quantity), _price_minor(row.unit_price))


def _sku(row: SourceRow) -> str:
    # The file writes some codes in both cases ("85123a", "85123A"); they name one product.
    return row.stock_code.upper()


def _customer(row: SourceRow) -> str:
    # A line without a customer is a guest's order: one customer per invoice, never shared.
    return f"customer-{row.customer}" if row.customer else f"guest-{row.invoice}"


@cache
def _price_minor(price: Decimal) -> int:
    return Money.of(price, CURRENCY).minor


@cache
def _utc(local: datetime) -> datetime:
    return local.replace(tzinfo=_SHOP_TIME_ZONE).astimezone(UTC)
