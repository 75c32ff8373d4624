"""The rows of the data set as they are written: the bundled sample, or the full file."""

import csv
import hashlib
import lzma
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
)
SAMPLE_PATH = Path(__file__).parent / "data" / "online_retail_sample.csv.xz"

_PARQUET_BATCH_ROWS = 65_536
_DIGEST_CHARACTERS = 8


class UnreadableSource(Exception):
    """The given file is not a data set that the replay can read; the message says what to do."""


class SourceRow(NamedTuple):
    """One line of an invoice, nothing interpreted but the types; `invoiced_at` is local, naive."""

    invoice: str
    stock_code: str
    description: str
    quantity: int
    invoiced_at: datetime
    unit_price: Decimal
    customer: str
    country: str

    @property
    def value(self) -> Decimal:
        """Return the money that the line moves, exactly."""
        return self.quantity * self.unit_price


def read_rows(path: Path) -> Iterator[SourceRow]:
    """
    Read the sample (`.csv.xz`), a plain `.csv`, or the full file (`.parquet`), in file order.

    :raises UnreadableSource: if the file is missing or of another kind, or a library is missing.
    """
    if not path.is_file():
        raise UnreadableSource(f"{path}: no such file")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.name.endswith((".csv.xz", ".csv")):
        return _read_csv(path)
    raise UnreadableSource(f"{path}: expected a .csv.xz, .csv or .parquet file")


def dataset_name(path: Path) -> str:
    """
    Return a name that changes with the file's content.

    Idempotency keys carry it: the same file replayed twice repeats itself, another file is new.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"online-retail-{digest[:_DIGEST_CHARACTERS]}"


def trading_days(rows: Iterable[SourceRow], *, first: date, last: date) -> list[SourceRow]:
    """Return the rows of whole days, both ends included."""
    return [row for row in rows if first <= row.invoiced_at.date() <= last]


def write_sample(rows: Sequence[SourceRow], path: Path) -> None:
    """Write rows so that `read_rows` returns them unchanged; the same rows give the same bytes."""
    with lzma.open(path, "wt", preset=9 | lzma.PRESET_EXTREME, encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            invoiced_at = row.invoiced_at.isoformat(" ", "minutes")
            writer.writerow((*row[:4], invoiced_at, *row[5:]))


def _read_csv(path: Path) -> Iterator[SourceRow]:
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        if tuple(next(reader, ())) != COLUMNS:
            raise UnreadableSource(f"{path}: the first line must be {','.join(COLUMNS)}")
        for invoice, code, description, quantity, moment, price, customer, country in reader:
            yield SourceRow(
                invoice,
                code,
                description,
                int(quantity),
                datetime.fromisoformat(moment),
                Decimal(price),
                customer,
                country,
            )


def _read_parquet(path: Path) -> Iterator[SourceRow]:
    try:
        from pyarrow import parquet  # noqa: PLC0415 - only the full file needs it
    except ImportError as error:
        message = "reading a .parquet file needs pyarrow: `make replay DATA=…` installs it, or `pip install pyarrow`"
        raise UnreadableSource(message) from error
    for batch in parquet.ParquetFile(path).iter_batches(_PARQUET_BATCH_ROWS, columns=list(COLUMNS)):
        columns = (batch.column(name).to_pylist() for name in COLUMNS)
        for invoice, code, description, quantity, moment, price, customer, country in zip(*columns, strict=True):
            yield SourceRow(
                invoice,
                code,
                description or "",
                quantity,
                moment,
                # The shortest decimal that reads back as this double is what the publisher wrote.
                Decimal(repr(price)),
                "" if customer is None else str(customer),
                country,
            )
