from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers, lists

from libs.common.errors import Invalid
from libs.common.http.ndjson import BULK_ERRORS_MAX, BulkTally, RowError, read_csv, read_ndjson


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def ndjson_rows(
    content: bytes, *, size: int = 7, lines_max: int = 100, line_bytes_max: int = 50
) -> list[tuple[int, bytes | RowError]]:
    rows = read_ndjson(pieces(content, size), lines_max=lines_max, line_bytes_max=line_bytes_max)
    return [row async for row in rows]


async def csv_rows(
    content: str | bytes, *, size: int = 7, lines_max: int = 100, line_bytes_max: int = 50
) -> list[tuple[int, dict[str, str] | RowError]]:
    encoded = content.encode() if isinstance(content, str) else content
    rows = read_csv(
        pieces(encoded, size), columns=["sku", "quantity"], lines_max=lines_max, line_bytes_max=line_bytes_max
    )
    return [row async for row in rows]


def code(row: tuple[int, bytes | dict[str, str] | RowError]) -> tuple[int, str]:
    number, error = row
    assert isinstance(error, RowError)
    assert error.row == number
    return number, error.code


class TestNdjson:
    @pytest.mark.parametrize("size", [1, 2, 7, 1000])
    async def test_yields_lines_however_they_arrive(self, size: int) -> None:
        rows = await ndjson_rows(b'{"a":1}\r\n\n{"b":2}\n{"c":3}', size=size)

        assert rows == [(1, b'{"a":1}'), (3, b'{"b":2}'), (4, b'{"c":3}')]

    async def test_passes_over_a_byte_order_mark(self) -> None:
        assert await ndjson_rows(b"\xef\xbb\xbf{}\n{}") == [(1, b"{}"), (2, b"{}")]

    async def test_of_nothing_is_nothing(self) -> None:
        assert await ndjson_rows(b"") == []

    async def test_rejects_a_long_line_and_goes_on_after_it(self) -> None:
        rows = await ndjson_rows(b"1\n" + b"x" * 500 + b"\n3\n" + b"y" * 51)

        assert rows[0] == (1, b"1")
        assert code(rows[1]) == (2, "row-too-long")
        assert rows[2] == (3, b"3")
        assert code(rows[3]) == (4, "row-too-long")

    async def test_accepts_a_line_of_just_the_limit(self) -> None:
        assert await ndjson_rows(b"x" * 50 + b"\n") == [(1, b"x" * 50)]

    async def test_reads_no_further_than_the_last_line_allowed(self) -> None:
        rows = await ndjson_rows(b"1\n2\n3\n4\n", lines_max=2)

        assert [row[0] for row in rows] == [1, 2, 3]
        assert code(rows[2]) == (3, "too-many-rows")

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            (b'{"sku": "\xff"}', "invalid-encoding"),
            (rb'{"sku": "\u0000"}', "unstorable-text"),
            (rb'{"sku": "\udc00"}', "unstorable-text"),
            (b'{"sku": "A", "sku": "B"}', "repeated-key"),
        ],
    )
    async def test_rejects_text_that_cannot_be_stored(self, line: bytes, expected: str) -> None:
        assert code((await ndjson_rows(line))[0]) == (1, expected)

    async def test_rejects_raw_nul_and_goes_on(self) -> None:
        rows = await ndjson_rows(b'{"sku": "\x00"}\n{}')

        assert code(rows[0]) == (1, "malformed-json")
        assert rows[1] == (2, b"{}")

    @given(lists(binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=10), integers(1, 30))
    async def test_numbers_rows_as_lines_are_numbered(self, lines: list[bytes], size: int) -> None:
        rows = await ndjson_rows(b"\n".join(lines), size=size)

        assert all(lines[number - 1].strip() for number, _ in rows if number > 1)
        assert [number for number, _ in rows] == sorted({number for number, _ in rows})


class TestCsv:
    @pytest.mark.parametrize("size", [1, 3, 1000])
    async def test_yields_fields_by_the_header(self, size: int) -> None:
        rows = await csv_rows("quantity,sku\n1,LAMP\n\n2,MIRROR\n", size=size)

        assert rows == [(1, {"quantity": "1", "sku": "LAMP"}), (3, {"quantity": "2", "sku": "MIRROR"})]

    async def test_reads_quoted_fields_with_line_breaks(self) -> None:
        rows = await csv_rows('sku,quantity\n"A ""big"",\nLAMP",1\nMIRROR,2\n')

        assert rows == [(1, {"sku": 'A "big",\nLAMP', "quantity": "1"}), (2, {"sku": "MIRROR", "quantity": "2"})]

    async def test_passes_over_a_byte_order_mark(self) -> None:
        assert await csv_rows(b"\xef\xbb\xbfsku,quantity\nLAMP,1\n") == [(1, {"sku": "LAMP", "quantity": "1"})]

    @pytest.mark.parametrize(
        "header", ["sku\n", "", "sku,quantity,sku\n", '"sku,quantity\n', "x" * 100 + "\n"], ids=str.__len__
    )
    async def test_refuses_a_file_without_its_columns(self, header: str) -> None:
        with pytest.raises(Invalid) as refusal:
            await csv_rows(header)

        assert refusal.value.field == "header"

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (b"LAMP\n", "malformed-row"),
            (b"LAMP,1,2\n", "malformed-row"),
            (b'LAMP,"1"2\n', "malformed-row"),
            (b"LAMP,\xff\n", "malformed-row"),
            (b"LA\x00MP,1\n", "unstorable-text"),
            (b"L" * 60 + b",1\n", "row-too-long"),
        ],
    )
    async def test_rejects_a_bad_row_and_goes_on_after_it(self, row: bytes, expected: str) -> None:
        rows = await csv_rows(b"sku,quantity\n" + row + b"MIRROR,2\n")

        assert code(rows[0]) == (1, expected)
        assert rows[1] == (2, {"sku": "MIRROR", "quantity": "2"})

    async def test_gives_up_on_a_quote_that_never_closes(self) -> None:
        rows = await csv_rows('sku,quantity\n"LAMP,1\n' + "MIRROR,2\n" * 10)

        assert "row-too-long" in {row[1].code for row in rows if isinstance(row[1], RowError)}

    async def test_reads_no_further_than_the_last_row_allowed(self) -> None:
        rows = await csv_rows("sku,quantity\nA,1\nB,1\nC,1\nD,1\n", lines_max=2)

        assert [row[0] for row in rows] == [1, 2, 3]
        assert code(rows[2]) == (3, "too-many-rows")


class TestBulkTally:
    def test_counts_all_and_keeps_the_first_errors(self) -> None:
        tally = BulkTally()
        tally.accept(5)
        for row in range(1, BULK_ERRORS_MAX + 50):
            tally.reject(RowError(row, "unknown-sku", "There is no such SKU.", "sku"))

        result = tally.result()

        assert result.accepted == 5
        assert result.rejected == BULK_ERRORS_MAX + 49
        assert [error.row for error in result.errors] == list(range(1, BULK_ERRORS_MAX + 1))

    def test_keeps_the_first_rows_in_whatever_order_they_are_refused(self) -> None:
        tally = BulkTally()
        for row in [*range(5_000, 5_000 + BULK_ERRORS_MAX), *range(30, 0, -1)]:
            tally.reject(RowError(row, "unknown-sku", "There is no such SKU."))

        rows = [error.row for error in tally.result().errors]

        assert rows == [*range(1, 31), *range(5_000, 5_000 + BULK_ERRORS_MAX - 30)]
