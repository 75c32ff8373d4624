"""
What a data set says, computed from its rows alone.

Nothing of the services is used here, nor the replay's own reading of the file: two ways to the same figures are worth
something only as long as they are two. The rules are those of `bench/replay/data/README.md`.
"""

import csv
import lzma
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

_PRODUCT = re.compile(r"[0-9]{5}[A-Z]{0,2}")
_CARRIAGE = "23444"
_PENNY = Decimal("0.01")


@dataclass(slots=True)
class Bought:
    """Units on one line of an invoice; `taken_back` of them were cancelled later."""

    sku: str
    units: int
    price_minor: int
    taken_back: int = 0


@dataclass(slots=True)
class Invoice:
    """A sale as the file has it."""

    number: str
    customer: str
    at: datetime
    lines: list[Bought] = field(default_factory=list)
    # Whether one cancellation took back all of it.
    is_called_off: bool = False

    @property
    def total_minor(self) -> int:
        """What it comes to."""
        return sum(line.units * line.price_minor for line in self.lines)

    @property
    def taken_back_minor(self) -> int:
        """What of that was taken back, at the prices it was bought at."""
        return sum(line.taken_back * line.price_minor for line in self.lines)


@dataclass(slots=True)
class Books:
    """
    All sales, and what the file's own sums consist of, in minor units.

    Cancellations name no sale: what fits none (`unmatched_minor`) and what was cancelled at another price than it was
    bought at (`price_difference_minor`, above 0 if it was cancelled at more) is no matter of any sale.
    """

    invoices: dict[str, Invoice] = field(default_factory=dict)
    sold_minor: int = 0
    cancelled_minor: int = 0
    unmatched_minor: int = 0
    price_difference_minor: int = 0

    @property
    def net_minor(self) -> int:
        """The file's revenue of products, net of cancellations."""
        return self.sold_minor - self.cancelled_minor

    @property
    def net_of_sales_minor(self) -> int:
        """What remains of the sales once what was taken back of them is gone."""
        return sum(one.total_minor - one.taken_back_minor for one in self.invoices.values())

    @property
    def is_consistent(self) -> bool:
        """Whether every penny of the file is in exactly one of the sums."""
        return self.net_of_sales_minor == self.net_minor + self.unmatched_minor + self.price_difference_minor


def read_books(
    path: Path, *, first_day: date | None = None, last_day: date | None = None, orders_max: int | None = None
) -> Books:
    """Add up a file, or the days of it from `first_day` to `last_day`, or its first `orders_max` sales."""
    books = Books()
    cancellations: dict[str, Invoice] = {}
    for row in _rows(path):
        number, sku, units, at, price, customer = _fields(row)
        if (first_day and at.date() < first_day) or (last_day and at.date() > last_day):
            continue
        is_product = _PRODUCT.fullmatch(sku) and sku != _CARRIAGE and not number.startswith("A")
        is_cancellation = number.startswith("C")
        if not is_product or price <= 0 or units == 0 or is_cancellation != (units < 0):
            continue
        price_minor = int((price.quantize(_PENNY, ROUND_HALF_EVEN) / _PENNY).to_integral_exact())
        into = cancellations if is_cancellation else books.invoices
        # Without a customer nobody can be known again: not even by another invoice of the same minute.
        invoice = into.setdefault(number, Invoice(number, customer or f"guest of {number}", at))
        invoice.at = min(invoice.at, at)
        invoice.lines.append(Bought(sku, abs(units), price_minor))
    _cut(books, cancellations, orders_max)
    books.sold_minor = sum(one.total_minor for one in books.invoices.values())
    books.cancelled_minor = sum(one.total_minor for one in cancellations.values())
    _take_back(books, cancellations.values())
    return books


def _cut(books: Books, cancellations: dict[str, Invoice], orders_max: int | None) -> None:
    if orders_max is None or orders_max >= len(books.invoices):
        return
    kept = sorted(books.invoices.values(), key=_moment)[:orders_max]
    books.invoices = {one.number: one for one in kept}
    for number in [one.number for one in cancellations.values() if one.at > kept[-1].at]:
        del cancellations[number]


def _take_back(books: Books, cancellations: Iterable[Invoice]) -> None:
    """Take every cancelled unit from the customer's latest earlier purchase of it that still has one."""
    bought: defaultdict[tuple[str, str], list[Invoice]] = defaultdict(list)
    for invoice in sorted(books.invoices.values(), key=_moment):
        for sku in dict.fromkeys(line.sku for line in invoice.lines):
            bought[invoice.customer, sku].append(invoice)
    for cancellation in sorted(cancellations, key=_moment):
        units_of: defaultdict[str, int] = defaultdict(int)
        for line in cancellation.lines:
            wanted = line.units
            for invoice in reversed(bought[cancellation.customer, line.sku]):
                if wanted and invoice.at <= cancellation.at:
                    taken, value_minor = _take(invoice, line.sku, wanted)
                    wanted -= taken
                    units_of[invoice.number] += taken
                    books.price_difference_minor += taken * line.price_minor - value_minor
            books.unmatched_minor += wanted * line.price_minor
        for number, units in units_of.items():
            invoice = books.invoices[number]
            invoice.is_called_off |= units == sum(line.units for line in invoice.lines)


def _take(invoice: Invoice, sku: str, wanted: int) -> tuple[int, int]:
    """Take units back, from the last lines of the SKU first; return how many, and what they were bought for."""
    taken = value_minor = 0
    for line in reversed(invoice.lines):
        if line.sku == sku:
            units = min(wanted - taken, line.units - line.taken_back)
            line.taken_back += units
            taken += units
            value_minor += units * line.price_minor
    return taken, value_minor


def _moment(invoice: Invoice) -> tuple[datetime, str]:
    return invoice.at, invoice.number


def _fields(row: Mapping[str, Any]) -> tuple[str, str, int, datetime, Decimal, str]:
    at = row["InvoiceDate"]
    customer = row["CustomerID"]
    return (
        row["InvoiceNo"],
        row["StockCode"].upper(),
        int(row["Quantity"]),
        at if isinstance(at, datetime) else datetime.fromisoformat(at),
        # The shortest decimal that reads back as a double is what the publisher wrote.
        Decimal(str(row["UnitPrice"])),
        "" if customer is None else str(customer),
    )


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        from pyarrow import parquet  # noqa: PLC0415 - only the full file needs it

        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)
