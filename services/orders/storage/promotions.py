"""Promotions, and every version that they had."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import asyncpg

from libs.common.db import Transaction
from services.orders.domain.promotions import Promotion, PromotionChange, PromotionKind

_CONTENT = "kind, rate_ppm, amount_minor, currency, skus, minimum_minor, valid_from, valid_to"
# A promotion that is as it was keeps its version, and nothing is noted.
_PUT = f"""
INSERT INTO promotions AS promotion (code, {_CONTENT}, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)
ON CONFLICT (code) DO UPDATE
SET kind = excluded.kind, rate_ppm = excluded.rate_ppm, amount_minor = excluded.amount_minor,
    currency = excluded.currency, skus = excluded.skus, minimum_minor = excluded.minimum_minor,
    valid_from = excluded.valid_from, valid_to = excluded.valid_to, version = promotion.version + 1
WHERE (promotion.kind, promotion.rate_ppm, promotion.amount_minor, promotion.currency, promotion.skus,
       promotion.minimum_minor, promotion.valid_from, promotion.valid_to)
      IS DISTINCT FROM
      (excluded.kind, excluded.rate_ppm, excluded.amount_minor, excluded.currency, excluded.skus,
       excluded.minimum_minor, excluded.valid_from, excluded.valid_to)
RETURNING version
"""  # noqa: S608 - no input
_NOTE = f"""
INSERT INTO promotion_changes (code, {_CONTENT}, version, principal, changed_at)
SELECT code, {_CONTENT}, version, $2, $3 FROM promotions WHERE code = $1
"""  # noqa: S608 - no input
_FIND = f"SELECT code, {_CONTENT} FROM promotions WHERE code = ANY($1::text[])"  # noqa: S608 - no input
_PAGE = f"""
SELECT code, {_CONTENT} FROM promotions WHERE $1::text IS NULL OR code > $1 ORDER BY code LIMIT $2
"""  # noqa: S608 - no input
_CHANGES = f"""
SELECT code, {_CONTENT}, version, principal, changed_at FROM promotion_changes
WHERE code = $1 ORDER BY version DESC LIMIT $2
"""  # noqa: S608 - no input


class PostgresPromotions:
    """The promotions, as one transaction sees them."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def put(self, promotion: Promotion, *, principal: str, now: datetime) -> int | None:
        """Make a promotion be so; return its new version, None if it was so before."""
        driver = await self._transaction.driver()
        version: int | None = await driver.fetchval(
            _PUT,
            promotion.code,
            promotion.kind.value,
            promotion.rate_ppm,
            promotion.amount_minor,
            promotion.currency,
            list(promotion.skus),
            promotion.minimum_minor,
            promotion.valid_from,
            promotion.valid_to,
        )
        if version is not None:
            await driver.execute(_NOTE, promotion.code, principal, now)
        return version

    async def find(self, codes: Collection[str]) -> Mapping[str, Promotion]:
        """Return those that exist, by their codes."""
        driver = await self._transaction.driver()
        return {row["code"]: _promotion(row) for row in await driver.fetch(_FIND, list(codes))}

    async def page(self, *, after: str | None, limit: int) -> Sequence[Promotion]:
        """Return promotions in the order of their codes."""
        driver = await self._transaction.driver()
        return [_promotion(row) for row in await driver.fetch(_PAGE, after, limit)]

    async def changes_of(self, code: str, *, limit: int) -> Sequence[PromotionChange]:
        """Return the versions that a promotion had, the latest first."""
        driver = await self._transaction.driver()
        return [
            PromotionChange(
                version=row["version"],
                principal=row["principal"],
                changed_at=row["changed_at"],
                promotion=_promotion(row),
            )
            for row in await driver.fetch(_CHANGES, code, limit)
        ]


def _promotion(row: asyncpg.Record) -> Promotion:
    return Promotion(
        code=row["code"],
        kind=PromotionKind(row["kind"]),
        rate_ppm=row["rate_ppm"],
        amount_minor=row["amount_minor"],
        currency=row["currency"],
        skus=tuple(row["skus"]),
        minimum_minor=row["minimum_minor"],
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
    )
