"""Applies messages to the orders of one transaction, in memory, and writes what became of them at once."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import structs

from libs.common.events.base import Envelope
from libs.common.events.orders import PaymentCaptured, RefundIssued, ReturnClosed
from libs.common.failpoints import Failpoint, failpoints
from libs.common.telemetry.logs import get_logger
from services.orders import metrics
from services.orders.domain.edits import EditStatus
from services.orders.domain.fulfilment import receive, transition
from services.orders.domain.messages import DeadlinePassed, Message, ReviewPassed
from services.orders.domain.order import REMAINDER_CHANNEL, Address, NewOrder, OrderFacts, OrderLine, Origin
from services.orders.domain.remainders import remainder_id
from services.orders.domain.returns import ReturnStatus
from services.orders.domain.state import (
    Answer,
    Book,
    CloseReturn,
    Command,
    ConcludeEdit,
    Deadlines,
    Divide,
    NoteUnstopped,
    OrderState,
    Pay,
    Publish,
    SetTimer,
    Tell,
    TimerKind,
    Transition,
)
from services.orders.handlers.ports import Change, Unit

log = get_logger()

# What comes of another order costs nothing, so that no provider is ever asked with it.
_NO_TOKEN = "none"  # noqa: S105 - the absence of one


@dataclass(frozen=True, slots=True)
class Policy:
    """How this shop runs its orders, and whom to tell about new payment commands."""

    deadlines: Deadlines
    wake_payments: Callable[[], None] = lambda: None
    # How long after their arrival goods may be returned; None is for ever.
    return_window: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Addressed:
    """A message for one order, and the event that brought it."""

    order_id: UUID
    message: Message
    cause: Envelope | None = None


class Saga:
    """
    The orders of one transaction.

    `load` locks them, `apply` follows the table one message at a time, `write` stores and publishes everything
    in a fixed number of statements, however many orders and messages there were.
    """

    def __init__(self, unit: Unit, *, policy: Policy, now: datetime) -> None:
        """Begin with no orders."""
        self._unit = unit
        self._policy = policy
        self._now = now
        self._changes: dict[UUID, Change] = {}
        self._new: list[tuple[NewOrder, Change]] = []
        self._divided: list[tuple[OrderState, Divide]] = []
        self._closed: list[tuple[CloseReturn, Envelope | None, OrderFacts]] = []
        self._concluded: list[tuple[UUID, ConcludeEdit]] = []
        self._answers: Counter[tuple[str, Answer]] = Counter()
        self._money: Counter[tuple[type, str]] = Counter()
        self._has_payments = False

    async def load(self, order_ids: Collection[UUID]) -> None:
        """Lock orders, waiting for whoever has them."""
        self._take(await self._unit.orders.lock(order_ids))

    async def load_free(self, order_ids: Collection[UUID]) -> Collection[UUID]:
        """Lock those of the orders that nobody has, and return their ids."""
        locked = await self._unit.orders.lock_free(order_ids)
        free = {order_id: state for order_id, state in locked.items() if _has_its_relatives(state, locked)}
        self._take(free)
        return free.keys()

    def state(self, order_id: UUID) -> OrderState | None:
        """Return an order in its present state."""
        change = self._changes.get(order_id)
        return None if change is None else change.after

    def begin(self, order: NewOrder, first: Transition) -> None:
        """Add an order that does not exist yet."""
        change = Change(before=first.state, after=first.state)
        self._new.append((order, change))
        self._changes[order.id] = change
        self._follow(change, first, None)

    def apply(self, order_id: UUID, message: Message, cause: Envelope | None = None) -> Answer | None:
        """Apply a message to a loaded order; return the table's answer, None if there is no such order."""
        change = self._changes.get(order_id)
        if change is None:
            log.warning("saga.unknown_order", order_id=str(order_id), message=message.name)
            return None
        outcome = transition(change.after, message, self._now, self._policy.deadlines)
        self._answers[message.name, outcome.answer] += 1
        if outcome.answer is Answer.REJECT:
            log.warning("saga.rejected", order_id=str(order_id), status=change.after.status, message=message.name)
        self._follow(change, outcome, cause)
        if isinstance(message, DeadlinePassed) and outcome.answer is Answer.IGNORE:
            self.forget_timer(order_id, message.timer)
        return outcome.answer

    def forget_timer(self, order_id: UUID, kind: TimerKind) -> None:
        """Drop a timer that has nothing to say any more."""
        self._changes[order_id].timers[kind] = None

    async def write(self) -> None:
        """Store and publish everything; call it once, at the end."""
        for state, command in self._divided:
            self._begin_remainder(state, command, await self._unit.orders.address_of(state.id))
        if self._new:
            await self._unit.orders.add(self._new, now=self._now)
        new_ids = {order.id for order, _ in self._new}
        changed = [one for order_id, one in self._changes.items() if order_id not in new_ids and one.is_effective]
        if changed:
            await self._unit.orders.save(changed, now=self._now)
        if self._closed:
            await self._close_returns()
        for order_id, concluded in self._concluded:
            await self._conclude(order_id, concluded)
        if given_up := {order_id for order_id, concluded in self._concluded if concluded.refusal is not None}:
            # A promotion may have been asked for more.
            await self._unit.promotions.recount(given_up, now=self._now)
        if failpoints.armed:
            await self._meet_failpoints()
        self._unit.after_commit(self._count)
        if self._has_payments:
            self._unit.after_commit(self._policy.wake_payments)

    async def _meet_failpoints(self) -> None:
        entered = {entry.stage for change in self._changes.values() for entry, _ in change.entered}
        await failpoints.reach(Failpoint.SAGA_BEFORE_COMMIT, *entered)
        self._unit.after_commit(lambda: failpoints.reach_at_once(Failpoint.SAGA_AFTER_COMMIT, *entered))

    def _begin_remainder(self, state: OrderState, command: Divide, address: Address) -> None:
        remainder = derived_order(
            state,
            command.order_id,
            channel=REMAINDER_CHANNEL,
            lines=[(one.sku, one.quantity) for one in command.lines],
            address=address,
            origin=Origin(order_id=state.id, prepaid_minor=command.value_minor, keeps=command.keeps),
            now=self._now,
        )
        self.begin(remainder, receive(remainder, self._now, self._policy.deadlines))
        self.apply(remainder.id, ReviewPassed())

    def _take(self, states: Mapping[UUID, OrderState]) -> None:
        for order_id, state in states.items():
            self._changes[order_id] = Change(before=state, after=state)

    def _follow(self, change: Change, outcome: Transition, cause: Envelope | None) -> None:
        change.after = outcome.state
        cause_id = None if cause is None else cause.id
        for entry in outcome.entered:
            change.entered.append((entry, cause_id))
        for timer in outcome.timers:
            change.timers[timer.kind] = timer.due_at if isinstance(timer, SetTimer) else None
        facts = outcome.state.facts
        for command in outcome.commands:
            self._carry_out(command, change, cause, facts)

    def _carry_out(self, command: Command, change: Change, cause: Envelope | None, facts: OrderFacts) -> None:
        match command:
            case Publish(event, aggregate_version):
                # What no event causes still belongs to the order: its correlation id ties it to the rest.
                self._unit.outbox.add(
                    event,
                    aggregate_version=aggregate_version,
                    cause=cause,
                    correlation_id=facts.correlation_id,
                    traceparent=facts.traceparent,
                )
                if isinstance(event, PaymentCaptured | RefundIssued):
                    self._money[type(event), event.currency] += event.amount_minor
            case Book(transfer):
                change.transfers.append(transfer)
            case Pay():
                # The step itself is stored with the order's state.
                self._has_payments = True
            case ConcludeEdit():
                self._concluded.append((change.after.id, command))
            case CloseReturn():
                self._closed.append((command, cause, facts))
            case Divide():
                self._divided.append((change.after, command))
            case NoteUnstopped(shipment_id):
                change.unstopped.append(shipment_id)
            case Tell(order_id, message):
                self.apply(order_id, message, cause)

    async def _conclude(self, order_id: UUID, concluded: ConcludeEdit) -> None:
        edit, refusal = concluded.edit, concluded.refusal
        if refusal is None:
            await self._unit.edits.set_lines(order_id, edit.lines, edit.total_minor)
        await self._unit.edits.finish(
            edit.id,
            EditStatus.APPLIED if refusal is None else EditStatus.REFUSED,
            refusal=refusal,
            shortages=concluded.shortages,
        )

    async def _close_returns(self) -> None:
        returns = {one.id: one for one in await self._unit.returns.get([one.return_id for one, _, _ in self._closed])}
        closed = []
        for command, cause, facts in self._closed:
            received = returns[command.return_id]
            done = replace(received, status=ReturnStatus.CLOSED, version=received.version + 1)
            closed.append(done)
            self._unit.outbox.add(
                ReturnClosed(
                    return_id=done.id,
                    order_id=done.order_id,
                    refunded_minor=command.refunded_minor,
                    currency=done.currency,
                ),
                aggregate_version=done.version,
                cause=cause,
                correlation_id=facts.correlation_id,
                traceparent=facts.traceparent,
            )
        await self._unit.returns.save(closed, now=self._now)

    def _count(self) -> None:
        for currency, orders in Counter(order.facts.currency for order, _ in self._new).items():
            metrics.orders_placed_total.labels(currency).inc(orders)
        entered = Counter(entry.stage for change in self._changes.values() for entry, _ in change.entered)
        for stage, times in entered.items():
            metrics.orders_stage_entered_total.labels(stage).inc(times)
        for (message, answer), times in self._answers.items():
            metrics.orders_saga_messages_total.labels(message, answer).inc(times)
        for (event_class, currency), minor in self._money.items():
            counter = (
                metrics.orders_captured_minor_total
                if event_class is PaymentCaptured
                else metrics.orders_refunded_minor_total
            )
            counter.labels(currency).inc(minor)


def _has_its_relatives(state: OrderState, locked: Collection[UUID]) -> bool:
    """Tell whether all are locked that a state may have something to say to."""
    origin = state.facts.origin
    is_told = origin is not None and (state.facts.is_remainder or origin.prepaid_minor > 0)
    if is_told and origin is not None and origin.order_id not in locked:
        return False
    return not state.payment.is_remainder_open or remainder_id(state.id) in locked


def derived_order(
    state: OrderState,
    order_id: UUID,
    *,
    channel: str,
    lines: Iterable[tuple[str, int]],
    address: Address,
    origin: Origin,
    now: datetime,
) -> NewOrder:
    """Return an order that comes of another and costs nothing: stock and parcels are asked for as always."""
    facts = structs.replace(
        state.facts,
        channel=channel,
        reference=str(state.id),
        total_minor=0,
        on_shortage="backorder",
        # What was held before the first order was placed went with it.
        hold_id=None,
        origin=origin,
        placed_at=state.facts.business_time(now),
        received_at=now,
    )
    numbered = tuple(
        OrderLine(line=number, sku=sku, quantity=quantity, unit_price_minor=0)
        for number, (sku, quantity) in enumerate(lines, start=1)
    )
    return NewOrder(id=order_id, facts=facts, lines=numbered, address=address, payment_token=_NO_TOKEN)


async def advance_orders(
    messages: Sequence[Addressed], *, unit: Unit, policy: Policy, now: datetime
) -> list[Answer | None]:
    """Apply messages in order and return the table's answer to each, None where there is no such order."""
    saga = Saga(unit, policy=policy, now=now)
    await saga.load({one.order_id for one in messages})
    answers = [saga.apply(one.order_id, one.message, one.cause) for one in messages]
    await saga.write()
    return answers
