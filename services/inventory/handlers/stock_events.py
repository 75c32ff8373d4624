"""Applying what warehouses report: one applier for both ways in."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from libs.common.events.base import Envelope
from libs.common.events.inventory import GoodsCounted, GoodsExpected, GoodsPicked, TransferDispatched, TransferReceived
from services.inventory.domain.arrivals import ArrivalKey
from services.inventory.domain.lots import LotMissing, check_lot
from services.inventory.domain.plausibility import InvalidStockEvent, Plausibility, check_report
from services.inventory.domain.stock import StockItem
from services.inventory.domain.stock_events import (
    EventIdReused,
    Facts,
    apply_report,
    booked_of,
    check_repeated,
    purchase_key,
    report_of,
    transfer_arrival_key,
)
from services.inventory.domain.transfers import Transfer
from services.inventory.handlers.counts import record_findings
from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import CountTaken, Tools

Outcome = Literal["applied", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StockEventsApplied:
    """What became of each event of a batch, in order, and what it led to."""

    results: Sequence[Outcome | InvalidStockEvent]
    outcomes: Mapping[str, int] = field(default_factory=Counter)
    sold_out: int = 0

    def tally(self, batch: Sequence[Envelope]) -> Iterator[tuple[str, str]]:
        """Yield the type and the outcome of each event of the batch."""
        for envelope, result in zip(batch, self.results, strict=True):
            yield envelope.event.type, result if isinstance(result, str) else "rejected"

    def refusals(self, batch: Sequence[Envelope]) -> dict[UUID, str]:
        """Return why events of the batch were refused, by their ids."""
        return {
            envelope.id: f"{result.field}: {result.detail}"
            for envelope, result in zip(batch, self.results, strict=True)
            if isinstance(result, InvalidStockEvent)
        }


async def apply_stock_events(batch: Sequence[Envelope], *, tools: Tools, age_years_max: int) -> StockEventsApplied:
    """
    Apply a batch of reports, each once however often and in whatever way it comes.

    An event that cannot be true is left out and its refusal returned; the others are applied. Orders that wait
    for what arrived are served in the same transaction.
    """
    # By place and not by id: of two events of one id, one may be true.
    implausible = await _implausible(batch, tools, age_years_max)
    plausible = {place: envelope for place, envelope in enumerate(batch) if place not in implausible}
    if not plausible:
        return StockEventsApplied(results=list(implausible.values()))
    reused: dict[int, InvalidStockEvent] = {}
    refusals: dict[UUID, InvalidStockEvent] = {}
    fresh: dict[UUID, Envelope] = {}

    async def work(desk: Desk) -> None:
        fresh.clear()
        reused.clear()
        fresh.update(await _not_booked(plausible, reused, tools))
        if desk.stock.lot_skus:
            _set_aside_without_lot(desk.stock.lot_skus, fresh, refusals)
        facts = await _facts(list(fresh.values()), tools)
        await _find_arrivals(desk, fresh, facts, tools)
        for envelope in fresh.values():
            apply_report(desk.stock, envelope, facts)
            desk.caused_by(envelope, skus=[report_of(envelope).sku])
        for transfer in facts.transfers.values():
            transfer.version += 1
        # Before anything is taken from those who hold units, transfers among them.
        await tools.transfers.save(facts.transfers.values(), changed_at=desk.now)
        await desk.settle()
        if facts.findings:
            await record_findings(facts.findings, tools=tools, now=desk.now)

    desk = await work_on_stock(tools, {report_of(envelope).sku for envelope in plausible.values()}, work)
    return StockEventsApplied(
        results=_results(batch, implausible | reused, refusals, set(fresh)),
        outcomes=desk.outcomes,
        sold_out=desk.sold_out,
    )


def _set_aside_without_lot(
    lot_skus: Collection[str], fresh: dict[UUID, Envelope], refusals: dict[UUID, InvalidStockEvent]
) -> None:
    for envelope in list(fresh.values()):
        report = report_of(envelope)
        if report.sku in lot_skus:
            try:
                check_lot(report)
            except LotMissing as refusal:
                refusals[envelope.id] = refusal
                del fresh[envelope.id]


async def _implausible(batch: Sequence[Envelope], tools: Tools, age_years_max: int) -> dict[int, InvalidStockEvent]:
    """Return why events cannot be true, by their place in the batch."""
    plausibility = Plausibility.at(
        tools.clock.now(),
        warehouses={warehouse.code for warehouse in await tools.warehouses.all()},
        age_years_max=age_years_max,
        is_sku=tools.assortment.has if tools.refuses_unknown_skus else None,
    )
    implausible = {}
    for place, envelope in enumerate(batch):
        try:
            check_report(report_of(envelope), plausibility)
        except InvalidStockEvent as refusal:
            implausible[place] = refusal
    return implausible


async def _not_booked(
    batch: Mapping[int, Envelope], reused: dict[int, InvalidStockEvent], tools: Tools
) -> dict[UUID, Envelope]:
    """
    Return the events that are new, and put into `reused` those under whose id something else came before.

    Asked under the locks: the same event by both ways meets itself here.
    """
    booked = await tools.stock.booked({envelope.id for envelope in batch.values()})
    fresh: dict[UUID, Envelope] = {}
    for place, envelope in batch.items():
        known = booked.get(envelope.id)
        if known is None:
            first = fresh.setdefault(envelope.id, envelope)
            if first is envelope:
                continue
            known = booked_of(report_of(first))
        try:
            check_repeated(report_of(envelope), known)
        except EventIdReused as refusal:
            reused[place] = refusal
    return fresh


async def _find_arrivals(desk: Desk, fresh: dict[UUID, Envelope], facts: Facts, tools: Tools) -> None:
    """
    Load what reports change of expected arrivals; announcements that hold already are not fresh.

    The numbers of those that are fresh are written: they have no movement to bear them.
    """
    items = desk.stock.items
    keys: set[tuple[str, ArrivalKey]] = set()
    announcements: dict[UUID, tuple[str, ArrivalKey]] = {}
    for envelope in fresh.values():
        report = report_of(envelope)
        match report:
            case GoodsExpected():
                announcements[envelope.id] = report.sku, purchase_key(report)
            case TransferDispatched() | TransferReceived() if _may_have_arrival(
                report, items[report.sku], facts.transfers[report.transfer_id]
            ):
                keys.add((report.sku, transfer_arrival_key(report)))
            case _:
                pass
    keys.update(announcements.values())
    if not keys:
        return
    for sku, key, arrival in await tools.stock.arrivals(keys):
        items[sku].arrivals[key] = arrival
    for event_id, (sku, key) in announcements.items():
        if items[sku].arrivals[key].announced_by == event_id:
            del fresh[event_id]
    numbered = [fresh[event_id] for event_id in announcements if event_id in fresh]
    if numbered := [envelope for envelope in numbered if report_of(envelope).sequence is not None]:
        await tools.stock.number_announcements(numbered, recorded_at=desk.now)


def _may_have_arrival(report: TransferDispatched | TransferReceived, item: StockItem, transfer: Transfer) -> bool:
    says_when = isinstance(report, TransferDispatched) and (report.expected_at or transfer.expected_at) is not None
    return item.has_arrivals or says_when


async def _facts(batch: Sequence[Envelope], tools: Tools) -> Facts:
    counts, transfers, orders = [], set(), set()
    for envelope in batch:
        match report_of(envelope):
            case GoodsCounted(sku=sku, warehouse=warehouse, occurred_at=counted_at):
                counts.append(CountTaken(envelope.id, sku, warehouse, counted_at))
            case TransferDispatched(transfer_id=transfer_id) | TransferReceived(transfer_id=transfer_id):
                transfers.add(transfer_id)
            case GoodsPicked(order_id=UUID() as order_id):
                orders.add(order_id)
            case _:
                pass
    limits = tools.count_limits
    return Facts(
        count_limits=limits,
        unit_costs=(
            await tools.counts.unit_costs({one.sku for one in counts})
            if counts and limits.value_minor is not None
            else {}
        ),
        known_orders=await tools.reservations.known(orders) if orders else (),
        units_since=await tools.stock.units_since(counts) if counts else {},
        transfers=await _transfers(transfers, tools) if transfers else {},
    )


async def _transfers(transfer_ids: Collection[UUID], tools: Tools) -> Mapping[UUID, Transfer]:
    """Lock and load transfers; those that nobody planned come into being."""
    await tools.transfers.add(transfer_ids, created_at=tools.clock.now())
    return await tools.transfers.load(transfer_ids)


def _results(
    batch: Sequence[Envelope],
    untrue: Mapping[int, InvalidStockEvent],
    refusals: Mapping[UUID, InvalidStockEvent],
    fresh: set[UUID],
) -> list[Outcome | InvalidStockEvent]:
    results: list[Outcome | InvalidStockEvent] = []
    for place, envelope in enumerate(batch):
        if place in untrue:
            results.append(untrue[place])
        elif envelope.id in refusals:
            results.append(refusals[envelope.id])
        elif envelope.id in fresh:
            # Only its first appearance in the batch had the effect.
            fresh.discard(envelope.id)
            results.append("applied")
        else:
            results.append("duplicate")
    return results
