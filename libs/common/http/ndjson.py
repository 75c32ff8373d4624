"""Bulk uploads, NDJSON or CSV: read row by row in constant memory, answered row by row."""

import csv
import heapq
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from libs.common.errors import DomainError, Invalid
from libs.common.http.problems import UnsupportedMediaType
from libs.common.http.unsafe_text import RepeatedKey, UnstorableText, check_json_text, is_suspicious, may_repeat_keys

LINES_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 64 * 1024
BULK_ERRORS_MAX: Final = 10_000

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RowError:
    """Why one row was not accepted."""

    row: int
    code: str
    reason: str
    field: str | None = None


class BulkError(BaseModel):
    """Why one row was not accepted."""

    model_config = ConfigDict(frozen=True)

    row: int = Field(description="Number of the row, from 1; the header of a CSV file is not counted.")
    code: str
    field: str | None = None
    reason: str


class BulkResult(BaseModel):
    """The answer to a bulk upload: what was accepted stays accepted, whatever happened to other rows."""

    model_config = ConfigDict(frozen=True)

    accepted: int
    rejected: int
    errors: list[BulkError] = Field(
        max_length=BULK_ERRORS_MAX, description="The first rows that were rejected, with the reasons."
    )


@dataclass
class BulkTally:
    """
    Counts rows while an upload is read, and keeps the errors of the first rows.

    A row that can be read is refused later than the next ones that cannot, so that errors come in any order.
    """

    accepted: int = 0
    rejected: int = 0
    # By the row, the last one on top.
    _errors: list[tuple[int, int, RowError]] = field(default_factory=list)

    def accept(self, rows: int = 1) -> None:
        """Count accepted rows."""
        self.accepted += rows

    def reject(self, error: RowError) -> None:
        """Count a rejected row."""
        self.rejected += 1
        kept = (-error.row, -self.rejected, error)
        if len(self._errors) < BULK_ERRORS_MAX:
            heapq.heappush(self._errors, kept)
        else:
            heapq.heappushpop(self._errors, kept)

    def result(self) -> BulkResult:
        """Return the answer."""
        errors = [
            BulkError(row=error.row, code=error.code, field=error.field, reason=error.reason)
            for _, _, error in sorted(self._errors, reverse=True)
        ]
        return BulkResult(accepted=self.accepted, rejected=self.rejected, errors=errors)


def content_type_of(request: Request) -> str:
    """Return the media type of the body, without its parameters: `application/x-ndjson`, `text/csv`."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_csv(request: Request) -> bool:
    """
    Tell CSV (True) from NDJSON (False).

    :raises UnsupportedMediaType: if the body is neither.
    """
    match content_type_of(request):
        case "text/csv":
            return True
        case "application/x-ndjson" | "application/ndjson" | "application/jsonl":
            return False
        case _:
            raise UnsupportedMediaType("Send application/x-ndjson or text/csv.")


async def read_ndjson(
    chunks: AsyncIterator[bytes],
    *,
    lines_max: int = LINES_MAX,
    line_bytes_max: int = LINE_BYTES_MAX,
) -> AsyncIterator[tuple[int, bytes | RowError]]:
    """
    Yield the number and the bytes of each row of `chunks` (`request.stream()`), or why it cannot be read.

    Rows are UTF-8 text without NUL and are not parsed: a typed decoder does that better. Empty lines are counted and
    skipped. After `lines_max` rows one error is yielded and the rest is not read.
    """
    async for rows in read_ndjson_blocks(chunks, lines_max=lines_max, line_bytes_max=line_bytes_max):
        for row in rows:
            yield row


async def read_ndjson_blocks(
    chunks: AsyncIterator[bytes],
    *,
    lines_max: int = LINES_MAX,
    line_bytes_max: int = LINE_BYTES_MAX,
) -> AsyncIterator[list[tuple[int, bytes | RowError]]]:
    """Yield what `read_ndjson` yields, all rows of a chunk at once: a row alone costs more than reading it does."""
    number = 0
    async for block in _blocks(chunks, line_bytes_max=line_bytes_max):
        rows: list[tuple[int, bytes | RowError]] = []
        for line in block.lines:
            number += 1
            if line is not None and (not line or line.isspace()):
                continue
            if number > lines_max:
                rows.append((number, _too_many(number, lines_max)))
                yield rows
                return
            if line is None:
                rows.append((number, _too_long(number, line_bytes_max)))
            else:
                rows.append((number, line if block.is_harmless else _checked_json(number, line)))
        if rows:
            yield rows


async def read_csv(
    chunks: AsyncIterator[bytes],
    *,
    columns: Sequence[str],
    lines_max: int = LINES_MAX,
    line_bytes_max: int = LINE_BYTES_MAX,
) -> AsyncIterator[tuple[int, dict[str, str] | RowError]]:
    """
    Yield the number and the fields of each row of `chunks`, or why it cannot be read; the first line is the header.

    Fields may be quoted and may hold line breaks (RFC 4180). Columns beyond `columns` are yielded as well.

    :raises Invalid: if the header lacks one of `columns` or names one twice.
    """
    header: list[str] | None = None
    number = 0
    async for record in _csv_records(chunks, line_bytes_max=line_bytes_max):
        if header is None:
            header = _header(record, columns)
            continue
        number += 1
        if record is not None and not record.strip():
            continue
        if number > lines_max:
            yield number, _too_many(number, lines_max)
            return
        if record is None:
            yield number, _too_long(number, line_bytes_max)
        else:
            yield number, _fields(number, record, header)
    if header is None:
        raise Invalid("The file is empty; its first line must name the columns.", field="header")


class _Block(NamedTuple):
    """Lines without their ends, None for one that is too long; in a harmless block none needs to be checked."""

    lines: Sequence[bytes | None]
    is_harmless: bool


async def _blocks(chunks: AsyncIterator[bytes], *, line_bytes_max: int) -> AsyncIterator[_Block]:
    """Yield the lines that end in each chunk; of one that is too long no more than the limit is kept."""
    kept = bytearray()
    is_too_long = False
    is_first = True
    async for chunk in chunks:
        end = chunk.rfind(b"\n")
        if end >= 0:
            kept += chunk[:end]
            yield _block(bytes(kept), is_begun_too_long=is_too_long, is_first=is_first, line_bytes_max=line_bytes_max)
            is_first = is_too_long = False
            kept.clear()
        is_too_long = is_too_long or len(kept) + len(chunk) - end - 1 > line_bytes_max
        if is_too_long:
            kept.clear()
        else:
            kept += chunk[end + 1 :]
    if kept or is_too_long:
        yield _block(bytes(kept), is_begun_too_long=is_too_long, is_first=is_first, line_bytes_max=line_bytes_max)


def _block(text: bytes, *, is_begun_too_long: bool, is_first: bool, line_bytes_max: int) -> _Block:
    if is_first:
        text = text.removeprefix(_BYTE_ORDER_MARK)
    found = text.split(b"\n")
    lines: list[bytes | None] = [(line.removesuffix(b"\r") if len(line) <= line_bytes_max else None) for line in found]
    if is_begun_too_long:
        lines[0] = None
    is_harmless = text.isascii() and not is_suspicious(text) and not may_repeat_keys(text, is_lines=True)
    return _Block(lines, is_harmless)


async def _lines(chunks: AsyncIterator[bytes], *, line_bytes_max: int) -> AsyncIterator[bytes | None]:
    async for block in _blocks(chunks, line_bytes_max=line_bytes_max):
        for line in block.lines:
            yield line


async def _csv_records(chunks: AsyncIterator[bytes], *, line_bytes_max: int) -> AsyncIterator[bytes | None]:
    """Join the lines of a record: inside quotes a line break is text, and quotes are open after an odd number."""
    record = bytearray()
    is_open = False
    async for line in _lines(chunks, line_bytes_max=line_bytes_max):
        if line is None or len(record) + len(line) > line_bytes_max:
            yield None
            record.clear()
            is_open = False
            continue
        record += line
        is_open ^= line.count(b'"') % 2 == 1
        if is_open:
            record += b"\n"
        else:
            yield bytes(record)
            record.clear()
    if record:
        yield bytes(record)


def _checked_json(number: int, line: bytes) -> bytes | RowError:
    try:
        if not line.isascii():
            line.decode()
        check_json_text(line)
    except UnicodeDecodeError:
        return RowError(number, "invalid-encoding", "The row is not UTF-8.")
    except (UnstorableText, RepeatedKey) as error:
        field = (error.field or "").strip("/").replace("/", ".") or None
        return RowError(number, error.code, error.detail, field)
    except DomainError as error:
        return RowError(number, error.code, error.detail)
    return line


def _header(record: bytes | None, columns: Sequence[str]) -> list[str]:
    parsed = _parse_csv(record) if record is not None else None
    if parsed is None:
        raise Invalid("The first line is not a CSV header.", field="header")
    header = [name.strip() for name in parsed]
    missing = [name for name in columns if name not in header]
    if missing:
        raise Invalid(f"The header lacks: {', '.join(missing)}.", field="header")
    if len(set(header)) != len(header):
        raise Invalid("The header names a column twice.", field="header")
    return header


def _fields(number: int, record: bytes, header: Sequence[str]) -> dict[str, str] | RowError:
    if b"\x00" in record:
        return RowError(number, "unstorable-text", "The row holds a NUL character.")
    values = _parse_csv(record)
    if values is None:
        return RowError(number, "malformed-row", "The row is not CSV in UTF-8.")
    if len(values) != len(header):
        reason = f"The row has {len(values)} fields, the header has {len(header)}."
        return RowError(number, "malformed-row", reason)
    return dict(zip(header, values, strict=True))


def _parse_csv(record: bytes) -> list[str] | None:
    try:
        return next(csv.reader([record.decode()], strict=True), [])
    except (csv.Error, UnicodeDecodeError):
        return None


def _too_long(number: int, line_bytes_max: int) -> RowError:
    return RowError(number, "row-too-long", f"A row may have {line_bytes_max} bytes.")


def _too_many(number: int, lines_max: int) -> RowError:
    return RowError(number, "too-many-rows", f"An upload may have {lines_max} rows; from this one on nothing was read.")
