"""The statement that writes an order's rows again, whatever tables they are in."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from bench.speed.limits.order_rows import read_rows, reference_of, statement_of
from libs.common.ids import new_id
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import empty_database

TABLES = """
CREATE TABLE purchases (id uuid PRIMARY KEY, placed_at timestamptz NOT NULL, note text, total bigint, tags text[]);
CREATE TABLE purchase_lines (purchase_id uuid REFERENCES purchases, line int, PRIMARY KEY (purchase_id, line));
CREATE TABLE keys (key text PRIMARY KEY, answer bytea);
CREATE TABLE letters (id bigint GENERATED ALWAYS AS IDENTITY, event_id uuid UNIQUE, body jsonb);
CREATE TABLE settings (name text PRIMARY KEY);
INSERT INTO settings VALUES ('there before')
"""


@pytest.fixture
async def connection(infrastructure: Infrastructure) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    async with empty_database(infrastructure, "bench") as database:
        connection = await asyncpg.connect(database.url)
        await connection.execute(TABLES)
        yield database.url, connection
        await connection.close()


async def test_the_rows_come_again_under_new_ids(connection: tuple[str, asyncpg.Connection]) -> None:
    url, driver = connection
    order_id, request_id = new_id(), new_id()
    before = await read_rows(url)
    await driver.execute(
        "INSERT INTO purchases VALUES ($1, '2026-01-01 10:11:12+00', $2, NULL, ARRAY['a:b', 'c'])",
        order_id,
        f"it's 10:30, order:{order_id}",
    )
    await driver.execute("INSERT INTO purchase_lines VALUES ($1, 1), ($1, 2)", order_id)
    await driver.execute("INSERT INTO keys VALUES ($1, '\\x00ff')", str(request_id))
    await driver.execute("INSERT INTO keys VALUES ($1, '\\x01')", reference_of(request_id))
    await driver.execute('INSERT INTO letters (event_id, body) VALUES ($1, \'{"to":"x"}\')', new_id())

    statement = statement_of(before, await read_rows(url), order_id=order_id, request_id=request_id)
    for _ in range(2):
        await driver.execute(statement)

    purchases = await driver.fetch("SELECT * FROM purchases ORDER BY id")
    assert len({row["id"] for row in purchases}) == 3
    for row in purchases:
        assert isinstance(row["id"], UUID)
        assert row["note"] == f"it's 10:30, order:{row['id']}"
        assert row["tags"] == ["a:b", "c"]
        assert row["total"] is None
    assert await driver.fetchval("SELECT count(*) FROM purchase_lines") == 6
    assert await driver.fetchval("SELECT count(DISTINCT key) FROM keys WHERE answer = '\\x00ff'") == 3
    assert await driver.fetchval("SELECT count(DISTINCT right(key, 12)) FROM keys") == 3
    assert await driver.fetchval("SELECT count(DISTINCT event_id) FROM letters WHERE body ->> 'to' = 'x'") == 3
    assert await driver.fetchval("SELECT count(*) FROM settings") == 1


async def test_pgbench_finds_no_variable_in_a_statement(connection: tuple[str, asyncpg.Connection]) -> None:
    url, driver = connection
    before = await read_rows(url)
    await driver.execute("INSERT INTO settings VALUES ('order:placed 10:30 :x')")

    statement = statement_of(before, await read_rows(url), order_id=new_id(), request_id=new_id())

    assert ":placed" not in statement
    assert ":30" not in statement
    assert statement.count("\n") == 1
