"""Orders in given stages, and a world that answers them: for tests of the saga's pure function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from libs.common.events.base import Event
from libs.common.events.orders import OrderApproved, OrderCancellationRequested, OrderConfirmed
from libs.common.events.shapes import Allocation, Destination, Shortage, SkuQuantity
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import receive, transition
from services.orders.domain.ledger import Transfer
from services.orders.domain.order import (
    SHIPPED_OR_LATER,
    Address,
    NewOrder,
    OnShortage,
    OrderFacts,
    OrderLine,
    OrderStatus,
)
from services.orders.domain.state import (
    Answer,
    Book,
    CloseReturn,
    Command,
    OrderState,
    Pay,
    PaymentStep,
    Publish,
    StepKind,
    TimerKind,
    Transition,
)

ORDER_ID: Final = UUID(int=1)
NOW: Final = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOTAL_MINOR: Final = 6_500
MISSING_MINOR: Final = 2_600
PARCELS_MINOR: Final = {"leeds": 2_600, "lyon": 3_900}
# Worlds differ in much that an order does not know: nineteen of twenty times it has been told the same before.
decided = cache(transition)
WAREHOUSES: Final = ("leeds", "lyon")


def an_order(
    *, unit_price_minor: int = 1_300, placed_at: datetime = NOW, on_shortage: OnShortage = "backorder"
) -> NewOrder:
    lines = (
        OrderLine(line=1, sku="CRUNCHY-ARMCHAIR", quantity=2, unit_price_minor=unit_price_minor),
        OrderLine(line=2, sku="OMINOUS-MIRROR", quantity=3, unit_price_minor=unit_price_minor),
    )
    return NewOrder(
        id=ORDER_ID,
        facts=OrderFacts(
            customer_id="customer-7",
            channel="web",
            reference=None,
            currency="GBP",
            total_minor=sum(line.quantity * line.unit_price_minor for line in lines),
            placed_at=placed_at,
            received_at=NOW,
            destination=Destination(country="GB"),
            on_shortage=on_shortage,
            is_split_allowed=True,
            correlation_id="correlation-1",
        ),
        lines=lines,
        address=Address(name="Ann"),
        payment_token="tok_ok",
    )


def shipment_id(warehouse: str, plan: int = 0) -> UUID:
    return UUID(int=100 + 10 * plan + WAREHOUSES.index(warehouse))


def stock_reserved(version: int = 0) -> on.StockReserved:
    return on.StockReserved(
        (
            Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=2),
            Allocation(warehouse="lyon", sku="OMINOUS-MIRROR", quantity=3),
        ),
        version,
    )


def stock_partly_reserved(version: int = 0) -> on.StockPartlyReserved:
    return on.StockPartlyReserved(
        (
            Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=2),
            Allocation(warehouse="lyon", sku="OMINOUS-MIRROR", quantity=1),
        ),
        (SkuQuantity(sku="OMINOUS-MIRROR", quantity=2),),
        version,
    )


def in_one_place(units: int, version: int) -> on.StockPartlyReserved | on.StockReserved:
    """Return that so many of the mirrors are held, and all else, in one warehouse."""
    held = (
        Allocation(warehouse="leeds", sku="CRUNCHY-ARMCHAIR", quantity=2),
        Allocation(warehouse="leeds", sku="OMINOUS-MIRROR", quantity=units),
    )
    if units == 3:
        return on.StockReserved(held, version)
    return on.StockPartlyReserved(held, (SkuQuantity(sku="OMINOUS-MIRROR", quantity=3 - units),), version)


def stock_backordered(version: int = 0) -> on.StockBackordered:
    return on.StockBackordered((Shortage(sku="OMINOUS-MIRROR", requested=3, available=1),), version)


def dispatched(warehouse: str, plan: int = 0) -> on.ShipmentDispatched:
    return on.ShipmentDispatched(shipment_id(warehouse, plan), warehouse, NOW + timedelta(days=1))


def delivered(warehouse: str, plan: int = 0) -> on.ShipmentDelivered:
    return on.ShipmentDelivered(shipment_id(warehouse, plan), NOW + timedelta(days=3))


@dataclass
class Story:
    """An order that is told one message after the other; everything it asked for is kept."""

    state: OrderState
    now: datetime = NOW
    commands: list[Command] = field(default_factory=list)
    last: Transition | None = None

    @classmethod
    def received(cls, order: NewOrder | None = None) -> "Story":
        first = receive(order or an_order(), NOW)
        return cls(first.state, commands=list(first.commands), last=first)

    def tell(self, *messages: on.Message) -> "Story":
        for message in messages:
            self.last = transition(self.state, message, self.now)
            self.state = self.last.state
            self.commands.extend(self.last.commands)
        return self

    def pay(self, kind: StepKind) -> "Story":
        """Let the provider do everything that is asked of that kind."""
        pending = [step for step in self.state.steps if step.kind is kind and step.status == "pending"]
        assert pending, f"no {kind} is asked for"
        return self.tell(*(success(step) for step in pending))

    def wait(self, timer: TimerKind) -> "Story":
        """Let the stage last until its deadline."""
        assert self.state.deadline_at is not None
        self.now = self.state.deadline_at
        return self.tell(on.DeadlinePassed(timer))

    def is_in(self, status: OrderStatus) -> bool:
        return self.state.status is status

    @property
    def answer(self) -> Answer:
        assert self.last is not None
        return self.last.answer

    @property
    def events(self) -> list[Event]:
        return [command.event for command in self.commands if isinstance(command, Publish)]

    @property
    def event_types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def steps_asked_for(self) -> list[tuple[StepKind, int]]:
        return [(command.step.kind, command.step.amount_minor) for command in self.commands if isinstance(command, Pay)]

    @property
    def transfers(self) -> list[Transfer]:
        return [command.transfer for command in self.commands if isinstance(command, Book)]

    @property
    def closed_returns(self) -> list[CloseReturn]:
        return [command for command in self.commands if isinstance(command, CloseReturn)]


def story_in(status: OrderStatus) -> Story:
    """Return an order that came to a stage on the usual way."""
    story = Story.received()
    match status:
        case OrderStatus.RECEIVED:
            pass
        case OrderStatus.HELD:
            story.tell(on.ReviewHeld(("amount-above-limit",)))
        case OrderStatus.REFUSED:
            story.tell(on.ReviewRefused("a known fraud"))
        case OrderStatus.APPROVED:
            story.tell(on.ReviewPassed())
        case OrderStatus.CANCELLED:
            story.tell(on.ReviewPassed(), on.CancellationRequested("changed-mind"))
        case OrderStatus.BACKORDERED:
            story.tell(on.ReviewPassed(), stock_backordered())
        case _:
            tell_until(story.tell(on.ReviewPassed(), stock_reserved()), status)
    return story


def tell_until(story: Story, status: OrderStatus) -> None:
    """Go on with an order that has its stock."""
    if status is OrderStatus.RESERVED:
        return
    story.pay(StepKind.AUTHORISE)
    if status is OrderStatus.EDITING:
        lines = (replace(an_order().lines[0], quantity=1),)
        story.tell(on.OrderEdited(UUID(int=700), story.state.sequence, "fewer", lines=lines))
    if status is OrderStatus.CANCELLING:
        story.tell(on.CancellationRequested("changed-mind"))
    if status in SHIPPED_OR_LATER:
        story.tell(dispatched("leeds"), dispatched("lyon"))
    if status in {OrderStatus.DELIVERED, OrderStatus.SETTLED}:
        story.tell(delivered("leeds"), delivered("lyon"))
    if status is OrderStatus.SETTLED:
        story.pay(StepKind.CAPTURE)


def success(step: PaymentStep) -> on.StepResult:
    succeeded: Mapping[StepKind, Any] = {
        StepKind.AUTHORISE: on.AuthorisationSucceeded,
        StepKind.CAPTURE: on.CaptureSucceeded,
        StepKind.VOID: on.VoidSucceeded,
        StepKind.REFUND: on.RefundSucceeded,
    }
    result: on.StepResult = succeeded[step.kind](step.id, "provider-1")
    return result


@dataclass
class Provider:
    """What a payment provider that remembers keys has really done."""

    done: dict[UUID, PaymentStep] = field(default_factory=dict)

    def carry_out(self, step: PaymentStep) -> None:
        self.done.setdefault(step.id, step)

    def total_minor(self, kind: StepKind) -> int:
        return sum(step.amount_minor for step in self.done.values() if step.kind is kind)

    def times(self, kind: StepKind) -> int:
        return sum(step.kind is kind for step in self.done.values())


@dataclass
class Logistics:
    """What really happened to the parcels: all of them are stopped, or none."""

    parcels: dict[str, str] = field(default_factory=dict)

    def plan(self, warehouses: Sequence[str]) -> list[on.Message]:
        for warehouse in warehouses:
            self.parcels.setdefault(warehouse, "planned")
        return [on.ShipmentPlanned(shipment_id(warehouse), warehouse) for warehouse in warehouses]

    def stop(self) -> list[on.Message]:
        if set(self.parcels.values()) != {"planned"}:
            return []
        self.parcels = dict.fromkeys(self.parcels, "cancelled")
        return [on.ShipmentCancelled(shipment_id(warehouse)) for warehouse in self.parcels]

    def move(self, warehouse: str) -> list[on.Message]:
        match self.parcels.get(warehouse):
            case "planned":
                self.parcels[warehouse] = "dispatched"
                return [dispatched(warehouse)]
            case "dispatched":
                self.parcels[warehouse] = "delivered"
                return [delivered(warehouse)]
            case _:
                return []


def answers_to(event: Event, stock: str, logistics: Logistics) -> list[on.Message]:
    """Return what other services say to an event of the order."""
    match event:
        case OrderApproved():
            replies: dict[str, list[on.Message]] = {
                "reserved": [stock_reserved()],
                "backordered": [stock_backordered(), stock_reserved()],
                "short for ever": [stock_backordered()],
                "rejected": [on.StockRejected("insufficient-stock")],
                "partly reserved": [stock_partly_reserved(1)],
                "partly reserved in one place": [in_one_place(1, 1)],
                "the rest comes at once": [in_one_place(1, 1), in_one_place(3, 2)],
                "a part is taken back": [in_one_place(1, 1), stock_backordered(2), in_one_place(1, 3)],
                "taken back": [stock_reserved(1), stock_backordered(2), stock_reserved(3)],
                "silent": [],
            }
            return replies[stock]
        case OrderConfirmed(allocations=allocations):
            return logistics.plan(sorted({one.warehouse for one in allocations}))
        case OrderCancellationRequested():
            return logistics.stop()
        case _:
            return []
