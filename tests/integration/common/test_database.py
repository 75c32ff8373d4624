import asyncio
import os
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from sqlalchemy import text

from libs.common.db import Database, Transaction, is_transient
from libs.common.db.behind import Write
from tests.support.eventually import eventually
from tests.support.infrastructure import Infrastructure
from tests.support.postgres import PATIENCE, FreshDatabase, empty_database


@pytest.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[FreshDatabase]:
    async with empty_database(infrastructure, "common") as fresh:
        async with fresh.transaction() as transaction:
            await (await transaction.driver()).execute("CREATE TABLE notes (note text PRIMARY KEY)")
        yield fresh


@pytest.fixture
async def narrow(database: FreshDatabase) -> AsyncIterator[Database]:
    """Return a pool of one connection: what is left open or broken is met by the next transaction."""
    one = Database(database.url, application_name=f"narrow-{os.getpid()}", pool_size=1, patience=PATIENCE)
    yield one
    await one.dispose()


async def note(transaction: Transaction, text_of_note: str) -> None:
    await (await transaction.driver()).execute("INSERT INTO notes VALUES ($1)", text_of_note)


async def notes(database: Database) -> list[str]:
    async with database.connect() as (_, driver):
        return [row["note"] for row in await driver.fetch("SELECT note FROM notes ORDER BY note")]


async def process_of(transaction: Transaction) -> int:
    return int(await (await transaction.driver()).fetchval("SELECT pg_backend_pid()"))


async def terminate(beside: Database, process: int) -> None:
    async with beside.connect() as (_, driver):
        await driver.fetchval("SELECT pg_terminate_backend($1, 5000)", process)


class TestTransaction:
    async def test_is_committed_at_the_end_and_then_calls_back(self, narrow: Database) -> None:
        called: list[str] = []

        async def last() -> None:
            called.append("before")

        async with narrow.transaction() as transaction:
            transaction.after_commit(lambda: called.append("after"))
            transaction.before_commit(last)
            await note(transaction, "kept")

        assert (await notes(narrow), called) == (["kept"], ["before", "after"])

    async def test_is_rolled_back_by_an_error_and_calls_nobody(self, narrow: Database) -> None:
        called: list[str] = []

        async def work(transaction: Transaction) -> None:
            transaction.after_commit(lambda: called.append("after"))
            await note(transaction, "gone")
            raise LookupError

        with pytest.raises(LookupError):
            await narrow.run(work)

        assert (await notes(narrow), called) == ([], [])

    async def test_is_rolled_back_when_a_last_step_fails(self, narrow: Database) -> None:
        async def last() -> None:
            raise LookupError

        async def work(transaction: Transaction) -> None:
            transaction.before_commit(last)
            await note(transaction, "gone")

        with pytest.raises(LookupError):
            await narrow.run(work)

        assert await notes(narrow) == []

    async def test_is_the_same_for_core_and_the_driver(self, narrow: Database) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.connection.execute(text("INSERT INTO notes VALUES ('by Core')"))
            driver = await transaction.driver()
            assert await driver.fetchval("SELECT count(*) FROM notes") == 1
            raise LookupError

        with pytest.raises(LookupError):
            await narrow.run(work)

        assert await notes(narrow) == []

    async def test_leaves_nothing_open_when_its_task_is_cancelled(self, narrow: Database) -> None:
        begun = asyncio.Event()

        async def long() -> None:
            async with narrow.transaction() as transaction:
                await note(transaction, "gone")
                begun.set()
                await (await transaction.driver()).execute("SELECT pg_sleep(60)")

        async with asyncio.TaskGroup() as group:
            task = group.create_task(long())
            await begun.wait()
            task.cancel()

        assert await notes(narrow) == []
        async with narrow.connect() as (_, driver):
            assert not driver.is_in_transaction()


class TestWritingBehind:
    """Writes of many rows that the server carries out while the caller goes on."""

    async def test_comes_in_order_and_before_whatever_the_driver_does_next(self, narrow: Database) -> None:
        async with narrow.transaction() as transaction:
            transaction.defer("INSERT INTO notes VALUES ('first')")
            for number in range(3):
                await transaction.write(_adding(number), rows=1_000)
            await transaction.write(lambda driver: driver.execute("UPDATE notes SET note = note || '!'"), rows=1)
            assert await (await transaction.driver()).fetchval("SELECT count(*) FROM notes") == 3_001

        written = await notes(narrow)
        assert len(written) == 3_001
        assert "first!" in written
        assert all(one.endswith("!") for one in written)

    async def test_goes_on_while_the_caller_does_something_else(self, narrow: Database) -> None:
        written = asyncio.Event()

        async def write(driver: asyncpg.Connection) -> None:
            await driver.execute("INSERT INTO notes VALUES ('behind')")
            written.set()

        async with narrow.transaction() as transaction:
            await transaction.write(write, rows=1_000)
            assert not written.is_set()
            async with asyncio.timeout(60):
                await written.wait()

        assert await notes(narrow) == ["behind"]

    async def test_begins_again_after_a_pause(self, narrow: Database) -> None:
        async with narrow.transaction() as transaction:
            for number in range(2):
                written = asyncio.Event()
                await transaction.write(_adding(number, then=written.set), rows=1_000)
                async with asyncio.timeout(60):
                    await written.wait()

        assert len(await notes(narrow)) == 2_000

    async def test_tells_of_an_error_at_the_next_use_of_the_driver(self, narrow: Database) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.write(_adding(0), rows=1_000)
            await transaction.write(_adding(0), rows=1_000)
            await transaction.write(_adding(1), rows=1_000)
            with pytest.raises(asyncpg.UniqueViolationError):
                await transaction.driver()
            # Nothing makes it good again.
            await transaction.write(_adding(2), rows=1_000)

        with pytest.raises(asyncpg.UniqueViolationError):
            await narrow.run(work)

        assert await notes(narrow) == []

    async def test_tells_of_an_error_at_the_end(self, narrow: Database) -> None:
        called: list[str] = []

        async def work(transaction: Transaction) -> None:
            transaction.after_commit(lambda: called.append("after"))
            await note(transaction, "0-7")
            await transaction.write(_adding(0), rows=1_000)

        with pytest.raises(asyncpg.UniqueViolationError):
            await narrow.run(work)

        assert (await notes(narrow), called) == ([], [])

    @pytest.mark.parametrize("is_failing_too", [False, True])
    async def test_ends_before_an_error_of_the_caller_rolls_back(self, narrow: Database, is_failing_too: bool) -> None:  # noqa: FBT001
        async def work(transaction: Transaction) -> None:
            await note(transaction, "0-7" if is_failing_too else "alone")
            await transaction.write(_adding(0), rows=1_000)
            await transaction.write(_adding(1), rows=1_000)
            raise LookupError

        with pytest.raises(LookupError):
            await narrow.run(work)

        assert await notes(narrow) == []
        async with narrow.connect() as (_, driver):
            assert not driver.is_in_transaction()

    async def test_is_not_cut_short_by_the_cancellation_of_the_caller(self, narrow: Database) -> None:
        begun = asyncio.Event()

        async def slowly(driver: asyncpg.Connection) -> None:
            begun.set()
            await driver.execute("INSERT INTO notes SELECT 'gone' FROM pg_sleep(0.1)")

        async def long() -> None:
            async with narrow.transaction() as transaction:
                process = await process_of(transaction)
                processes.append(process)
                await transaction.write(slowly, rows=1_000)
                await transaction.driver()

        processes: list[int] = []
        async with asyncio.TaskGroup() as group:
            task = group.create_task(long())
            await begun.wait()
            task.cancel()

        assert await notes(narrow) == []
        async with narrow.transaction() as transaction:
            # The connection is as good as it was.
            assert [await process_of(transaction)] == processes

    async def test_gives_a_lost_connection_back_as_an_error_that_passes(
        self, narrow: Database, database: FreshDatabase
    ) -> None:
        async def work(transaction: Transaction) -> None:
            await terminate(database, await process_of(transaction))
            await transaction.write(_adding(0), rows=1_000)

        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)) as caught:
            await narrow.run(work)

        assert is_transient(caught.value)
        assert await notes(narrow) == []


def _adding(number: int, then: Callable[[], None] = lambda: None) -> Write:
    async def write(driver: asyncpg.Connection) -> None:
        rows = [(f"{number}-{one}",) for one in range(1_000)]
        await driver.copy_records_to_table("notes", columns=("note",), records=rows)
        then()

    return write


class TestLostConnection:
    async def test_in_the_pool_is_replaced_before_anybody_notices(
        self, narrow: Database, database: FreshDatabase
    ) -> None:
        async with narrow.transaction() as transaction:
            process = await process_of(transaction)
        await terminate(database, process)

        async with narrow.transaction() as transaction:
            assert await process_of(transaction) != process

    async def test_in_the_middle_is_a_fault_that_passes(self, narrow: Database, database: FreshDatabase) -> None:
        async def work(transaction: Transaction) -> None:
            await note(transaction, "gone")
            await terminate(database, await process_of(transaction))
            await note(transaction, "never")

        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)) as raised:
            await narrow.run(work)

        assert is_transient(raised.value)
        assert await notes(narrow) == []

    async def test_does_not_hide_the_error_of_the_work(self, narrow: Database, database: FreshDatabase) -> None:
        async def work(transaction: Transaction) -> None:
            await terminate(database, await process_of(transaction))
            raise LookupError

        with pytest.raises(LookupError):
            await narrow.run(work)

        assert await notes(narrow) == []


async def test_whoever_waits_for_a_server_that_hangs_is_told_so_and_the_work_ends_by_itself(
    database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write_slowly(transaction: Transaction) -> None:
        await note(transaction, "late")
        await (await transaction.driver()).execute("SELECT pg_sleep(0.5)")

    with monkeypatch.context() as patience:
        patience.setattr("libs.common.db.database._HUNG_SECONDS", 0.1)
        with pytest.raises(TimeoutError) as hung:
            await database.run(write_slowly)

    assert is_transient(hung.value)
    # Nobody was there any more to be told, and it was carried out all the same.
    assert await eventually(lambda: notes(database)) == ["late"]


class TestDeferred:
    INSERT = "INSERT INTO notes SELECT * FROM unnest($1::text[])"

    async def test_statements_are_written_together_at_the_end(self, narrow: Database) -> None:
        async with narrow.transaction() as transaction:
            transaction.defer(self.INSERT, ["b", "c"])
            transaction.defer("INSERT INTO notes VALUES ($1 || $2)", "d", "!")
            transaction.defer(self.INSERT, ["a"])

        assert await notes(narrow) == ["a", "b", "c", "d!"]

    async def test_statements_are_there_for_whoever_asks_the_driver(self, narrow: Database) -> None:
        async with narrow.transaction() as transaction:
            transaction.defer(self.INSERT, ["a", "b"])
            found = await (await transaction.driver()).fetchval("SELECT count(*) FROM notes")
            transaction.defer("DELETE FROM notes WHERE note = $1", "a")

        assert (found, await notes(narrow)) == (2, ["b"])

    async def test_changes_of_one_row_are_carried_out_in_their_order(self, narrow: Database) -> None:
        async with narrow.transaction() as transaction:
            transaction.defer(self.INSERT, ["a"])
            transaction.defer("UPDATE notes SET note = note || $1", "b")
            transaction.defer("UPDATE notes SET note = note || $1", "c")
            transaction.defer("INSERT INTO notes VALUES ($1) ON CONFLICT (note) DO UPDATE SET note = 'met'", "abc")

        assert await notes(narrow) == ["met"]

    async def test_anything_else_is_refused(self, narrow: Database) -> None:
        async def work(transaction: Transaction) -> None:
            transaction.defer("SELECT 1")

        with pytest.raises(ValueError, match="not an INSERT"):
            await narrow.run(work)

    async def test_statements_of_last_steps_are_written_too(self, narrow: Database) -> None:
        async with narrow.transaction() as transaction:

            async def last() -> None:
                transaction.defer(self.INSERT, ["last"])

            transaction.before_commit(last)
            transaction.defer(self.INSERT, ["first"])

        assert await notes(narrow) == ["first", "last"]

    async def test_a_statement_that_fails_rolls_everything_back(self, narrow: Database) -> None:
        async def work(transaction: Transaction) -> None:
            await note(transaction, "before")
            transaction.defer(self.INSERT, ["fine"])
            transaction.defer(self.INSERT, ["twice", "twice"])

        with pytest.raises(asyncpg.UniqueViolationError):
            await narrow.run(work)

        assert await notes(narrow) == []

    async def test_nothing_is_written_after_an_error(self, narrow: Database) -> None:
        async def work(transaction: Transaction) -> None:
            transaction.defer(self.INSERT, ["gone"])
            raise LookupError

        with pytest.raises(LookupError):
            await narrow.run(work)

        assert await notes(narrow) == []
