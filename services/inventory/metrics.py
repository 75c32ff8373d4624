"""Every metric of inventory, beyond those that all services share."""

from collections import Counter as Counts
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from prometheus_client import Counter, Gauge

inventory_stock_events_total = Counter(
    "inventory_stock_events_total",
    "Events of warehouses by type, way in (http, kafka) and outcome: applied, duplicate, rejected.",
    ["event_type", "way_in", "outcome"],
)
inventory_reservations_total = Counter(
    "inventory_reservations_total",
    "Orders and holds by what became of their stock: reserved, partly-reserved, backordered, rejected, released,"
    " committed; unreserved, when units that were held turned out not to be there; and of holds held, hold-refused,"
    " extended, expired, adopted.",
    ["outcome"],
)
inventory_stock_outs_total = Counter(
    "inventory_stock_outs_total",
    "Times the last unit of a SKU that could be promised, over all warehouses, was taken.",
)
inventory_waiting_orders = Gauge(
    "inventory_waiting_orders",
    "Orders that wait for stock.",
)
inventory_shortfall_units = Gauge(
    "inventory_shortfall_units",
    "Units that warehouses reported gone and had never reported as arrived.",
)
inventory_ledger_drift_units = Gauge(
    "inventory_ledger_drift_units",
    "Units by which levels differ from the sum of their ledger; anything but 0 is a fault.",
)
inventory_reservation_drift_units = Gauge(
    "inventory_reservation_drift_units",
    "Units by which what is reserved differs from what orders hold; anything but 0 is a fault.",
)
inventory_sequence_gap_events = Gauge(
    "inventory_sequence_gap_events",
    "Reports of a warehouse that are missing: their numbers were passed over and have not come.",
    ["warehouse"],
)
inventory_sequence_gap_oldest_seconds = Gauge(
    "inventory_sequence_gap_oldest_seconds",
    "How long the longest missing report of a warehouse has been missing; 0 if none is.",
    ["warehouse"],
)
inventory_sequence_conflicts = Gauge(
    "inventory_sequence_conflicts",
    "Numbers of a warehouse under which several different reports came.",
    ["warehouse"],
)
inventory_transfer_proposals_total = Counter(
    "inventory_transfer_proposals_total",
    "Proposed transfers by outcome (proposed, revised, withdrawn, approved) and origin (automatic, manual).",
    ["outcome", "origin"],
)
inventory_transfer_units_in_transit = Gauge(
    "inventory_transfer_units_in_transit",
    "Units on their way between warehouses.",
)
inventory_transfers_overdue = Gauge(
    "inventory_transfers_overdue",
    "Transfers that were approved or are on their way and should have arrived.",
)
inventory_audit_rounds_total = Counter(
    "inventory_audit_rounds_total",
    "Times the auditor has gone over every SKU: levels against checkpoints, rescan against the whole ledger.",
    ["look"],
)
inventory_audit_backlog_movements = Gauge(
    "inventory_audit_backlog_movements",
    "Lines of the ledger that the auditor has not yet added to its checkpoints.",
)
# From the start, so that a process in which nobody audits shows 0 and not nothing.
for _look in ("levels", "rescan"):
    inventory_audit_rounds_total.labels(_look)


inventory_pending_counts = Gauge(
    "inventory_pending_counts",
    "Counts that wait for somebody to approve them.",
)
inventory_pending_counts_value_minor = Gauge(
    "inventory_pending_counts_value_minor",
    "The discrepancies of counts that wait, surplus or missing, at average cost in minor units of their currency.",
    ["currency"],
)
inventory_oldest_pending_count_age_seconds = Gauge(
    "inventory_oldest_pending_count_age_seconds",
    "For how long the oldest of them has waited; 0 if none does.",
)

inventory_stock_value_minor = Gauge(
    "inventory_stock_value_minor",
    "What stock is worth at its weighted average cost, in minor units; in_transit is on its way between warehouses.",
    ["warehouse", "currency"],
)
inventory_stock_uncosted_units = Gauge(
    "inventory_stock_uncosted_units",
    "Units on hand whose cost nobody has said.",
    ["warehouse"],
)
inventory_stock_turnover_ratio = Gauge(
    "inventory_stock_turnover_ratio",
    "Cost of the goods sold in the last 365 days over the average value of stock in them.",
    ["warehouse", "currency"],
)
inventory_stock_holding_cost_minor = Gauge(
    "inventory_stock_holding_cost_minor",
    "What it cost to hold stock in the last 365 days, in minor units.",
    ["warehouse", "currency"],
)
inventory_stock_cover_days = Gauge(
    "inventory_stock_cover_days",
    "Days that the units on hand last at the demand of the last 28 days.",
    ["warehouse"],
)
inventory_lost_sales_units = Gauge(
    "inventory_lost_sales_units",
    "Estimate of the units not sold in the last 28 days because there were none.",
    ["warehouse"],
)
inventory_dead_stock_value_minor = Gauge(
    "inventory_dead_stock_value_minor",
    "What stock is worth that has neither sold nor come in for long, in minor units.",
    ["warehouse", "currency"],
)
inventory_skus = Gauge(
    "inventory_skus",
    "SKUs by how much they matter (ABC) and how steady their demand is (XYZ).",
    ["abc", "xyz"],
)
inventory_cost_backlog_skus = Gauge(
    "inventory_cost_backlog_skus",
    "SKUs that moved and whose costs have yet to be brought up to date.",
)


inventory_count_lines = Gauge(
    "inventory_count_lines",
    "Lines of count lists that were counted in the last 90 days, by warehouse.",
    ["warehouse"],
)
inventory_count_accuracy_ratio = Gauge(
    "inventory_count_accuracy_ratio",
    "The share of them that found what the ledger expected.",
    ["warehouse"],
)


def set_count_accuracy(accuracy: Iterable[tuple[str, int, int]]) -> None:
    """Publish by warehouse how many lines were counted, and the share that was as expected."""
    inventory_count_lines.clear()
    inventory_count_accuracy_ratio.clear()
    for warehouse, lines, exact in accuracy:
        inventory_count_lines.labels(warehouse).set(lines)
        inventory_count_accuracy_ratio.labels(warehouse).set(exact / lines)


def set_pending_counts(pending: Sequence[tuple[str | None, int, Decimal | None, datetime]], *, now: datetime) -> None:
    """Publish the counts that wait: by currency, how many, their value, and since when the oldest does."""
    inventory_pending_counts.set(sum(counts for _, counts, _, _ in pending))
    inventory_pending_counts_value_minor.clear()
    for currency, _, value_minor, _ in pending:
        if currency is not None:
            inventory_pending_counts_value_minor.labels(currency).set(float(value_minor or 0))
    oldest = min((held_at for _, _, _, held_at in pending), default=now)
    inventory_oldest_pending_count_age_seconds.set((now - oldest).total_seconds())


def count_outcomes(outcomes: Mapping[str, int], *, sold_out: int) -> None:
    """Count what a committed transaction did for orders, and the SKUs that it sold out."""
    for outcome, orders in outcomes.items():
        inventory_reservations_total.labels(outcome).inc(orders)
    if sold_out:
        inventory_stock_outs_total.inc(sold_out)


def count_transfer_proposal(outcome: str, *, is_automatic: bool, transfers: int = 1) -> None:
    """Count what became of proposed transfers."""
    inventory_transfer_proposals_total.labels(outcome, "automatic" if is_automatic else "manual").inc(transfers)


def show_sequence_gaps(warehouse: str, *, missing: int, oldest_seconds: float, conflicts: int) -> None:
    """Show what is missing of a warehouse's reports."""
    inventory_sequence_gap_events.labels(warehouse).set(missing)
    inventory_sequence_gap_oldest_seconds.labels(warehouse).set(oldest_seconds)
    inventory_sequence_conflicts.labels(warehouse).set(conflicts)


def count_stock_events(results: Iterable[tuple[str, str]], *, way_in: str) -> None:
    """Count committed events of warehouses by type and outcome."""
    for (event_type, outcome), events in Counts(results).items():
        inventory_stock_events_total.labels(event_type, way_in, outcome).inc(events)


def show_classes(classes: Iterable[tuple[str, str]]) -> None:
    """Show how many SKUs there are of each pair of classes."""
    inventory_skus.clear()
    for (abc, xyz), skus in Counts(classes).items():
        inventory_skus.labels(abc, xyz).set(skus)
