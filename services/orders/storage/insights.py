"""Sums of journeys by day, made anew from the days that changed, and what is read of them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from libs.common.db import Transaction
from services.orders.domain.delays import CAUSES, STAGES, DelayModel, Stage
from services.orders.domain.durations import BUCKET_SQL
from services.orders.handlers.insight_queries import Row

_DAYS_MAX: Final = 31
_MARKS_MAX: Final = 20_000
_BINS: Final = 10

# One replica at a time, and the next pass of another finds nothing left to do.
_ALONE = "SELECT pg_try_advisory_xact_lock(hashtext('orders.insights.summaries'))"
_TAKE_MARKS = """
WITH taken AS (SELECT id, day FROM journey_marks ORDER BY id LIMIT $1),
     days AS (SELECT DISTINCT day FROM taken ORDER BY day LIMIT $2),
     gone AS (DELETE FROM journey_marks USING taken, days WHERE journey_marks.id = taken.id AND taken.day = days.day)
SELECT day FROM days
"""
_OF_DAYS: Final = (
    "order_summaries",
    "reason_summaries",
    "stage_summaries",
    "late_summaries",
    "late_category_summaries",
    "calibration_summaries",
)
_CLEAR = "DELETE FROM {table} WHERE day = ANY($1::date[])"
_ORDERS = """
INSERT INTO order_summaries
SELECT day, channel, country, currency, count(*),
       count(*) FILTER (WHERE is_held), count(*) FILTER (WHERE is_backordered), count(*) FILTER (WHERE is_confirmed),
       count(*) FILTER (WHERE status = 'refused'), count(*) FILTER (WHERE status = 'cancelled'),
       count(*) FILTER (WHERE dispatched_at IS NOT NULL), count(*) FILTER (WHERE delivered_at IS NOT NULL),
       count(*) FILTER (WHERE status = 'settled'), count(*) FILTER (WHERE is_returned),
       sum(total_minor), sum(captured_minor), sum(refunded_minor)
FROM order_journeys WHERE day = ANY($1::date[]) GROUP BY day, channel, country, currency
"""
_REASONS = """
INSERT INTO reason_summaries
SELECT day, status, coalesce(reason, ''), currency, count(*), sum(total_minor)
FROM order_journeys WHERE day = ANY($1::date[]) AND status IN ('cancelled', 'refused')
GROUP BY day, status, coalesce(reason, ''), currency
UNION ALL
SELECT day, 'returned', returns.reason, returns.currency, count(*), sum(refund_minor)
FROM order_journeys JOIN returns USING (order_id)
WHERE day = ANY($1::date[]) AND is_returned GROUP BY day, returns.reason, returns.currency
"""
_STAGES = f"""
INSERT INTO stage_summaries
SELECT day, ($2::text[])[place], warehouse, carrier, country, channel, {BUCKET_SQL}, count(*), sum(seconds)
FROM order_journeys CROSS JOIN unnest(stage_seconds) WITH ORDINALITY AS spent (seconds, place)
WHERE day = ANY($1::date[]) AND seconds IS NOT NULL
GROUP BY day, place, warehouse, carrier, country, channel, 7
"""  # noqa: S608 - a constant
_LATE_SUMS = f"""count(*), count(*) FILTER (WHERE lateness_seconds > 0), sum(lateness_seconds),
       ARRAY[{", ".join(f"coalesce(sum(late_shares[{place}]), 0)" for place in range(1, len(CAUSES) + 1))}]"""
_LATE = f"""
INSERT INTO late_summaries
SELECT day, warehouse, carrier, country, channel, {_LATE_SUMS}
FROM order_journeys WHERE day = ANY($1::date[]) AND lateness_seconds IS NOT NULL
GROUP BY day, warehouse, carrier, country, channel
"""  # noqa: S608 - a constant
_LATE_CATEGORIES = f"""
INSERT INTO late_category_summaries
SELECT day, category, {_LATE_SUMS}
FROM order_journeys CROSS JOIN LATERAL (
    SELECT DISTINCT coalesce(category, '') AS category
    FROM order_lines LEFT JOIN product_categories USING (sku) WHERE order_lines.order_id = order_journeys.order_id
) AS bought
WHERE day = ANY($1::date[]) AND lateness_seconds IS NOT NULL
GROUP BY day, category
"""  # noqa: S608 - a constant
# Only promises that are due: of the others only those are over that were kept.
_CALIBRATION = f"""
INSERT INTO calibration_summaries
SELECT day, point, least({_BINS - 1}, floor(probability * {_BINS})::integer), count(*),
       count(*) FILTER (WHERE is_late), sum(probability), sum((probability - is_late::integer) ^ 2)
FROM (
    SELECT day, point, probability, coalesce(lateness_seconds > 0, true) AS is_late
    FROM order_journeys
    JOIN orders ON orders.id = order_id
    CROSS JOIN LATERAL (
        VALUES ('confirmation', probability_at_confirmation), ('dispatch', probability_at_dispatch)
    ) AS made (point, probability)
    WHERE day = ANY($1::date[]) AND probability IS NOT NULL
          AND order_journeys.status NOT IN ('cancelled', 'refused')
          AND promised_by <= $2::timestamptz + (orders.placed_at - orders.received_at)
) judged
GROUP BY day, point, 3
"""  # noqa: S608 - a constant
_MARK_MONTHS = """
INSERT INTO cohort_marks SELECT DISTINCT date_trunc('month', day)::date FROM unnest($1::date[]) AS day
ON CONFLICT DO NOTHING
"""
# The window ends with the last day there is, so that a replayed year is learned from too.
_COUNTS = """
SELECT stage,
       CASE WHEN stage IN ('pick', 'hand-over') THEN warehouse
            WHEN stage IN ('carrier', 'last-mile', 'transit') THEN carrier ELSE '' END AS place,
       CASE WHEN stage IN ('carrier', 'last-mile', 'transit') THEN country ELSE '' END AS destination,
       greatest(bucket, 0) AS bucket, sum(orders)::bigint AS orders
FROM stage_summaries WHERE day > (SELECT max(day) FROM stage_summaries) - $1::integer
GROUP BY 1, 2, 3, 4
"""
_TAKE_MONTHS = "DELETE FROM cohort_marks RETURNING month"
_CLEAR_MONTHS = "DELETE FROM customer_months WHERE month = ANY($1::date[])"
_MONTHS = """
INSERT INTO customer_months
SELECT customer_id, date_trunc('month', day)::date, currency, count(*), sum(captured_minor - refunded_minor)
FROM order_journeys
JOIN unnest($1::date[]) AS wanted (month)
     ON day >= wanted.month AND day < (wanted.month + interval '1 month')::date
WHERE is_confirmed AND status <> 'cancelled'
GROUP BY 1, 2, 3
"""
_COHORTS = """
INSERT INTO cohort_summaries
SELECT cohort, month, currency, count(DISTINCT customer_id), sum(orders), sum(revenue_minor)
FROM (SELECT *, min(month) OVER (PARTITION BY customer_id) AS cohort FROM customer_months) placed
GROUP BY cohort, month, currency
"""
_QUEUE = """
SELECT order_id, journeys.status, journeys.channel, journeys.country, warehouse, carrier, ship_by, promised_by,
       probability_late, dispatched_at,
       promised_by < $1::timestamptz + (placed_at - received_at) AS is_late
FROM order_journeys journeys JOIN orders ON orders.id = order_id
WHERE is_at_risk AND (ship_by, order_id) > ($2, $3) AND ($4::text IS NULL OR warehouse = $4)
ORDER BY ship_by, order_id LIMIT $5
"""
_AT_RISK = """
SELECT count(*) FILTER (WHERE promised_by < $1::timestamptz + (placed_at - received_at)) AS late,
       count(*) AS all_of_them
FROM order_journeys JOIN orders ON orders.id = order_id WHERE is_at_risk
"""
_JOURNEY = """
SELECT journeys.*, orders.id AS order_id, orders.status AS status, placed_at, placed_at - received_at AS shift,
       CASE WHEN orders.status = 'backordered' THEN expected_at END AS expected_at
FROM orders LEFT JOIN order_journeys journeys ON journeys.order_id = orders.id WHERE orders.id = $1
"""
_LATE_GROUPS: Final[Mapping[str, str]] = {
    "category": "category",
    "warehouse": "warehouse",
    "carrier": "carrier",
    "country": "country",
    "channel": "channel",
    "week": "to_char(day, 'IYYY-\"W\"IW')",
    "day": "day::text",
}
_LATE_REPORT = """
SELECT {group} AS value, sum(delivered)::bigint AS delivered, sum(late)::bigint AS late,
       sum(lateness_seconds) AS lateness_seconds, {shares}
FROM {table} WHERE day BETWEEN $1 AND $2 GROUP BY 1 ORDER BY sum(lateness_seconds) DESC, 1 LIMIT $3
"""
_CALIBRATION_REPORT = """
SELECT point, bin, sum(orders)::bigint AS orders, sum(late)::bigint AS late, sum(probability_sum) AS probability_sum,
       sum(squared_error_sum) AS squared_error_sum
FROM calibration_summaries WHERE day BETWEEN $1 AND $2 GROUP BY point, bin ORDER BY point, bin
"""
_ORDER_GROUPS: Final[Mapping[str, str]] = {
    "all": "''",
    "day": "day::text",
    "week": "to_char(day, 'IYYY-\"W\"IW')",
    "month": "to_char(day, 'YYYY-MM')",
    "channel": "channel",
    "country": "country",
}
_STEPS: Final = (
    "orders",
    "held",
    "backordered",
    "confirmed",
    "refused",
    "cancelled",
    "shipped",
    "delivered",
    "settled",
    "returned",
)
_FUNNEL = """
SELECT {group} AS value, {steps} FROM order_summaries WHERE day BETWEEN $1 AND $2 GROUP BY 1 ORDER BY 1 LIMIT $3
"""
_REVENUE = """
SELECT {group} AS value, currency, sum(orders)::bigint AS orders, sum(total_minor) AS ordered_minor,
       sum(captured_minor) AS captured_minor, sum(refunded_minor) AS refunded_minor
FROM order_summaries WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $3
"""
_REASON_REPORT = """
SELECT reason, currency, sum(orders)::bigint AS orders, sum(amount_minor) AS amount_minor
FROM reason_summaries WHERE day BETWEEN $1 AND $2 AND outcome = $3
GROUP BY reason, currency ORDER BY sum(orders) DESC, reason, currency LIMIT $4
"""
_STAGE_GROUPS: Final[Mapping[str, str]] = {
    **{name: name for name in ("warehouse", "carrier", "country", "channel")},
    **{name: _ORDER_GROUPS[name] for name in ("all", "day", "week", "month")},
}
_CYCLE_TIMES = """
SELECT stage, value, sum(orders)::bigint AS orders, sum(seconds) AS seconds,
       array_agg(bucket ORDER BY bucket) AS buckets, array_agg(orders ORDER BY bucket) AS counts
FROM (
    SELECT stage, {group} AS value, bucket, sum(orders)::bigint AS orders, sum(seconds) AS seconds
    FROM stage_summaries WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2, 3
) counted
GROUP BY stage, value ORDER BY value, array_position($4::text[], stage) LIMIT $3
"""
_COHORT_REPORT = """
SELECT cohort, month, currency, customers, orders, revenue_minor FROM cohort_summaries
WHERE cohort BETWEEN date_trunc('month', $1::date)::date AND $2 ORDER BY cohort, currency, month
"""


async def summarise(transaction: Transaction, *, now: datetime) -> int:
    """Make the sums of days anew that changed; return how many, 0 if none did or another replica is at it."""
    driver = await transaction.driver()
    if not await driver.fetchval(_ALONE):
        return 0
    days = [row["day"] for row in await driver.fetch(_TAKE_MARKS, _MARKS_MAX, _DAYS_MAX)]
    if not days:
        return 0
    for table in _OF_DAYS:
        await driver.execute(_CLEAR.format(table=table), days)
    await driver.execute(_ORDERS, days)
    await driver.execute(_REASONS, days)
    await driver.execute(_STAGES, days, [stage.value for stage in STAGES])
    await driver.execute(_LATE, days)
    await driver.execute(_LATE_CATEGORIES, days)
    await driver.execute(_CALIBRATION, days, now)
    await driver.execute(_MARK_MONTHS, days)
    return len(days)


async def summarise_cohorts(transaction: Transaction) -> int:
    """Make the cohorts anew if a month changed; return how many months had."""
    driver = await transaction.driver()
    if not await driver.fetchval(_ALONE):
        return 0
    months = [row["month"] for row in await driver.fetch(_TAKE_MONTHS)]
    if not months:
        return 0
    await driver.execute(_CLEAR_MONTHS, months)
    await driver.execute(_MONTHS, months)
    await driver.execute("DELETE FROM cohort_summaries")
    await driver.execute(_COHORTS)
    return len(months)


async def learn(transaction: Transaction, *, learning_days: int) -> DelayModel:
    """Return the model of the last days that there are."""
    driver = await transaction.driver()
    counts: dict[tuple[Stage, str, str], dict[int, int]] = {}
    for row in await driver.fetch(_COUNTS, learning_days):
        key = (Stage(row["stage"]), row["place"], row["destination"])
        counts.setdefault(key, {})[row["bucket"]] = row["orders"]
    return DelayModel(counts)


async def count_at_risk(transaction: Transaction, *, now: datetime) -> tuple[int, int]:
    """Return how many open orders are late, and how many more are at risk."""
    driver = await transaction.driver()
    row: Any = await driver.fetchrow(_AT_RISK, now)
    return int(row["late"]), int(row["all_of_them"] - row["late"])


async def recent_calibration(transaction: Transaction, *, days: int) -> Sequence[Row]:
    """Return the calibration of the last days that there are (see `InsightReads.calibration`)."""
    driver = await transaction.driver()
    last = await driver.fetchval("SELECT max(day) FROM calibration_summaries")
    if last is None:
        return ()
    return await PostgresInsights(transaction).calibration(first=last - timedelta(days=days), last=last)


async def recent_cycle_times(transaction: Transaction, *, days: int) -> Sequence[Row]:
    """Return how long stages took of the last days that there are (see `InsightReads.cycle_times`)."""
    driver = await transaction.driver()
    last = await driver.fetchval("SELECT max(day) FROM stage_summaries")
    if last is None:
        return ()
    reads = PostgresInsights(transaction)
    return await reads.cycle_times(first=last - timedelta(days=days), last=last, by="all", limit=len(STAGES))


class PostgresInsights:
    """The read side of journeys, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def journey(self, order_id: UUID) -> Row | None:
        """Return what is kept of an order's journey (see `InsightReads.journey`)."""
        rows = await self._rows(_JOURNEY, order_id)
        return rows[0] if rows else None

    async def queue(
        self, *, now: datetime, after: tuple[datetime, UUID], warehouse: str | None, limit: int
    ) -> Sequence[Row]:
        """Return open orders that are late or at risk (see `InsightReads.queue`)."""
        return await self._rows(_QUEUE, now, *after, warehouse, limit)

    async def late_report(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return what made deliveries late (see `InsightReads.late_report`)."""
        shares = ", ".join(f'sum(shares[{place}]) AS "{cause}"' for place, cause in enumerate(CAUSES, start=1))
        table = "late_category_summaries" if by == "category" else "late_summaries"
        query = _LATE_REPORT.format(group=_LATE_GROUPS[by], shares=shares, table=table)
        return await self._rows(query, first, last, limit)

    async def calibration(self, *, first: date, last: date) -> Sequence[Row]:
        """Return predictions and outcomes (see `InsightReads.calibration`)."""
        return await self._rows(_CALIBRATION_REPORT, first, last)

    async def funnel(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return how far orders came (see `InsightReads.funnel`)."""
        steps = ", ".join(f"sum({step})::bigint AS {step}" for step in _STEPS)
        return await self._rows(_FUNNEL.format(group=_ORDER_GROUPS[by], steps=steps), first, last, limit)

    async def revenue(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return money by currency (see `InsightReads.revenue`)."""
        return await self._rows(_REVENUE.format(group=_ORDER_GROUPS[by]), first, last, limit)

    async def reasons(self, *, first: date, last: date, outcome: str, limit: int) -> Sequence[Row]:
        """Return why orders ended so (see `InsightReads.reasons`)."""
        return await self._rows(_REASON_REPORT, first, last, outcome, limit)

    async def cycle_times(self, *, first: date, last: date, by: str, limit: int) -> Sequence[Row]:
        """Return how long stages took (see `InsightReads.cycle_times`)."""
        stages = [stage.value for stage in STAGES]
        return await self._rows(_CYCLE_TIMES.format(group=_STAGE_GROUPS[by]), first, last, limit, stages)

    async def cohorts(self, *, first: date, last: date) -> Sequence[Row]:
        """Return customers by the month of their first order (see `InsightReads.cohorts`)."""
        return await self._rows(_COHORT_REPORT, first, last)

    async def _rows(self, query: str, *arguments: object) -> list[Row]:
        driver = await self._transaction.driver()
        return [dict(row) for row in await driver.fetch(query, *arguments)]
