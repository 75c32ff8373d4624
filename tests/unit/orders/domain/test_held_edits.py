"""
Edits of a confirmed order, exhaustively: whatever comes first, goods, parcels and money are those of one set of lines.

Inventory, logistics and the order hear each other through queues, as on the bus; the provider answers whenever it
likes. Each step delivers the first message of a queue, lets the provider answer, edits the order, moves a parcel, takes
goods away, calls the order off, or lets a deadline pass.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import pytest
from msgspec import Struct, json, structs

from libs.common.events.base import Event
from libs.common.events.orders import (
    OrderCancellationRequested,
    OrderCancelled,
    OrderConfirmed,
    OrderEditRequested,
    OrderRecallRequested,
    OrderReconfirmed,
    OrderRefused,
)
from libs.common.events.shapes import Allocation, SkuQuantity
from services.orders.domain import messages as on
from services.orders.domain.edits import further_step_id
from services.orders.domain.ledger import Account, balances
from services.orders.domain.order import (
    SHIPPED_OR_LATER,
    TERMINAL,
    CaptureMoment,
    OrderLine,
    OrderStatus,
    PaymentTerms,
    total_of,
)
from services.orders.domain.remainders import own_units
from services.orders.domain.state import (
    STAGE_TIMER,
    Answer,
    Book,
    ConcludeEdit,
    Divide,
    OrderState,
    Pay,
    PaymentStep,
    Publish,
    ShipmentStatus,
    StepKind,
    StepStatus,
)
from tests.unit.orders.domain.worlds import NOW, Story, an_order, decided, success

pytestmark = pytest.mark.usefixtures("uncollected")
WANTED = an_order().lines
PLACES = {"CRUNCHY-ARMCHAIR": "leeds", "OMINOUS-MIRROR": "lyon", "LAMP": "leeds"}
LAMP = OrderLine(line=3, sku="LAMP", quantity=1, unit_price_minor=700)
FEWER = (structs.replace(WANTED[0], quantity=1), WANTED[1])
ONE_PARCEL = (WANTED[0],)
MORE = (*WANTED, LAMP)
FEWER_MIRRORS = (WANTED[0], structs.replace(WANTED[1], quantity=2))
MISSING = (SkuQuantity(sku="OMINOUS-MIRROR", quantity=1),)
MISSING_MINOR = 1_300
SWAPPED = (structs.replace(WANTED[0], quantity=1), structs.replace(WANTED[1], quantity=4), LAMP)
Units: TypeAlias = tuple[tuple[str, int], ...]
Spoken: TypeAlias = on.StockReserved | on.StockBackordered | on.StockChanged | on.StockChangeRefused
Queue: TypeAlias = tuple[on.Message, ...]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    edits: tuple[tuple[OrderLine, ...], ...]
    free: Units = (("LAMP", 1), ("OMINOUS-MIRROR", 1))
    is_declined: bool = False
    cancellations: int = 0
    deadlines: int = 0
    takings: int = 0
    compensations: int = 0
    # Whether nobody may begin to wait for more.
    is_limited: bool = False
    # Whether a mirror was missing of the order, which went ahead without it.
    is_divided: bool = False
    capture_at: CaptureMoment = CaptureMoment.EACH_DISPATCH


class World(Struct, frozen=True):
    order: OrderState
    lines: tuple[OrderLine, ...] = WANTED
    # What inventory holds or waits for, and what else it has.
    stock: str = "held"
    units: Units = ()
    free: Units = ()
    version: int = 1
    to_inventory: tuple[Event, ...] = ()
    from_inventory: Queue = ()
    # By plan and warehouse: how far the parcel is, and what is in it.
    parcels: tuple[tuple[int, str, str, Units], ...] = ()
    remainder: str = ""
    to_logistics: tuple[Event, ...] = ()
    from_logistics: Queue = ()
    asked: frozenset[PaymentStep] = frozenset()
    done: frozenset[PaymentStep] = frozenset()
    answers: frozenset[on.Message] = frozenset()
    ledger: tuple[tuple[Account, int], ...] = ()
    edited: int = 0
    concluded: int = 0
    cancellations: int = 0
    deadlines: int = 0
    takings: int = 0
    compensations: int = 0


def key(world: World) -> tuple[object, ...]:
    """Return what makes a difference to what can happen: not what only counts or dates."""
    order = world.order
    same = structs.replace(
        order,
        version=0,
        sequence=0,
        deadline_at=None,
        expected_at=None,
        payment=structs.replace(order.payment, version=0),
    )
    events = [tuple(map(_encode, queue)) for queue in (world.to_inventory, world.to_logistics)]
    return (same, *events, structs.replace(world, order=same, to_inventory=(), to_logistics=()))


def _encode(event: Event) -> bytes:
    numbers = {name: 0 for name in ("plan", "before_plan") if hasattr(event, name)}
    return json.encode(structs.replace(event, **numbers))


def units_of(lines: tuple[OrderLine, ...], *, missing: tuple[SkuQuantity, ...] = ()) -> Units:
    return tuple(sorted((one.sku, one.quantity) for one in own_units(lines, missing)))


def allocated(units: Units) -> tuple[Allocation, ...]:
    return tuple(Allocation(warehouse=PLACES[sku], sku=sku, quantity=quantity) for sku, quantity in units)


def told(world: World, message: on.Message, *, is_late: bool = False) -> tuple[World, Answer]:
    now = NOW
    if is_late and world.order.deadline_at is not None:
        now = world.order.deadline_at + timedelta(seconds=1)
    outcome = decided(world.order, message, now)
    may_be_refused = isinstance(message, on.OrderEdited | on.CancellationRequested) or world.compensations
    assert outcome.answer is not Answer.REJECT or may_be_refused, message
    world = structs.replace(world, order=outcome.state)
    ledger = dict(world.ledger)
    for command in outcome.commands:
        match command:
            case Publish(event):
                world = published(world, event)
            case Pay(step):
                world = structs.replace(world, asked=world.asked | {step})
            case Book(transfer):
                for account, balance in balances([transfer]).items():
                    ledger[account] = ledger.get(account, 0) + balance
            case Divide(value_minor=value_minor):
                assert (world.remainder, value_minor) == ("", MISSING_MINOR)
                world = structs.replace(world, remainder="open")
            case ConcludeEdit(edit, refusal):
                lines = edit.lines if refusal is None else world.lines
                world = structs.replace(world, concluded=world.concluded + 1, lines=lines)
            case _:
                pass
    return structs.replace(world, ledger=tuple(sorted(ledger.items()))), outcome.answer


def published(world: World, event: Event) -> World:
    match event:
        case OrderEditRequested() | OrderCancelled() | OrderRefused():
            return structs.replace(world, to_inventory=(*world.to_inventory, event))
        case OrderConfirmed() | OrderRecallRequested() | OrderCancellationRequested():
            return structs.replace(world, to_logistics=(*world.to_logistics, event))
        case _:
            return world


def inventory_says(world: World, message: Spoken) -> World:
    version = world.version + 1
    said = replace(message, version=version)
    return structs.replace(world, version=version, from_inventory=(*world.from_inventory, said))


def inventory_hears(world: World, scenario: Scenario) -> World:
    event, world = world.to_inventory[0], structs.replace(world, to_inventory=world.to_inventory[1:])
    if not isinstance(event, OrderEditRequested):
        return structs.replace(world, stock="released", units=())
    wanted = tuple(sorted((one.sku, one.quantity) for one in event.lines))
    if world.stock == "waiting" and scenario.is_limited:
        return inventory_says(world, on.StockChangeRefused(event.edit_id, "over-limit"))
    if world.stock == "waiting":
        return inventory_says(structs.replace(world, units=wanted), on.StockChanged(event.edit_id, "", ()))
    if world.stock != "held":
        return inventory_says(world, on.StockChangeRefused(event.edit_id, world.stock))
    free = Counter(dict(world.free))
    free.update(dict(world.units))
    free.subtract(dict(wanted))
    if min(free.values()) < 0:
        return inventory_says(world, on.StockChangeRefused(event.edit_id, "insufficient-stock"))
    world = structs.replace(world, units=wanted, free=tuple(sorted(free.items())))
    return inventory_says(world, on.StockChanged(event.edit_id, "", (), allocations=allocated(wanted)))


def parcel_id(plan: int, warehouse: str) -> UUID:
    return UUID(int=1_000 + 10 * plan + (warehouse == "lyon"))


def logistics_hears(world: World) -> World:
    event, world = world.to_logistics[0], structs.replace(world, to_logistics=world.to_logistics[1:])
    parcels, said = list(world.parcels), list(world.from_logistics)
    live = [one for one in parcels if one[2] != "cancelled"]
    match event:
        case OrderConfirmed(allocations=allocations):
            plan = event.plan if isinstance(event, OrderReconfirmed) else 0
            is_news = not live and all(one[0] < plan for one in parcels)
            for warehouse in sorted({one.warehouse for one in allocations}) if is_news else ():
                units = tuple(sorted((one.sku, one.quantity) for one in allocations if one.warehouse == warehouse))
                parcels.append((plan, warehouse, "planned", units))
                said.append(on.ShipmentPlanned(parcel_id(plan, warehouse), warehouse))
        case _ if all(one[2] == "planned" for one in live):
            parcels = [(one[0], one[1], "cancelled", one[3]) for one in parcels]
            said += [on.ShipmentCancelled(parcel_id(one[0], one[1])) for one in live]
        case _:
            pass
    return structs.replace(world, parcels=tuple(parcels), from_logistics=tuple(said))


def orders_hear(world: World, queue: str) -> World:
    message, rest = getattr(world, queue)[0], getattr(world, queue)[1:]
    if isinstance(message, on.StockChanged) and world.order.edit is not None:
        message = replace(message, lines=world.order.edit.lines)
    return told(structs.replace(world, **{queue: rest}), message)[0]


def provider_answers(world: World, scenario: Scenario) -> Iterator[World]:
    for step in world.asked:
        before = structs.replace(world, asked=world.asked - {step})
        if step.kind is StepKind.AUTHORISE and scenario.is_declined:
            yield structs.replace(before, answers=world.answers | {on.AuthorisationDeclined(step.id, "card-declined")})
            continue
        yield structs.replace(before, done=world.done | {step}, answers=world.answers | {success(step)})
    for answer in world.answers:
        yield told(structs.replace(world, answers=world.answers - {answer}), answer)[0]


def parcels_move(world: World) -> Iterator[World]:
    moved = {"planned": "dispatched", "dispatched": "delivered"}
    for index, (plan, warehouse, status, units) in enumerate(world.parcels):
        if status in moved:
            parcel = (plan, warehouse, moved[status], units)
            one = parcel_id(plan, warehouse)
            message: on.Message = (
                on.ShipmentDispatched(one, warehouse, NOW) if status == "planned" else on.ShipmentDelivered(one, NOW)
            )
            yield structs.replace(
                world,
                parcels=(*world.parcels[:index], parcel, *world.parcels[index + 1 :]),
                from_logistics=(*world.from_logistics, message),
            )


def next_worlds(world: World, scenario: Scenario) -> Iterator[World]:
    if world.to_inventory:
        yield inventory_hears(world, scenario)
    if world.to_logistics:
        yield logistics_hears(world)
    for queue in ("from_inventory", "from_logistics"):
        if getattr(world, queue):
            yield orders_hear(world, queue)
    yield from provider_answers(world, scenario)
    yield from parcels_move(world)
    has_left = any(one[2] in {"dispatched", "delivered"} for one in world.parcels)
    if world.stock == "held" and world.takings < scenario.takings and not has_left:
        taken = structs.replace(world, stock="waiting", takings=world.takings + 1)
        yield inventory_says(taken, on.StockBackordered(()))
    if world.stock == "waiting":
        yield inventory_says(structs.replace(world, stock="held"), on.StockReserved(allocated(world.units)))
    if world.remainder == "open":
        left = structs.replace(world, remainder="shipped")
        yield told(left, on.RemainderShipped(UUID(int=800)))[0]
        yield told(structs.replace(world, remainder="ended"), on.RemainderEnded("backorder-expired"))[0]
    yield from decisions(world, scenario)


def paid_minor(world: World) -> int:
    """Return what is paid for what is sold: not for what will never come."""
    return total_of(world.lines) - (MISSING_MINOR if world.remainder == "ended" else 0)


def decisions(world: World, scenario: Scenario) -> Iterator[World]:
    if world.order.status in TERMINAL:
        return
    if world.edited < len(scenario.edits) and world.edited == world.concluded:
        number = world.edited
        edit = on.OrderEdited(UUID(int=700 + number), world.order.sequence, "other", lines=scenario.edits[number])
        after, answer = told(structs.replace(world, edited=number + 1), edit)
        if answer is Answer.ADVANCE:
            yield after
    if world.cancellations < scenario.cancellations:
        yield told(
            structs.replace(world, cancellations=world.cancellations + 1), on.CancellationRequested("changed-mind")
        )[0]
    if world.compensations < scenario.compensations:
        yield told(structs.replace(world, compensations=1), on.OperatorCompensated("give it up"))[0]
    if world.deadlines < scenario.deadlines and world.order.status is OrderStatus.EDITING:
        late = structs.replace(world, deadlines=world.deadlines + 1)
        yield told(late, on.DeadlinePassed(STAGE_TIMER[world.order.status]), is_late=True)[0]


def check(world: World) -> None:
    """Check what must hold at every moment."""
    order, payment = world.order, world.order.payment
    assert 0 <= payment.refunded_minor <= payment.captured_minor
    assert payment.captured_minor + payment.voided_minor <= payment.authorised_minor
    held = {step.id: step.amount_minor for step in world.done if step.kind is StepKind.AUTHORISE}
    first = next(one for one in order.steps if one.kind is StepKind.AUTHORISE).id
    let_go = {step.authorisation_id or first for step in world.done if step.kind is StepKind.VOID}
    for step in world.done | world.asked:
        owner = step.authorisation_id or first
        if step.kind in {StepKind.CAPTURE, StepKind.VOID}:
            held[owner] -= step.amount_minor
            assert held[owner] >= 0, "more was moved than was held under that name"
        if step.kind is StepKind.CAPTURE and step in world.asked:
            assert owner not in let_go, "the provider let go of what is still to be captured"
    ledger = dict(world.ledger)
    assert sum(ledger.values()) == 0
    assert order.facts.total_minor == total_of(world.lines)
    assert (order.status is OrderStatus.EDITING) == (order.edit is not None)
    if order.status is OrderStatus.CONFIRMED:
        assert payment.authorised_minor - payment.voided_minor >= paid_minor(world), "confirmed without money"


def check_end(world: World) -> None:
    """Check what must hold once everything that was under way has arrived."""
    order, payment = world.order, world.order.payment
    sent = Counter[str]()
    planned = Counter[str]()
    for _, _, status, units in world.parcels:
        for sku, quantity in units:
            if status in {"dispatched", "delivered"}:
                sent[sku] += quantity
            if status == "planned":
                planned[sku] += quantity
    assert world.edited == world.concluded, "an edit was never answered"
    assert order.status is not OrderStatus.EDITING
    assert not any(step.status is StepStatus.PENDING for step in order.steps)
    if order.status is OrderStatus.CANCELLED:
        assert world.stock == "released"
        assert payment.held_minor == 0
        kept_minor = MISSING_MINOR if world.remainder == "shipped" else 0
        assert payment.captured_minor == payment.refunded_minor + kept_minor
        assert not sent or world.compensations, "goods left for nothing"
        return
    missing = MISSING if world.remainder else ()
    assert world.units == units_of(world.lines, missing=missing), "inventory holds other units than are sold"
    if order.status is OrderStatus.BACKORDERED:
        return
    assert world.stock == "held" or sent, "parcels are planned of what is not there"
    assert sent + planned == Counter(dict(world.units)), "other units leave than are sold"
    assert payment.authorised_minor - payment.voided_minor - payment.refunded_minor >= paid_minor(world)
    if order.status is OrderStatus.SETTLED:
        assert payment.held_minor == 0
        charged_minor = payment.captured_minor - payment.refunded_minor
        assert charged_minor == paid_minor(world), "charged another price than that of the lines"
        assert not planned


def explore(scenario: Scenario) -> tuple[int, set[tuple[OrderStatus, Units]]]:
    order = an_order(on_shortage="split" if scenario.is_divided else "backorder")
    missing = MISSING if scenario.is_divided else ()
    units = units_of(WANTED, missing=missing)
    held = allocated(units)
    story = Story.received(structs.replace(order, payment_terms=PaymentTerms(capture_at=scenario.capture_at)))
    story.tell(on.ReviewPassed())
    story.tell(on.StockPartlyReserved(held, missing, 1) if missing else on.StockReserved(held, 1))
    first = World(story.state, units=units, free=scenario.free)
    [step] = story.state.steps
    ledger = tuple(sorted(balances([]).items()))
    first, _ = told(structs.replace(first, done=frozenset({step}), ledger=ledger), success(step))
    waiting, seen = [first], {key(first)}
    ends = set[tuple[OrderStatus, Units]]()
    while waiting:
        world = waiting.pop()
        check(world)
        is_quiet = not (world.to_inventory or world.from_inventory or world.to_logistics or world.from_logistics)
        if is_quiet and not world.asked and not world.answers and world.remainder != "open":
            check_end(world)
            ends.add((world.order.status, units_of(world.lines)))
        following_worlds = next_worlds(world, scenario)
        if world.order.status in SHIPPED_OR_LATER | TERMINAL:
            # What comes then, and in which order, has nothing to do with edits any more.
            following_worlds = itertools.islice(following_worlds, 1)
        for following in following_worlds:
            known = key(following)
            if known not in seen:
                seen.add(known)
                waiting.append(following)
        assert len(seen) < 60_000, "the world is larger than is worth a test"
    return len(seen), ends


BEFORE = units_of(WANTED)


@pytest.mark.parametrize(
    ("scenario", "ends"),
    [
        pytest.param(Scenario(edits=(FEWER,)), {BEFORE, units_of(FEWER)}, id="fewer"),
        pytest.param(Scenario(edits=(ONE_PARCEL,)), {BEFORE, units_of(ONE_PARCEL)}, id="a parcel less"),
        pytest.param(Scenario(edits=(MORE,)), {BEFORE, units_of(MORE)}, id="more"),
        pytest.param(Scenario(edits=(MORE,), is_declined=True), {BEFORE}, id="more, and nobody pays"),
        pytest.param(Scenario(edits=(MORE,), free=(("LAMP", 0),)), {BEFORE}, id="more than there is"),
        pytest.param(Scenario(edits=(SWAPPED,)), {BEFORE, units_of(SWAPPED)}, id="others"),
        pytest.param(Scenario(edits=(FEWER, MORE)), {BEFORE, units_of(FEWER), units_of(MORE)}, id="fewer, then more"),
        pytest.param(Scenario(edits=(MORE, FEWER)), {BEFORE, units_of(FEWER), units_of(MORE)}, id="more, then fewer"),
        pytest.param(Scenario(edits=(MORE,), cancellations=1), {BEFORE, units_of(MORE)}, id="more, called off"),
        pytest.param(Scenario(edits=(FEWER,), cancellations=1), {BEFORE, units_of(FEWER)}, id="fewer, called off"),
        pytest.param(Scenario(edits=(MORE,), deadlines=1), {BEFORE, units_of(MORE)}, id="more, late"),
        pytest.param(Scenario(edits=(MORE,), takings=1), {BEFORE, units_of(MORE)}, id="more, goods are lost"),
        pytest.param(
            Scenario(edits=(ONE_PARCEL,), takings=1), {BEFORE, units_of(ONE_PARCEL)}, id="a parcel less, goods are lost"
        ),
        pytest.param(
            Scenario(edits=(ONE_PARCEL,), takings=1, is_limited=True),
            {BEFORE, units_of(ONE_PARCEL)},
            id="a parcel less, goods are lost and nobody may wait",
        ),
        pytest.param(Scenario(edits=(MORE,), compensations=1), {BEFORE, units_of(MORE)}, id="more, ended by a person"),
        *(
            pytest.param(
                Scenario(edits=(lines,), is_divided=True, capture_at=moment),
                {BEFORE, units_of(lines)},
                id=f"{name} of an order that was divided, charged at {moment}",
            )
            for name, lines, moment in (
                *(("fewer", FEWER_MIRRORS, moment) for moment in CaptureMoment),
                ("more", MORE, CaptureMoment.FIRST_DISPATCH),
            )
        ),
        pytest.param(
            Scenario(edits=(FEWER_MIRRORS,), is_divided=True, cancellations=1),
            {BEFORE, units_of(FEWER_MIRRORS)},
            id="fewer of an order that was divided, called off",
        ),
    ],
)
def test_whatever_comes_first_all_agree_on_what_is_sold(scenario: Scenario, ends: set[Units]) -> None:
    worlds, found = explore(scenario)

    assert worlds > len(ends)
    assert {units for status, units in found if status is OrderStatus.SETTLED} == ends


def test_the_search_finds_what_is_wrong() -> None:
    story = Story.received().tell(on.ReviewPassed(), on.StockReserved(allocated(BEFORE), 1)).pay(StepKind.AUTHORISE)
    world = World(story.state, units=BEFORE, lines=FEWER)

    with pytest.raises(AssertionError):
        check(world)


def test_a_further_authorisation_has_an_id_of_its_own() -> None:
    one, other = further_step_id(UUID(int=1), UUID(int=700)), further_step_id(UUID(int=1), UUID(int=701))

    assert one != other
    assert ShipmentStatus.REPLACED in ShipmentStatus
