"""The tables at the end of a replay: what was done, what came of it, and whether it adds up."""

from rich.console import Console
from rich.table import Table

from bench.replay.driver import Played
from bench.replay.invariants import Findings
from bench.replay.quiet import Movement
from bench.replay.timeline import Script
from libs.common.events.topics import INVENTORY_RESERVATION, ORDERS_ORDER, ORDERS_PAYMENT

_REFUSALS_SHOWN_MAX = 10
_STAGES = ("placed", "confirmed", "backordered", "refused", "cancelled", "shipped", "delivered", "settled")


def print_summary(
    console: Console, *, script: Script, played: Played, movement: Movement, findings: Findings, seconds: float
) -> None:
    """Show everything; what is derived and not in the data set says so."""
    console.print()
    console.print(_replayed(script, played, seconds))
    console.print(_system(findings))
    console.print(_events(findings))
    console.print(_invariants(findings))
    if not movement.is_quiet:
        console.print(f"When time was up there were still {movement}.", markup=False, highlight=False)
    for refusal in played.refusals[:_REFUSALS_SHOWN_MAX]:
        console.print(f"refused: {refusal}", markup=False, highlight=False, soft_wrap=True)
    if len(played.refusals) > _REFUSALS_SHOWN_MAX:
        console.print(f"and {len(played.refusals) - _REFUSALS_SHOWN_MAX:,} more refusals")


def _replayed(script: Script, played: Played, seconds: float) -> Table:
    table = _table(f"Replayed: {script.dataset}, {script.begins_at:%d %B %Y} to {script.ends_at:%d %B %Y}")
    matching = script.matching
    _row(table, "orders placed", played.orders, "real")
    _row(table, "order lines", sum(len(sale.lines) for sale in script.sales), "real")
    for outcome, times in sorted(played.taken_back.items()):
        _row(table, f"cancellations {outcome}", times, "real")
    _row(table, "cancellations that came to no end", played.unfinished, "real")
    _row(table, "cancelled units matched with a purchase", matching.matched_units, "real, matching derived")
    _row(table, "cancelled units that match none, left out", matching.unmatched_units, "real")
    for reason, tally in sorted(script.excluded.items()):
        _row(table, f"lines left out: {reason}", tally.lines, "real")
    _row(table, "products listed", len(script.products), "real, categories derived")
    _row(table, "stock events sent", played.stock_events, "derived")
    _row(table, "product views sent", played.views, "derived")
    _row(table, "requests sent again", played.retries, "")
    _row(table, "duration in seconds", round(seconds, 1), "")
    _row(table, "orders per second while trading", round(played.orders_per_second, 1), "")
    return table


def _system(findings: Findings) -> Table:
    table = _table("The system, by its databases and topics", heading="now")
    for stage in _STAGES:
        now = findings.orders_by_status.get(stage, 0) if stage != "placed" else findings.orders_by_status.total()
        _row(table, f"orders {stage}", findings.events(ORDERS_ORDER.name, f"order.{stage}"), f"{now:,}")
    _row(table, "orders refunded, in part or whole", findings.orders_refunded, "")
    _row(table, "refunds issued", findings.events(ORDERS_PAYMENT.name, "refund.issued"), "")
    _row(table, "stock events in the ledger", findings.stock_events, "derived")
    _row(table, "reservations", findings.events(INVENTORY_RESERVATION.name, "stock.reserved"), "")
    _row(table, "reservations from several warehouses", findings.orders_split, "warehouses synthetic")
    for group, records in findings.lag.items():
        _row(table, f"lag of {group}", records, "")
    return table


def _events(findings: Findings) -> Table:
    table = _table("Events by topic", heading="published again")
    for name, reading in findings.readings.items():
        note = f"{reading.duplicates:,}"
        _row(table, name + (" (compacted)" if reading.topic.is_compacted else ""), reading.events, note)
    return table


def _invariants(findings: Findings) -> Table:
    table = Table(title="Invariants", title_justify="left", show_edge=False)
    table.add_column("holds")
    table.add_column("invariant")
    table.add_column("computed")
    for verdict in findings.verdicts:
        style, word = ("green", "yes") if verdict.holds else ("bold red", "NO")
        table.add_row(f"[{style}]{word}[/]", verdict.invariant, verdict.figures)
    return table


def _table(title: str, *, heading: str = "source") -> Table:
    table = Table(title=title, title_justify="left", show_edge=False)
    table.add_column("")
    table.add_column("number", justify="right")
    table.add_column(heading)
    return table


def _row(table: Table, name: str, number: float, note: str) -> None:
    table.add_row(name, f"{number:,}", note)
