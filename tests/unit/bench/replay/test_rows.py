"""Reading and writing the data set's files."""

import hashlib
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.replay.rows import (
    SAMPLE_PATH,
    SourceRow,
    UnreadableSource,
    dataset_name,
    read_rows,
    trading_days,
    write_sample,
)
from tests.unit.bench.replay.rows_of import a_row

# Both figures were computed from the full file by other means than the code under test.
SAMPLE_ROWS = 73_904
SAMPLE_VALUE = Decimal("1414456.63")
SAMPLE_BYTES_MAX = 5 * 1024 * 1024

ANY_ROW = st.builds(
    a_row,
    invoice=st.from_regex(r"[AC]?[0-9]{6}", fullmatch=True),
    stock_code=st.sampled_from(["85123A", "POST", "gift_0001_20", "22423"]),
    description=st.text(st.characters(codec="utf-8", exclude_characters="\x00\r", exclude_categories=["Cs"])),
    quantity=st.integers(-80_995, 80_995),
    invoiced_at=st.datetimes().map(lambda moment: moment.isoformat(" ", "minutes")),
    unit_price=st.decimals(-1_000, 1_000, places=3).map(str),
    customer=st.from_regex(r"([0-9]{5})?", fullmatch=True),
)


class TestSample:
    def test_is_the_file_that_its_readme_describes(self) -> None:
        content = SAMPLE_PATH.read_bytes()
        described = (SAMPLE_PATH.parent / "README.md").read_text()

        assert len(content) <= SAMPLE_BYTES_MAX
        assert hashlib.sha256(content).hexdigest() in described
        assert f"{len(content):,} bytes" in described

    def test_holds_every_row_of_its_days(self, sample_rows: list[SourceRow]) -> None:
        assert len(sample_rows) == SAMPLE_ROWS
        assert sum(row.value for row in sample_rows) == SAMPLE_VALUE
        assert sample_rows[0].invoiced_at.date() == date(2011, 5, 1)
        assert sample_rows[-1].invoiced_at.date() == date(2011, 6, 30)

    def test_keeps_prices_exact(self, sample_rows: list[SourceRow]) -> None:
        assert sample_rows[0].unit_price == Decimal("1.65")


class TestWriteSample:
    # Each example pays for the memory of the strongest compression.
    @settings(max_examples=20)
    @given(rows=st.lists(ANY_ROW, max_size=20))
    def test_is_undone_by_reading(self, tmp_path_factory: pytest.TempPathFactory, rows: list[SourceRow]) -> None:
        path = tmp_path_factory.mktemp("sample") / "sample.csv.xz"

        write_sample(rows, path)

        assert list(read_rows(path)) == rows

    def test_gives_the_same_bytes_for_the_same_rows(self, tmp_path: Path) -> None:
        write_sample([a_row()], tmp_path / "one.csv.xz")
        write_sample([a_row()], tmp_path / "two.csv.xz")

        one, two = ((tmp_path / name).read_bytes() for name in ("one.csv.xz", "two.csv.xz"))
        assert one == two


class TestReadRows:
    def test_says_what_is_wrong_with_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableSource, match="no such file"):
            read_rows(tmp_path / "absent.parquet")

    def test_refuses_other_kinds_of_files(self, tmp_path: Path) -> None:
        path = tmp_path / "orders.xlsx"
        path.touch()

        with pytest.raises(UnreadableSource, match=r"expected a \.csv\.xz"):
            read_rows(path)

    def test_refuses_a_table_of_other_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "orders.csv"
        path.write_text("id,amount\n1,2\n")

        with pytest.raises(UnreadableSource, match="the first line must be"):
            list(read_rows(path))


class TestDatasetName:
    def test_changes_with_the_content_and_not_with_the_place(self, tmp_path: Path) -> None:
        first, copy, other = (tmp_path / name for name in ("first.csv", "copy.csv", "other.csv"))
        first.write_text("same")
        copy.write_text("same")
        other.write_text("different")

        assert dataset_name(first) == dataset_name(copy)
        assert dataset_name(first) != dataset_name(other)


class TestTradingDays:
    def test_keeps_both_ends(self) -> None:
        rows = [a_row(invoiced_at=f"2011-05-0{day} 23:59") for day in (1, 2, 3, 4)]

        kept = trading_days(rows, first=date(2011, 5, 2), last=date(2011, 5, 3))

        assert kept == rows[1:3]
