"""Forgetting what is of no more use."""

from datetime import timedelta
from typing import Final

from libs.common.db import Database
from libs.common.messaging import inbox

# Small enough not to hold row locks for long.
_ROWS_PER_STATEMENT_MAX: Final = 5_000

# SKIP LOCKED: a row that somebody is writing to is in use.
_FORGET = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM {table} WHERE touched_at < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED
))
"""
_FORGET_WINDOWS = _FORGET.format(table="browsing_windows")
# Those of the erased stay, so that nothing is learned of them again.
_FORGET_HISTORIES = _FORGET.format(table="histories").replace(
    "WHERE touched_at", "WHERE erased_at IS NULL AND touched_at"
)


class Retention:
    """The work of the jobs role."""

    def __init__(self, database: Database, *, windows_kept: timedelta, histories_kept: timedelta) -> None:
        """Keep browsing windows and histories for so long after they last changed."""
        self._database = database
        self._windows_kept = windows_kept
        self._histories_kept = histories_kept

    async def forget_windows(self) -> int:
        """Delete windows whose visitors are gone; return how many."""
        return await self._forget(_FORGET_WINDOWS, self._windows_kept)

    async def forget_histories(self) -> int:
        """Delete histories of people who have not come back; return how many."""
        return await self._forget(_FORGET_HISTORIES, self._histories_kept)

    async def forget_events(self) -> int:
        """Delete inbox rows of events that no topic holds any more; return 0: it is done in one go."""
        async with self._database.transaction() as transaction:
            await inbox.purge(transaction)
        return 0

    async def _forget(self, statement: str, kept: timedelta) -> int:
        async with self._database.transaction() as transaction:
            driver = await transaction.driver()
            status: str = await driver.execute(statement, kept, _ROWS_PER_STATEMENT_MAX)
        return int(status.rpartition(" ")[2])
