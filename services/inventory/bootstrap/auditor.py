"""The role `auditor`: looks at the books."""

from typing import Final

from libs.common.pacing import WorkPace
from libs.common.runtime import Component, PeriodicJob
from services.inventory import metrics
from services.inventory.bootstrap.adapters import Adapters
from services.inventory.handlers.audit import Auditor, Look, Progress
from services.inventory.settings import InventorySettings
from services.inventory.storage.books import PostgresBooks
from services.inventory.storage.ledger_feed import SettledLedger

# How long after a change was booked it is checked, unless there are so many that checking takes its share of the time.
_AUDIT_SECONDS: Final = 1.0
_AUDIT_PACE: Final = WorkPace(share_max=0.05)


def build_auditor(settings: InventorySettings, adapters: Adapters) -> list[Component]:
    """Construct the auditor's looks at the books; of several auditors one works at a time."""
    auditor = Auditor(adapters.clock)
    ledger = SettledLedger()

    async def check_changes() -> int:
        async with adapters.database.transaction() as transaction:
            books = PostgresBooks(transaction, ledger)
            goes_on = await books.take_turn() and await auditor.check_changes(books)
            drift = await books.drift()
        metrics.inventory_ledger_drift_units.set(drift.ledger_units)
        metrics.inventory_reservation_drift_units.set(drift.reservation_units)
        metrics.inventory_audit_backlog_movements.set(books.backlog_movements)
        return int(goes_on)

    async def check_page(look: Look) -> bool:
        async with adapters.database.transaction() as transaction:
            books = PostgresBooks(transaction, ledger)
            # Whoever has the turn is at it for milliseconds; this comes around again.
            if not await books.take_turn():
                return False
            progress = await auditor.step(look, books)
            if progress is Progress.FINISHED and look is Look.LEVELS:
                metrics.inventory_waiting_orders.set(await books.waiting_orders())
                metrics.inventory_shortfall_units.set(await books.shortfall_units())
        if progress is Progress.FINISHED:
            metrics.inventory_audit_rounds_total.labels(look).inc()
        return progress is Progress.GOES_ON

    async def check_levels() -> int:
        return int(await check_page(Look.LEVELS))

    async def rescan() -> int:
        await check_page(Look.RESCAN)
        return 0

    return [
        PeriodicJob("audit-changes", check_changes, every_seconds=_AUDIT_SECONDS, pace=_AUDIT_PACE),
        PeriodicJob("audit-levels", check_levels, every_seconds=settings.audit_interval_seconds, pace=_AUDIT_PACE),
        PeriodicJob("audit-rescan", rescan, every_seconds=settings.audit_rescan_rest_seconds, pace=_AUDIT_PACE),
    ]
