"""What answers are made of: bounded reads, shared by the requests that arrive together."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import asyncpg
import msgspec

from libs.common.db import Database
from libs.common.http.batching import Coalescer
from services.recommender.domain.histories import History
from services.recommender.domain.ranking import Evidence, Popular

NEIGHBOURS_MAX: Final = 60
POPULAR_MAX: Final = 300
# 64 products x 60 neighbours keep a batch within a few milliseconds.
_PRODUCTS_PER_BATCH_MAX: Final = 64
_USERS_PER_BATCH_MAX: Final = 200

# In the order of Evidence's fields.
_EVIDENCE = """
SELECT wanted.sku, near.neighbour, near.bought_weight, near.viewed_weight, near.viewed_derived_weight,
       seed.bought_weight, seed.viewed_weight, other.bought_weight, other.viewed_weight
FROM unnest($1::text[]) AS wanted (sku)
JOIN items AS seed ON seed.sku = wanted.sku
CROSS JOIN LATERAL (
  SELECT neighbour, bought_weight, viewed_weight, viewed_derived_weight
  FROM item_pairs WHERE item_pairs.sku = wanted.sku
  ORDER BY candidate_weight DESC LIMIT $2
) AS near
JOIN items AS other ON other.sku = near.neighbour
"""
_HISTORIES = """
SELECT user_id, viewed::text, bought::text FROM histories WHERE user_id = ANY($1::text[])
"""
_POPULAR = "SELECT sku, popularity_log2 FROM items ORDER BY popularity_log2 DESC LIMIT $1"

_decode_moments = msgspec.json.Decoder(dict[str, datetime]).decode


class PostgresReads:
    """Reads for one API process; `async with` it."""

    def __init__(self, database: Database) -> None:
        """Nothing is read before the first request."""
        self._database = database
        self._evidence: Coalescer[str, Sequence[Evidence]] = Coalescer(
            self._read_evidence, batch_size_max=_PRODUCTS_PER_BATCH_MAX
        )
        self._histories: Coalescer[str, History] = Coalescer(self._read_histories, batch_size_max=_USERS_PER_BATCH_MAX)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start to accept reads."""
        await self._exits.enter_async_context(self._evidence)
        await self._exits.enter_async_context(self._histories)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the reads under way."""
        await self._exits.__aexit__(kind, error, traceback)

    async def evidence(self, sku: str) -> Sequence[Evidence]:
        """Return what is counted about `sku` and its strongest neighbours."""
        return await self._evidence.submit(sku)

    async def history(self, user_id: str) -> History:
        """Return what a visitor or customer did lately."""
        return await self._histories.submit(user_id)

    async def popular(self) -> Sequence[Popular]:
        """Return the most popular products."""
        # Shielded, because unlike the coalesced reads it runs in the task of a request that may be cancelled.
        rows = await asyncio.shield(self._fetch(_POPULAR, POPULAR_MAX))
        return [Popular._make(row) for row in rows]

    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement outside any transaction: it is a snapshot by itself and costs one round trip, not three."""
        async with self._database.connect() as (_, driver):
            rows: list[asyncpg.Record] = await driver.fetch(statement, *arguments)
        return rows

    async def _read_evidence(self, skus: Sequence[str]) -> list[Sequence[Evidence]]:
        rows = await self._fetch(_EVIDENCE, sorted(set(skus)), NEIGHBOURS_MAX)
        found: dict[str, list[Evidence]] = {sku: [] for sku in skus}
        for row in rows:
            evidence = Evidence._make(row)
            found[evidence.seed].append(evidence)
        return [found[sku] for sku in skus]

    async def _read_histories(self, user_ids: Sequence[str]) -> list[History]:
        rows = await self._fetch(_HISTORIES, sorted(set(user_ids)))
        found = {
            user_id: History(viewed=_decode_moments(viewed), bought=_decode_moments(bought))
            for user_id, viewed, bought in rows
        }
        return [found.get(user_id, History()) for user_id in user_ids]
