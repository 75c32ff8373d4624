"""Counts that nobody believed at once: held back, and then approved or rejected by somebody."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from libs.common.decisions import Decision
from services.inventory.domain.counts import CountDecided, CountFinding, CountNotFound, CountStatus, HeldCount
from services.inventory.domain.stock import Cause
from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import CountTaken, Tools

RULE: Final = "count-limits/1"

Verdict = Literal["approve", "reject"]


async def record_findings(findings: Sequence[CountFinding], *, tools: Tools, now: datetime) -> None:
    """Keep what counts found, and say why some of them are held back."""
    for finding in findings:
        if finding.held_because is not None:
            tools.decisions.add(_decision(finding, finding.held_because, now))
    await tools.counts.record(findings, recorded_at=now)
    await tools.count_lists.record(findings, recorded_at=now)


async def decide_count(
    event_id: UUID, *, verdict: Verdict, decided_by: str, reason: str, tools: Tools
) -> tuple[HeldCount, Desk]:
    """
    Approve a count, which is then booked at the time it was taken, or reject it, which leaves the ledger as it is.

    :raises CountNotFound: if no such count was held back.
    :raises CountDecided: if it has been decided, or a later count has overtaken it.
    """
    found = await tools.counts.find(event_id)
    if found is None:
        raise CountNotFound("No count with this id was held back.")
    decided = found

    async def work(desk: Desk) -> None:
        nonlocal decided
        # Asked again under the lock: somebody else may have decided, or counted, meanwhile.
        held = await tools.counts.find(event_id)
        assert held is not None  # noqa: S101 - a count that was held back stays on file
        if held.status is not CountStatus.PENDING:
            raise CountDecided(f"The count is {held.status} already.")
        decided = replace(
            held,
            status=CountStatus.APPROVED if verdict == "approve" else CountStatus.REJECTED,
            decided_at=desk.now,
            decided_by=decided_by,
            decision_reason=reason,
            booked_units=await _book(desk, held, reason) if verdict == "approve" else None,
        )
        await desk.settle()
        await tools.counts.decide(decided)
        if decided.status is CountStatus.REJECTED:
            # Nobody knows yet what is there.
            await tools.count_lists.reopen(event_id, reopened_at=desk.now)

    desk = await work_on_stock(tools, {found.sku}, work)
    return decided, desk


async def _book(desk: Desk, held: HeldCount, reason: str) -> int:
    """Book what the count finds in the ledger as it is now: reports of before the count may have come in late."""
    sku, warehouse, counted_at = held.sku, held.warehouse, held.counted_at
    since = await desk.tools.stock.units_since([CountTaken(held.event_id, sku, warehouse, counted_at)])
    expected = desk.stock.expected(
        units_since=since.get(held.event_id, 0), sku=sku, warehouse=warehouse, counted_at=counted_at
    )
    cause = Cause(
        event_id=held.event_id,
        occurred_at=counted_at,
        reference=held.reference,
        reason=reason,
        lot=held.lot,
        counted=held.counted,
    )
    # Its first movement noted that it was held back.
    desk.stock.count(held.counted - expected, sku=sku, warehouse=warehouse, cause=cause, leg=1)
    return held.counted - expected


def _decision(finding: CountFinding, held_because: str, now: datetime) -> Decision:
    return Decision(
        decision="hold-count",
        subject=f"count:{finding.event_id}",
        chosen="hold",
        reason=held_because,
        rule=RULE,
        decided_at=now,
        inputs={
            "sku": finding.sku,
            "warehouse": finding.warehouse,
            "counted": finding.counted,
            "expected": finding.expected,
            "value_minor": finding.value_minor,
            "currency": finding.currency,
        },
    )
