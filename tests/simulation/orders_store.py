"""The ports of orders in memory: what `services.orders.storage` keeps in PostgreSQL, by the same rules."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from msgspec import structs

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.decisions import Decision
from libs.common.events.shapes import Allocation
from libs.common.outbox import OutboxWriter
from services.orders.domain.order import Address, NewOrder, OrderLine, OrderStatus, units_by_sku
from services.orders.domain.state import (
    OPEN_STEP,
    OrderState,
    Payment,
    PaymentStep,
    Shipment,
    StepKind,
    StepStatus,
    TimerKind,
)
from services.orders.handlers.ports import Change, PaymentCommand
from services.orders.storage.orders import _BEFORE_STOCK, _LEAVING, _UNDER_REVIEW
from tests.simulation.store import Session, session_of

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """What PostgreSQL has of an order in `orders`, `order_lines` and `payments`."""

    order: NewOrder
    state: OrderState
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """A row of `payment_commands`."""

    step: PaymentStep
    order_id: UUID
    provider: str
    due_at: datetime
    created_at: datetime
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Goods:
    """A row of `order_allocations`."""

    warehouses: tuple[str, ...]
    allocations: tuple[Allocation, ...]


class MemoryOrders:
    """The orders of one transaction (see `Orders`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def lock(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist, locked in the order of their ids."""
        await self._session.statement()
        found = sorted(order_id for order_id in order_ids if self._session.get("orders", order_id) is not None)
        for order_id in found:
            await self._session.lock(("orders", order_id))
        return {order_id: self._load(order_id) for order_id in found}

    async def lock_free(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist and that nobody else has locked, locked."""
        await self._session.statement()
        found = sorted(order_id for order_id in order_ids if self._session.get("orders", order_id) is not None)
        return {
            order_id: self._load(order_id)
            for order_id in found
            if self._session.store.try_acquire(self._session, ("orders", order_id))
        }

    async def add(self, placed: Sequence[tuple[NewOrder, Change]], *, now: datetime) -> None:
        """Store new orders."""
        await self._session.statement()
        for order, change in placed:
            payment = Payment(capture_at=order.payment_terms.capture_at)
            row = OrderRow(order=order, state=structs.replace(change.after, payment=payment), updated_at=now)
            await _insert(self._session, "orders", order.id, row)
            await self._write_rest(change)

    async def save(self, changes: Sequence[Change], *, now: datetime) -> None:
        """Store what became of locked orders."""
        await self._session.statement()
        for change in changes:
            order_id = change.after.id
            row: OrderRow = self._session.get("orders", order_id)
            if change.after is not change.before:
                # A payment that was not loaded is not written either.
                payment = change.after.payment if change.after.payment != change.before.payment else row.state.payment
                state = structs.replace(change.after, payment=payment)
                self._session.put("orders", order_id, replace(row, state=state, updated_at=now))
            await self._write_steps(change, row, now)
            self._write_shipments(change)
            self._write_goods(change)
            for transfer in change.transfers:
                await _insert(self._session, "ledger", (transfer.step_id, transfer.fact), (order_id, transfer))
            await self._write_rest(change)

    async def lines_of(self, order_id: UUID) -> Sequence[OrderLine]:
        """Return the lines of a locked order."""
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        return row.order.lines

    async def allocations_of(self, order_id: UUID) -> Sequence[Allocation]:
        """Return what warehouses hold, or held, for a locked order."""
        await self._session.statement()
        goods: Goods | None = self._session.get("goods", order_id)
        return () if goods is None else goods.allocations

    async def address_of(self, order_id: UUID) -> Address:
        """Return where a locked order goes."""
        row: OrderRow = self._session.get("orders", order_id)
        return row.order.address

    async def add_returned(self, order_id: UUID, quantities: Mapping[int, int]) -> None:
        """Nothing comes back in a simulation."""
        raise NotImplementedError

    def _load(self, order_id: UUID) -> OrderState:
        """Put together what PostgreSQL would load in the order's stage, and no more."""
        row: OrderRow = self._session.get("orders", order_id)
        status = row.state.status
        state = structs.replace(
            row.state,
            payment=Payment(),
            steps=(),
            shipments=(),
            warehouses=(),
            lines=(),
            priced_lines=(),
            allocations=(),
        )
        if status in _UNDER_REVIEW:
            state = structs.replace(state, lines=units_by_sku(row.order.lines))
        if status in _BEFORE_STOCK:
            return state
        goods: Goods = self._session.get("goods", order_id) or Goods((), ())
        in_parts = (status in _LEAVING or status is OrderStatus.RESERVED) and len(goods.warehouses) > 1
        commands = [one for _, one in self._session.rows("payment_commands") if one.order_id == order_id]
        commands.sort(key=lambda one: (one.created_at, one.step.id))
        return structs.replace(
            state,
            payment=row.state.payment,
            steps=tuple(one.step for one in commands),
            shipments=tuple(
                sorted(
                    (parcel for (owner, _), parcel in self._session.rows("order_shipments") if owner == order_id),
                    key=lambda parcel: parcel.id,
                )
            ),
            warehouses=goods.warehouses,
            allocations=goods.allocations if status is OrderStatus.RESERVED or in_parts else (),
            priced_lines=row.order.lines if in_parts else (),
        )

    async def _write_steps(self, change: Change, row: OrderRow, now: datetime) -> None:
        before = {step.id: step for step in change.before.steps}
        for step in change.after.steps:
            if step.id not in before:
                terms = row.order.payment_terms
                command = CommandRow(
                    step=step, order_id=change.after.id, provider=terms.provider, due_at=now, created_at=now
                )
                await _insert(self._session, "payment_commands", step.id, command)
            elif step != before[step.id]:
                await self._session.lock(("payment_commands", step.id))
                known: CommandRow = self._session.get("payment_commands", step.id)
                due_at = now if known.step.status is StepStatus.WAITING else known.due_at
                changed = replace(known, step=structs.replace(known.step, status=step.status), due_at=due_at)
                self._session.put("payment_commands", step.id, changed)

    def _write_shipments(self, change: Change) -> None:
        before: set[Shipment] = set(change.before.shipments)
        for parcel in change.after.shipments:
            if parcel not in before:
                self._session.put("order_shipments", (change.after.id, parcel.id), parcel)

    def _write_goods(self, change: Change) -> None:
        before, after = change.before, change.after
        if after.warehouses and (after.warehouses is not before.warehouses or after.allocations != before.allocations):
            self._session.put("goods", after.id, Goods(after.warehouses, after.allocations))
        elif before.warehouses and not after.warehouses:
            self._session.delete("goods", after.id)

    async def _write_rest(self, change: Change) -> None:
        for entry, cause_id in change.entered:
            await _insert(self._session, "timeline", (change.after.id, entry.sequence), (entry, cause_id))
        for kind, due_at in change.timers.items():
            if due_at is None:
                self._session.delete("timers", (change.after.id, kind))
            else:
                self._session.put("timers", (change.after.id, kind), due_at)


class MemoryTimers:
    """The timers of one transaction (see `Timers`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def due_orders(self, *, now: datetime, limit: int) -> Sequence[UUID]:
        """Return orders with a timer that is due, the most overdue first."""
        await self._session.statement()
        due = sorted((at, order_id) for (order_id, _), at in self._session.rows("timers") if at <= now)
        return list(dict.fromkeys(order_id for _, order_id in due))[:limit]

    async def due_of(self, order_ids: Collection[UUID], *, now: datetime) -> Sequence[tuple[UUID, TimerKind]]:
        """Return the due timers of locked orders."""
        await self._session.statement()
        rows = sorted((at, key) for key, at in self._session.rows("timers") if key[0] in order_ids and at <= now)
        return [key for _, key in rows]


class MemoryPaymentCommands:
    """The payment steps of one transaction (see `PaymentCommands`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def claim(
        self, *, provider: str, now: datetime, leased_until: datetime, limit: int
    ) -> Sequence[PaymentCommand]:
        """Take due commands that nobody else has."""
        await self._session.statement()
        due = sorted(
            (row.due_at, step_id)
            for step_id, row in self._session.rows("payment_commands")
            if row.provider == provider and row.step.status is StepStatus.PENDING and row.due_at <= now
        )
        claimed = []
        for _, step_id in due[:limit]:
            if self._session.store.try_acquire(self._session, ("payment_commands", step_id)):
                row: CommandRow = self._session.get("payment_commands", step_id)
                row = replace(row, attempts=row.attempts + 1, due_at=leased_until)
                self._session.put("payment_commands", step_id, row)
                claimed.append(self._command(row))
        return sorted(claimed, key=lambda one: one.id)

    async def reschedule(self, due: Sequence[tuple[PaymentCommand, datetime]]) -> None:
        """Set when claimed commands are to be looked at again, unless somebody else has claimed them since."""
        await self._session.statement()
        for command, due_at in due:
            await self._session.lock(("payment_commands", command.id))
            row: CommandRow = self._session.get("payment_commands", command.id)
            if row.attempts == command.attempts and row.step.status is StepStatus.PENDING:
                self._session.put("payment_commands", command.id, replace(row, due_at=due_at))

    def _command(self, row: CommandRow) -> PaymentCommand:
        order: OrderRow = self._session.get("orders", row.order_id)
        payment = order.state.payment
        captures = sorted(
            (one.created_at, one.step.id)
            for _, one in self._session.rows("payment_commands")
            if one.order_id == row.order_id
            and one.step.kind is StepKind.CAPTURE
            and one.step.status is StepStatus.SUCCEEDED
        )
        is_refund = row.step.kind is StepKind.REFUND
        return PaymentCommand(
            id=row.step.id,
            order_id=row.order_id,
            order_status=order.state.status,
            order_changed_at=order.updated_at,
            kind=row.step.kind,
            amount_minor=row.step.amount_minor,
            currency=order.order.facts.currency,
            token=order.order.payment_token,
            reference=payment.reference,
            held_minor=payment.held_minor,
            captured_by=captures[0][1] if is_refund and captures else None,
            attempts=row.attempts,
        )


class MemoryDecisions:
    """Decisions that commit with their transaction."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    def add(self, decision: Decision) -> None:
        """Record a decision."""
        self._session.put("decisions", decision.id, decision)

    async def add_all(self, decisions: Sequence[Decision]) -> None:
        """Record several."""
        for one in decisions:
            self.add(one)


class NotSimulated:
    """A port that nothing in a simulation may need."""

    def __init__(self, name: str) -> None:
        """Name the port."""
        self._name = name

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"{self._name}.{method} is not simulated")


class MemoryUnit:
    """The adapters of one transaction (see `Unit`); the outbox is the real one."""

    def __init__(self, transaction: Transaction, *, clock: Clock, wake_relay: Callable[[], None] | None) -> None:
        """Work in `transaction`, which somebody else commits."""
        session = session_of(transaction)
        self.orders = MemoryOrders(session)
        self.timers = MemoryTimers(session)
        self.payments = MemoryPaymentCommands(session)
        self.decisions = MemoryDecisions(session)
        self.returns: Any = NotSimulated("returns")
        self.actions: Any = NotSimulated("actions")
        self.ledger: Any = NotSimulated("ledger")
        self.notices: Any = NotSimulated("notices")
        self.views: Any = NotSimulated("views")
        self.outbox = OutboxWriter(transaction, source="orders", clock=clock, wake_relay=wake_relay)
        self._transaction = transaction

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the transaction has committed."""
        self._transaction.after_commit(callback)


class MemoryUnits:
    """Makes units of transactions (see `Units`)."""

    def __init__(self, database: Database, *, clock: Clock, wake_relay: Callable[[], None] | None = None) -> None:
        """`wake_relay` is called after each commit with events."""
        self._database = database
        self._clock = clock
        self._wake_relay = wake_relay

    def bind(self, transaction: Transaction) -> Any:
        """Return the unit of a transaction that the caller commits."""
        return MemoryUnit(transaction, clock=self._clock, wake_relay=self._wake_relay)

    async def run(self, work: Callable[[Any], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        return await self._database.run(lambda transaction: work(self.bind(transaction)))


def open_steps(rows: Iterable[CommandRow]) -> list[CommandRow]:
    """Return the payment steps that may still happen."""
    return [row for row in rows if row.step.status in OPEN_STEP]


async def _insert(session: Session, table: str, key: Any, value: Any) -> None:
    if not await session.insert(table, key, value):
        raise asyncpg.UniqueViolationError(f"{table}: {key} exists")
