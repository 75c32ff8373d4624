"""
What is missing of an order that goes ahead without it.

It becomes an order of its own, the remainder: reserved, sent and called off like any other, but paid for by the order
that it comes of, so that the customer pays once and is charged for it when it leaves. The two tell each other what the
other has to know, in one transaction.
"""

from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from libs.common.events.orders import OrderDivided
from libs.common.events.shapes import Allocation, SkuQuantity
from libs.common.ids import named_id
from services.orders.domain import messages as on
from services.orders.domain.draft import Draft
from services.orders.domain.order import EXCHANGE_CHANNEL, OrderLine, units_by_sku
from services.orders.domain.parcels import payable_part, value_by_warehouse
from services.orders.domain.state import (
    Divide,
    OrderState,
    Remainder,
    RemainderStatus,
    StepKind,
    StepStatus,
    exchange_step_id,
)

_TIME_BITS: Final = 80
_VERSION: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_BITS: Final = ((1 << 76) - 1) & ~(0b11 << 62)
# No warehouse is called this: what is valued under it is in none.
_NOWHERE: Final = "\U0010ffff"


def remainder_id(order_id: UUID) -> UUID:
    """Return the id of an order's remainder: always the same, and in lists next to the order's own (RFC 9562, v7)."""
    drawn = named_id(order_id, "remainder").int & _RANDOM_BITS
    return UUID(int=order_id.int >> _TIME_BITS << _TIME_BITS | _VERSION | _VARIANT | drawn)


def value_of_parcels(state: OrderState) -> dict[str, int]:
    """Return what the units that each warehouse sends for an order cost, without those that are missing."""
    return parcel_values(state.priced_lines, state.allocations, state.missing)[0]


def parcel_values(
    lines: Iterable[OrderLine], allocations: Collection[Allocation], missing: Iterable[SkuQuantity]
) -> tuple[dict[str, int], int]:
    """Return what of the lines' price is for each warehouse's units, and for those that are missing, in minor units."""
    nowhere = [Allocation(warehouse=_NOWHERE, sku=one.sku, quantity=one.quantity) for one in missing]
    values = value_by_warehouse(lines, [*allocations, *nowhere])
    return values, values.pop(_NOWHERE, 0)


def own_units(lines: Iterable[OrderLine], missing: Iterable[SkuQuantity]) -> tuple[SkuQuantity, ...]:
    """Return the units of an order's lines, by SKU, without those that are missing."""
    elsewhere = {one.sku: one.quantity for one in missing}
    units = ((one.sku, one.quantity - elsewhere.get(one.sku, 0)) for one in units_by_sku(lines))
    return tuple(SkuQuantity(sku=sku, quantity=quantity) for sku, quantity in units if quantity > 0)


def tied(lines: Iterable[OrderLine], missing: Iterable[SkuQuantity]) -> SkuQuantity | None:
    """Return what became of an order's remainder and would not be on its lines any more; None if all of it would."""
    units = {one.sku: one.quantity for one in units_by_sku(lines)}
    return next((one for one in missing if units.get(one.sku, 0) < one.quantity), None)


def divide(draft: Draft) -> None:
    """Go ahead with what is held, and make an order of what is not."""
    state = draft.state
    if not state.missing or state.payment.remainder is not None:
        return
    _, value_minor = parcel_values(state.priced_lines, state.allocations, state.missing)
    value_minor = payable_part(value_minor, state.facts.currency)
    other_id = remainder_id(state.id)
    draft.publish(
        OrderDivided(
            order_id=state.id,
            remainder_id=other_id,
            lines=list(state.missing),
            value_minor=value_minor,
            currency=state.facts.currency,
        )
    )
    draft.divide(Divide(other_id, state.missing, state.allocations, value_minor))
    draft.change(payment=replace(state.payment, remainder=Remainder(value_minor=value_minor)))


def conclude(draft: Draft, status: RemainderStatus) -> int:
    """Note what became of an order's remainder; return what is paid for it."""
    payment = draft.state.payment
    if payment.remainder is None:
        return 0
    draft.change(payment=replace(payment, remainder=replace(payment.remainder, status=status)))
    return payment.remainder.value_minor


def take_back(draft: Draft, amount_minor: int) -> None:
    """Note that so much of what is kept of an order that ended, for goods that left as its remainder, goes back."""
    payment = draft.state.payment
    if payment.remainder is not None:
        returned_minor = payment.remainder.returned_minor + amount_minor
        draft.change(payment=replace(payment, remainder=replace(payment.remainder, returned_minor=returned_minor)))


def pay_back_exchanges(draft: Draft, exchanges: Iterable[tuple[UUID, int]]) -> None:
    """
    Note what of goods that were exchanged is paid back with all else of an order that is to end, lest it be twice.

    As with money, what came back was of the order's own goods first; the price of its remainder is kept for the rest.
    """
    if draft.state.payment.remainder is None:
        # All of it goes back, and nothing is kept that more could be taken of.
        return
    own_minor = draft.state.unpromised_minor - draft.state.kept_for_remainder_minor
    for exchange_order_id, kept_minor in exchanges:
        paid_minor = min(kept_minor, own_minor)
        if paid_minor > 0:
            draft.pay(
                StepKind.REFUND,
                paid_minor,
                status=StepStatus.WITHDRAWN,
                own_id=exchange_step_id(draft.state.id, exchange_order_id),
            )
            own_minor -= paid_minor


def call_off(draft: Draft, message: on.CancellationRequested | on.OperatorCompensated) -> None:
    """Have the remainder called off with the order that it comes of, as far as it can be."""
    if draft.state.payment.is_remainder_open:
        draft.tell(remainder_id(draft.state.id), message)


def tell_shipped(draft: Draft, shipment_id: UUID) -> None:
    """Let the order that pays know that what was missing of it has left."""
    if (origin_id := _payer(draft.state)) is not None:
        draft.tell(origin_id, on.RemainderShipped(shipment_id))


def tell_lost(draft: Draft, message: on.ParcelGivenUp) -> None:
    """Have the order that pays give back what is owed for a parcel of what was missing of it."""
    if (origin_id := _payer(draft.state)) is not None and message.refund_minor:
        draft.tell(origin_id, on.RemainderLost(message.shipment_id, message.refund_minor))


def tell_ended(draft: Draft, reason: str, *, returned_minor: int = 0) -> None:
    """
    Let the order that pays know that what was missing of it, or was to be sent for goods of it, will not come.

    `returned_minor` is what it has given back, or will, for goods that were sent for others and came back.
    """
    if (origin_id := _payer(draft.state)) is not None:
        draft.tell(origin_id, on.RemainderEnded(reason))
    facts = draft.state.facts
    if facts.origin is not None and facts.channel == EXCHANGE_CHANNEL and facts.origin.prepaid_minor:
        # Goods that were given for others, and do not come: their price goes back instead, unless it has.
        owed_minor = facts.origin.prepaid_minor - returned_minor
        if owed_minor > 0:
            draft.tell(facts.origin.order_id, on.ExchangeEnded(draft.state.id, owed_minor))


def _payer(state: OrderState) -> UUID | None:
    origin = state.facts.origin
    return origin.order_id if origin is not None and state.facts.is_remainder else None
