"""
An edit of an order that waits for goods, exhaustively: whatever comes first, both services end with the same units.

Orders and inventory hear each other through two queues, as on the bus; each step delivers the first message of one of
them, lets goods arrive, edits the order, or calls it off.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from msgspec import structs

from libs.common.events.orders import OrderCancelled, OrderEditRequested
from libs.common.events.shapes import Allocation, Shortage
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import transition
from services.orders.domain.order import OrderLine, OrderStatus, units_by_sku
from services.orders.domain.state import Answer, OrderState, Publish
from tests.unit.orders.domain.worlds import NOW, Story, an_order

WANTED = an_order().lines
EDITS: dict[UUID, tuple[OrderLine, ...]] = {
    UUID(int=701): (structs.replace(WANTED[0], quantity=1),),
    UUID(int=702): (*WANTED, OrderLine(line=3, sku="LAMP", quantity=2, unit_price_minor=700)),
}
Units: TypeAlias = frozenset[tuple[str, int]]
Spoken: TypeAlias = on.StockReserved | on.StockChanged | on.StockChangeRefused


def units_of(lines: tuple[OrderLine, ...]) -> Units:
    return frozenset((one.sku, one.quantity) for one in units_by_sku(lines))


@dataclass(frozen=True)
class World:
    order: OrderState
    # What the order's lines are, as the service stores them beside its state.
    lines: tuple[OrderLine, ...]
    wanted: Units
    stock: str = "waiting"
    version: int = 1
    # Edits with their units, and None for the order's end.
    to_inventory: tuple[tuple[UUID, Units] | None, ...] = ()
    to_orders: tuple[Spoken, ...] = ()
    pending: UUID | None = None
    edited: frozenset[UUID] = frozenset()
    is_cancelled: bool = False


def told(world: World, message: on.Message) -> tuple[World, Answer]:
    outcome = transition(world.order, message, NOW)
    to_inventory = list(world.to_inventory)
    for command in outcome.commands:
        match command:
            case Publish(OrderEditRequested(edit_id=edit_id, lines=lines)):
                to_inventory.append((edit_id, frozenset((one.sku, one.quantity) for one in lines)))
            case Publish(OrderCancelled()):
                to_inventory.append(None)
            case _:
                pass
    return replace(world, order=outcome.state, to_inventory=tuple(to_inventory)), outcome.answer


def inventory_says(world: World, message: Spoken) -> World:
    version = world.version + 1
    return replace(world, version=version, to_orders=(*world.to_orders, replace(message, version=version)))


def inventory_hears(world: World) -> World:
    heard, rest = world.to_inventory[0], world.to_inventory[1:]
    world = replace(world, to_inventory=rest)
    if heard is None:
        return replace(world, stock="released")
    edit_id, wanted = heard
    if world.stock != "waiting":
        return inventory_says(world, on.StockChangeRefused(edit_id, world.stock))
    return inventory_says(replace(world, wanted=wanted), on.StockChanged(edit_id, "edited", ()))


def orders_hear(world: World) -> World:
    message, rest = world.to_orders[0], world.to_orders[1:]
    world = replace(world, to_orders=rest)
    match message:
        case on.StockReserved():
            return told(world, message)[0]
        case on.StockChangeRefused():
            return replace(told(world, message)[0], pending=None)
        case on.StockChanged(edit_id=edit_id):
            after, answer = told(world, replace(message, lines=EDITS[edit_id]))
            return replace(after, pending=None, lines=EDITS[edit_id] if answer is Answer.ADVANCE else after.lines)


def goods_arrive(world: World) -> World:
    allocations = tuple(Allocation(warehouse="leeds", sku=sku, quantity=units) for sku, units in sorted(world.wanted))
    return inventory_says(replace(world, stock="held"), on.StockReserved(allocations))


def next_worlds(world: World) -> Iterator[World]:
    if world.to_inventory:
        yield inventory_hears(world)
    if world.to_orders:
        yield orders_hear(world)
    if world.stock == "waiting":
        yield goods_arrive(world)
    for edit_id, lines in EDITS.items():
        if world.pending is None and edit_id not in world.edited:
            after, answer = told(world, on.OrderEdited(edit_id, world.order.sequence, "edited", lines=lines))
            if answer is Answer.ADVANCE:
                yield replace(after, pending=edit_id, edited=world.edited | {edit_id})
    if not world.is_cancelled:
        after, answer = told(world, on.CancellationRequested("changed-mind"))
        if answer is Answer.ADVANCE:
            yield replace(after, is_cancelled=True)


def test_whatever_comes_first_both_end_with_the_same_units() -> None:
    shortage = Shortage(sku="OMINOUS-MIRROR", requested=3, available=0)
    story = Story.received().tell(on.ReviewPassed(), on.StockBackordered((shortage,), 1))
    waiting = [World(story.state, WANTED, units_of(WANTED))]
    seen, ends = set(waiting), set[tuple[OrderStatus, Units]]()
    while waiting:
        world = waiting.pop()
        assert world.order.facts.total_minor == sum(one.quantity * one.unit_price_minor for one in world.lines)
        if world.order.status is OrderStatus.RESERVED:
            held = frozenset((one.sku, one.quantity) for one in world.order.allocations)
            assert held == world.wanted == units_of(world.lines), "reserved other units than it sells"
            assert world.order.steps[-1].amount_minor == world.order.facts.total_minor
        if not world.to_inventory and not world.to_orders:
            assert world.pending is None, "an edit was never answered"
            if world.stock == "waiting":
                assert world.wanted == units_of(world.lines), "waits for other units than it sells"
            if world.order.status is OrderStatus.CANCELLED:
                assert world.stock == "released"
            ends.add((world.order.status, units_of(world.lines)))
        for following in next_worlds(world):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
        assert len(seen) < 20_000

    assert {(OrderStatus.RESERVED, units_of(lines)) for lines in (WANTED, *EDITS.values())} <= ends
    assert OrderStatus.CANCELLED in {status for status, _ in ends}
