"""What a world that has come to rest should have cost and moved, reckoned from what left and came alone."""

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from services.inventory.domain.stock import MovementKind
from services.orders.domain.order import EXCHANGE_CHANNEL, OrderLine, OrderStatus
from services.orders.domain.returns import Return, ReturnStatus
from services.orders.domain.state import StepStatus
from tests.simulation.people import PRICES

if TYPE_CHECKING:
    from tests.simulation.shop import Shop

# By kind, SKU and warehouse.
Moved = Counter[tuple[MovementKind, str, str]]


def due_of_orders(shop: "Shop") -> dict[UUID, int]:
    """
    Return what each order should have cost its customer, in minor units: the price of what left for it.

    What was missing of it counts if that was sent later. What came back does not count, nor does a parcel that was paid
    back, nor what was to be sent for goods that came back and never was. Every penny goes back of an order that a
    person has ended, or of the parcels that one has given up, whatever of them has left, or come back since; only of
    what was sent later the price is left, until that comes back too.
    """
    rows = shop.orders.table("orders")
    due: dict[UUID, int] = dict.fromkeys(rows, 0)
    rest = _add_parcels(shop, due)
    own = {order_id: sum(map(_price, row.order.lines)) - rest[order_id] for order_id, row in rows.items()}
    _add_exchanges(shop, due, rest)
    for one in shop.orders.table("returns").values():
        if one.status is ReturnStatus.CLOSED:
            _take_back(shop, one, rest if _is_ended_before(shop, one) else due)
    given_up = set[UUID]()
    for action in shop.orders.table("actions").values():
        facts = rows[action.order_id].order.facts
        if facts.origin is not None and facts.is_remainder:
            # Paid back by the order that pays for it, or with all of the rest if that never came.
            is_settled = rows[action.order_id].state.status is OrderStatus.SETTLED
            rest[facts.origin.order_id] -= (action.refund_minor or 0) if is_settled else 0
            if action.refund_minor:
                shop.world.meet("rest paid back")
            continue
        due[action.order_id] -= action.refund_minor or 0
        if action.refund_minor or rows[action.order_id].state.status is not OrderStatus.SETTLED:
            given_up.add(action.order_id)
    for order_id in given_up:
        if rows[order_id].state.status is OrderStatus.CANCELLED:
            # Goods of its rest had come back before: more went back for all of them than the others had cost.
            rest[order_id] -= max(0, -due[order_id] - own[order_id])
        due[order_id] = max(0, due[order_id])
    return {order_id: minor + rest[order_id] for order_id, minor in due.items()}


def _price(line: OrderLine) -> int:
    return line.quantity * line.unit_price_minor


def _add_parcels(shop: "Shop", due: dict[UUID, int]) -> Counter[UUID]:
    """Add the price of what left for orders; return that of what left for their rests, which they pay for."""
    rest: Counter[UUID] = Counter()
    for parcel in shop.logistics.table("shipments").values():
        row = shop.orders.table("orders")[parcel.order_id]
        facts = row.order.facts
        if parcel.dispatched_at is None or row.state.status is not OrderStatus.SETTLED:
            continue
        value = sum(PRICES[line.sku] * line.quantity for line in parcel.lines)
        if facts.origin is None:
            due[parcel.order_id] += value
        elif facts.is_remainder:
            rest[facts.origin.order_id] += value
    return rest


def _is_ended_before(shop: "Shop", one: Return) -> bool:
    """Tell whether a person had ended the order when goods of it were looked at: all but its rest was paid back."""
    ended_at = [
        entry.entered_at
        for (order_id, _), (entry, _) in shop.orders.table("timeline").items()
        if order_id == one.order_id and entry.stage is OrderStatus.CANCELLED
    ]
    origin = shop.orders.table("orders")[one.order_id].order.facts.origin
    return origin is None and any(one.inspected_at is not None and at <= one.inspected_at for at in ended_at)


def _take_back(shop: "Shop", one: Return, due: dict[UUID, int]) -> None:
    """Take off what a return is worth: of an exchange what it was paid with, the rest of what it was sent for."""
    origin = shop.orders.table("orders")[one.order_id].order.facts.origin
    steps = [row for row in shop.orders.table("payment_commands").values() if row.step.return_id == one.id]
    own = sum(
        row.step.amount_minor
        for row in steps
        if row.order_id == one.order_id and row.step.status is StepStatus.SUCCEEDED
    )
    if origin is None:
        due[one.order_id] -= one.refund_minor
        return
    due[one.order_id] -= own
    due[origin.order_id] -= one.refund_minor - own
    if one.refund_minor:
        shop.world.meet("exchange returned")


def _add_exchanges(shop: "Shop", due: dict[UUID, int], rest: dict[UUID, int]) -> None:
    returns = {one.exchange_order_id: one for one in shop.orders.table("returns").values()}
    for order_id, row in shop.orders.table("orders").items():
        facts = row.order.facts
        if facts.origin is None or facts.channel != EXCHANGE_CHANNEL:
            continue
        if row.state.status is OrderStatus.SETTLED:
            due[order_id] += facts.total_minor
            shop.world.meet("goods exchanged")
        else:
            origin_id = facts.origin.order_id
            # Of an order that had ended before, nothing else could be given for others than goods of its rest.
            of = rest if rest[origin_id] and _is_ended_before(shop, returns[order_id]) else due
            of[origin_id] -= facts.origin.prepaid_minor


def moved_goods(shop: "Shop") -> Moved:
    """Return what the ledger should have of everything but transfers: each arrival, departure and loss once."""
    moved: Moved = Counter()
    for (sku, warehouse), units in shop.received.items():
        moved[MovementKind.RECEIPT, sku, warehouse] += units
    for (sku, warehouse), units in shop.adjusted.items():
        moved[MovementKind.ADJUST, sku, warehouse] += units
    for parcel in shop.logistics.table("shipments").values():
        for line in parcel.lines if parcel.dispatched_at is not None else ():
            moved[MovementKind.SHIP, line.sku, parcel.warehouse] -= line.quantity
    for row in shop.inventory.table("reservations").values():
        if row.order_id not in shop.orders.table("orders"):
            # A hold that was committed by itself.
            for (sku, warehouse), (_, committed) in row.lines.items():
                moved[MovementKind.SHIP, sku, warehouse] -= committed
    for one in shop.orders.table("returns").values():
        for line in one.lines:
            moved[MovementKind.RETURN, line.sku, one.warehouse] += line.restocked_quantity + line.written_off_quantity
            moved[MovementKind.WRITE_OFF, line.sku, one.warehouse] -= line.written_off_quantity
    return moved


def booked_goods(shop: "Shop") -> Moved:
    """Return what the ledger has of everything but transfers, and of what was not there to leave."""
    booked: Moved = Counter()
    for one in shop.inventory.table("stock_movements").values():
        if one.cause.transfer_id is None and one.kind is not MovementKind.SHORTFALL:
            booked[one.kind, one.sku, one.warehouse] += one.delta_on_hand
    return booked
