"""
Every order of events, exhaustively: a search through all that can happen to one order in a small world.

The world answers the order as inventory, logistics and a payment provider do. Each step delivers any message that is
under way (also once more), carries out any payment step (its answer comes whenever it likes, so that a timeout and a
crash are its late answers), moves or loses a parcel, lets the customer call the order off or send goods back, lets a
person review it or give a lost parcel up, or lets a deadline pass. What was missing of an order that goes ahead leaves,
or will never come, whenever it likes. Edits of lines, and their money, are explored in `test_held_edits.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import pytest
from msgspec import Struct, structs

from libs.common.events.shapes import Destination
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import transition
from services.orders.domain.ledger import Account, balances
from services.orders.domain.order import (
    SHIPPED_OR_LATER,
    TERMINAL,
    CaptureMoment,
    OnShortage,
    OrderStatus,
    PaymentTerms,
)
from services.orders.domain.state import (
    STAGE_TIMER,
    Answer,
    Book,
    CloseReturn,
    Divide,
    OrderState,
    Pay,
    PaymentStep,
    Publish,
    StepKind,
    StepStatus,
)
from tests.unit.orders.domain.worlds import (
    MISSING_MINOR,
    NOW,
    PARCELS_MINOR,
    TOTAL_MINOR,
    WAREHOUSES,
    Logistics,
    Story,
    an_order,
    answers_to,
    decided,
    shipment_id,
    success,
)

STATES_MAX = 60_000
pytestmark = pytest.mark.usefixtures("uncollected")
REMAINDER_PARCEL = UUID(int=800)
UNIT_MINOR = 1_300
ELSEWHERE = UUID(int=500)


class World(Struct, frozen=True):
    """Everything that decides what can happen next."""

    order: OrderState
    mail: frozenset[tuple[on.Message, int]] = frozenset()
    asked: frozenset[PaymentStep] = frozenset()
    done: frozenset[PaymentStep] = frozenset()
    parcels: tuple[tuple[str, str], ...] = ()
    ledger: tuple[tuple[Account, int], ...] = ()
    remainder: str = ""
    compensations: int = 0
    cancellations: int = 0
    deadlines: int = 0
    repetitions: int = 0
    edits: int = 0
    returns: int = 0
    # What is owed for what came back and for parcels that were given up, and what was said to be back of the former.
    owed_minor: int = 0
    closed_minor: int = 0

    def at_provider(self, kind: StepKind) -> int:
        return sum(step.amount_minor for step in self.done if step.kind is kind)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    stock: str = "reserved"
    cancellations: int = 0
    deadlines: int = 0
    repetitions: int = 0
    edits: int = 0
    returns: int = 0
    return_minor: int = UNIT_MINOR
    losses: int = 0
    is_held: bool = False
    is_declined: bool = False
    compensations: int = 0
    on_shortage: OnShortage = "backorder"
    capture_at: CaptureMoment = CaptureMoment.EACH_DISPATCH


def key(world: World) -> tuple[object, ...]:
    """Return what makes a difference to what can happen: not what only counts or dates."""
    order = world.order
    return (
        order.status,
        order.status_reason,
        order.stuck_since is None,
        order.stock_version,
        order.warehouses,
        order.shipments,
        order.steps,
        structs.replace(order.payment, version=0),
        world.mail,
        world.asked,
        world.done,
        world.parcels,
        world.remainder,
        world.compensations,
        world.cancellations,
        world.deadlines,
        world.repetitions,
        world.edits,
        world.returns,
        world.owed_minor,
        world.closed_minor,
    )


def without_shortages(message: on.Message) -> on.Message:
    """Leave out what decides nothing and has lists in it, so that messages can be counted."""
    if isinstance(message, on.StockBackordered | on.StockPartlyReserved):
        return replace(message, shortages=())
    return message


def put(mail: frozenset[tuple[on.Message, int]], *messages: on.Message) -> frozenset[tuple[on.Message, int]]:
    counted = dict(mail)
    for message in messages:
        counted[message] = counted.get(message, 0) + 1
    return frozenset(counted.items())


def taken(mail: frozenset[tuple[on.Message, int]], message: on.Message) -> frozenset[tuple[on.Message, int]]:
    counted = dict(mail)
    counted[message] -= 1
    return frozenset((one, count) for one, count in counted.items() if count)


def told(world: World, message: on.Message, scenario: Scenario) -> World:
    """Tell the order something, and let the world hear what it says to that."""
    now = NOW
    if isinstance(message, on.DeadlinePassed) and world.order.deadline_at is not None:
        now = world.order.deadline_at + timedelta(seconds=1)
    outcome = decided(world.order, message, now)
    logistics = Logistics(dict(world.parcels))
    ledger = dict(world.ledger)
    mail, asked, remainder = world.mail, set(world.asked), world.remainder
    closed_minor = world.closed_minor
    for command in outcome.commands:
        match command:
            case Publish(event):
                mail = put(mail, *map(without_shortages, answers_to(event, scenario.stock, logistics)))
            case Pay(step):
                asked.add(step)
            case Book(transfer):
                for account, balance in balances([transfer]).items():
                    ledger[account] = ledger.get(account, 0) + balance
            case Divide(value_minor=value_minor):
                assert not remainder, "divided twice"
                assert value_minor == MISSING_MINOR
                remainder = "open"
            case CloseReturn(refunded_minor=refunded_minor):
                closed_minor += refunded_minor
            case _:
                pass
    return structs.replace(
        world,
        closed_minor=closed_minor,
        order=outcome.state,
        mail=mail,
        asked=frozenset(asked),
        parcels=tuple(sorted(logistics.parcels.items())),
        remainder=remainder,
        ledger=tuple(sorted(ledger.items())),
    )


def next_worlds(world: World, scenario: Scenario) -> Iterator[World]:
    for message, _ in world.mail:
        yield told(structs.replace(world, mail=taken(world.mail, message)), message, scenario)
        if world.repetitions < scenario.repetitions:
            yield told(structs.replace(world, repetitions=world.repetitions + 1), message, scenario)
    for step in world.asked:
        if scenario.is_declined and step.kind is StepKind.AUTHORISE:
            done, answer = world.done, on.AuthorisationDeclined(step.id, "card-declined")
        else:
            done, answer = world.done | {step}, success(step)  # type: ignore[assignment]
        yield structs.replace(world, asked=world.asked - {step}, done=done, mail=put(world.mail, answer))
    for warehouse in WAREHOUSES:
        logistics = Logistics(dict(world.parcels))
        if moved := logistics.move(warehouse):
            parcels = tuple(sorted(logistics.parcels.items()))
            yield structs.replace(world, parcels=parcels, mail=put(world.mail, *moved))
    yield from elsewhere(world, scenario)
    yield from goods_back(world, scenario)
    yield from lost_parcels(world, scenario)
    yield from decisions(world, scenario)


def goods_back(world: World, scenario: Scenario) -> Iterator[World]:
    """Let one of the goods come back, once the order has left, and for ever after."""
    if world.returns < scenario.returns and world.order.status in SHIPPED_OR_LATER:
        number = world.returns + 1
        message = on.RefundRequested(UUID(int=600 + number), scenario.return_minor)
        owed_minor = world.owed_minor + scenario.return_minor
        yield told(structs.replace(world, returns=number, owed_minor=owed_minor), message, scenario)


def lost_parcels(world: World, scenario: Scenario) -> Iterator[World]:
    """Let a parcel be lost, and a person give it up once the order knows."""
    parcels = dict(world.parcels)
    lost = [warehouse for warehouse, state in world.parcels if state == "lost"]
    for warehouse, state in world.parcels:
        if state == "dispatched" and len(lost) < scenario.losses:
            failed = on.ShipmentFailed(shipment_id(warehouse), "nobody home")
            now_lost = tuple(sorted({**parcels, warehouse: "lost"}.items()))
            yield structs.replace(world, parcels=now_lost, mail=put(world.mail, failed))
    for warehouse in lost:
        given_up = on.ParcelGivenUp(shipment_id(warehouse), PARCELS_MINOR[warehouse], "lost")
        if transition(world.order, given_up, NOW).answer is Answer.ADVANCE:
            owed = structs.replace(world, owed_minor=world.owed_minor + PARCELS_MINOR[warehouse])
            yield told(owed, given_up, scenario)


def elsewhere(world: World, scenario: Scenario) -> Iterator[World]:
    """Let what was missing leave, or never come."""
    if world.remainder == "open":
        yield told(structs.replace(world, remainder="shipped"), on.RemainderShipped(REMAINDER_PARCEL), scenario)
    if world.remainder in {"open", "shipped"} and (world.remainder == "open" or scenario.compensations):
        yield told(structs.replace(world, remainder="ended"), on.RemainderEnded("backorder-expired"), scenario)


def decisions(world: World, scenario: Scenario) -> Iterator[World]:
    """Let somebody decide about the order, or time pass."""
    if world.order.status in TERMINAL:
        return
    if world.order.status is OrderStatus.HELD:
        yield told(world, on.ReviewPassed(), scenario)
        yield told(world, on.ReviewRefused("a known fraud"), scenario)
    if world.compensations < scenario.compensations:
        compensated = structs.replace(world, compensations=world.compensations + 1)
        yield told(compensated, on.OperatorCompensated("give it up"), scenario)
    if world.edits < scenario.edits:
        moved = on.OrderEdited(ELSEWHERE, world.order.sequence, "moved", destination=Destination(country="GB"))
        yield told(structs.replace(world, edits=world.edits + 1), moved, scenario)
    if world.cancellations < scenario.cancellations:
        cancelled = structs.replace(world, cancellations=world.cancellations + 1)
        yield told(cancelled, on.CancellationRequested("changed-mind"), scenario)
    if world.deadlines < scenario.deadlines:
        late = structs.replace(world, deadlines=world.deadlines + 1)
        yield told(late, on.DeadlinePassed(STAGE_TIMER[world.order.status]), scenario)


def check(world: World) -> None:
    """Check what must hold at every moment."""
    order, payment = world.order, world.order.payment
    assert 0 <= payment.refunded_minor <= payment.captured_minor
    assert payment.captured_minor + payment.voided_minor <= payment.authorised_minor <= TOTAL_MINOR
    assert world.at_provider(StepKind.AUTHORISE) <= TOTAL_MINOR, "authorised twice"
    moved = world.at_provider(StepKind.CAPTURE) + world.at_provider(StepKind.VOID)
    assert moved <= world.at_provider(StepKind.AUTHORISE), "more was moved than was held"
    assert world.at_provider(StepKind.REFUND) <= world.at_provider(StepKind.CAPTURE)
    is_let_go = any(step.kind is StepKind.VOID for step in world.done)
    is_charged = any(step.kind is StepKind.CAPTURE for step in world.asked)
    assert not (is_let_go and is_charged), "the provider let go of what is still to be captured"
    assert (order.deadline_at is None) == (order.status in TERMINAL), "nothing waits for ever unseen"
    ledger = dict(world.ledger)
    assert sum(ledger.values()) == 0
    assert ledger.get(Account.CLEARING, 0) == payment.captured_minor - payment.refunded_minor
    assert ledger.get(Account.HELD, 0) == payment.held_minor
    if order.status is OrderStatus.CONFIRMED:
        assert payment.authorised_minor == TOTAL_MINOR, "confirmed without money"
        assert order.warehouses, "confirmed without goods"


def check_end(world: World, scenario: Scenario) -> None:
    """Check what must hold once everything that was under way has arrived."""
    order, payment = world.order, world.order.payment
    is_owed = any(step.status is StepStatus.WAITING for step in order.steps)
    assert order.status not in TERMINAL or not is_owed, "money waits for what has come or never will"
    assert payment.authorised_minor == world.at_provider(StepKind.AUTHORISE)
    assert payment.captured_minor == world.at_provider(StepKind.CAPTURE)
    assert payment.voided_minor == world.at_provider(StepKind.VOID)
    assert payment.refunded_minor == world.at_provider(StepKind.REFUND)
    left = {state for _, state in world.parcels} & {"dispatched", "delivered"}
    missing_minor = MISSING_MINOR if world.remainder else 0
    kept_minor = missing_minor if world.remainder == "shipped" else 0
    if order.status in {OrderStatus.CANCELLED, OrderStatus.REFUSED}:
        assert payment.held_minor == 0, "money is still held"
        assert payment.captured_minor == payment.refunded_minor + kept_minor, "money was kept, or lost"
        assert not left or world.compensations, "goods left for nothing"
    if order.status is OrderStatus.SETTLED:
        assert payment.held_minor == 0
        sold_minor = TOTAL_MINOR - missing_minor + kept_minor
        assert payment.captured_minor - payment.refunded_minor == sold_minor - world.owed_minor
        assert world.closed_minor == world.returns * scenario.return_minor, "a return was forgotten"
        assert {state for _, state in world.parcels} <= {"delivered", "lost"}


def explore(scenario: Scenario) -> tuple[int, set[OrderStatus]]:
    """Visit every world that can be reached; return how many there are, and the stages in which they come to rest."""
    order = an_order(on_shortage=scenario.on_shortage)
    story = Story.received(structs.replace(order, payment_terms=PaymentTerms(capture_at=scenario.capture_at)))
    reviewed = on.ReviewHeld(("amount-above-limit",)) if scenario.is_held else on.ReviewPassed()
    first = told(World(story.state), reviewed, scenario)
    waiting, seen, ends = [first], {key(first)}, set[OrderStatus]()
    while waiting:
        world = waiting.pop()
        check(world)
        if not world.mail and not world.asked and world.remainder != "open":
            check_end(world, scenario)
            ends.add(world.order.status)
        for following in next_worlds(world, scenario):
            known = key(following)
            if known not in seen:
                seen.add(known)
                waiting.append(following)
        assert len(seen) < STATES_MAX, "the world is larger than is worth a test"
    return len(seen), ends


@pytest.mark.parametrize(
    ("scenario", "ends"),
    [
        pytest.param(Scenario(), {OrderStatus.SETTLED}, id="nothing goes wrong"),
        pytest.param(Scenario(is_declined=True, repetitions=2), {OrderStatus.REFUSED}, id="declined"),
        pytest.param(Scenario(stock="rejected", repetitions=2), {OrderStatus.REFUSED}, id="no stock"),
        pytest.param(
            Scenario(cancellations=1), {OrderStatus.SETTLED, OrderStatus.CANCELLED}, id="called off at any time"
        ),
        pytest.param(Scenario(deadlines=1), {OrderStatus.SETTLED, OrderStatus.REFUSED}, id="late at any time"),
        pytest.param(
            Scenario(stock="backordered", cancellations=1),
            {OrderStatus.SETTLED, OrderStatus.CANCELLED},
            id="waits for goods",
        ),
        pytest.param(Scenario(stock="taken back"), {OrderStatus.SETTLED}, id="stock is taken back"),
        *(
            pytest.param(
                Scenario(stock="partly reserved", on_shortage="split", capture_at=moment),
                {OrderStatus.SETTLED},
                id=f"goes ahead without what is missing, charged at {moment}",
            )
            for moment in CaptureMoment
        ),
        pytest.param(
            Scenario(stock="partly reserved in one place", on_shortage="split", cancellations=1),
            {OrderStatus.SETTLED, OrderStatus.CANCELLED},
            id="goes ahead and is called off at any time",
        ),
        pytest.param(
            Scenario(stock="partly reserved in one place", on_shortage="split", compensations=1),
            {OrderStatus.SETTLED, OrderStatus.CANCELLED},
            id="goes ahead and is ended by a person at any time",
        ),
        pytest.param(
            Scenario(stock="the rest comes at once", on_shortage="split"), {OrderStatus.SETTLED}, id="the rest comes"
        ),
        pytest.param(
            Scenario(stock="a part is taken back", on_shortage="split"),
            {OrderStatus.SETTLED},
            id="a part is taken back",
        ),
        pytest.param(
            Scenario(cancellations=1, edits=1),
            {OrderStatus.SETTLED, OrderStatus.CANCELLED},
            id="edited and called off at any time",
        ),
        pytest.param(Scenario(repetitions=1), {OrderStatus.SETTLED}, id="anything is heard of twice"),
        pytest.param(
            Scenario(is_held=True, cancellations=1, deadlines=1),
            {OrderStatus.SETTLED, OrderStatus.CANCELLED, OrderStatus.REFUSED},
            id="reviewed by a person, called off, late at any time",
        ),
        pytest.param(Scenario(returns=1), {OrderStatus.SETTLED}, id="sent back at any time"),
        pytest.param(
            Scenario(returns=1, return_minor=TOTAL_MINOR, compensations=1),
            {OrderStatus.SETTLED, OrderStatus.CANCELLED},
            id="all of it is sent back, and ended by a person at any time",
        ),
        pytest.param(Scenario(losses=1), {OrderStatus.SETTLED}, id="a parcel is lost"),
        pytest.param(
            Scenario(stock="partly reserved in one place", on_shortage="split", returns=1),
            {OrderStatus.SETTLED},
            id="goes ahead, and some of it is sent back",
        ),
    ],
)
def test_no_interleaving_loses_a_penny_or_a_parcel(scenario: Scenario, ends: set[OrderStatus]) -> None:
    worlds, found = explore(scenario)

    assert worlds > len(ends)
    assert ends <= found


def test_the_search_finds_what_is_wrong() -> None:
    story = Story.received()
    world = told(World(story.state), on.ReviewPassed(), Scenario())
    twice = PaymentStep(id=story.state.id, kind=StepKind.AUTHORISE, amount_minor=TOTAL_MINOR + 1)

    with pytest.raises(AssertionError, match="authorised twice"):
        check(structs.replace(world, done=frozenset({twice})))
