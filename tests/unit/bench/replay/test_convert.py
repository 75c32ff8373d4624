"""Cutting a sample out of a larger file."""

from pathlib import Path

import pytest

from bench.replay.convert import main
from bench.replay.rows import read_rows, write_sample
from tests.unit.bench.replay.rows_of import a_row


class TestMain:
    def test_cuts_whole_days_and_says_what_is_in_them(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        source, out = tmp_path / "full.csv.xz", tmp_path / "sample.csv.xz"
        kept = [
            a_row(invoiced_at="2011-05-01 00:00"),
            a_row(invoiced_at="2011-06-30 23:59", stock_code="POST", unit_price="18.00"),
        ]
        write_sample([a_row(invoiced_at="2011-04-30 23:59"), *kept, a_row(invoiced_at="2011-07-01 00:00")], source)

        assert main([str(source), str(out)]) == 0

        assert list(read_rows(out)) == kept
        said = capsys.readouterr().out
        assert "2 rows worth 41.10 GBP; 1 orders of 1 lines, 0 cancellations of 0 lines" in said
        assert "left out, postage, fee, voucher or manual entry: 1 lines worth 36.00 GBP" in said

    def test_says_that_there_is_no_source(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([str(tmp_path / "absent.parquet")]) == 2
        assert "no such file" in capsys.readouterr().err
