"""Erasing people from what is remembered of them; what was counted of products stays, it says nothing of anybody."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from libs.common.db import Database, Transaction
from libs.common.erasure import affected
from libs.common.events.customers import CustomerErasureRequested
from libs.common.privacy import Pseudonyms

_HISTORIES: Final = """
INSERT INTO histories AS known (user_id, viewed, bought, erased_at)
SELECT user_id, '{}', '{}', now() FROM unnest($1::text[]) AS user_id ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET viewed = '{}', bought = '{}', erased_at = coalesce(known.erased_at, now())
"""
_COUNT: Final = """
SELECT count(*) FROM histories WHERE user_id = ANY($1::text[]) AND (viewed <> '{}' OR bought <> '{}')
"""
_WINDOWS: Final = "DELETE FROM browsing_windows WHERE visitor_id = ANY($1::text[])"
_ANSWER: Final = """
INSERT INTO erasure_answers (part_id, erasure_id, rows) VALUES ($1, $2, $3)
ON CONFLICT (part_id) DO UPDATE SET answered_at = NULL
"""
_DUE: Final = """
SELECT part_id, erasure_id, rows FROM erasure_answers WHERE answered_at IS NULL ORDER BY part_id LIMIT $1
"""
_ANSWERED: Final = "UPDATE erasure_answers SET answered_at = now() WHERE part_id = ANY($1::uuid[])"

_RENAMED_MAX: Final = 500
_UNNAMED: Final = """
SELECT user_id FROM histories WHERE user_id !~ '^p-[0-9a-f]{32}$' ORDER BY user_id LIMIT $1 FOR UPDATE SKIP LOCKED
"""
# Who has a history under both names keeps the newer one.
_RENAME: Final = """
INSERT INTO histories (user_id, viewed, bought, touched_at)
SELECT pseudonym, viewed, bought, touched_at
FROM histories JOIN unnest($1::text[], $2::text[]) AS named (own, pseudonym) ON user_id = own
ORDER BY pseudonym
ON CONFLICT (user_id) DO NOTHING
"""


async def erase_people(request: CustomerErasureRequested, transaction: Transaction) -> None:
    """Forget a customer and the visitors that they were, now and whenever they are heard of again."""
    driver = await transaction.driver()
    people = [request.customer, *request.visitors]
    rows = await driver.fetchval(_COUNT, people)
    await driver.execute(_HISTORIES, people)
    rows += affected(await driver.execute(_WINDOWS, people))
    await driver.execute(_ANSWER, request.part_id, request.erasure_id, rows)


class PostgresErasureAnswers:
    """The answers that are due."""

    def __init__(self, database: Database) -> None:
        """Nothing connects yet."""
        self._database = database

    async def due(self, *, limit: int) -> Sequence[tuple[UUID, UUID, int]]:
        """Return part, erasure and rows of answers that are not on the bus."""
        async with self._database.transaction() as transaction:
            driver = await transaction.driver()
            return [tuple(row) for row in await driver.fetch(_DUE, limit)]

    async def note_answered(self, part_ids: Sequence[UUID]) -> None:
        """Note that they are."""
        async with self._database.transaction() as transaction:
            driver = await transaction.driver()
            await driver.execute(_ANSWERED, list(part_ids))


class Renaming:
    """Gives those their pseudonyms who were remembered under their own ids, before there were any."""

    def __init__(self, database: Database, pseudonyms: Pseudonyms) -> None:
        """Nothing connects yet."""
        self._database = database
        self._pseudonyms = pseudonyms

    async def work(self) -> int:
        """Rename some; return how many that was."""
        async with self._database.transaction() as transaction:
            driver = await transaction.driver()
            ids = [row["user_id"] for row in await driver.fetch(_UNNAMED, _RENAMED_MAX)]
            if ids:
                await driver.execute(_RENAME, ids, [self._pseudonyms.of(one) for one in ids])
                await driver.execute("DELETE FROM histories WHERE user_id = ANY($1::text[])", ids)
        return len(ids)
