"""Looking for a text everywhere: in every column of every table, and in every record of every topic."""

from collections.abc import Iterable, Sequence

import asyncpg
from aiokafka import ConsumerRecord

_TABLES = """
SELECT table_schema, table_name FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')
"""


async def tables_with(database_url: str, canary: str) -> list[str]:
    """Return the tables of a database of which a row has the canary, whatever its case, in whatever column."""
    driver = await asyncpg.connect(database_url)
    try:
        return [
            table["table_name"]
            for table in await driver.fetch(_TABLES)
            if await driver.fetchval(
                f'SELECT EXISTS (SELECT FROM "{table["table_schema"]}"."{table["table_name"]}" AS row'  # noqa: S608
                " WHERE row::text ILIKE '%' || $1 || '%' OR row::text LIKE '%' || $2 || '%')",
                canary,
                # As bytea is written.
                canary.encode().hex(),
            )
        ]
    finally:
        await driver.close()


def records_with(
    records: "Iterable[ConsumerRecord[bytes | None, bytes | None]]", canary: str
) -> "Sequence[ConsumerRecord[bytes | None, bytes | None]]":
    """Return the records that have the canary, whatever its case, in key, value or headers."""
    wanted = canary.lower().encode()
    return [one for one in records if any(wanted in part.lower() for part in _parts(one))]


def _parts(record: "ConsumerRecord[bytes | None, bytes | None]") -> list[bytes]:
    return [record.key or b"", record.value or b"", *(value for _, value in record.headers)]
