"""
The limit of taking orders by the file: the same rows by COPY, one process, one connection, one commit a batch.

As in `order_rows`, which rows an order has is not written down: what one imported order left in the tables is written
again under new ids. Nothing is read, validated or decided, and no event is encoded: its bytes are those of the first.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from bench.speed.limits.order_rows import RowsOf
from bench.speed.limits.timing import Stopwatch, Timed
from libs.common.ids import new_id

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ESCAPED: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


@dataclass(frozen=True, slots=True)
class Template:
    """
    A row of a table in COPY's text format, cut where an id stands.

    `ids` says what stands behind each piece but the last: the order's id, its reference, or an id of its own.
    """

    table: str
    columns: Sequence[str]
    pieces: Sequence[str]
    ids: Sequence[str]

    def row(self, order_id: str, reference: str) -> str:
        """Return the row for another order."""
        parts = [self.pieces[0]]
        for kind, piece in zip(self.ids, self.pieces[1:], strict=True):
            parts.append(order_id if kind == "order" else reference if kind == "reference" else str(new_id()))
            parts.append(piece)
        return "".join(parts)


def templates_of(before: RowsOf, after: RowsOf, *, order_id: UUID, reference: str) -> list[Template]:
    """Return the rows that came between two readings as templates, in the order of their tables."""
    found = []
    for table, columns in after.columns.items():
        known = set(before.rows.get(table, ()))
        for row in after.rows[table]:
            if row not in known:
                text = "\t".join(r"\N" if value is None else value.translate(_ESCAPED) for value in row)
                found.append(_template(table, [column.name for column in columns], text, str(order_id), reference))
    return found


def _template(table: str, columns: Sequence[str], text: str, order_id: str, reference: str) -> Template:
    pieces, ids, end = [], [], 0
    for match in re.finditer(f"{_UUID.pattern}|{re.escape(reference)}", f"{text}\n"):
        pieces.append(text[end : match.start()])
        ids.append({order_id: "order", reference: "reference"}.get(match[0], "own"))
        end = match.end()
    return Template(table, columns, [*pieces, f"{text[end:]}\n"], ids)


async def copy_orders(
    database_url: str, *, templates: Sequence[Template], operations: int, batch: int, name: str
) -> Timed:
    """Write orders in batches; `name` begins their references."""
    by_table: dict[str, list[Template]] = {}
    for template in templates:
        by_table.setdefault(template.table, []).append(template)
    connection = await asyncpg.connect(database_url)
    try:
        watch = Stopwatch()
        for start in range(0, operations, batch):
            numbers = range(start, min(start + batch, operations))
            await _copy(connection, by_table, [(str(new_id()), f"{name}-{number}") for number in numbers])
        return watch.timed(operations)
    finally:
        await connection.close()


async def _copy(
    connection: asyncpg.Connection, by_table: Mapping[str, Sequence[Template]], orders: Sequence[tuple[str, str]]
) -> None:
    async with connection.transaction():
        for table, templates in by_table.items():
            rows = "".join(template.row(*order) for order in orders for template in templates)
            await connection.copy_to_table(
                table, source=io.BytesIO(rows.encode()), columns=templates[0].columns, format="text"
            )
