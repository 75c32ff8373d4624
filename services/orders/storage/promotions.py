"""Promotions, and every version that they had."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.orders.domain.promotions import Allowance, Promotion, PromotionChange, PromotionKind, PromotionUse

_CONTENT = """
kind, rate_ppm, amount_minor, currency, skus, minimum_minor, valid_from, valid_to, uses_max, uses_per_customer_max,
budget_minor
"""
# A promotion that is as it was keeps its version, and nothing is noted.
_PUT = f"""
INSERT INTO promotions AS promotion (code, {_CONTENT}, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1)
ON CONFLICT (code) DO UPDATE
SET kind = excluded.kind, rate_ppm = excluded.rate_ppm, amount_minor = excluded.amount_minor,
    currency = excluded.currency, skus = excluded.skus, minimum_minor = excluded.minimum_minor,
    valid_from = excluded.valid_from, valid_to = excluded.valid_to, uses_max = excluded.uses_max,
    uses_per_customer_max = excluded.uses_per_customer_max, budget_minor = excluded.budget_minor,
    version = promotion.version + 1
WHERE (promotion.kind, promotion.rate_ppm, promotion.amount_minor, promotion.currency, promotion.skus,
       promotion.minimum_minor, promotion.valid_from, promotion.valid_to, promotion.uses_max,
       promotion.uses_per_customer_max, promotion.budget_minor)
      IS DISTINCT FROM
      (excluded.kind, excluded.rate_ppm, excluded.amount_minor, excluded.currency, excluded.skus,
       excluded.minimum_minor, excluded.valid_from, excluded.valid_to, excluded.uses_max,
       excluded.uses_per_customer_max, excluded.budget_minor)
RETURNING version
"""  # noqa: S608 - no input
_NOTE = f"""
INSERT INTO promotion_changes (code, {_CONTENT}, version, principal, changed_at)
SELECT code, {_CONTENT}, version, $2, $3 FROM promotions WHERE code = $1
"""  # noqa: S608 - no input
_FIND = f"SELECT code, {_CONTENT} FROM promotions WHERE code = ANY($1::text[])"  # noqa: S608 - no input
_ALLOWANCE = f"SELECT code, {_CONTENT}, used, spent_minor FROM promotions WHERE code = $1"  # noqa: S608 - no input
# Whoever counts waits here, in the order of the codes, and then sees what was counted and allowed before.
_LOCK = f"""
SELECT code, {_CONTENT}, used, spent_minor FROM promotions
WHERE code = ANY($1::text[]) ORDER BY code FOR NO KEY UPDATE
"""  # noqa: S608 - no input
_USED_BY = """
SELECT code, customer_id, count(*) AS uses
FROM promotion_uses JOIN unnest($1::text[], $2::text[]) AS asked (code, customer_id) USING (code, customer_id)
WHERE given_back_at IS NULL GROUP BY code, customer_id
"""
_USE = """
INSERT INTO promotion_uses (order_id, code, customer_id, amount_minor, used_at)
SELECT *, $5 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[])
"""
_COUNT = """
UPDATE promotions SET used = used + counted.uses, spent_minor = promotions.spent_minor + counted.spent_minor
FROM (
    SELECT code, count(*) AS uses, sum(amount_minor)::bigint AS spent_minor
    FROM unnest($1::text[], $2::bigint[]) AS use (code, amount_minor) GROUP BY code
) AS counted
WHERE promotions.code = counted.code
"""
# Two statements on two tables: neither sees what the other does. Whoever gives back waits as whoever counts does.
_UNCOUNT = """
UPDATE promotions SET used = used - gone.uses, spent_minor = promotions.spent_minor - gone.spent_minor
FROM (
    SELECT code FROM promotions
    WHERE code IN (SELECT code FROM promotion_uses WHERE order_id = ANY($1::uuid[]) AND given_back_at IS NULL)
    ORDER BY code FOR NO KEY UPDATE
) AS locked
JOIN (
    SELECT code, count(*) AS uses, sum(amount_minor)::bigint AS spent_minor
    FROM promotion_uses WHERE order_id = ANY($1::uuid[]) AND given_back_at IS NULL GROUP BY code
) AS gone USING (code)
WHERE promotions.code = locked.code
"""
_GIVE_BACK = """
UPDATE promotion_uses SET given_back_at = $2 WHERE order_id = ANY($1::uuid[]) AND given_back_at IS NULL
"""
_AS_OF = f"""
SELECT DISTINCT ON (code) code, {_CONTENT} FROM promotion_changes
WHERE code = ANY($1::text[]) AND changed_at <= $2 ORDER BY code, version DESC
"""  # noqa: S608 - no input
_COUNTED = "SELECT code, amount_minor FROM promotion_uses WHERE order_id = $1 AND given_back_at IS NULL"
_TAKE_MORE = """
WITH used AS (UPDATE promotion_uses SET amount_minor = amount_minor + $3 WHERE order_id = $1 AND code = $2)
UPDATE promotions SET spent_minor = spent_minor + $3 WHERE code = $2
"""
# What an order takes off is in its charges by now; nothing makes a use larger than it was counted.
_RECOUNT = """
WITH used AS (
    SELECT use.order_id, use.code, use.amount_minor, coalesce(charge.amount_minor, 0) AS left_minor,
           charge.order_id IS NULL AS is_gone
    FROM promotion_uses AS use
    LEFT JOIN (
        SELECT order_id, code, sum(amount_minor)::bigint AS amount_minor FROM order_charges
        WHERE order_id = ANY($1::uuid[]) AND kind = 'discount' GROUP BY order_id, code
    ) AS charge USING (order_id, code)
    WHERE use.order_id = ANY($1::uuid[]) AND use.given_back_at IS NULL
      AND (charge.order_id IS NULL OR charge.amount_minor < use.amount_minor)
), locked AS (
    SELECT code FROM promotions WHERE code IN (SELECT code FROM used) ORDER BY code FOR NO KEY UPDATE
), recounted AS (
    UPDATE promotion_uses AS use
    SET amount_minor = CASE WHEN is_gone THEN use.amount_minor ELSE left_minor END,
        given_back_at = CASE WHEN is_gone THEN $2::timestamptz END
    FROM used WHERE (use.order_id, use.code) = (used.order_id, used.code)
)
UPDATE promotions SET used = promotions.used - freed.uses, spent_minor = promotions.spent_minor - freed.minor
FROM (
    SELECT code, count(*) FILTER (WHERE is_gone) AS uses, sum(used.amount_minor - left_minor)::bigint AS minor
    FROM used JOIN locked USING (code) GROUP BY code
) AS freed
WHERE promotions.code = freed.code
"""
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
            promotion.uses_max,
            promotion.uses_per_customer_max,
            promotion.budget_minor,
        )
        if version is not None:
            await driver.execute(_NOTE, promotion.code, principal, now)
        return version

    async def find(self, codes: Collection[str]) -> Mapping[str, Promotion]:
        """Return those that exist, by their codes."""
        driver = await self._transaction.driver()
        return {row["code"]: _promotion(row) for row in await driver.fetch(_FIND, list(codes))}

    async def lock_allowances(self, uses: Collection[PromotionUse]) -> dict[str, Allowance]:
        """Lock promotions and return what they still allow (see `Promotions.lock_allowances`)."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_LOCK, sorted({use.code for use in uses}))
        allowances = {row["code"]: _allowance(row) for row in rows}
        pairs = {
            (use.code, use.customer_id)
            for use in uses
            if use.code in allowances and allowances[use.code].promotion.uses_per_customer_max is not None
        }
        if pairs:
            for row in await driver.fetch(_USED_BY, [code for code, _ in pairs], [one for _, one in pairs]):
                allowances[row["code"]].used_by[row["customer_id"]] = row["uses"]
        return allowances

    def use(self, uses: Collection[PromotionUse], *, now: datetime) -> None:
        """Count uses of locked promotions (see `Promotions.use`)."""
        codes, amounts = [use.code for use in uses], [use.amount_minor for use in uses]
        order_ids, customers = [use.order_id for use in uses], [use.customer_id for use in uses]
        self._transaction.defer(_USE, order_ids, codes, customers, amounts, now)
        self._transaction.defer(_COUNT, codes, amounts)

    async def as_of(self, codes: Collection[str], moment: datetime) -> Mapping[str, Promotion]:
        """Return promotions as they were at a moment (see `Promotions.as_of`)."""
        driver = await self._transaction.driver()
        return {row["code"]: _promotion(row) for row in await driver.fetch(_AS_OF, list(codes), moment)}

    async def counted_of(self, order_id: UUID) -> Mapping[str, int]:
        """Return what an order's counted uses take off (see `Promotions.counted_of`)."""
        driver = await self._transaction.driver()
        return {row["code"]: row["amount_minor"] for row in await driver.fetch(_COUNTED, order_id)}

    async def lock_allowance(self, code: str) -> Allowance | None:
        """Lock a promotion and return what it still allows."""
        driver = await self._transaction.driver()
        return next((_allowance(row) for row in await driver.fetch(_LOCK, [code])), None)

    async def take_more_off(self, order_id: UUID, code: str, more_minor: int) -> None:
        """Count that a use of a locked promotion takes more off."""
        driver = await self._transaction.driver()
        await driver.execute(_TAKE_MORE, order_id, code, more_minor)

    async def recount(self, order_ids: Collection[UUID], *, now: datetime) -> None:
        """Let promotions have back what locked orders no longer use (see `Promotions.recount`)."""
        driver = await self._transaction.driver()
        await driver.execute(_RECOUNT, list(order_ids), now)

    async def allowance_of(self, code: str) -> Allowance | None:
        """Return what a promotion still allows (see `Promotions.allowance_of`)."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_ALLOWANCE, code)
        return None if row is None else _allowance(row)

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


def give_back_uses(transaction: Transaction, order_ids: Collection[UUID], *, now: datetime) -> None:
    """Let others use what locked orders have used that will never be paid for; what was given back stays so."""
    transaction.defer(_UNCOUNT, list(order_ids))
    transaction.defer(_GIVE_BACK, list(order_ids), now)


def _allowance(row: asyncpg.Record) -> Allowance:
    return Allowance(promotion=_promotion(row), used=row["used"], spent_minor=row["spent_minor"])


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
        uses_max=row["uses_max"],
        uses_per_customer_max=row["uses_per_customer_max"],
        budget_minor=row["budget_minor"],
    )
