"""
The limit of placing orders with one commit for each: pgbench inserts the same rows in one statement.

Which rows an order has is not written down here: one order is placed and what it left in the tables is turned into a
statement that inserts the same under new ids. So the limit follows the service's tables whatever becomes of them.
"""

import re
import resource
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit
from uuid import UUID

import asyncpg

from bench.speed.limits.timing import Timed
from deploy.local.environment import inherited_environment

_THREADS: Final = 1
# What belongs to no order.
_NOT_OURS: Final = frozenset({"alembic_version", "relay_leases"})
_COLUMNS: Final = """
SELECT classes.relname AS table_name, attributes.attname AS name,
       format_type(attributes.atttypid, attributes.atttypmod) AS type
FROM pg_attribute AS attributes
JOIN pg_class AS classes ON classes.oid = attributes.attrelid
WHERE classes.relnamespace = 'public'::regnamespace AND classes.relkind = 'r' AND attributes.attnum > 0
    AND NOT attributes.attisdropped AND attributes.attidentity <> 'a' AND attributes.attgenerated = ''
ORDER BY classes.oid, attributes.attnum
"""
# The random ones at the end of a UUID.
_REFERENCE_CHARACTERS: Final = 12
_RATE: Final = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_DONE: Final = re.compile(r"^number of transactions actually processed: (\d+)/(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of a database, by table: each row is the texts of its columns."""

    columns: Mapping[str, Sequence[_Column]]
    rows: Mapping[str, Sequence[tuple[str | None, ...]]]


class PgbenchFailed(Exception):
    """pgbench did not do what it was asked for."""


async def read_rows(database_url: str) -> RowsOf:
    """Read every row of a database that has few."""
    connection = await asyncpg.connect(database_url)
    try:
        columns: dict[str, list[_Column]] = {}
        for row in await connection.fetch(_COLUMNS):
            if row["table_name"] not in _NOT_OURS:
                columns.setdefault(row["table_name"], []).append(_Column(row["name"], row["type"]))
        rows = {}
        for table, its in columns.items():
            texts = ", ".join(f'"{column.name}"::text' for column in its)
            rows[table] = [tuple(row) for row in await connection.fetch(f'SELECT {texts} FROM "{table}"')]  # noqa: S608
    finally:
        await connection.close()
    return RowsOf(columns, rows)


def statement_of(before: RowsOf, after: RowsOf, *, order_id: UUID, request_id: UUID) -> str:
    """
    Return a statement that inserts once more the rows that came between two readings.

    The order's id and its request's are new ones at each call, wherever they stand; so is every other UUID, and the
    order's reference if it is that of its request (see `reference_of`).
    """
    ids = {
        str(order_id): "ids.order_id",
        str(request_id): "ids.request_id",
        reference_of(request_id): f"right(ids.request_id::text, {_REFERENCE_CHARACTERS})",
    }
    inserts = []
    for table, columns in after.columns.items():
        known = set(before.rows.get(table, ()))
        added = [row for row in after.rows[table] if row not in known]
        names = ", ".join(f'"{column.name}"' for column in columns)
        for number, row in enumerate(added):
            values = ", ".join(_expression(text, column.type, ids) for text, column in zip(row, columns, strict=True))
            inserts.append(
                f'"{table}_{number}" AS (INSERT INTO "{table}" ({names}) SELECT {values} FROM ids)'  # noqa: S608
            )
    made = "ids AS MATERIALIZED (SELECT uuidv7() AS order_id, uuidv7() AS request_id)"
    return f"WITH {', '.join((made, *inserts))} SELECT;\n"


def reference_of(request_id: UUID) -> str:
    """Return the reference of the order that the statement is made from: its channel may not use it twice."""
    return str(request_id)[-_REFERENCE_CHARACTERS:]


def _expression(text: str | None, kind: str, ids: Mapping[str, str]) -> str:
    if text is None:
        return f"NULL::{kind}"
    if kind == "uuid":
        return ids.get(text, "uuidv7()")
    literal = _quoted(text)
    if kind == "text":
        for value, name in ids.items():
            literal = literal.replace(value, f"' || {name} || '")
    return f"({literal})::{kind}"


def _quoted(text: str) -> str:
    # pgbench would take a colon before a word for a variable of its own.
    pieces = re.split(r":(?=\w)", text.replace("'", "''"))
    return " || chr(58) || ".join(f"'{piece}'" for piece in pieces)


async def insert_one_by_one(
    database_url: str, *, programs: str, statement: str, operations: int, clients: int
) -> Timed:
    """Run the statement `operations` times on `clients` connections, one commit each."""
    parts = urlsplit(database_url)
    with tempfile.NamedTemporaryFile("w", suffix=".sql", encoding="utf-8") as script:
        script.write(statement)
        script.flush()
        each = max(1, operations // clients)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answer = subprocess.run(  # noqa: ASYNC221, S603 - this process does nothing else meanwhile; a fixed list
            (
                str(Path(programs) / "pgbench"),
                *("--no-vacuum", "--protocol=prepared", f"--file={script.name}", f"--client={clients}"),
                *(f"--jobs={_THREADS}", f"--transactions={each}"),
                *(f"--host={parts.hostname}", f"--port={parts.port}", f"--username={parts.username}"),
                parts.path.removeprefix("/"),
            ),
            capture_output=True,
            text=True,
            check=False,
            env={**inherited_environment(), "PGPASSWORD": unquote(parts.password or "")},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rate, done = _RATE.search(answer.stdout), _DONE.search(answer.stdout)
    if answer.returncode or rate is None or done is None or done[1] != done[2]:
        raise PgbenchFailed(f"{answer.stdout[-500:]}{answer.stderr[-1500:]}")
    return Timed(
        operations=int(done[1]),
        seconds=int(done[1]) / float(rate[1]),
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )
