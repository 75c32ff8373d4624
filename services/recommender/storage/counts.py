"""What is counted, written for a whole batch at a time."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from libs.common.db import Transaction
from services.recommender import metrics
from services.recommender.domain.baskets import PairWeight, Tally
from services.recommender.domain.histories import History
from services.recommender.domain.windows import BrowsingWindow, View, WindowKey

# Keeps each statement far from its timeout, however large the orders of a batch are.
_PAIRS_PER_STATEMENT_MAX: Final = 20_000

# Arrays come sorted: rows are locked in the order in which they are inserted, so that transactions which
# touch the same rows wait in line and never in a circle.
_LOCK_WINDOWS = """
INSERT INTO browsing_windows (visitor_id, session_id, views)
SELECT visitor_id, session_id, '[]'
FROM unnest($1::text[], $2::text[]) AS wanted (visitor_id, session_id)
ON CONFLICT (visitor_id, session_id) DO UPDATE SET touched_at = now()
RETURNING visitor_id, session_id, views::text
"""
_SAVE_WINDOWS = """
UPDATE browsing_windows SET views = changed.views::jsonb
FROM unnest($1::text[], $2::text[], $3::text[]) AS changed (visitor_id, session_id, views)
WHERE browsing_windows.visitor_id = changed.visitor_id
  AND browsing_windows.session_id = changed.session_id
"""
_LOCK_HISTORIES = """
INSERT INTO histories (user_id, viewed, bought)
SELECT user_id, '{}', '{}' FROM unnest($1::text[]) AS wanted (user_id)
ON CONFLICT (user_id) DO UPDATE SET touched_at = now()
RETURNING user_id, viewed::text, bought::text, erased_at IS NOT NULL AS is_erased
"""
_SAVE_HISTORIES = """
UPDATE histories SET viewed = changed.viewed::jsonb, bought = changed.bought::jsonb
FROM unnest($1::text[], $2::text[], $3::text[]) AS changed (user_id, viewed, bought)
WHERE histories.user_id = changed.user_id
"""
# The same sum as domain/popularity.together; 2^-60 is lost in a double, a larger power would underflow.
_ADD_ITEMS = """
INSERT INTO items AS known (sku, bought_weight, viewed_weight, popularity_log2)
SELECT sku, bought, viewed, popularity
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::float8[])
     AS added (sku, bought, viewed, popularity)
ON CONFLICT (sku) DO UPDATE SET
  bought_weight = known.bought_weight + excluded.bought_weight,
  viewed_weight = known.viewed_weight + excluded.viewed_weight,
  popularity_log2 = greatest(known.popularity_log2, excluded.popularity_log2)
    + ln(1 + power(2, -least(abs(known.popularity_log2 - excluded.popularity_log2), 60))) / ln(2)
"""
_ADD_PAIRS = """
INSERT INTO item_pairs AS known (sku, neighbour, bought_weight, viewed_weight, viewed_derived_weight)
SELECT sku, neighbour, bought, viewed, viewed_derived
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
     AS added (sku, neighbour, bought, viewed, viewed_derived)
ON CONFLICT (sku, neighbour) DO UPDATE SET
  bought_weight = known.bought_weight + excluded.bought_weight,
  viewed_weight = known.viewed_weight + excluded.viewed_weight,
  viewed_derived_weight = known.viewed_derived_weight + excluded.viewed_derived_weight
"""

_encode = msgspec.json.Encoder().encode
_decode_views = msgspec.json.Decoder(tuple[View, ...]).decode
_decode_moments = msgspec.json.Decoder(dict[str, datetime]).decode


class PostgresCounts:
    """The counts, bound to one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Lock and write in `transaction`."""
        self._transaction = transaction

    async def windows(self, keys: Collection[WindowKey]) -> dict[WindowKey, BrowsingWindow]:
        """Lock and return the browsing window of each key."""
        driver = await self._transaction.driver()
        ordered = sorted(keys)
        rows = await driver.fetch(
            _LOCK_WINDOWS,
            [key.visitor_id for key in ordered],
            [key.session_id for key in ordered],
        )
        found = {}
        for visitor_id, session_id, views in rows:
            key = WindowKey(visitor_id, session_id)
            found[key] = BrowsingWindow(key.has_session, _decode_views(views))
        return found

    async def save_windows(self, windows: Mapping[WindowKey, BrowsingWindow]) -> None:
        """Replace windows that were loaded."""
        driver = await self._transaction.driver()
        await driver.execute(
            _SAVE_WINDOWS,
            [key.visitor_id for key in windows],
            [key.session_id for key in windows],
            [_encode(window.views).decode() for window in windows.values()],
        )

    async def histories(self, user_ids: Collection[str]) -> dict[str, History]:
        """Lock and return the history of each user who was not erased."""
        driver = await self._transaction.driver()
        rows = await driver.fetch(_LOCK_HISTORIES, sorted(user_ids))
        return {
            user_id: History(viewed=_decode_moments(viewed), bought=_decode_moments(bought))
            for user_id, viewed, bought, is_erased in rows
            if not is_erased
        }

    async def save_histories(self, histories: Mapping[str, History]) -> None:
        """Replace histories that were loaded."""
        driver = await self._transaction.driver()
        await driver.execute(
            _SAVE_HISTORIES,
            list(histories),
            [_encode(history.viewed).decode() for history in histories.values()],
            [_encode(history.bought).decode() for history in histories.values()],
        )

    async def add(self, tally: Tally) -> None:
        """Add the counts of a batch: one write for each product and each side of a pair."""
        driver = await self._transaction.driver()
        skus = sorted(tally.items)
        weights = [tally.items[sku] for sku in skus]
        await driver.execute(
            _ADD_ITEMS,
            skus,
            [weight.bought for weight in weights],
            [weight.viewed for weight in weights],
            [weight.popularity for weight in weights],
        )
        sides = sorted(_both_sides(tally))
        for start in range(0, len(sides), _PAIRS_PER_STATEMENT_MAX):
            columns = _columns(sides[start : start + _PAIRS_PER_STATEMENT_MAX], tally)
            await driver.execute(_ADD_PAIRS, *columns)
        self._transaction.after_commit(lambda: metrics.pairs_counted_total.inc(len(tally.pairs)))


def _both_sides(tally: Tally) -> Iterator[tuple[str, str]]:
    for low, high in tally.pairs:
        yield low, high
        yield high, low


def _columns(
    sides: Sequence[tuple[str, str]], tally: Tally
) -> tuple[list[str], list[str], list[int], list[int], list[int]]:
    weights: list[PairWeight] = [tally.pairs[min(side), max(side)] for side in sides]
    return (
        [sku for sku, _ in sides],
        [neighbour for _, neighbour in sides],
        [weight.bought for weight in weights],
        [weight.viewed for weight in weights],
        [weight.viewed_derived for weight in weights],
    )
