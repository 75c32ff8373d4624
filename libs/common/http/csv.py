"""Tables as CSV: RFC 4180, streamed, and harmless when a spreadsheet opens them."""

import contextlib
import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from libs.common.errors import Invalid

Cell = str | int | float | Decimal | bool | datetime | date | UUID | None

# Declared for the documentation; `wants_csv` reads it, together with the Accept header.
ExportFormat = Annotated[
    str | None, Query(alias="format", pattern="^(json|csv)$", description="`csv` for a table, like `Accept: text/csv`.")
]

CSV_MEDIA_TYPE: Final = "text/csv"
# What a spreadsheet may take for the start of a formula: https://owasp.org/www-community/attacks/CSV_Injection, and
# their full-width forms, which some read alike.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def wants_csv(request: Request) -> bool:
    """
    Tell whether a table is asked for as CSV: `?format=csv`, else `Accept: text/csv` preferred over JSON.

    :raises Invalid: if `format` is neither csv nor json.
    """
    asked = request.query_params.get("format")
    if asked is None:
        weights = _weights(request.headers.get("accept", ""))
        return 0 < weights.get(CSV_MEDIA_TYPE, 0) >= weights.get("application/json", 0)
    if asked not in {"csv", "json"}:
        raise Invalid("It must be csv or json.", field="format")
    return asked == "csv"


async def csv_response(
    columns: Sequence[str], pages: AsyncIterable[Sequence[Sequence[Cell]]], *, filename: str
) -> Response:
    """
    Answer with a table: `columns` are its header, `pages` yield its rows, a list at a time.

    The first page is read before anything is sent, so that what may be refused is refused with its status. Read each
    page in a transaction of its own: the client may be slow. `filename` is what the download is called, in ASCII.
    """
    remaining = aiter(pages)
    first: Sequence[Sequence[Cell]] = ()
    with contextlib.suppress(StopAsyncIteration):
        first = await anext(remaining)
    return StreamingResponse(
        _encoded(columns, first, remaining),
        media_type=f"{CSV_MEDIA_TYPE}; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{filename}"', "X-Content-Type-Options": "nosniff"},
    )


def encode_rows(rows: Sequence[Sequence[Cell]]) -> str:
    """Render rows as lines of CSV, each ended by CR LF."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([[_safe(cell) for cell in row] for row in rows])
    return text.getvalue()


def _safe(cell: Cell) -> object:
    # Numbers stay numbers: a formula can only hide in a text.
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case Decimal():
            return format(cell, "f")
        case datetime() | date():
            return cell.isoformat()
        case str():
            text = cell.replace("\x00", "")
            return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
        case _:
            return cell


async def _encoded(
    columns: Sequence[str], first: Sequence[Sequence[Cell]], remaining: AsyncIterator[Sequence[Sequence[Cell]]]
) -> AsyncIterator[bytes]:
    yield encode_rows([columns, *first]).encode()
    async for rows in remaining:
        yield encode_rows(rows).encode()


def _weights(accept: str) -> dict[str, float]:
    """Return the media types of an Accept header with their weights (RFC 9110, 12.5.1)."""
    weights = {}
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in media_range.split(";"))
        weight = next((one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1")
        try:
            weights[media_type] = float(weight)
        except ValueError:
            weights[media_type] = 0.0
    return weights
