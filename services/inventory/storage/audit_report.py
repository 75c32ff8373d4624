"""The reads of what the auditor keeps."""

from typing import Final

from libs.common.db import Transaction
from services.inventory.handlers.audit_report import AuditReport, DriftView, RoundView
from services.inventory.storage.books import FOLLOWER

_TOTALS: Final = """
SELECT coalesce(sum(abs(units)) FILTER (WHERE book = 'ledger'), 0)::bigint AS ledger_units,
       coalesce(sum(abs(units)) FILTER (WHERE book = 'reservations'), 0)::bigint AS reservation_units,
       count(*) AS levels_off,
       (SELECT moved_at FROM ledger_followers WHERE name = $1) AS checked_at,
       greatest(0, coalesce((SELECT max(id) FROM stock_movements), 0)
           - coalesce((SELECT movement_id FROM ledger_followers WHERE name = $1), 0)) AS backlog_movements
FROM audit_drifts WHERE resolved_at IS NULL
"""
_OFF: Final = """
SELECT sku, warehouse, book, units, first_seen_at, last_changed_at, resolved_at
FROM audit_drifts WHERE resolved_at IS NULL ORDER BY sku, warehouse, book LIMIT $1
"""
_RESOLVED: Final = """
SELECT sku, warehouse, book, units, first_seen_at, last_changed_at, resolved_at
FROM audit_drifts WHERE resolved_at IS NOT NULL ORDER BY resolved_at DESC LIMIT $1
"""
_ROUNDS: Final = """
SELECT look, started_at, finished_at, skus, ledger_units, reservation_units
FROM audit_rounds ORDER BY id DESC LIMIT $1
"""


class PostgresAuditReports:
    """The reads, in one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        """Read in `transaction`."""
        self._transaction = transaction

    async def audit_report(self, *, limit: int) -> AuditReport:
        """Return the state of the audit, with at most `limit` rows of each list."""
        driver = await self._transaction.driver()
        totals = await driver.fetchrow(_TOTALS, FOLLOWER)
        assert totals is not None  # noqa: S101 - an aggregate always has a row
        return AuditReport(
            **dict(totals),
            drifts=[DriftView(**dict(row)) for row in await driver.fetch(_OFF, limit)],
            resolved=[DriftView(**dict(row)) for row in await driver.fetch(_RESOLVED, limit)],
            rounds=[RoundView(**dict(row)) for row in await driver.fetch(_ROUNDS, limit)],
        )
