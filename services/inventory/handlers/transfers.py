"""Planning transfers, and carrying them out by the same reports that warehouses send."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from libs.common.errors import Invalid, PreconditionFailed
from libs.common.events.base import Envelope, Event
from libs.common.events.inventory import (
    TransferApproved,
    TransferCancelled,
    TransferClosed,
    TransferDispatched,
    TransferProposed,
    TransferReceived,
    TransferSettlement,
)
from libs.common.events.shapes import SkuQuantity
from libs.common.ids import new_id
from services.inventory.domain.arrivals import arrival_of_transfer
from services.inventory.domain.plausibility import UNITS_MAX, InvalidStockEvent
from services.inventory.domain.stock import Cause, MovementKind
from services.inventory.domain.transfers import (
    LINES_MAX,
    Command,
    Missing,
    Plan,
    Settlement,
    Transfer,
    TransferNotFound,
    TransferRefused,
    TransferShort,
)
from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import MoreSkusNeeded, Tools
from services.inventory.handlers.stock_events import StockEventsApplied, apply_stock_events

# How far ahead anybody plans a transfer.
_EXPECTED_WITHIN: Final = timedelta(days=2 * 365)
_LATE_BY_MAX: Final = timedelta(days=1)


class UnusableTransfer(Invalid):
    """What is asked for is no transfer; `field` says where."""

    code = "unusable-transfer"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTransfer:
    """Units that somebody wants moved."""

    source: str
    destination: str
    lines: Sequence[SkuQuantity]
    expected_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks something of which transfer, and of which versions of it; None is any."""

    transfer_id: UUID
    by: str
    versions: Container[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLine:
    """Units that left or arrived; `event_id` is the warehouse's own id of that, if it has one."""

    sku: str
    quantity: int
    event_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What left or arrived at `at`; without lines, all that is still to leave or to arrive."""

    at: datetime
    lines: Sequence[MovedLine] | None = None
    reference: str | None = None


Work = Callable[[Desk, Transfer], Sequence[Event]]


async def propose_transfer(planned: PlannedTransfer, *, tools: Tools, by: str) -> UUID:
    """
    Propose a transfer; nothing is held or moved by that.

    :raises UnusableTransfer: if it cannot be one.
    """
    await _check(planned, tools)
    transfer_id, now = new_id(), tools.clock.now()
    await tools.transfers.add([transfer_id], created_at=now)
    transfer = (await tools.transfers.load([transfer_id]))[transfer_id]
    transfer.plan = Plan.PROPOSED
    transfer.source, transfer.destination = planned.source, planned.destination
    transfer.expected_at, transfer.reason, transfer.proposed_by = planned.expected_at, planned.reason, by
    for line in planned.lines:
        transfer.request(line.sku, line.quantity)
    await finish([transfer], {transfer_id: [proposed(transfer)]}, tools)
    return transfer_id


async def approve_transfer(request: Request, *, tools: Tools) -> Desk:
    """
    Hold the units at the source, so that no order takes them before they leave.

    :raises TransferShort: if they are not there.
    """

    def work(desk: Desk, transfer: Transfer) -> Sequence[Event]:
        for key, line in transfer.lines.items():
            level = desk.stock.items[key.sku].levels.get(line.source or "")
            if level is None or level.available < line.requested:
                there = level.available if level else 0
                message = f"{line.source} can give {there} of the {line.requested} units of {key.sku}."
                raise TransferShort(message, field="lines")
            desk.stock.hold(line.requested, sku=key.sku, warehouse=line.source or "")
            line.held = line.requested
            transfer.changed_lines.add(key)
        transfer.plan, transfer.decided_by = Plan.APPROVED, request.by
        return [approved(transfer)]

    return await _carry_out(Command.APPROVE, request, work, tools)


async def cancel_transfer(request: Request, *, reason: str, tools: Tools) -> Desk:
    """Give up a transfer of which nothing has left; what it held goes to whoever waits."""

    def work(desk: Desk, transfer: Transfer) -> Sequence[Event]:
        _let_go(desk, transfer)
        transfer.plan, transfer.decided_by, transfer.reason = Plan.CANCELLED, request.by, reason
        return [TransferCancelled(transfer_id=transfer.transfer_id, reason=reason)]

    return await _carry_out(Command.CANCEL, request, work, tools)


async def close_transfer(request: Request, *, reason: str, missing: Missing, tools: Tools) -> Desk:
    """
    Settle what left and did not arrive, or arrived and did not leave, each by movements of their own.

    What is missing arrives at the destination and is written off there, or goes back to the source; what was found
    beyond what left is an adjustment. On hand changes only where units go back.
    """
    event_id = new_id()

    def work(desk: Desk, transfer: Transfer) -> Sequence[Event]:
        _let_go(desk, transfer)
        cause = Cause(event_id=event_id, occurred_at=desk.now, transfer_id=transfer.transfer_id, reason=reason)
        before = {key: line.in_transit for key, line in transfer.lines.items()}
        settled = transfer.settle(missing)
        for one in settled:
            _book_settlement(desk, one, missing, cause)
            key = one.key
            units = transfer.lines[key].in_transit - before[key]
            desk.stock.expect(units, sku=key.sku, warehouse=key.destination)
            arrival = arrival_of_transfer(transfer.transfer_id, key.destination)
            desk.stock.correct_arrival(transfer.lines[key].in_transit, sku=key.sku, key=arrival)
        transfer.decided_by, transfer.reason = request.by, reason
        return [_closed(transfer, settled, missing, reason)]

    return await _carry_out(Command.CLOSE, request, work, tools)


async def dispatch_transfer(
    request: Request, moved: Moved, *, tools: Tools, age_years_max: int
) -> StockEventsApplied | None:
    """Let units leave, as if the source had reported it; None if there was nothing to do."""

    def reports(transfer: Transfer) -> list[tuple[UUID, Event]]:
        source, destination = transfer.from_warehouse, transfer.to_warehouse
        if source is None or destination is None:
            raise TransferRefused("It is not known where the transfer comes from.")
        lines = moved.lines
        if lines is None:
            lines = [
                MovedLine(sku=key.sku, quantity=line.undispatched)
                for key, line in sorted(transfer.lines.items())
                if line.undispatched
            ]
        return [
            (
                line.event_id or new_id(),
                TransferDispatched(
                    sku=line.sku,
                    warehouse=source,
                    occurred_at=moved.at,
                    reference=moved.reference,
                    transfer_id=transfer.transfer_id,
                    destination=destination,
                    quantity=line.quantity,
                ),
            )
            for line in lines
        ]

    return await _report(Command.DISPATCH, request, moved, reports, tools, age_years_max)


async def receive_transfer(
    request: Request, moved: Moved, *, tools: Tools, age_years_max: int
) -> StockEventsApplied | None:
    """Let units arrive, as if the destination had reported it; None if there was nothing to do."""

    def reports(transfer: Transfer) -> list[tuple[UUID, Event]]:
        destination = transfer.to_warehouse
        if destination is None:
            raise TransferRefused("It is not known where the transfer goes.")
        lines = moved.lines
        if lines is None:
            lines = [
                MovedLine(sku=key.sku, quantity=line.in_transit)
                for key, line in sorted(transfer.lines.items())
                if line.in_transit and key.destination == destination
            ]
        return [
            (
                line.event_id or new_id(),
                TransferReceived(
                    sku=line.sku,
                    warehouse=destination,
                    occurred_at=moved.at,
                    reference=moved.reference,
                    transfer_id=transfer.transfer_id,
                    quantity=line.quantity,
                ),
            )
            for line in lines
        ]

    return await _report(Command.RECEIVE, request, moved, reports, tools, age_years_max)


def proposed(transfer: Transfer) -> TransferProposed:
    """Announce a proposal as it is now."""
    return TransferProposed(
        transfer_id=transfer.transfer_id,
        source=transfer.source or "",
        destination=transfer.destination or "",
        lines=_requested(transfer),
        expected_at=transfer.expected_at,
        is_automatic=transfer.is_automatic,
        decision_id=transfer.decision_id,
    )


def approved(transfer: Transfer) -> TransferApproved:
    """Announce that the units are held until they leave."""
    return TransferApproved(
        transfer_id=transfer.transfer_id,
        source=transfer.source or "",
        destination=transfer.destination or "",
        lines=_requested(transfer),
        expected_at=transfer.expected_at,
    )


async def finish(transfers: Sequence[Transfer], events: Mapping[UUID, Sequence[Event]], tools: Tools) -> None:
    """Write transfers that changed, and announce what is to be said of them."""
    for transfer in transfers:
        transfer.version += 1
        for event in events.get(transfer.transfer_id, ()):
            transfer.events += 1
            tools.outbox.add(event, aggregate_version=transfer.events)
    await tools.transfers.save(transfers, changed_at=tools.clock.now())


async def _carry_out(command: Command, request: Request, work: Work, tools: Tools) -> Desk:
    announced: list[tuple[int, Event]] = []

    async def on_desk(desk: Desk) -> None:
        announced.clear()
        transfer = await _locked(request.transfer_id, desk.stock.items, tools)
        _check_version(transfer, request)
        if not transfer.ask(command):
            return
        for event in work(desk, transfer):
            transfer.events += 1
            announced.append((transfer.events, event))
        transfer.version += 1
        await tools.transfers.save([transfer], changed_at=desk.now)
        await desk.settle()

    desk = await work_on_stock(tools, await tools.transfers.skus_of(request.transfer_id), on_desk)
    # Only now: work that has to start again says nothing twice.
    for version, event in announced:
        tools.outbox.add(event, aggregate_version=version)
    return desk


async def _report(  # noqa: PLR0917 - both ways of moving, told apart by the first and the fourth
    command: Command,
    request: Request,
    moved: Moved,
    reports_of: Callable[[Transfer], list[tuple[UUID, Event]]],
    tools: Tools,
    age_years_max: int,
) -> StockEventsApplied | None:
    # These locks stay until the transaction ends, so that what is decided here still holds when it is applied.
    transfer = await _lock(request.transfer_id, tools)
    _check_version(transfer, request)
    if not transfer.ask(command):
        return None
    for index, line in enumerate(moved.lines or ()):
        if line.sku not in transfer.skus:
            raise UnusableTransfer("The transfer has no such SKU.", field=f"lines.{index}.sku")
    now = tools.clock.now()
    batch = [Envelope(id=event_id, event=event, time=now, source="http") for event_id, event in reports_of(transfer)]
    if not batch:
        raise TransferRefused("There are no units left to move.")
    applied = await apply_stock_events(batch, tools=tools, age_years_max=age_years_max)
    for result in applied.results:
        if isinstance(result, InvalidStockEvent):
            # All or nothing: whoever asked is told, and what was applied is undone with this transaction.
            raise result
    return applied


async def _lock(transfer_id: UUID, tools: Tools) -> Transfer:
    skus = await tools.transfers.skus_of(transfer_id)
    while True:
        try:
            async with tools.stock.locked(skus) as items:
                return await _locked(transfer_id, {item.sku: item for item in items}, tools)
        except MoreSkusNeeded as needed:
            # A report has brought the transfer another SKU meanwhile.
            skus |= needed.skus


async def _locked(transfer_id: UUID, locked_skus: Mapping[str, object], tools: Tools) -> Transfer:
    transfer = (await tools.transfers.load([transfer_id])).get(transfer_id)
    if transfer is None:
        raise TransferNotFound("There is no transfer of this id.")
    missing = transfer.skus - locked_skus.keys()
    if missing:
        raise MoreSkusNeeded(missing)
    return transfer


def _check_version(transfer: Transfer, request: Request) -> None:
    if request.versions is not None and transfer.version not in request.versions:
        raise PreconditionFailed(f"The current version is {transfer.version}.", field="If-Match")


def _let_go(desk: Desk, transfer: Transfer) -> None:
    for sku, source, units in transfer.let_go():
        desk.stock.hold(-units, sku=sku, warehouse=source)


def _book_settlement(desk: Desk, one: Settlement, missing: Missing, cause: Cause) -> None:
    sku, destination = one.key
    if one.found:
        desk.stock.book(MovementKind.ADJUST, one.found, sku=sku, warehouse=destination, cause=cause)
        desk.stock.book(MovementKind.TRANSFER_IN, -one.found, sku=sku, warehouse=destination, cause=cause)
    elif missing == "write-off":
        desk.stock.book(MovementKind.TRANSFER_IN, one.missed, sku=sku, warehouse=destination, cause=cause)
        desk.stock.book(MovementKind.WRITE_OFF, -one.missed, sku=sku, warehouse=destination, cause=cause)
    elif one.source is None:
        raise TransferRefused("It is not known where the units would go back to.")
    else:
        desk.stock.book(MovementKind.TRANSFER_IN, one.missed, sku=sku, warehouse=one.source, cause=cause)


def _closed(transfer: Transfer, settled: Sequence[Settlement], missing: Missing, reason: str) -> TransferClosed:
    return TransferClosed(
        transfer_id=transfer.transfer_id,
        reason=reason,
        settlements=[
            TransferSettlement(
                sku=one.key.sku,
                destination=one.key.destination,
                written_off=one.missed if missing == "write-off" else 0,
                returned=one.missed if missing == "return-to-source" else 0,
                found=one.found,
            )
            for one in settled
        ],
    )


def _requested(transfer: Transfer) -> list[SkuQuantity]:
    return [
        SkuQuantity(sku=key.sku, quantity=line.requested)
        for key, line in sorted(transfer.lines.items())
        if line.requested
    ]


async def _check(planned: PlannedTransfer, tools: Tools) -> None:
    warehouses = {warehouse.code for warehouse in await tools.warehouses.all()}
    for field in ("source", "destination"):
        if getattr(planned, field) not in warehouses:
            raise UnusableTransfer("No warehouse is registered under this code.", field=field)
    if planned.source == planned.destination:
        raise UnusableTransfer("A transfer goes to another warehouse.", field="destination")
    now = tools.clock.now()
    if planned.expected_at and not now - _LATE_BY_MAX <= planned.expected_at <= now + _EXPECTED_WITHIN:
        raise UnusableTransfer("It must be from now to two years ahead.", field="expected_at")
    if not 0 < len(planned.lines) <= LINES_MAX:
        raise UnusableTransfer(f"A transfer has 1 to {LINES_MAX} lines.", field="lines")
    stocked = await tools.transfers.stocked([line.sku for line in planned.lines], warehouse=planned.source)
    seen = set[str]()
    for index, line in enumerate(planned.lines):
        if line.sku in seen:
            raise UnusableTransfer("A SKU has one line.", field=f"lines.{index}.sku")
        seen.add(line.sku)
        if line.sku not in stocked:
            raise UnusableTransfer("The source has never had this SKU.", field=f"lines.{index}.sku")
        if not 0 < line.quantity <= UNITS_MAX:
            raise UnusableTransfer(f"It must be from 1 to {UNITS_MAX}.", field=f"lines.{index}.quantity")
