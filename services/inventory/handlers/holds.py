"""Holding units before there is an order, and what becomes of holds: a batch of commands shares a transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from libs.common.errors import DomainError
from libs.common.events.shapes import Allocation, Destination, Shortage, SkuQuantity
from libs.common.ids import new_id
from services.inventory.domain.bundles import unpack
from services.inventory.domain.holds import (
    ON_SHORTAGE,
    CommitExceedsHold,
    HoldEnded,
    HoldExpired,
    HoldOfAnother,
    HoldPolicies,
    HoldShort,
    Mode,
    NotAHold,
    ReservationExists,
)
from services.inventory.domain.queue import terms_of
from services.inventory.domain.reservations import Reservation, ReservationNotFound, ReservationStatus, Terms
from services.inventory.domain.stock import Cause, MovementKind
from services.inventory.handlers.desk import Desk, work_on_stock
from services.inventory.handlers.ports import Tools

# Holds that expire in one transaction.
_EXPIRED_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceHold:
    """Hold `wanted` (units by SKU) for `channel`; `by` is who owns the hold then."""

    reservation_id: UUID
    channel: str
    wanted: Mapping[str, int]
    destination: Destination
    mode: Mode = "all-or-nothing"
    is_split_allowed: bool = True
    ttl_seconds: int | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendHold:
    """Hold for so long from now on; `by` is who wants it, None whoever may change anybody's holds."""

    reservation_id: UUID
    ttl_seconds: int | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseHold:
    """Let everything go that is held; `by` as in `ExtendHold`."""

    reservation_id: UUID
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitLine:
    """Units that leave for good, from one warehouse or from wherever they are held."""

    sku: str
    quantity: int
    warehouse: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitHold:
    """Units leave their warehouses for good: these, or all that are held; `by` as in `ExtendHold`."""

    reservation_id: UUID
    lines: tuple[CommitLine, ...] | None = None
    by: str | None = None


HoldCommand: TypeAlias = PlaceHold | ExtendHold | ReleaseHold | CommitHold


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldState:
    """A hold as a command left it; `shortages` are what was wanted and is not held."""

    reservation_id: UUID
    status: ReservationStatus
    version: int
    channel: str
    expires_at: datetime
    held: Sequence[Allocation]
    committed: Sequence[Allocation]
    shortages: Sequence[Shortage] = ()


async def apply_hold_commands(
    commands: Sequence[HoldCommand], *, tools: Tools, policies: HoldPolicies
) -> tuple[Desk, list[HoldState | DomainError]]:
    """
    Carry out commands about different holds in one transaction; return what came of each, in order.

    A refusal of one has no effect and does not concern the others. Whatever becomes free serves who waits first,
    then the new holds in the order of the commands.
    """
    ids = {command.reservation_id for command in commands}
    skus = {sku for command in commands if isinstance(command, PlaceHold) for sku in command.wanted}
    skus |= await tools.reservations.skus_of(ids)
    owned = [one.reservation_id for one in commands if not isinstance(one, PlaceHold) and one.by is not None]
    results: list[HoldState | DomainError] = []

    async def work(desk: Desk) -> None:
        await desk.load(ids)
        # Under the lock: a hold that is seen was committed with its owner.
        owners = await tools.hold_owners.of(owned) if owned else {}
        refusals: dict[UUID, DomainError] = {}
        for command in commands:
            try:
                _check_owner(command, owners)
                _apply(desk, command, policies)
            except DomainError as refusal:
                refusals[command.reservation_id] = refusal
        await desk.settle()
        results[:] = [refusals.get(one.reservation_id) or _state(desk, one.reservation_id) for one in commands]
        made = {
            command.reservation_id: command.by
            for command, result in zip(commands, results, strict=True)
            if isinstance(command, PlaceHold) and command.by is not None and isinstance(result, HoldState)
        }
        if made:
            tools.hold_owners.add(made)

    return await work_on_stock(tools, skus, work), results


async def expire_holds(tools: Tools) -> Desk | None:
    """Release holds whose time is over, those that expired first; None if there are none."""
    ids = await tools.reservations.due_holds(now=tools.clock.now(), limit=_EXPIRED_MAX)
    if not ids:
        return None

    async def work(desk: Desk) -> None:
        await desk.load(ids)
        for reservation_id in ids:
            hold = desk.reservation(reservation_id)
            # Under the lock: it may have been extended, committed or ordered meanwhile.
            if hold is not None and hold.is_hold and hold.is_live and _is_due(hold, desk.now):
                desk.release(reservation_id, "expired")
                desk.outcomes["expired"] += 1
        await desk.settle()

    return await work_on_stock(tools, await tools.reservations.skus_of(ids), work)


def _apply(desk: Desk, command: HoldCommand, policies: HoldPolicies) -> None:
    if isinstance(command, PlaceHold):
        _place(desk, command, policies)
        return
    hold = _hold_of(desk, command.reservation_id)
    match command:
        case ReleaseHold() if hold.status is ReservationStatus.RELEASED:
            # What is asked for is so already.
            return
        case _:
            _check_is_live(desk, hold)
    match command:
        case ExtendHold(ttl_seconds=ttl_seconds):
            _extend(desk, hold, ttl_seconds, policies)
        case CommitHold(lines=lines):
            _commit(desk, hold, lines)
        case ReleaseHold():
            desk.release(hold.order_id, "released")


def _check_owner(command: HoldCommand, owners: Mapping[UUID, str]) -> None:
    """
    Let nobody change what another holds.

    :raises HoldOfAnother: if it is another's.
    """
    owner = owners.get(command.reservation_id)
    if owner is not None and owner != command.by:
        raise HoldOfAnother("Another caller made this hold.")


def _place(desk: Desk, command: PlaceHold, policies: HoldPolicies) -> None:
    if desk.reservation(command.reservation_id) is not None:
        raise ReservationExists("There is a reservation of this id.", field="/reservation_id")
    policy = policies.of(command.channel)
    policy.check(command.wanted, command.mode)
    wanted, bundles = desk.unpack(command.wanted)
    desk.ask(
        Reservation(
            order_id=command.reservation_id,
            status=ReservationStatus.WAITING,
            terms=Terms(
                approved_at=desk.now,
                destination=command.destination,
                on_shortage=ON_SHORTAGE[command.mode],
                is_split_allowed=command.is_split_allowed,
                channel=command.channel,
                expires_at=desk.now + policy.ttl(command.ttl_seconds),
            ),
            wanted=dict(wanted),
            bundles=bundles,
            is_new=True,
        )
    )


def _extend(desk: Desk, hold: Reservation, ttl_seconds: int | None, policies: HoldPolicies) -> None:
    terms = terms_of(hold)
    policy = policies.of(terms.channel)
    expires_at = policy.extended(
        began_at=terms.approved_at, expires_at=_end_of(hold), now=desk.now, ttl=policy.ttl(ttl_seconds)
    )
    if expires_at != terms.expires_at:
        desk.extend(hold, expires_at)


def _commit(desk: Desk, hold: Reservation, lines: Sequence[CommitLine] | None) -> None:
    leaving = hold.held() if lines is None else _leaving(hold, lines)
    by_warehouse: dict[str, list[SkuQuantity]] = {}
    for one in leaving:
        by_warehouse.setdefault(one.warehouse, []).append(SkuQuantity(sku=one.sku, quantity=one.quantity))
    cause = Cause(event_id=new_id(), occurred_at=desk.now, reference=str(hold.order_id), order_id=hold.order_id)
    for warehouse, units in by_warehouse.items():
        for line in units:
            desk.stock.book(MovementKind.SHIP, -line.quantity, sku=line.sku, warehouse=warehouse, cause=cause)
        desk.ship(hold, warehouse, units)


def _leaving(hold: Reservation, lines: Sequence[CommitLine]) -> list[Allocation]:
    """
    Say from where the units of `lines` leave.

    :raises CommitExceedsHold: if a line names more than is held.
    """
    left = {key: line.held for key, line in hold.lines.items()}
    leaving: dict[tuple[str, str], int] = {}
    for index, line in enumerate(lines):
        for part, units in unpack({line.sku: line.quantity}, hold.bundles).items():
            missing = units
            for (sku, warehouse), held in left.items():
                taken = min(missing, held) if sku == part and line.warehouse in {None, warehouse} else 0
                if taken:
                    left[sku, warehouse] -= taken
                    leaving[sku, warehouse] = leaving.get((sku, warehouse), 0) + taken
                    missing -= taken
            if missing:
                raise CommitExceedsHold(
                    f"{units - missing} units of {part} are held there, not {units}.",
                    field=f"/lines/{index}/quantity",
                )
    return [Allocation(warehouse=warehouse, sku=sku, quantity=units) for (sku, warehouse), units in leaving.items()]


def _hold_of(desk: Desk, reservation_id: UUID) -> Reservation:
    hold = desk.reservation(reservation_id)
    if hold is None:
        raise ReservationNotFound("Nothing was ever held under this id.")
    if not hold.is_hold:
        raise NotAHold("This reservation belongs to an order.")
    return hold


def _check_is_live(desk: Desk, hold: Reservation) -> None:
    if hold.is_live and not _is_due(hold, desk.now):
        return
    if hold.status is ReservationStatus.COMMITTED:
        raise HoldEnded("All of this hold has been committed.")
    if hold.is_live:
        # At once, not when its turn comes: whoever waits for the units is served by this transaction.
        desk.release(hold.order_id, "expired")
        desk.outcomes["expired"] += 1
    if _is_due(hold, desk.now):
        raise HoldExpired(f"This hold expired at {_end_of(hold).isoformat()}.")
    raise HoldEnded("This hold has been released.")


def _is_due(hold: Reservation, now: datetime) -> bool:
    return _end_of(hold) <= now


def _end_of(hold: Reservation) -> datetime:
    expires_at = terms_of(hold).expires_at
    if expires_at is None:
        msg = f"{hold.order_id} is no hold"
        raise ValueError(msg)
    return expires_at


def _state(desk: Desk, reservation_id: UUID) -> HoldState | DomainError:
    shortages = desk.shortages_of_refused(reservation_id)
    if shortages is not None:
        return HoldShort(shortages)
    hold = _hold_of(desk, reservation_id)
    return HoldState(
        reservation_id=reservation_id,
        status=hold.status,
        version=hold.version,
        channel=terms_of(hold).channel or "",
        expires_at=_end_of(hold),
        held=hold.held(),
        committed=[
            Allocation(warehouse=warehouse, sku=sku, quantity=line.committed)
            for (sku, warehouse), line in hold.lines.items()
            if line.committed
        ],
        shortages=desk.shortages_of_held(reservation_id),
    )
