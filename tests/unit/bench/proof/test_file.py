"""What the data set says, computed twice."""

import csv
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from bench.proof.file import Books, read_books
from bench.replay.facts import Trading, interpret
from bench.replay.matching import match_cancellations
from bench.replay.rows import COLUMNS, SAMPLE_PATH, read_rows


@pytest.fixture(scope="module")
def sample() -> Books:
    return read_books(SAMPLE_PATH)


@pytest.fixture(scope="module")
def replayed() -> Trading:
    return interpret(read_rows(SAMPLE_PATH))


def books_of(folder: Path, *rows: Sequence[str], **limits: int) -> Books:
    """Read rows of (invoice, SKU, units, minute, price, customer)."""
    path = folder / "some.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for invoice, sku, units, minute, price, customer in rows:
            writer.writerow((invoice, sku, "A THING", units, f"2011-05-03 {minute}", price, customer, "United Kingdom"))
    return read_books(path, **limits)  # type: ignore[arg-type]


class TestSample:
    def test_is_read_alike_by_both_ways(self, sample: Books, replayed: Trading) -> None:
        assert len(sample.invoices) == len(replayed.sales)
        assert Decimal(sample.sold_minor) / 100 == replayed.sold.value
        assert -Decimal(sample.cancelled_minor) / 100 == replayed.cancelled.value
        assert {sale.invoice: sale.total_minor for sale in replayed.sales} == {
            one.number: one.total_minor for one in sample.invoices.values()
        }

    def test_is_taken_back_alike_by_both_ways(self, sample: Books, replayed: Trading) -> None:
        back: dict[str, int] = {}
        for part in match_cancellations(replayed.sales, replayed.cancellations).goods_back:
            back[part.sale] = back.get(part.sale, 0) + sum(part.quantities.values())

        taken = {one.number: sum(line.taken_back for line in one.lines) for one in sample.invoices.values()}
        assert {number: units for number, units in taken.items() if units} == back

    def test_has_every_penny_in_one_of_its_sums(self, sample: Books) -> None:
        assert sample.is_consistent
        assert sample.net_minor == 145_703_156


class TestBooks:
    def test_take_goods_back_at_the_price_of_the_latest_line(self, tmp_path: Path) -> None:
        books = books_of(
            tmp_path,
            ("1", "22001", "3", "09:00", "1.00", "7"),
            ("1", "22001", "1", "09:00", "2.00", "7"),
            ("C2", "22001", "-2", "10:00", "1.50", "7"),
        )

        assert books.invoices["1"].taken_back_minor == 300
        assert (books.price_difference_minor, books.unmatched_minor, books.net_minor) == (0, 0, 200)

    def test_name_what_fits_no_sale_and_what_was_cancelled_at_another_price(self, tmp_path: Path) -> None:
        books = books_of(
            tmp_path,
            ("1", "22001", "1", "09:00", "1.00", "7"),
            ("C2", "22001", "-3", "10:00", "1.20", "7"),
            ("C3", "22001", "-1", "10:00", "1.00", ""),
        )

        assert (books.price_difference_minor, books.unmatched_minor) == (20, 340)
        assert books.is_consistent

    def test_leave_out_what_is_no_product(self, tmp_path: Path) -> None:
        books = books_of(
            tmp_path,
            ("1", "POST", "1", "09:00", "18.00", "7"),
            ("1", "23444", "1", "09:00", "15.00", "7"),
            ("A2", "22001", "1", "09:00", "11062.06", ""),
            ("3", "22001", "-5", "09:00", "0.0", ""),
            ("4", "22001a", "1", "09:00", "0.125", "7"),
        )

        assert {number: one.total_minor for number, one in books.invoices.items()} == {"4": 12}

    def test_are_of_a_slice(self, tmp_path: Path) -> None:
        rows = (
            ("1", "22001", "1", "09:00", "1.00", "7"),
            ("2", "22001", "1", "10:00", "1.00", "7"),
            ("C3", "22001", "-1", "11:00", "1.00", "7"),
        )

        assert books_of(tmp_path, *rows, orders_max=1).net_minor == 100
        assert read_books(tmp_path / "some.csv", first_day=date(2011, 5, 4)).net_minor == 0
