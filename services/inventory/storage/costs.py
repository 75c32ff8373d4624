"""Costs in PostgreSQL: a row for each day on which something happened, with totals that only grow."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any, Final

import asyncpg

from libs.common.db import Transaction
from services.inventory.domain.costs import PARTS_PER_UNIT, CostedMovement, SkuCost, StockCost, cost_of, state_of
from services.inventory.domain.stock import MovementKind
from services.inventory.handlers.costs import LedgerDay, Revaluation
from services.inventory.storage.ledger_feed import SettledLedger, locked_position, move_position

FOLLOWER: Final = "costs"
_FOLLOW_MOVEMENTS: Final = 50_000
_PREFETCHED_MOVEMENTS: Final = 1_000
# Of the last days every state is kept, so that what is late by hours folds hours again; before them one a month.
_STATE_DAYS: Final = 14
# Wide enough for any sum: the default of 28 digits would round.
_EXACT: Final = Context(prec=100)
_PARTS_PER_UNIT: Final = Decimal(PARTS_PER_UNIT)
_FIRST_DAY: Final = date(1, 1, 1)

_MARK: Final = """
INSERT INTO stock_cost_queue (sku, since)
SELECT sku, (min(occurred_at) AT TIME ZONE 'UTC')::date FROM stock_movements WHERE id > $1 AND id <= $2 GROUP BY sku
ON CONFLICT (sku) DO UPDATE SET since = least(stock_cost_queue.since, excluded.since)
"""
_PENDING: Final = """
SELECT queue.sku, queue.since, before.state,
       (SELECT max(occurred_at) FROM stock_movements WHERE stock_movements.sku = queue.sku) AS last_at,
       before.day AS state_day
FROM (SELECT sku, since FROM stock_cost_queue ORDER BY sku LIMIT $1) AS queue
LEFT JOIN LATERAL (
    SELECT day, state FROM stock_cost_states
    WHERE stock_cost_states.sku = queue.sku AND day < queue.since ORDER BY day DESC LIMIT 1
) AS before ON true
ORDER BY queue.sku
"""
# SKU by SKU in the order of `work`, each a range of the ledger's index: a sort of the whole would not be a stream.
_MOVEMENTS: Final = """
SELECT movements.* FROM unnest($1::text[], $2::timestamptz[]) AS work (wanted, since),
LATERAL (
    SELECT sku, event_id, leg, kind, warehouse, delta_on_hand, occurred_at, transfer_id,
           unit_cost_minor, currency, counted
    FROM stock_movements WHERE sku = work.wanted AND occurred_at >= work.since ORDER BY occurred_at
) AS movements
"""
_FORGET: Final = (
    """
DELETE FROM stock_cost_values USING unnest($1::text[], $2::date[]) AS changed (sku, since)
WHERE stock_cost_values.sku = changed.sku AND day >= since
""",
    """
DELETE FROM stock_cost_days USING unnest($1::text[], $2::date[]) AS changed (sku, since)
WHERE stock_cost_days.sku = changed.sku AND day >= since
""",
    """
DELETE FROM stock_cost_states USING unnest($1::text[], $2::date[]) AS changed (sku, since)
WHERE stock_cost_states.sku = changed.sku AND day >= since
""",
)
_THIN: Final = """
DELETE FROM stock_cost_states USING unnest($1::text[], $2::date[]) AS changed (sku, recent)
WHERE stock_cost_states.sku = changed.sku AND day < recent AND NOT is_monthly
"""
_DONE: Final = "DELETE FROM stock_cost_queue WHERE sku = ANY($1::text[])"
_PUT_OFF: Final = "UPDATE stock_cost_queue SET since = $2 WHERE sku = $1"
_DAY_COLUMNS: Final = (
    "sku",
    "warehouse",
    "day",
    "units",
    "uncosted_units",
    "received_units",
    "unpriced_units",
    "sold_units",
    "returned_units",
    "adjusted_units",
    "transferred_units",
    "unit_days",
    "empty_days",
    "first_day",
    "last_sold_on",
    "last_received_on",
)
_VALUE_COLUMNS: Final = (
    "sku",
    "warehouse",
    "day",
    "currency",
    "value_minor",
    "received_minor",
    "sold_minor",
    "returned_minor",
    "adjusted_minor",
    "transferred_minor",
    "value_days_minor",
)


class PostgresCosts:
    """The costs, in one transaction."""

    def __init__(self, transaction: Transaction, ledger: SettledLedger) -> None:
        """Work in `transaction`; `ledger` outlives it and learns what is settled."""
        self._transaction = transaction
        self._ledger = ledger
        self._recent: dict[str, date] = {}
        self._months: dict[str, date] = {}
        self._days: list[tuple[Any, ...]] = []
        self._values: list[tuple[Any, ...]] = []
        self._states: list[tuple[str, date, str, bool]] = []

    async def follow(self) -> bool:
        """Note the SKUs that are new in the ledger, and since when; return whether more of it is left."""
        driver = await self._transaction.driver()
        position = await locked_position(driver, FOLLOWER)
        settled = await self._ledger.advance(driver)
        target = min(settled, position + _FOLLOW_MOVEMENTS)
        if target > position:
            await driver.execute(_MARK, position, target)
            await move_position(driver, FOLLOWER, target)
        return target < settled

    async def backlog_skus(self) -> int:
        """Return how many SKUs have to be folded again."""
        driver = await self._transaction.driver()
        return int(await driver.fetchval("SELECT count(*) FROM stock_cost_queue"))

    async def pending(self, *, limit: int) -> list[Revaluation]:
        """Return SKUs that changed, in the order of their codes."""
        driver = await self._transaction.driver()
        work = []
        for row in await driver.fetch(_PENDING, limit):
            sku, before = row["sku"], row["state_day"]
            self._recent[sku] = row["last_at"].astimezone(UTC).date() - timedelta(days=_STATE_DAYS)
            if before is not None:
                self._months[sku] = before.replace(day=1)
            since = before + timedelta(days=1) if before is not None else _FIRST_DAY
            work.append(Revaluation(sku, since, cost_of(json.loads(row["state"])) if before else SkuCost()))
        return work

    async def days(self, work: Sequence[Revaluation]) -> AsyncIterator[LedgerDay]:
        """Yield what happened to these SKUs, SKU by SKU and day by day."""
        driver = await self._transaction.driver()
        since = [datetime.combine(one.since, time(), UTC) for one in work]
        cursor = driver.cursor(_MOVEMENTS, [one.sku for one in work], since, prefetch=_PREFETCHED_MOVEMENTS)
        current: tuple[str, date] | None = None
        movements: list[CostedMovement] = []
        async for row in cursor:
            place = (row["sku"], row["occurred_at"].date())
            if place != current:
                if current is not None:
                    yield LedgerDay(*current, movements)
                current, movements = place, []
            movements.append(_movement(row))
        if current is not None:
            yield LedgerDay(*current, movements)

    def close_day(self, sku: str, day: date, cost: SkuCost, stocks: Mapping[str, StockCost]) -> None:
        """Keep the costs of a SKU at the end of a day, on which something happened to `stocks`."""
        for warehouse, stock in stocks.items():
            self._days.append(_day_row(sku, warehouse, day, stock))
            self._values.extend(_value_rows(sku, warehouse, day, stock))
        is_monthly = self._months.get(sku) != day.replace(day=1)
        self._months[sku] = day.replace(day=1)
        if is_monthly or day >= self._recent[sku]:
            self._states.append((sku, day, json.dumps(state_of(cost)), is_monthly))

    async def save(self, finished: Sequence[Revaluation], *, stopped: tuple[Revaluation, date] | None) -> None:
        """Replace what was kept of these SKUs since their change by the days that were closed."""
        driver = await self._transaction.driver()
        changed = [*finished, stopped[0]] if stopped else list(finished)
        skus, since = [one.sku for one in changed], [one.since for one in changed]
        for statement in _FORGET:
            await driver.execute(statement, skus, since)
        await driver.copy_records_to_table("stock_cost_days", columns=_DAY_COLUMNS, records=self._days)
        await driver.copy_records_to_table("stock_cost_values", columns=_VALUE_COLUMNS, records=self._values)
        await driver.copy_records_to_table(
            "stock_cost_states", columns=("sku", "day", "state", "is_monthly"), records=self._states
        )
        await driver.execute(_THIN, skus, [self._recent[sku] for sku in skus])
        await driver.execute(_DONE, [one.sku for one in finished])
        if stopped is not None:
            await driver.execute(_PUT_OFF, stopped[0].sku, stopped[1])


def _movement(row: asyncpg.Record) -> CostedMovement:
    return CostedMovement(
        event_id=row["event_id"],
        leg=row["leg"],
        kind=MovementKind(row["kind"]),
        warehouse=row["warehouse"],
        units=row["delta_on_hand"],
        occurred_at=row["occurred_at"],
        transfer_id=row["transfer_id"],
        unit_cost_minor=row["unit_cost_minor"],
        currency=row["currency"],
        counted=row["counted"],
    )


def _day_row(sku: str, warehouse: str, day: date, stock: StockCost) -> tuple[Any, ...]:
    return (
        sku,
        warehouse,
        day,
        stock.goods.units,
        _EXACT.divide(Decimal(stock.goods.uncosted_parts), _PARTS_PER_UNIT),
        stock.received.units,
        stock.unpriced_units,
        stock.sold.units,
        stock.returned.units,
        stock.adjusted.units,
        stock.transferred.units,
        Decimal(stock.unit_days),
        stock.empty_days,
        stock.first_day,
        stock.last_sold_on,
        stock.last_received_on,
    )


def _value_rows(sku: str, warehouse: str, day: date, stock: StockCost) -> list[tuple[Any, ...]]:
    totals = (stock.received, stock.sold, stock.returned, stock.adjusted, stock.transferred)
    # `value_days` has every currency that was ever there at the end of a day, the totals those that only passed.
    currencies = {*stock.value_days, *(currency for total in totals for currency in total.values)}
    return [
        (
            sku,
            warehouse,
            day,
            currency,
            _minor(stock.goods.values.get(currency, 0)),
            *(_minor(total.values.get(currency, 0)) for total in totals),
            _minor(stock.value_days.get(currency, 0)),
        )
        for currency in sorted(currencies)
    ]


def _minor(micros: int) -> Decimal:
    return Decimal(micros).scaleb(-6, _EXACT)
