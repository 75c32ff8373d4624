"""The ports of orders in memory: what `services.orders.storage` keeps in PostgreSQL, by the same rules."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from msgspec import structs

from libs.common.clock import Clock
from libs.common.db import Database, Transaction
from libs.common.decisions import Decision
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from libs.common.outbox import OutboxWriter
from services.orders.domain.edits import Edit, EditStatus
from services.orders.domain.order import Address, NewOrder, OrderLine, OrderStatus, PaymentTerms, units_by_sku
from services.orders.domain.returns import Return
from services.orders.domain.review import AT_ONCE, Counted, History, Needs, Subject
from services.orders.domain.state import (
    OrderState,
    Payment,
    PaymentStep,
    PendingEdit,
    Shipment,
    StepKind,
    StepStatus,
    TimerKind,
)
from services.orders.handlers.ports import Change, HeldReview, OrderAction, PaymentCommand
from services.orders.storage.orders import _BEFORE_STOCK, _LEAVING, _UNDER_REVIEW, _WITH_ALLOCATIONS
from tests.simulation.store import Session, session_of

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """What PostgreSQL has of an order in `orders`, `order_lines` and `payments`."""

    order: NewOrder
    # Its facts are those of the row: a total and an address change only by an edit that says so.
    state: OrderState
    updated_at: datetime
    # The most that may ever be held for it.
    payable_minor: int = 0
    revision: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """A row of `payment_commands`."""

    step: PaymentStep
    order_id: UUID
    provider: str
    due_at: datetime
    created_at: datetime
    attempts: int = 0
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Goods:
    """A row of `order_allocations`."""

    warehouses: tuple[str, ...]
    allocations: tuple[Allocation, ...]
    missing: tuple[SkuQuantity, ...] = ()


_NO_GOODS = Goods((), ())


@dataclass(frozen=True, slots=True)
class OriginRow:
    """A row of `order_origins`."""

    order_id: UUID
    is_remainder: bool
    prepaid_minor: int


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """A row of `order_reviews`."""

    held: HeldReview
    verdict: str | None = None
    decided_at: datetime | None = None


class MemoryOrders:
    """The orders of one transaction (see `Orders`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def lock(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist, locked in the order of their ids."""
        await self._session.statement()
        found = self._with_relatives(order_ids)
        for order_id in found:
            await self._session.lock(("orders", order_id))
        return {order_id: self._load(order_id) for order_id in found}

    async def lock_free(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist and that nobody else has locked, locked."""
        await self._session.statement()
        return {
            order_id: self._load(order_id)
            for order_id in self._with_relatives(order_ids)
            if self._session.store.try_acquire(self._session, ("orders", order_id))
        }

    def _with_relatives(self, order_ids: Collection[UUID]) -> list[UUID]:
        """Return those that exist, and those that they have something to say to, in the order of their ids."""
        found = {order_id for order_id in order_ids if self._session.get("orders", order_id) is not None}
        for order_id, origin in self._session.rows("origins"):
            if order_id in order_ids and (origin.is_remainder or origin.prepaid_minor > 0):
                found.add(origin.order_id)
            elif origin.order_id in order_ids and origin.is_remainder:
                found.add(order_id)
        return sorted(found)

    async def add(self, placed: Sequence[tuple[NewOrder, Change]], *, now: datetime) -> None:
        """Store new orders."""
        await self._session.statement()
        for order, change in placed:
            payment = Payment(capture_at=order.payment_terms.capture_at)
            state = structs.replace(change.after, payment=payment, facts=order.facts)
            row = OrderRow(order=order, state=state, updated_at=now, payable_minor=order.facts.total_minor)
            await _insert(self._session, "orders", order.id, row)
            origin = order.facts.origin
            if origin is not None:
                known = OriginRow(origin.order_id, order.facts.is_remainder, origin.prepaid_minor)
                await _insert(self._session, "origins", order.id, known)
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
                _check(payment, row)
                state = structs.replace(change.after, payment=payment, facts=row.state.facts)
                changed = replace(row, state=state, updated_at=now, revision=row.revision + 1)
                self._session.put("orders", order_id, changed)
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

    async def allocations_of(self, order_id: UUID) -> tuple[Sequence[Allocation], Sequence[SkuQuantity]]:
        """Return what warehouses hold, or held, for a locked order, and what was missing besides."""
        await self._session.statement()
        goods: Goods = self._session.get("goods", order_id) or _NO_GOODS
        return goods.allocations, goods.missing

    async def address_of(self, order_id: UUID) -> Address:
        """Return where a locked order goes."""
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        return row.order.address

    async def payment_terms_of(self, order_id: UUID) -> PaymentTerms:
        """Return who moves a locked order's money, and when."""
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        return row.order.payment_terms

    async def add_returned(self, order_id: UUID, quantities: Mapping[int, int]) -> None:
        """Add to the returned quantities of lines, by line number; negative numbers take back."""
        if not quantities:
            return
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        lines = tuple(
            structs.replace(line, returned_quantity=line.returned_quantity + quantities.get(line.line, 0))
            for line in row.order.lines
        )
        if not all(0 <= line.returned_quantity <= line.quantity for line in lines):
            raise asyncpg.CheckViolationError(f"returned: {lines}")
        changed = replace(row, order=structs.replace(row.order, lines=lines), revision=row.revision + 1)
        self._session.put("orders", order_id, changed)

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
            missing=(),
            edit=None,
        )
        if status in _UNDER_REVIEW:
            state = structs.replace(state, lines=units_by_sku(row.order.lines))
        if status in _BEFORE_STOCK:
            return state
        goods: Goods = self._session.get("goods", order_id) or _NO_GOODS
        may_be_divided = row.state.facts.on_shortage == "split" and status in _LEAVING
        is_whole = status in _WITH_ALLOCATIONS or may_be_divided
        is_loaded = is_whole or (status in _LEAVING and len(goods.warehouses) > 1)
        in_parts = is_loaded and (len(goods.warehouses) > 1 or bool(goods.missing))
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
            allocations=goods.allocations if is_loaded else (),
            missing=goods.missing if is_loaded else (),
            priced_lines=row.order.lines if in_parts else (),
            edit=self._pending_edit(order_id) if status is OrderStatus.EDITING else None,
        )

    def _pending_edit(self, order_id: UUID) -> PendingEdit | None:
        for _, edit in self._session.rows("edits"):
            if edit.order_id == order_id and edit.status is EditStatus.REQUESTED:
                return PendingEdit(
                    id=edit.id, reason=edit.reason, lines=edit.lines_after, total_minor=edit.total_after_minor
                )
        return None

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
                reference = known.step.reference if step.reference is None else step.reference
                written = structs.replace(known.step, status=step.status, reference=reference)
                changed = replace(known, step=written, due_at=due_at)
                self._session.put("payment_commands", step.id, changed)

    def _write_shipments(self, change: Change) -> None:
        before: set[Shipment] = set(change.before.shipments)
        for parcel in change.after.shipments:
            if parcel not in before:
                self._session.put("order_shipments", (change.after.id, parcel.id), parcel)

    def _write_goods(self, change: Change) -> None:
        before, after = change.before, change.after
        is_other = (
            after.warehouses is not before.warehouses
            or after.allocations != before.allocations
            or after.missing != before.missing
        )
        if after.warehouses and is_other:
            self._session.put("goods", after.id, Goods(after.warehouses, after.allocations, after.missing))
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
        payment, step = order.state.payment, row.step
        commands = [one for _, one in self._session.rows("payment_commands") if one.order_id == row.order_id]
        own = next((one.step for one in commands if one.step.id == step.authorisation_id), None)
        captures = sorted(
            (one.created_at, one.step.id)
            for one in commands
            if one.step.kind is StepKind.CAPTURE
            and one.step.status is StepStatus.SUCCEEDED
            and (own is None or _is_of(one.step, own))
        )
        held_minor, reference = payment.held_minor, payment.reference
        if own is not None:
            reference = own.reference or payment.reference
            held_minor = own.amount_minor - sum(
                one.step.amount_minor
                for one in commands
                if one.step.kind in {StepKind.CAPTURE, StepKind.VOID}
                and one.step.status in {StepStatus.SUCCEEDED, StepStatus.WAIVED}
                and _is_of(one.step, own)
            )
        return PaymentCommand(
            id=step.id,
            order_id=row.order_id,
            order_status=order.state.status,
            order_changed_at=order.updated_at,
            kind=step.kind,
            amount_minor=step.amount_minor,
            currency=order.order.facts.currency,
            token=row.token or order.order.payment_token,
            reference=reference,
            held_minor=held_minor,
            captured_by=captures[0][1] if step.kind is StepKind.REFUND and captures else None,
            attempts=row.attempts,
            is_given_up=row.token is not None
            and not any(
                edit.order_id == row.order_id
                and edit.status is EditStatus.REQUESTED
                and edit.edited_at <= row.created_at
                for _, edit in self._session.rows("edits")
            ),
        )


def _is_of(step: PaymentStep, authorisation: PaymentStep) -> bool:
    """Tell whether a step is about an authorisation; those that name none are about the payment's own."""
    if step.authorisation_id is None:
        return authorisation.reference is None
    return step.authorisation_id == authorisation.id


class MemoryReturns:
    """The returns of one transaction (see `Returns`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def order_of(self, return_id: UUID) -> UUID | None:
        """Return the order that a return belongs to."""
        await self._session.statement()
        found: Return | None = self._session.get("returns", return_id)
        return None if found is None else found.order_id

    async def get(self, return_ids: Collection[UUID]) -> Sequence[Return]:
        """Return those that exist."""
        await self._session.statement()
        found = (self._session.get("returns", return_id) for return_id in sorted(return_ids))
        return [one for one in found if one is not None]

    async def received_units(self, order_id: UUID, *, other_than: UUID) -> Mapping[int, int]:
        """Return how many units of each line of a locked order came back with its other returns."""
        await self._session.statement()
        units: dict[int, int] = {}
        for _, one in self._session.rows("returns"):
            if one.order_id == order_id and one.id != other_than:
                for line in one.lines:
                    units[line.line] = units.get(line.line, 0) + line.received_quantity
        return units

    async def exchanges_of(self, order_id: UUID) -> Mapping[UUID, int]:
        """Return what was sent for goods that came back of a locked order (see `Returns.exchanges_of`)."""
        await self._session.statement()
        found: dict[UUID, int] = {}
        for other_id, row in self._session.rows("orders"):
            origin = row.order.facts.origin
            is_exchange = origin is not None and origin.prepaid_minor and not row.order.facts.is_remainder
            has_ended = row.state.status in {OrderStatus.REFUSED, OrderStatus.CANCELLED}
            if origin is not None and origin.order_id == order_id and is_exchange and not has_ended:
                found[other_id] = origin.prepaid_minor
        for _, one in self._session.rows("returns"):
            if one.order_id in found and one.inspected_at is not None:
                found[one.order_id] -= one.refund_minor
        for _, row in self._session.rows("payment_commands"):
            step = row.step
            if row.order_id in found and step.kind is StepKind.REFUND and step.return_id is not None:
                found[row.order_id] += step.amount_minor if step.status is not StepStatus.WITHDRAWN else 0
        return found

    async def add(self, one: Return) -> None:
        """Store a new return of a locked order."""
        await self._session.statement()
        await _insert(self._session, "returns", one.id, one)

    async def save(self, returns: Sequence[Return], *, now: datetime) -> None:  # noqa: ARG002 - times are not kept
        """Store what became of returns of locked orders."""
        await self._session.statement()
        for one in returns:
            self._session.put("returns", one.id, one)

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"returns.{method} is not simulated")


class MemoryReviews:
    """What reviews know and keep, in one transaction (see `Reviews`); of the past, they count a customer's orders."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def lock_subjects(self, orders: Collection[NewOrder], *, by_address: bool) -> None:
        """Wait until nobody else reviews orders of the same customers until this transaction ends."""
        assert not by_address
        await self._session.statement()
        for customer_id in sorted({order.facts.customer_id for order in orders}):
            await self._session.lock(("reviews", customer_id))

    async def histories(
        self,
        orders: Sequence[NewOrder],
        needs: Needs,
        *,
        now: datetime,  # noqa: ARG002 - nobody is blocked
    ) -> Mapping[UUID, History]:
        """Return how many orders the customers have placed before."""
        await self._session.statement()
        rows = [row for _, row in self._session.rows("orders")]
        found = {}
        for order in orders:
            sums = {}
            for window in needs.windows:
                assert window.counted is Counted.ORDERS
                assert window.subject is Subject.CUSTOMER
                placed_at, begin = order.facts.placed_at, order.facts.placed_at - window.duration
                before = sum(
                    row.order.id != order.id
                    and row.order.facts.customer_id == order.facts.customer_id
                    and begin < row.order.facts.placed_at <= placed_at + AT_ONCE
                    for row in rows
                )
                sums[window] = {"": before}
            found[order.id] = History(sums=sums)
        return found

    async def add(self, held: Collection[HeldReview]) -> None:
        """Put orders into the queue."""
        await self._session.statement()
        for one in held:
            await _insert(self._session, "reviews", one.order_id, ReviewRow(one))

    async def decide(self, order_id: UUID, *, verdict: str, reason: str, reviewer: str, now: datetime) -> None:
        """Keep what a person decided."""
        assert reason
        assert reviewer
        await self._session.statement()
        known: ReviewRow | None = self._session.get("reviews", order_id)
        if known is not None and known.decided_at is None:
            self._session.put("reviews", order_id, replace(known, verdict=verdict, decided_at=now))

    async def reasons_of(self, order_id: UUID) -> Sequence[str]:
        """Return what the rules held an order for; nothing if they did not."""
        await self._session.statement()
        known: ReviewRow | None = self._session.get("reviews", order_id)
        return () if known is None else known.held.reasons

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"reviews.{method} is not simulated")


class MemoryEdits:
    """The edits of one transaction (see `Edits`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def revision_of(self, order_id: UUID) -> int:
        """Return which revision a locked order has."""
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        return row.revision

    async def set_lines(self, order_id: UUID, lines: Sequence[OrderLine], total_minor: int) -> None:
        """Give a locked order other lines, and its total with them."""
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        known = {line.line: line for line in row.order.lines}
        # Of a line that is there, its units alone are written.
        written = tuple(
            structs.replace(known[line.line], quantity=line.quantity) if line.line in known else line
            for line in sorted(lines, key=lambda line: line.line)
        )
        is_asked_for = any(one.order_id == order_id for _, one in self._session.rows("payment_commands"))
        payable_minor = max(row.payable_minor, total_minor) if is_asked_for else total_minor
        facts = structs.replace(row.state.facts, total_minor=total_minor)
        order = structs.replace(row.order, lines=written, facts=facts)
        state = structs.replace(row.state, facts=facts)
        self._session.put("orders", order_id, replace(row, order=order, state=state, payable_minor=payable_minor))

    async def ask_for_more(self, order_id: UUID, step_id: UUID, amount_minor: int, token: str | None) -> None:
        """Let so much more be held for a locked order, by a step that was just written; with a token of its own."""
        await self._session.statement()
        row: OrderRow = self._session.get("orders", order_id)
        self._session.put("orders", order_id, replace(row, payable_minor=row.payable_minor + amount_minor))
        if token is not None:
            known: CommandRow = self._session.get("payment_commands", step_id)
            self._session.put("payment_commands", step_id, replace(known, token=token))

    async def add_findings(self, order_id: UUID, findings: Sequence[Any]) -> None:  # noqa: ARG002
        """Add none: prices are not checked."""
        assert not findings

    async def add(self, edit: Edit) -> None:
        """Keep an edit."""
        await self._session.statement()
        await _insert(self._session, "edits", edit.id, edit)

    async def pending_of(self, order_id: UUID) -> UUID | None:
        """Return the edit of a locked order that is not answered yet."""
        await self._session.statement()
        found = (edit for _, edit in self._session.rows("edits") if edit.order_id == order_id)
        return next((edit.id for edit in found if edit.status is EditStatus.REQUESTED), None)

    async def get(self, edit_ids: Collection[UUID]) -> Sequence[Edit]:
        """Return those of the edits that exist."""
        await self._session.statement()
        found = (self._session.get("edits", edit_id) for edit_id in sorted(edit_ids))
        return [edit for edit in found if edit is not None]

    async def finish(
        self, edit_id: UUID, status: EditStatus, *, refusal: str | None = None, shortages: Sequence[Shortage] = ()
    ) -> None:
        """Keep what became of an edit that was requested."""
        await self._session.statement()
        known: Edit = self._session.get("edits", edit_id)
        if known.status is EditStatus.REQUESTED:
            done = replace(known, status=status, refusal=refusal, shortages=tuple(shortages))
            self._session.put("edits", edit_id, done)

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"edits.{method} is not simulated")


class MemoryActions:
    """What people have decided, in one transaction (see `OrderActions`)."""

    def __init__(self, session: Session) -> None:
        """Work in `session`."""
        self._session = session

    async def add(self, action: OrderAction) -> None:
        """Keep an action."""
        await self._session.statement()
        await _insert(self._session, "actions", action.id, action)


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


class _NoPromotions:
    """No order has a discount."""

    async def recount(self, order_ids: Collection[UUID], *, now: datetime) -> None:
        """Count none anew."""

    def __getattr__(self, method: str) -> Any:
        raise NotImplementedError(f"promotions.{method} is not simulated")


class MemoryUnit:
    """The adapters of one transaction (see `Unit`); the outbox is the real one."""

    def __init__(self, transaction: Transaction, *, clock: Clock, wake_relay: Callable[[], None] | None) -> None:
        """Work in `transaction`, which somebody else commits."""
        session = session_of(transaction)
        self.orders = MemoryOrders(session)
        self.timers = MemoryTimers(session)
        self.payments = MemoryPaymentCommands(session)
        self.decisions = MemoryDecisions(session)
        self.returns = MemoryReturns(session)
        self.reviews = MemoryReviews(session)
        self.edits = MemoryEdits(session)
        self.actions = MemoryActions(session)
        self.prices: Any = NotSimulated("prices")
        self.promotions = _NoPromotions()
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


def _check(payment: Payment, row: OrderRow) -> None:
    """Refuse what the table of payments refuses."""
    is_sound = (
        0 <= payment.refunded_minor <= payment.captured_minor
        and payment.voided_minor >= 0
        and payment.captured_minor + payment.voided_minor <= payment.authorised_minor <= row.payable_minor
    )
    if not is_sound:
        raise asyncpg.CheckViolationError(f"payments: {payment} of {row.payable_minor}")


async def _insert(session: Session, table: str, key: Any, value: Any) -> None:
    if not await session.insert(table, key, value):
        raise asyncpg.UniqueViolationError(f"{table}: {key} exists")
