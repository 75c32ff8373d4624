"""
Whatever order messages come in, however often and however late, no penny is lost and every order comes to its end.

Each example is a life of one order in a world that answers it: inventory, logistics and a payment provider do
what they are asked, but what they say is delivered in any order, more than once, and mixed with what people
and clocks do.
"""

from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from libs.common.events.topics import ORDERS_ORDER
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import transition
from services.orders.domain.ledger import Account, balances
from services.orders.domain.order import SHIPPED_OR_LATER, TERMINAL, OnShortage, OrderStatus
from services.orders.domain.state import (
    ENDED,
    STAGE_TIMER,
    Answer,
    Book,
    CloseReturn,
    ConcludeEdit,
    Divide,
    NoteUnstopped,
    Pay,
    PaymentStep,
    Publish,
    StepKind,
    Tell,
    TimerKind,
)
from tests.unit.orders.domain.worlds import (
    NOW,
    TOTAL_MINOR,
    WAREHOUSES,
    Logistics,
    Provider,
    Story,
    an_order,
    answers_to,
    success,
)

# What inventory says, and how often that is tried.
STOCK = [
    *["partly reserved"] * 3,
    *["reserved"] * 6,
    *["backordered"] * 3,
    *["taken back"] * 3,
    "short for ever",
    "rejected",
    "silent",
]
STAGES = [None, None, *OrderStatus, *[OrderStatus.CONFIRMED] * 6, *[OrderStatus.CANCELLING] * 2]


class OrderLife(RuleBasedStateMachine):
    """One order, and everybody who has to do with it."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story.received()
        self.provider = Provider()
        self.logistics = Logistics()
        self.mail: list[on.Message] = []
        self.asked: list[PaymentStep] = []
        self.stock = "reserved"
        self.declines = False
        self.cancelled_in: OrderStatus | None = None
        self.expired_in: OrderStatus | None = None
        self.returned_minor = 0
        self.remainder = ""
        self.missing_minor = 0
        self.closed: list[CloseReturn] = []
        self.unstopped: list[UUID] = []
        self.sequences: list[int] = [1]

    @initialize(
        stock=st.sampled_from(STOCK),
        lot=st.integers(0, 19),
        cancelled_in=st.sampled_from(STAGES),
        expired_in=st.sampled_from(STAGES),
    )
    def place(self, stock: str, lot: int, cancelled_in: OrderStatus | None, expired_in: OrderStatus | None) -> None:
        """Begin a life; what ends it happens in a stage chosen now, or hardly any life would be long."""
        on_shortage: OnShortage = "split" if stock == "partly reserved" else "backorder"
        price_minor = 0 if lot == 0 else 1_300
        self.missing_minor = 2 * price_minor
        self.story = Story.received(an_order(unit_price_minor=price_minor, on_shortage=on_shortage))
        self.stock, self.declines = stock, lot == 1
        self.cancelled_in, self.expired_in = cancelled_in, expired_in
        self.tell(on.ReviewHeld(("amount-above-limit",)) if lot == 2 else on.ReviewPassed())

    def tell(self, message: on.Message) -> None:
        before = self.story.state
        self.story.tell(message)
        outcome = self.story.last
        assert outcome is not None
        assert outcome == transition(before, message, self.story.now), "the function is not pure"
        self.sequences.extend(entry.sequence for entry in outcome.entered)
        for command in outcome.commands:
            match command:
                case Publish(event):
                    self.mail.extend(answers_to(event, self.stock, self.logistics))
                case Pay(step):
                    self.asked.append(step)
                case CloseReturn():
                    self.closed.append(command)
                case Divide(value_minor=value_minor):
                    assert value_minor == self.missing_minor
                    self.remainder = "open"
                case NoteUnstopped(shipment_id):
                    assert before.status in ENDED
                    assert shipment_id not in self.unstopped
                    self.unstopped.append(shipment_id)
                case Book() | Tell() | ConcludeEdit():
                    pass

    @rule(data=st.data(), is_repeated=st.booleans())
    @precondition(lambda self: self.mail)
    def deliver(self, data: st.DataObject, is_repeated: bool) -> None:  # noqa: FBT001
        index = data.draw(st.integers(0, len(self.mail) - 1))
        message = self.mail[index] if is_repeated else self.mail.pop(index)
        self.tell(message)

    @rule(data=st.data(), is_answered=st.booleans())
    @precondition(lambda self: self.asked)
    def ask_provider(self, data: st.DataObject, is_answered: bool) -> None:  # noqa: FBT001
        """Carry a step out; without an answer, it is asked again later under the same key."""
        step = data.draw(st.sampled_from(self.asked))
        message = self.carry_out(step)
        if is_answered:
            self.asked.remove(step)
            self.mail.append(message)

    @rule()
    @precondition(lambda self: self.story.state.status is self.expired_in)
    def let_deadline_pass(self) -> None:
        self.expire()

    @rule(kind=st.sampled_from(TimerKind))
    def fire_some_timer(self, kind: TimerKind) -> None:
        self.tell(on.DeadlinePassed(kind))

    @rule()
    @precondition(lambda self: self.story.state.status is self.cancelled_in)
    def cancel(self) -> None:
        self.tell(on.CancellationRequested("changed-mind"))

    @rule(approves=st.booleans())
    @precondition(lambda self: self.story.state.status is OrderStatus.HELD)
    def review(self, approves: bool) -> None:  # noqa: FBT001
        self.tell(on.ReviewPassed() if approves else on.ReviewRefused("a known fraud"))

    @rule(has_left=st.booleans())
    @precondition(lambda self: self.remainder == "open")
    def conclude_remainder(self, has_left: bool) -> None:  # noqa: FBT001
        self.remainder = "shipped" if has_left else "ended"
        message = on.RemainderShipped(UUID(int=800)) if has_left else on.RemainderEnded("backorder-expired")
        self.tell(message)

    @rule(warehouse=st.sampled_from(WAREHOUSES))
    @precondition(lambda self: self.logistics.parcels)
    def move_parcel(self, warehouse: str) -> None:
        self.mail.extend(self.logistics.move(warehouse))

    @rule(number=st.integers(1, 4), amount=st.sampled_from([0, 1, 1_300, TOTAL_MINOR]))
    @precondition(lambda self: self.story.state.status in SHIPPED_OR_LATER)
    def send_goods_back(self, number: int, amount: int) -> None:
        state = self.story.state
        before = len(state.steps)
        self.tell(on.RefundRequested(UUID(int=900 + number), amount))
        if len(self.story.state.steps) > before:
            assert state.status in SHIPPED_OR_LATER
            self.returned_minor += amount

    @invariant()
    def money_is_never_out_of_bounds(self) -> None:
        payment = self.story.state.payment
        assert 0 <= payment.refunded_minor <= payment.captured_minor
        assert payment.captured_minor + payment.voided_minor <= payment.authorised_minor <= TOTAL_MINOR
        assert self.provider.times(StepKind.CAPTURE) <= len(WAREHOUSES) + (self.remainder == "shipped")
        assert sum(balances(self.story.transfers).values()) == 0
        assert self.provider.times(StepKind.AUTHORISE) <= 1
        assert self.provider.total_minor(StepKind.REFUND) <= self.provider.total_minor(StepKind.CAPTURE)

    @invariant()
    def nothing_waits_without_a_deadline(self) -> None:
        state = self.story.state
        assert (state.deadline_at is None) == (state.status in TERMINAL)

    @invariant()
    def events_are_numbered_without_gaps(self) -> None:
        numbers: dict[bool, list[int]] = {True: [], False: []}
        for command in self.story.commands:
            if isinstance(command, Publish):
                numbers[command.event.topic is ORDERS_ORDER].append(command.aggregate_version)
        assert numbers[True] == list(range(1, self.story.state.version + 1))
        assert numbers[False] == list(range(1, self.story.state.payment.version + 1))
        assert self.sequences == list(range(1, self.story.state.sequence + 1))

    def teardown(self) -> None:
        """Let everybody finish; then the order is at its end and every book agrees."""
        for _ in range(12):
            self.drain()
            if self.remainder == "open":
                self.conclude_remainder(True)  # noqa: FBT003
                continue
            if self.story.state.status in TERMINAL:
                break
            if self.story.state.status is not OrderStatus.CANCELLING:
                for warehouse in WAREHOUSES:
                    self.mail.extend(self.logistics.move(warehouse))
            if not self.mail and not self.asked:
                self.expire()
        self.drain()
        self.check_books()

    def drain(self) -> None:
        while self.asked or self.mail:
            while self.asked:
                self.mail.append(self.carry_out(self.asked.pop(0)))
            self.tell(self.mail.pop(0))

    def check_books(self) -> None:
        state, payment = self.story.state, self.story.state.payment
        is_silent = self.stock == "silent" and state.status is OrderStatus.APPROVED
        assert state.status in TERMINAL or (is_silent and state.stuck_since is not None), state
        assert payment.authorised_minor == self.provider.total_minor(StepKind.AUTHORISE)
        assert payment.captured_minor == self.provider.total_minor(StepKind.CAPTURE)
        ended_minor = self.missing_minor if self.remainder == "ended" else 0
        kept_minor = self.missing_minor if self.remainder == "shipped" else 0
        assert payment.refunded_minor == self.provider.total_minor(StepKind.REFUND) == self.returned_minor
        assert payment.held_minor == 0
        ledger = balances(self.story.transfers)
        assert ledger.get(Account.CLEARING, 0) == payment.captured_minor - payment.refunded_minor
        assert ledger.get(Account.HELD, 0) == ledger.get(Account.RECEIVABLE, 0) == 0
        if state.status is OrderStatus.SETTLED:
            assert payment.captured_minor == state.facts.total_minor - ended_minor
            assert set(self.logistics.parcels.values()) == {"delivered"}
        elif state.status in TERMINAL:
            assert payment.captured_minor == kept_minor
            assert "dispatched" not in self.logistics.parcels.values()
            assert "delivered" not in self.logistics.parcels.values()

    def carry_out(self, step: PaymentStep) -> on.Message:
        if step.kind is StepKind.AUTHORISE and self.declines:
            return on.AuthorisationDeclined(step.id, "card-declined")
        self.provider.carry_out(step)
        return success(step)

    def expire(self) -> None:
        state = self.story.state
        if state.deadline_at is not None:
            self.story.now = max(self.story.now, state.deadline_at) + timedelta(seconds=1)
            self.tell(on.DeadlinePassed(STAGE_TIMER[state.status]))
            assert self.story.answer is not Answer.IGNORE or self.story.now < NOW


TestOrderLife = OrderLife.TestCase
TestOrderLife.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
