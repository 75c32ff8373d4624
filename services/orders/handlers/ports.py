"""What the use cases need from outside."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar
from uuid import UUID

from libs.common.decisions import DecisionLog
from libs.common.events.outbox import Outbox
from libs.common.events.shapes import Allocation, Shortage, SkuQuantity
from services.orders.domain.charges import Charge
from services.orders.domain.edits import Edit, EditStatus
from services.orders.domain.findings import OrderFinding
from services.orders.domain.ledger import Transfer
from services.orders.domain.order import Address, NewOrder, OrderLine, OrderStatus, PaymentTerms
from services.orders.domain.returns import Return
from services.orders.domain.review import History, Needs, Subject
from services.orders.domain.review_blocks import Block
from services.orders.domain.state import OrderState, StageEntered, StepKind, TimerKind
from services.orders.handlers.ledger import Ledger
from services.orders.handlers.prices import Prices
from services.orders.handlers.promotions import Promotions
from services.orders.handlers.queries import OrderViews

Result = TypeVar("Result")


@dataclass(slots=True)
class Change:
    """
    What a transaction did to one order.

    `entered` are its new stages with the id of the event that led there, `timers` the new time of each timer
    that changed, None for one that is gone, `transfers` what it means for the ledger, `unstopped` the parcels that
    turned out to have left after its end.
    """

    before: OrderState
    after: OrderState
    entered: list[tuple[StageEntered, UUID | None]] = field(default_factory=list)
    timers: dict[TimerKind, datetime | None] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    unstopped: list[UUID] = field(default_factory=list)

    @property
    def is_effective(self) -> bool:
        """Whether there is anything to store."""
        return self.after is not self.before or bool(self.timers)


class Orders(Protocol):
    """The orders; whoever holds the lock of an order holds its payment, parcels, returns and timers too."""

    async def lock(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist, locked in the order of their ids until the transaction ends."""
        ...

    async def lock_free(self, order_ids: Collection[UUID]) -> Mapping[UUID, OrderState]:
        """Return those that exist and that nobody else has locked, locked."""
        ...

    async def add(self, placed: Sequence[tuple[NewOrder, Change]], *, now: datetime) -> None:
        """Store new orders."""
        ...

    async def save(self, changes: Sequence[Change], *, now: datetime) -> None:
        """Store what became of locked orders."""
        ...

    async def lines_of(self, order_id: UUID) -> Sequence[OrderLine]:
        """Return the lines of a locked order."""
        ...

    async def allocations_of(self, order_id: UUID) -> tuple[Sequence[Allocation], Sequence[SkuQuantity]]:
        """Return what warehouses hold, or held, for a locked order, and what was missing besides."""
        ...

    async def address_of(self, order_id: UUID) -> Address:
        """Return where a locked order goes; an empty address once it was erased."""
        ...

    async def payment_terms_of(self, order_id: UUID) -> PaymentTerms:
        """Return who moves a locked order's money, and when."""
        ...

    async def add_returned(self, order_id: UUID, quantities: Mapping[int, int]) -> None:
        """Add to the returned quantities of lines, by line number; negative numbers take back."""
        ...


class Timers(Protocol):
    """When orders have to be looked at."""

    async def due_orders(self, *, now: datetime, limit: int) -> Sequence[UUID]:
        """Return orders with a timer that is due, the most overdue first; nothing is locked."""
        ...

    async def due_of(self, order_ids: Collection[UUID], *, now: datetime) -> Sequence[tuple[UUID, TimerKind]]:
        """Return the due timers of locked orders."""
        ...


class Returns(Protocol):
    """Goods that come back."""

    async def order_of(self, return_id: UUID) -> UUID | None:
        """Return the order that a return belongs to."""
        ...

    async def of_order(self, order_id: UUID) -> Sequence[UUID]:
        """Return the returns of an order."""
        ...

    async def get(self, return_ids: Collection[UUID]) -> Sequence[Return]:
        """Return those that exist; their orders must be locked if they are to be changed."""
        ...

    async def received_units(self, order_id: UUID, *, other_than: UUID) -> Mapping[int, int]:
        """Return how many units of each line of a locked order came back with its other returns."""
        ...

    async def exchanges_of(self, order_id: UUID) -> Mapping[UUID, int]:
        """
        Return the orders of what was sent, or is to be, for goods that came back of a locked order.

        By their ids: what each cost of that order's price and was not given back since, in minor units.
        """
        ...

    async def add(self, one: Return) -> None:
        """Store a new return of a locked order."""
        ...

    async def save(self, returns: Sequence[Return], *, now: datetime) -> None:
        """Store what became of returns of locked orders."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentCommand:
    """
    A payment step that is due, claimed by one executor for as long as its lease lasts.

    `id` is the idempotency key. `attempts` counts this one: above 1, an earlier attempt's outcome is unknown.
    `reference` is the provider's name for the authorised amount that the step is about, `held_minor` what is left
    of it. `captured_by` is, for a refund, the first capture of the order. `order_changed_at` is when the order last
    changed, so that nothing was begun later for an order that is at its end. `is_given_up` is whether it was to pay
    for an edit that nobody waits for any longer.
    """

    id: UUID
    order_id: UUID
    order_status: OrderStatus
    order_changed_at: datetime
    kind: StepKind
    amount_minor: int
    currency: str
    token: str
    reference: str | None
    held_minor: int
    captured_by: UUID | None
    attempts: int
    is_given_up: bool = False


class PaymentOutcome(StrEnum):
    """What is known of a payment command; `not-found` only answers a query, `unknown` may still become any."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    UNKNOWN = "unknown"
    NOT_FOUND = "not-found"


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """What the provider says of one command; `reason` is why it declined, in our words."""

    outcome: PaymentOutcome
    provider_reference: str = ""
    reason: str = ""


class PaymentGateway(Protocol):
    """
    A payment provider.

    Both methods return one result for each command, in order, and do not raise for what the provider or the
    network does: whatever is not certain is `unknown`.
    """

    async def execute(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Carry out commands; one whose key the provider has seen before is not carried out again."""
        ...

    async def query(self, commands: Sequence[PaymentCommand]) -> Sequence[PaymentResult]:
        """Ask what became of commands, by their keys, without carrying anything out."""
        ...


class PaymentCommands(Protocol):
    """The payment steps that wait to be carried out."""

    async def claim(
        self, *, provider: str, now: datetime, leased_until: datetime, limit: int
    ) -> Sequence[PaymentCommand]:
        """Take due commands of a provider that nobody else has; they are due again when the lease ends."""
        ...

    async def reschedule(self, due: Sequence[tuple[PaymentCommand, datetime]]) -> None:
        """Set when claimed commands, whose outcome is unknown, are to be looked at again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticedResult:
    """What a notice says of one command, in our minor units."""

    command_id: UUID
    kind: StepKind
    amount_minor: int
    currency: str
    result: PaymentResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A verified notice; the same `event_id` is the same notice, however often it is sent."""

    provider: str
    event_id: str
    results: Sequence[NoticedResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCommand:
    """A payment command as a notice is compared with."""

    id: UUID
    order_id: UUID
    provider: str
    kind: StepKind
    amount_minor: int
    currency: str


class PaymentNotices(Protocol):
    """What is kept of notices."""

    async def add(self, notice: Notice, *, now: datetime) -> bool:
        """Note a notice; return whether it is new."""
        ...

    async def commands(self, command_ids: Sequence[UUID]) -> Mapping[UUID, KnownCommand]:
        """Return those of the commands that exist."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAction:
    """What a person decided about an order, kept for good."""

    id: UUID
    order_id: UUID
    action: str
    reason: str
    principal: str
    shipment_id: UUID | None
    refund_minor: int | None
    replacement_order_id: UUID | None
    status_before: OrderStatus
    status_after: OrderStatus
    acted_at: datetime


class OrderActions(Protocol):
    """What people have decided; nothing is ever changed or removed."""

    async def add(self, action: OrderAction) -> None:
        """Keep an action."""
        ...

    async def of_order(self, order_id: UUID) -> Sequence[OrderAction]:
        """Return an order's actions, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class ImportRow:
    """An order to be imported, and a hash of what was sent for it."""

    order: NewOrder
    content_hash: bytes

    @property
    def key(self) -> tuple[str, str]:
        """What the order is imported once by: the channel, and its reference there."""
        return self.order.facts.channel, self.order.facts.reference or ""


@dataclass(frozen=True, slots=True)
class KnownImport:
    """What was placed under a key; the content of orders from before it was kept is empty, and like no other."""

    order_id: UUID
    content_hash: bytes


class ImportedOrders(Protocol):
    """Which orders have the numbers of their channels, for good: a file may be sent again after a year."""

    async def claim(self, rows: Sequence[ImportRow], *, now: datetime) -> Sequence[KnownImport | None]:
        """
        Note imports; return for each None if it is new, else what is known under its key.

        No two of `rows` have one key. Whoever imports the same key at the same time is waited for.
        """
        ...

    async def unclaim(self, order_ids: Sequence[UUID]) -> None:
        """Forget imports of this transaction whose orders were refused."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldReview:
    """What the rules, in their version `rules`, held an order for; it should leave by `ship_by`."""

    order_id: UUID
    held_at: datetime
    ship_by: datetime
    score: int
    reasons: tuple[str, ...]
    rules: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingReview:
    """A held order as it waits in the queue."""

    order_id: UUID
    customer_id: str
    channel: str
    currency: str
    total_minor: int
    country: str
    placed_at: datetime
    deadline_at: datetime
    held_at: datetime
    ship_by: datetime
    score: int
    reasons: tuple[str, ...]
    rules: str
    escalated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """Which held orders to list, after the one with this `ship_by` and id."""

    reason: str | None = None
    customer_id: str | None = None
    channel: str | None = None
    is_escalated: bool | None = None
    after: tuple[datetime, UUID] | None = None


class Reviews(Protocol):
    """What reviews know and keep."""

    async def lock_subjects(self, orders: Collection[NewOrder], *, by_address: bool) -> None:
        """Wait until nobody else reviews orders of the same customers, or addresses, until this transaction ends."""
        ...

    async def histories(self, orders: Sequence[NewOrder], needs: Needs, *, now: datetime) -> Mapping[UUID, History]:
        """Return what was known before the orders, in one round trip; an order that is stored is not its own past."""
        ...

    async def note_addresses(self, orders: Collection[NewOrder]) -> None:
        """Keep which addresses orders go to, as hashes, for those that come later."""
        ...

    async def add(self, held: Collection[HeldReview]) -> None:
        """Put orders into the queue."""
        ...

    async def decide(self, order_id: UUID, *, verdict: str, reason: str, reviewer: str, now: datetime) -> None:
        """Keep what a person decided."""
        ...

    async def reasons_of(self, order_id: UUID) -> Sequence[str]:
        """Return what the rules held an order for; nothing if they did not."""
        ...

    async def waiting(self, wanted: QueueFilter, *, limit: int) -> Sequence[WaitingReview]:
        """Return held orders, the one that has to leave first at the front."""
        ...


class Edits(Protocol):
    """What customers have changed about their orders, kept for good."""

    async def revision_of(self, order_id: UUID) -> int:
        """Return which revision a locked order has."""
        ...

    async def set_lines(self, order_id: UUID, lines: Sequence[OrderLine], total_minor: int) -> None:
        """Give a locked order other lines, and its total with them."""
        ...

    async def set_charges(self, order_id: UUID, charges: Sequence[Charge]) -> None:
        """Give a locked order other discounts, shipping and taxes."""
        ...

    async def ask_for_more(self, order_id: UUID, step_id: UUID, amount_minor: int, token: str | None) -> None:
        """Let so much more be held for a locked order, by a step that was just written; with a token of its own."""
        ...

    async def add_findings(self, order_id: UUID, findings: Sequence[OrderFinding]) -> None:
        """Add what was found about an edit to what is known of an order."""
        ...

    async def set_address(self, order: NewOrder) -> None:
        """Send a locked order elsewhere in its country."""
        ...

    async def add(self, edit: Edit) -> None:
        """Keep an edit."""
        ...

    async def of_order(self, order_id: UUID) -> Sequence[Edit]:
        """Return an order's edits, oldest first."""
        ...

    async def pending_of(self, order_id: UUID) -> UUID | None:
        """Return the edit of a locked order that is not answered yet."""
        ...

    async def get(self, edit_ids: Collection[UUID]) -> Sequence[Edit]:
        """Return those of the edits that exist."""
        ...

    async def finish(
        self, edit_id: UUID, status: EditStatus, *, refusal: str | None = None, shortages: Sequence[Shortage] = ()
    ) -> None:
        """Keep what became of an edit that was requested."""
        ...


class Blocks(Protocol):
    """The block list; nothing is ever removed from it, only lifted."""

    async def add(self, block: Block) -> None:
        """
        Block somebody.

        :raises AlreadyBlocked: if that is blocked.
        """
        ...

    async def lift(self, block_id: UUID, *, by: str, reason: str, now: datetime) -> Block:
        """
        Lift a block.

        :raises BlockNotFound: if there is none, or none any more.
        """
        ...

    async def page(
        self, *, subject: Subject | None, is_active: bool | None, before_id: UUID | None, now: datetime, limit: int
    ) -> Sequence[Block]:
        """Return blocks, newest first."""
        ...

    async def subjects_of(self, order_id: UUID) -> Mapping[Subject, str]:
        """Return under which values the customer of an order can be blocked; empty if there is no such order."""
        ...


class Unit(Protocol):
    """One transaction: everything reached through it commits together or not at all."""

    @property
    def orders(self) -> Orders:
        """The orders."""
        ...

    @property
    def timers(self) -> Timers:
        """Their timers."""
        ...

    @property
    def returns(self) -> Returns:
        """Their returns."""
        ...

    @property
    def payments(self) -> PaymentCommands:
        """Their payment steps."""
        ...

    @property
    def actions(self) -> OrderActions:
        """What people have decided about orders."""
        ...

    @property
    def imports(self) -> ImportedOrders:
        """Which orders other systems have sent."""
        ...

    @property
    def promotions(self) -> Promotions:
        """The promotions that discounts are held against."""
        ...

    @property
    def prices(self) -> Prices:
        """What the catalog asks, and asked."""
        ...

    @property
    def reviews(self) -> Reviews:
        """What their reviews know and keep."""
        ...

    @property
    def edits(self) -> Edits:
        """What customers have changed about orders."""
        ...

    @property
    def blocks(self) -> Blocks:
        """The block list."""
        ...

    @property
    def ledger(self) -> Ledger:
        """What is booked of their money."""
        ...

    @property
    def notices(self) -> PaymentNotices:
        """What payment providers have told on their own account."""
        ...

    @property
    def views(self) -> OrderViews:
        """What is read and not decided by."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The events that leave with it."""
        ...

    @property
    def decisions(self) -> DecisionLog:
        """The decisions recorded with it."""
        ...

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the transaction has committed."""
        ...


class Units(Protocol):
    """Opens transactions for what no request and no event asks for."""

    async def run(self, work: Callable[[Unit], Awaitable[Result]]) -> Result:
        """Run `work` in one transaction of its own."""
        ...
