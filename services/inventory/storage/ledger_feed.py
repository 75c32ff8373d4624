"""Following the ledger from where one was, though its rows become visible out of the order of their ids."""

from typing import Final, NamedTuple

import asyncpg

_STATE: Final = """
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_transaction,
       coalesce((SELECT max(id) FROM stock_movements), 0) AS last_id
"""
# After the state was read, in a statement of its own: every transaction that had begun to write by then has a
# smaller number.
_TRANSACTION: Final = "SELECT pg_current_xact_id()::text::bigint"
_POSITION: Final = "SELECT movement_id FROM ledger_followers WHERE name = $1 FOR UPDATE"
_ADD_POSITION: Final = "INSERT INTO ledger_followers (name, movement_id) VALUES ($1, 0) ON CONFLICT DO NOTHING"
_MOVE: Final = "UPDATE ledger_followers SET movement_id = $2 WHERE name = $1"


class _Mark(NamedTuple):
    movement_id: int
    transaction: int


class SettledLedger:
    """
    Knows up to which id the ledger is settled: no row with that id or a smaller one can appear any more.

    A movement takes its id before its transaction commits, so that a later id may be seen before an earlier one. The
    largest id that is seen is settled once every transaction that was under way then has ended: whoever had taken a
    smaller id was one of them, because a transaction locks its SKUs, and has a number, before it books.
    """

    def __init__(self) -> None:
        """Know nothing before the first `advance`."""
        self.last_id = 0
        self._settled_id = 0
        self._mark: _Mark | None = None

    async def advance(self, driver: asyncpg.Connection) -> int:
        """Return the largest id that is known to be settled; it trails what is seen by the longest transaction."""
        state = await driver.fetchrow(_STATE)
        assert state is not None  # noqa: S101 - a row without FROM is always there
        self.last_id = state["last_id"]
        if self._mark is not None and state["oldest_transaction"] >= self._mark.transaction:
            self._settled_id, self._mark = self._mark.movement_id, None
        if self._mark is None and self.last_id > self._settled_id:
            self._mark = _Mark(self.last_id, await driver.fetchval(_TRANSACTION))
        return self._settled_id


async def locked_position(driver: asyncpg.Connection, name: str) -> int:
    """Return up to which id a follower has seen the ledger; others of its name wait until the transaction ends."""
    position = await driver.fetchval(_POSITION, name)
    if position is None:
        await driver.execute(_ADD_POSITION, name)
        position = await driver.fetchval(_POSITION, name)
    return int(position)


async def move_position(driver: asyncpg.Connection, name: str, movement_id: int) -> None:
    """Note up to which id a follower has seen the ledger."""
    await driver.execute(_MOVE, name, movement_id)
