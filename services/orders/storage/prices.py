"""The history of the catalog's prices."""

from collections.abc import Collection, Mapping, Sequence

from libs.common.db import Transaction
from services.orders.domain.prices import PricePeriod
from services.orders.handlers.prices import FoundPrices, Wanted

_LATEST = """
SELECT DISTINCT ON (sku) sku, version, currency, price_minor, is_listed, valid_from, valid_to
FROM product_prices WHERE sku = ANY($1::text[]) ORDER BY sku, version DESC
"""
_ADD = """
INSERT INTO product_prices (sku, version, currency, price_minor, is_listed, valid_from)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bool[], $6::timestamptz[])
ON CONFLICT (sku, version) DO NOTHING
"""
# A period ends where the next one begins, whichever of two members of the group wrote which of them.
_END = """
UPDATE product_prices SET valid_to = next.began_at
FROM (
    SELECT sku, version, lead(valid_from) OVER (PARTITION BY sku ORDER BY version) AS began_at
    FROM product_prices WHERE sku = ANY($1::text[])
) AS next
WHERE product_prices.sku = next.sku AND product_prices.version = next.version
    AND product_prices.valid_to IS DISTINCT FROM next.began_at
"""
_KEEP_CATEGORIES = """
INSERT INTO product_categories (sku, version, category)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[]) AS told (sku, version, category) ORDER BY sku
ON CONFLICT (sku) DO UPDATE SET version = excluded.version, category = excluded.category
WHERE product_categories.version < excluded.version
"""
_FIND = """
SELECT wanted.position, min(valid_from) FILTER (WHERE is_listed) AS known_from,
       array_agg(price_minor ORDER BY valid_from) FILTER (
           WHERE is_listed AND valid_from <= wanted.until AND (valid_to IS NULL OR valid_to > wanted.since)
       ) AS prices_minor,
       max(price_minor) FILTER (WHERE is_listed AND valid_to IS NULL) AS present_minor,
       max(valid_from) FILTER (WHERE is_listed AND valid_to IS NULL) AS present_from
FROM unnest($1::int[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
     AS wanted (position, sku, currency, since, until)
JOIN product_prices USING (sku, currency)
GROUP BY wanted.position
"""
_HISTORY = """
SELECT sku, version, currency, price_minor, is_listed, valid_from, valid_to
FROM product_prices WHERE sku = $1 ORDER BY version DESC LIMIT $2
"""
_NOTHING = FoundPrices()


class PostgresPrices:
    """The history, as one transaction sees it."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def latest_of(self, skus: Collection[str]) -> Mapping[str, PricePeriod]:
        """Return the latest period of each SKU that has one."""
        driver = await self._transaction.driver()
        return {row["sku"]: PricePeriod(**row) for row in await driver.fetch(_LATEST, sorted(skus))}

    async def add(self, periods: Sequence[PricePeriod]) -> None:
        """Add periods, and let each end where the next of its SKU begins."""
        driver = await self._transaction.driver()
        # In one order for everybody, as two members may hold the same events after a rebalance.
        ordered = sorted(periods, key=lambda one: (one.sku, one.version))
        await driver.execute(
            _ADD,
            [one.sku for one in ordered],
            [one.version for one in ordered],
            [one.currency for one in ordered],
            [one.price_minor for one in ordered],
            [one.is_listed for one in ordered],
            [one.valid_from for one in ordered],
        )
        await driver.execute(_END, sorted({one.sku for one in ordered}))

    async def keep_categories(self, told: Mapping[str, tuple[int, str]]) -> None:
        """Keep the latest category of SKUs (see `Prices.keep_categories`)."""
        driver = await self._transaction.driver()
        versions, categories = [version for version, _ in told.values()], [category for _, category in told.values()]
        await driver.execute(_KEEP_CATEGORIES, list(told), versions, categories)

    async def find(self, wanted: Sequence[Wanted]) -> Sequence[FoundPrices]:
        """Return what the history says of each, in order."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(
            _FIND,
            list(range(len(wanted))),
            [one.sku for one in wanted],
            [one.currency for one in wanted],
            [one.since for one in wanted],
            [one.until for one in wanted],
        )
        found = {
            row["position"]: FoundPrices(
                asked_minor=row["prices_minor"] or (),
                known_from=row["known_from"],
                present=None if row["present_from"] is None else (row["present_minor"], row["present_from"]),
            )
            for row in rows
        }
        return [found.get(position, _NOTHING) for position in range(len(wanted))]

    async def history_of(self, sku: str, *, limit: int) -> Sequence[PricePeriod]:
        """Return a SKU's periods, the latest first."""
        driver = await self._transaction.driver()
        return [PricePeriod(**row) for row in await driver.fetch(_HISTORY, sku, limit)]
