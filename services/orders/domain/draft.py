"""A transition in the making."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec.structs import replace

from libs.common.events.base import Event
from libs.common.events.shapes import Shortage
from libs.common.events.topics import ORDERS_ORDER
from services.orders.domain.ledger import Fact, Transfer
from services.orders.domain.order import OrderStatus
from services.orders.domain.state import (
    STAGE_TIMER,
    Answer,
    Book,
    ClearTimer,
    CloseReturn,
    Command,
    ConcludeEdit,
    Deadlines,
    Divide,
    NoteUnstopped,
    OrderState,
    Pay,
    PaymentStep,
    PendingEdit,
    Publish,
    SetTimer,
    StageEntered,
    StepKind,
    StepStatus,
    Tell,
    TimerChange,
    TimerKind,
    Transition,
    step_id,
)


class Draft:
    """A transition in the making; it lives only inside one call of `transition`, which stays pure."""

    def __init__(self, state: OrderState, *, cause: str, now: datetime, deadlines: Deadlines) -> None:
        """Begin with nothing changed."""
        self._state = state
        # Made into the next state when somebody looks: making one for every field took most of a transition's time.
        self._changes: dict[str, Any] = {}
        self.cause = cause
        self.now = now
        self.deadlines = deadlines
        self._version = state.version
        self._payment_version = state.payment.version
        self._commands: list[Command] = []
        self._timers: list[TimerChange] = []
        self._entered: list[StageEntered] = []

    def finish(self, answer: Answer) -> Transition:
        """Return what came out, with the versions that its events used up."""
        if self._version != self._state.version:
            self.change(version=self._version)
        if self._payment_version != self._state.payment.version:
            self.change(payment=replace(self.state.payment, version=self._payment_version))
        return Transition(self.state, answer, tuple(self._commands), tuple(self._timers), tuple(self._entered))

    @property
    def state(self) -> OrderState:
        """The order as it is by now."""
        if self._changes:
            self._state = replace(self._state, **self._changes)
            self._changes.clear()
        return self._state

    def change(self, **changes: Any) -> None:
        """Replace fields of the state."""
        self._changes.update(changes)

    def enter(
        self,
        stage: OrderStatus,
        *,
        reason: str | None = None,
        detail: str | None = None,
        lasts: timedelta | None = None,
        shortages: tuple[Shortage, ...] = (),
    ) -> None:
        """Enter a stage: a line of the timeline, and a timer that bounds it, at the usual time unless it `lasts`."""
        state = self.state
        if (old := STAGE_TIMER.get(state.status)) is not None:
            self._timers.append(ClearTimer(old))
        due_at = None
        if (new := STAGE_TIMER.get(stage)) is not None:
            due_at = self.now + (self.deadlines.of(new) if lasts is None else lasts)
            self._timers.append(SetTimer(new, due_at))
        if state.status is OrderStatus.HELD or stage is OrderStatus.HELD:
            self._set_review_escalation(stage)
        sequence = state.sequence + 1
        self._entered.append(
            StageEntered(
                sequence=sequence,
                stage=stage,
                entered_at=self.now,
                cause=self.cause,
                detail=detail or reason,
                shortages=shortages,
            )
        )
        self.change(status=stage, sequence=sequence, status_reason=reason, deadline_at=due_at, stuck_since=None)

    def note(self, *, detail: str) -> None:
        """Add a line to the timeline; the stage and its deadline stay."""
        sequence = self.state.sequence + 1
        self._entered.append(
            StageEntered(
                sequence=sequence, stage=self.state.status, entered_at=self.now, cause=self.cause, detail=detail
            )
        )
        self.change(sequence=sequence)

    def forget_timer(self, kind: TimerKind) -> None:
        """Drop a timer beside that of the stage."""
        self._timers.append(ClearTimer(kind))

    def _set_review_escalation(self, stage: OrderStatus) -> None:
        after = self.deadlines.review_escalation
        if after is None:
            return
        kind = TimerKind.REVIEW_ESCALATION
        self._timers.append(SetTimer(kind, self.now + after) if stage is OrderStatus.HELD else ClearTimer(kind))

    def publish(self, event: Event) -> None:
        """Tell the other services; the event gets the next version of its aggregate."""
        if event.topic is ORDERS_ORDER:
            self._version += 1
            self._commands.append(Publish(event, self._version))
        else:
            self._payment_version += 1
            self._commands.append(Publish(event, self._payment_version))

    def pay(
        self,
        kind: StepKind,
        amount_minor: int,
        *,
        status: StepStatus = StepStatus.PENDING,
        return_id: UUID | None = None,
        shipment_id: UUID | None = None,
        authorisation_id: UUID | None = None,
        own_id: UUID | None = None,
    ) -> PaymentStep:
        """Ask the payment provider for something; a step has the next id of its kind, unless it has its `own_id`."""
        number = 1 + sum(step.kind is kind for step in self.state.steps)
        step = PaymentStep(
            id=own_id or step_id(self.state.id, f"{kind}:{number}"),
            kind=kind,
            amount_minor=amount_minor,
            status=status,
            return_id=return_id,
            shipment_id=shipment_id,
            authorisation_id=authorisation_id,
        )
        self.add_step(step)
        return step

    def book(self, fact: Fact, step: PaymentStep) -> None:
        """Write what happened to a step's amount into the ledger."""
        self._commands.append(Book(Transfer(step_id=step.id, fact=fact, amount_minor=step.amount_minor)))

    def add_step(self, step: PaymentStep) -> None:
        """Add a payment step, and have it carried out unless it has to wait."""
        self.change(steps=(*self.state.steps, step))
        if step.status is StepStatus.PENDING:
            self._commands.append(Pay(step))

    def set_step(self, one: UUID, status: StepStatus) -> PaymentStep:
        """Give a step its new status and return it."""
        steps = tuple(replace(step, status=status) if step.id == one else step for step in self.state.steps)
        self.change(steps=steps)
        step = next(step for step in steps if step.id == one)
        if status is StepStatus.PENDING:
            self._commands.append(Pay(step))
        return step

    def refer(self, one: UUID, reference: str) -> None:
        """Keep the provider's name for what an authorisation beside the payment's own holds."""
        steps = tuple(replace(step, reference=reference) if step.id == one else step for step in self.state.steps)
        self.change(steps=steps)

    def conclude_edit(
        self, edit: PendingEdit, refusal: str | None = None, shortages: tuple[Shortage, ...] = ()
    ) -> None:
        """Be no longer edited; keep what became of it."""
        self.change(edit=None)
        self._commands.append(ConcludeEdit(edit, refusal, shortages))

    def close_return(self, return_id: UUID, refunded_minor: int) -> None:
        """Finish a return whose money is back with the customer."""
        self._commands.append(CloseReturn(return_id, refunded_minor))

    def note_unstopped(self, shipment_id: UUID) -> None:
        """Keep that a parcel has left although the order was ended."""
        self._commands.append(NoteUnstopped(shipment_id))

    def divide(self, command: Divide) -> None:
        """Have what is missing become an order of its own."""
        self._commands.append(command)

    def tell(self, order_id: UUID, message: object) -> None:
        """Let an order know that has to do with this one."""
        self._commands.append(Tell(order_id, message))

    def wait_on(self) -> None:
        """Give the stage its whole time again, without a line in the timeline: nothing has happened."""
        if (kind := STAGE_TIMER.get(self.state.status)) is not None:
            due_at = self.now + self.deadlines.of(kind)
            self._timers.append(SetTimer(kind, due_at))
            self.change(deadline_at=due_at)

    def mark_stuck(self) -> None:
        """Note that the order does not move though it should; whoever watches the metric takes over."""
        if (kind := STAGE_TIMER.get(self.state.status)) is not None:
            self._timers.append(ClearTimer(kind))
        if self.state.stuck_since is None:
            self.change(stuck_since=self.now)
