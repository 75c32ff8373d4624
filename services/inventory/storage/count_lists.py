"""Count lists in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.classes import AbcClass
from services.inventory.domain.count_lists import Candidate, ChosenLine, CountLine, CountList, CountListStatus
from services.inventory.domain.counts import CountFinding

_HAS_LIST: Final = "SELECT EXISTS (SELECT FROM count_lists WHERE warehouse = $1 AND day = $2)"
# Two who make lists of one warehouse at once would list the same SKUs.
_ALONE: Final = "SELECT pg_advisory_xact_lock(hashtextextended('count-lists:' || $1, 0))"
_CANDIDATES: Final = """
SELECT levels.sku, levels.counted_at, levels.shortfall, coalesce((
    SELECT sum(delta_on_hand)::bigint FROM stock_movements WHERE event_id = levels.counted_by AND kind = 'count'
), 0) AS discrepancy
FROM stock_levels AS levels
WHERE levels.warehouse = $1 AND (levels.on_hand > 0 OR levels.shortfall > 0) AND NOT EXISTS (
    SELECT FROM count_list_lines AS lines JOIN count_lists AS lists USING (list_id)
    WHERE lines.sku = levels.sku AND lines.event_id IS NULL
        AND lists.warehouse = $1 AND lists.status IN ('open', 'counting')
)
"""
_CLASSES: Final = "SELECT sku, abc FROM stock_classes"
# A SKU whose cost nobody told costs what the others do on average, which where nobody tells any leaves the units.
_CONSUMPTION: Final = """
WITH used AS (
    SELECT sku, -sum(delta_on_hand) AS units FROM stock_movements
    WHERE warehouse = $1 AND kind IN ('ship', 'pick') AND occurred_at >= $2 GROUP BY sku
),
costs AS (
    SELECT sku, sum(delta_on_hand::numeric * unit_cost_minor) / sum(delta_on_hand) AS minor
    FROM stock_movements WHERE kind = 'receipt' AND unit_cost_minor IS NOT NULL GROUP BY sku
)
SELECT sku, (units * coalesce(minor, (SELECT avg(minor) FROM costs), 1))::double precision AS consumption
FROM used LEFT JOIN costs USING (sku)
"""
_ADD: Final = """
INSERT INTO count_lists (list_id, warehouse, day, abc_class, status, created_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (warehouse, day) DO NOTHING
"""
_COUNT_LINES: Final = """
UPDATE count_list_lines AS lines
SET event_id = found.event_id, counted_at = found.counted_at, counted = found.counted, expected = found.expected
FROM count_lists AS lists, unnest(
    $1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::text[]
) AS found (event_id, sku, warehouse, counted_at, counted, expected, reference)
WHERE lists.list_id = lines.list_id AND lists.status IN ('open', 'counting') AND lines.event_id IS NULL
    AND lines.sku = found.sku AND lists.warehouse = found.warehouse
    AND (found.counted_at >= lists.created_at OR found.reference = lists.list_id::text)
RETURNING lines.list_id
"""
_LOCK: Final = "SELECT list_id, status FROM count_lists WHERE list_id = ANY($1::uuid[]) ORDER BY list_id FOR UPDATE"
_ADVANCE: Final = """
UPDATE count_lists SET
    status = CASE WHEN remaining.lines > 0 THEN 'counting' ELSE 'done' END,
    closed_at = CASE WHEN remaining.lines > 0 THEN NULL ELSE $2::timestamptz END
FROM (
    SELECT list_id, count(*) FILTER (WHERE event_id IS NULL) AS lines
    FROM count_list_lines WHERE list_id = ANY($1::uuid[]) GROUP BY list_id
) AS remaining
WHERE count_lists.list_id = remaining.list_id AND count_lists.status <> 'cancelled'
"""
_REOPEN: Final = """
UPDATE count_list_lines SET event_id = NULL, counted_at = NULL, counted = NULL, expected = NULL
WHERE event_id = $1 RETURNING list_id
"""
_CANCEL: Final = "UPDATE count_lists SET status = 'cancelled', closed_at = $2 WHERE list_id = $1"
_HEADS: Final = """
SELECT list_id AS id, warehouse, day, abc_class, status, created_at, created_by, closed_at,
       lines.total AS lines_total, lines.counted AS lines_counted
FROM count_lists CROSS JOIN LATERAL (
    SELECT count(*) AS total, count(event_id) AS counted
    FROM count_list_lines WHERE count_list_lines.list_id = count_lists.list_id
) AS lines
"""
_LIST: Final = f"""
{_HEADS}
WHERE ($1::text IS NULL OR warehouse = $1) AND ($2::text IS NULL OR status = $2)
    AND ($3::timestamptz IS NULL OR (created_at, list_id) < ($3, $4::uuid))
ORDER BY created_at DESC, list_id DESC LIMIT $5
"""
_FIND: Final = f"{_HEADS} WHERE list_id = $1"
_LINES: Final = """
SELECT lines.number, lines.sku, lines.abc_class, lines.reason,
       CASE WHEN lines.event_id IS NULL THEN coalesce(levels.on_hand, 0) ELSE lines.expected END AS expected,
       lines.event_id, lines.counted_at, lines.counted
FROM count_list_lines AS lines JOIN count_lists AS lists USING (list_id)
LEFT JOIN stock_levels AS levels ON levels.sku = lines.sku AND levels.warehouse = lists.warehouse
WHERE list_id = $1 ORDER BY lines.number
"""
_ACCURACY: Final = """
SELECT warehouse, count(*) AS lines, count(*) FILTER (WHERE counted = expected) AS exact
FROM count_list_lines JOIN count_lists USING (list_id) WHERE counted_at >= $1 GROUP BY warehouse
"""


class PostgresCountLists:
    """The count lists, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Work in `transaction`."""
        self._transaction = transaction

    async def has_list(self, warehouse: str, day: date) -> bool:
        """Tell whether a list was made by itself for this warehouse and day."""
        driver = await self._transaction.driver()
        return bool(await driver.fetchval(_HAS_LIST, warehouse, day))

    async def candidates(self, warehouse: str) -> Sequence[Candidate]:
        """Return what is there, or missing, and on no list that is still to be counted."""
        driver = await self._transaction.driver()
        await driver.execute(_ALONE, warehouse)
        return [Candidate(*row) for row in await driver.fetch(_CANDIDATES, warehouse)]

    async def classes(self) -> Mapping[str, AbcClass]:
        """Return the classes of SKUs as they were last reported; none before the first report."""
        driver = await self._transaction.driver()
        return {row["sku"]: AbcClass(row["abc"]) for row in await driver.fetch(_CLASSES)}

    async def consumption(self, warehouse: str, *, since: datetime) -> Mapping[str, float]:
        """Return the value of what was sold of each SKU."""
        driver = await self._transaction.driver()
        return {row["sku"]: row["consumption"] for row in await driver.fetch(_CONSUMPTION, warehouse, since)}

    async def add(self, made: CountList, lines: Sequence[ChosenLine]) -> bool:
        """Write a new list, unless there is one for its warehouse and day; tell whether it was written."""
        driver = await self._transaction.driver()
        tag = await driver.execute(
            _ADD, made.id, made.warehouse, made.day, made.abc_class, made.status, made.created_at, made.created_by
        )
        if tag.endswith(" 0"):
            return False
        await driver.copy_records_to_table(
            "count_list_lines",
            columns=("list_id", "number", "sku", "abc_class", "reason"),
            records=[(made.id, number, *line) for number, line in enumerate(lines, start=1)],
        )
        return True

    async def record(self, findings: Sequence[CountFinding], *, recorded_at: datetime) -> None:
        """Tick off the lines that these counts are of; of several counts of one SKU the latest is taken."""
        latest = {
            (one.sku, one.warehouse): one for one in sorted(findings, key=lambda one: (one.counted_at, one.event_id))
        }
        found = list(latest.values())
        driver = await self._transaction.driver()
        rows = await driver.fetch(
            _COUNT_LINES,
            [one.event_id for one in found],
            [one.sku for one in found],
            [one.warehouse for one in found],
            [one.counted_at for one in found],
            [one.counted for one in found],
            [one.expected for one in found],
            [one.reference for one in found],
        )
        await self._advance(driver, rows, recorded_at)

    async def reopen(self, event_id: UUID, *, reopened_at: datetime) -> None:
        """Let the lines that a count was of be counted again."""
        driver = await self._transaction.driver()
        await self._advance(driver, await driver.fetch(_REOPEN, event_id), reopened_at)

    async def lock(self, list_id: UUID) -> CountListStatus | None:
        """Lock a list and return where it stands, None if there is none."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_LOCK, [list_id])
        return CountListStatus(row["status"]) if row else None

    async def cancel(self, list_id: UUID, *, cancelled_at: datetime) -> None:
        """Close a list."""
        driver = await self._transaction.driver()
        await driver.execute(_CANCEL, list_id, cancelled_at)

    async def list(
        self, *, warehouse: str | None, status: CountListStatus | None, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[CountList]:
        """Return lists, the latest first, before the (time, id) given."""
        driver = await self._transaction.driver()
        created_at, list_id = before or (None, None)
        return [_count_list(row) for row in await driver.fetch(_LIST, warehouse, status, created_at, list_id, limit)]

    async def find(self, list_id: UUID) -> CountList | None:
        """Return a list without its lines."""
        driver = await self._transaction.driver()
        row = await driver.fetchrow(_FIND, list_id)
        return _count_list(row) if row else None

    async def lines(self, list_id: UUID) -> Sequence[CountLine]:
        """Return the lines of a list."""
        driver = await self._transaction.driver()
        return [
            CountLine(**{**dict(row), "abc_class": AbcClass(row["abc_class"])})
            for row in await driver.fetch(_LINES, list_id)
        ]

    async def accuracy(self, *, since: datetime) -> Sequence[tuple[str, int, int]]:
        """Return by warehouse how many lines were counted, and how many of them found what was expected."""
        driver = await self._transaction.driver()
        return [tuple(row) for row in await driver.fetch(_ACCURACY, since)]

    @staticmethod
    async def _advance(driver: asyncpg.Connection, rows: Sequence[asyncpg.Record], at: datetime) -> None:
        if not rows:
            return
        list_ids = list({row["list_id"] for row in rows})
        # Two statements: only a snapshot taken after the locks shows the lines that others have ticked off.
        await driver.fetch(_LOCK, list_ids)
        await driver.execute(_ADVANCE, list_ids, at)


def _count_list(row: asyncpg.Record) -> CountList:
    abc_class = row["abc_class"]
    return CountList(
        **{
            **dict(row),
            "abc_class": AbcClass(abc_class) if abc_class else None,
            "status": CountListStatus(row["status"]),
        }
    )
