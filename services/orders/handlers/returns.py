"""Goods that come back, and the money that goes back for them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from msgspec.structs import replace as replace_struct

from libs.common.events.orders import ReturnInspected, ReturnLabelled, ReturnReceived, ReturnRequested
from libs.common.events.shapes import SkuQuantity
from libs.common.ids import new_id
from libs.common.telemetry.tracing import correlated
from services.orders.domain.erasure import check_not_erased
from services.orders.domain.fulfilment import receive
from services.orders.domain.given_up import less, refunds_of_parcels, without_what_was_paid
from services.orders.domain.messages import ExchangeEnded, RefundRequested, ReviewPassed
from services.orders.domain.order import (
    EXCHANGE_CHANNEL,
    REMAINDER_CHANNEL,
    REPLACEMENT_CHANNEL,
    SHIPPED_OR_LATER,
    OrderLine,
    OrderNotFound,
    OrderStatus,
    Origin,
)
from services.orders.domain.remainders import remainder_id
from services.orders.domain.returns import (
    ExchangeNotExchangeable,
    InspectedUnits,
    OrderNotShipped,
    ReasonCode,
    ReceivedUnits,
    Return,
    ReturnAlreadySent,
    ReturnedToOrigin,
    ReturnNotFound,
    ReturnStatus,
    ReturnWindowClosed,
    WantedInstead,
    agree_on_exchange,
    exchanged_lines,
    inspect_return,
    lines_to_return,
    receive_return,
    with_shares,
)
from services.orders.domain.state import UNDER_WAY, OrderState, RemainderStatus
from services.orders.handlers.exchanges import kept_for_exchanges
from services.orders.handlers.fulfilment import Policy, Saga, derived_order
from services.orders.handlers.given_up import bill_of, paid_back_of
from services.orders.handlers.ports import Unit

_PAID_FOR_ELSEWHERE: Final = frozenset({REMAINDER_CHANNEL, REPLACEMENT_CHANNEL})

# Returns a locked order.
StateOf = Callable[[UUID], OrderState | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a warehouse found in a returned parcel."""

    warehouse: str
    received_at: datetime
    units: Sequence[ReceivedUnits]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a customer sends back, why, and for what."""

    units: Sequence[SkuQuantity]
    reason: str
    reason_code: ReasonCode = ReasonCode.OTHER
    exchange_for: Sequence[WantedInstead] = ()
    # What the provider is asked with for what that costs more.
    payment_token: str | None = None


async def request_return(order_id: UUID, wish: Wish, *, unit: Unit, policy: Policy, now: datetime) -> Return:
    """
    Announce that units of an order come back; they count as returned from now on.

    :raises OrderNotFound: if there is no such order.
    :raises ReturnedToOrigin: if another order has the prices of its goods.
    :raises OrderNotShipped: if nothing of it has left that is paid for.
    :raises SkuNotInOrder: if it has no line of one of the SKUs.
    :raises ReturnExceedsOrder: if fewer units have left, or are left to return.
    :raises ReturnWindowClosed: if they arrived too long ago.
    :raises OrderIsErased: if its customer was erased.
    :raises ExchangeNotExchangeable: if they were sent in exchange for others themselves.
    :raises ExchangeCostsMore: if what is wanted instead costs more, and nothing to pay that with is given.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    state = saga.state(order_id)
    if state is None:
        raise OrderNotFound(order_id)
    check_not_erased(order_id, state.facts.customer_id)
    origin = state.facts.origin
    if origin is not None and state.facts.channel in _PAID_FOR_ELSEWHERE:
        raise ReturnedToOrigin(order_id, origin.order_id)
    if state.status not in SHIPPED_OR_LATER and not _has_left_as_remainder(state):
        raise OrderNotShipped(order_id, state.status)
    _check_window(state, saga.state(remainder_id(order_id)), policy.return_window, now)
    if wish.exchange_for and _is_exchange(state):
        raise ExchangeNotExchangeable(order_id)
    bill = await bill_of(state, unit)
    bought = _at_full_price(bill.sold_by(state), state)
    announced = Return(
        id=new_id(),
        order_id=order_id,
        status=ReturnStatus.REQUESTED,
        version=1,
        reason=wish.reason,
        reason_code=wish.reason_code,
        currency=state.facts.currency,
        lines=lines_to_return(bought, wish.units, bill.absent_of(state)),
        requested_at=now,
        exchange_for=tuple(wish.exchange_for),
        payment_token=wish.payment_token,
    )
    before = {line.line: line.returned_quantity for line in bought}
    announced = agree_on_exchange(await _without_what_was_paid(announced, before, state, saga.state, unit))
    await unit.orders.add_returned(order_id, {line.line: line.quantity for line in announced.lines})
    await unit.returns.add(announced)
    with correlated(state.facts.correlation_id):
        unit.outbox.add(
            ReturnRequested(
                return_id=announced.id,
                order_id=order_id,
                reason=wish.reason,
                reason_code=wish.reason_code,
                is_exchange=bool(wish.exchange_for),
                lines=announced.units(),
            ),
            aggregate_version=announced.version,
        )
    return announced


async def receive_goods(
    return_id: UUID, *, receipt: Receipt, principal: str, unit: Unit, policy: Policy, now: datetime
) -> Return:
    """
    Take what a warehouse received, give back what did not come, and refund the rest.

    :raises ReturnNotFound: if there is no such return.
    :raises ReturnAlreadyReceived: if that happened before.
    :raises ReceiptExceedsReturn: if more came than was announced.
    """
    order_id = await unit.returns.order_of(return_id)
    if order_id is None:
        raise ReturnNotFound(return_id)
    saga = Saga(unit, policy=policy, now=now)
    # The order's lock is the return's: only what is read behind it may be decided by.
    await saga.load([order_id])
    state = saga.state(order_id)
    [announced] = await unit.returns.get([return_id])
    received = receive_return(announced, receipt.units, warehouse=receipt.warehouse, received_at=receipt.received_at)
    received = await _with_shares(received, saga.state, unit)
    # Counted and looked at in one go; who wants goods instead of money has them after an inspection.
    received = replace(received, inspected_at=now, inspected_by=principal, exchange_for=())
    received = await _within_what_is_left(received, state, saga.state, unit)
    await unit.returns.save([received], now=now)
    await _give_back_what_did_not_come(received, unit)
    with correlated(None if state is None else state.facts.correlation_id):
        unit.outbox.add(_received_event(received, receipt), aggregate_version=received.version)
    _refund(saga, state, received)
    await saga.write()
    [stored] = await unit.returns.get([return_id])
    return stored


def _has_left_as_remainder(state: OrderState) -> bool:
    """Tell whether an order was called off, but what was missing of it had left."""
    remainder = state.payment.remainder
    has_left = remainder is not None and remainder.status is RemainderStatus.SHIPPED
    return has_left and state.status is OrderStatus.CANCELLED


def _check_window(state: OrderState, remainder: OrderState | None, window: timedelta | None, now: datetime) -> None:
    parcels = [*state.shipments, *(() if remainder is None else remainder.shipments)]
    times = [parcel.delivered_at for parcel in parcels if parcel.delivered_at is not None]
    is_under_way = any(parcel.status in UNDER_WAY for parcel in parcels)
    if window is None or is_under_way or not times:
        return
    if (closed_at := max(times) + window) < state.facts.business_time(now):
        raise ReturnWindowClosed(state.id, closed_at)


async def label_return(return_id: UUID, *, carrier: str, reference: str, unit: Unit, now: datetime) -> Return:
    """
    Note the label that the customer sends the goods with; a newer one takes its place.

    :raises ReturnNotFound: if there is no such return.
    :raises ReturnAlreadySent: if its goods have arrived.
    """
    announced, _ = await _locked(return_id, unit)
    if announced.status is not ReturnStatus.REQUESTED:
        raise ReturnAlreadySent(return_id)
    labelled = replace(announced, label_carrier=carrier, label_reference=reference, version=announced.version + 1)
    await unit.returns.save([labelled], now=now)
    unit.outbox.add(
        ReturnLabelled(return_id=return_id, order_id=labelled.order_id, carrier=carrier, reference=reference),
        aggregate_version=labelled.version,
    )
    return labelled


async def take_in(return_id: UUID, *, receipt: Receipt, unit: Unit, now: datetime) -> Return:
    """
    Note that goods have arrived, to be inspected later; what did not come is given back to the order.

    :raises ReturnNotFound: if there is no such return.
    :raises ReturnAlreadyReceived: if they arrived before.
    :raises ReceiptExceedsReturn: if more came than was announced.
    """
    announced, locked = await _locked(return_id, unit)
    arrived = receive_return(announced, receipt.units, warehouse=receipt.warehouse, received_at=receipt.received_at)
    arrived = await _with_shares(arrived, locked.get, unit)
    await unit.returns.save([arrived], now=now)
    await _give_back_what_did_not_come(arrived, unit)
    unit.outbox.add(_received_event(arrived, receipt), aggregate_version=arrived.version)
    return arrived


async def inspect_goods(
    return_id: UUID, found: Sequence[InspectedUnits], *, principal: str, unit: Unit, policy: Policy, now: datetime
) -> Return:
    """
    Decide what becomes of goods that arrived, and give the customer what is owed for them: money, or other goods.

    :raises ReturnNotFound: if there is no such return.
    :raises ReturnNotReceived: if they have not arrived, or were inspected before.
    :raises InspectionIncomplete: if other units were inspected than have arrived.
    """
    arrived, _ = await _locked(return_id, unit)
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([arrived.order_id])
    inspected = inspect_return(arrived, found, inspected_at=now, inspected_by=principal)
    state = saga.state(arrived.order_id)
    inspected = await _within_what_is_left(inspected, state, saga.state, unit)
    if state is not None and inspected.exchange_minor:
        inspected = replace(
            inspected, exchange_order_id=await _exchange(saga, state, inspected, unit=unit, policy=policy, now=now)
        )
    await unit.returns.save([inspected], now=now)
    with correlated(None if state is None else state.facts.correlation_id):
        unit.outbox.add(
            ReturnInspected(
                return_id=return_id,
                order_id=inspected.order_id,
                warehouse=inspected.warehouse or "",
                inspected_at=now,
                restocked=inspected.restocked_units(),
                written_off=inspected.written_off_units(),
                refund_minor=inspected.refund_minor,
                currency=inspected.currency,
                exchange_order_id=inspected.exchange_order_id,
            ),
            aggregate_version=inspected.version,
        )
    _refund(saga, state, inspected)
    await saga.write()
    return await find_return(return_id, unit=unit)


async def _exchange(
    saga: Saga, state: OrderState, inspected: Return, *, unit: Unit, policy: Policy, now: datetime
) -> UUID:
    """Place the order of what is wanted instead; it costs what that is worth beyond what came back."""
    lines = exchanged_lines(inspected)
    exchange = derived_order(
        state,
        new_id(),
        channel=EXCHANGE_CHANNEL,
        lines=[(one.sku, one.quantity) for one in lines],
        address=await unit.orders.address_of(state.id),
        origin=Origin(order_id=state.id, prepaid_minor=inspected.exchange_minor),
        now=now,
    )
    exchange = replace_struct(exchange, lines=lines)
    if inspected.lacking_minor and inspected.payment_token is not None:
        exchange = replace_struct(
            exchange,
            facts=replace_struct(exchange.facts, total_minor=inspected.lacking_minor),
            payment_token=inspected.payment_token,
            payment_terms=await unit.orders.payment_terms_of(state.id),
        )
    saga.begin(exchange, receive(exchange, now, policy.deadlines))
    saga.apply(exchange.id, ReviewPassed())
    return exchange.id


def _is_exchange(state: OrderState) -> bool:
    return state.facts.channel == EXCHANGE_CHANNEL


def _at_full_price(lines: Sequence[OrderLine], state: OrderState) -> Sequence[OrderLine]:
    """Return an order's lines at what was given for them: of an exchange, also what it was sent for."""
    return [replace_struct(line, charged_minor=None) for line in lines] if _is_exchange(state) else lines


def _refund(saga: Saga, state: OrderState | None, counted: Return) -> None:
    """Give back what is owed: of an exchange first what it was paid with itself, then what it was sent for."""
    origin = None if state is None or not _is_exchange(state) else state.facts.origin
    if state is None or origin is None:
        saga.apply(counted.order_id, RefundRequested(counted.id, counted.refund_minor))
        return
    own_minor = min(counted.refund_minor, state.unpromised_minor)
    rest_minor = counted.refund_minor - own_minor
    if own_minor or not rest_minor:
        saga.apply(state.id, RefundRequested(counted.id, own_minor))
    if rest_minor and own_minor:
        # The refund of the exchange itself closes the return.
        saga.apply(origin.order_id, ExchangeEnded(counted.id, rest_minor))
    elif rest_minor:
        saga.apply(origin.order_id, RefundRequested(counted.id, rest_minor))


async def _locked(return_id: UUID, unit: Unit) -> tuple[Return, Mapping[UUID, OrderState]]:
    """Return a return whose order is locked, and that: only what is read behind the lock may be decided by."""
    order_id = await unit.returns.order_of(return_id)
    if order_id is None:
        raise ReturnNotFound(return_id)
    locked = await unit.orders.lock([order_id])
    [found] = await unit.returns.get([return_id])
    return found, locked


async def _with_shares(received: Return, state_of: StateOf, unit: Unit) -> Return:
    state = state_of(received.order_id)
    is_shared = received.is_charged or (state is not None and state.status is OrderStatus.CANCELLED)
    if state is None or not (is_shared or refunds_of_parcels(state)):
        return received
    before = await unit.returns.received_units(received.order_id, other_than=received.id)
    if is_shared:
        lines = (await bill_of(state, unit)).sold_by(state)
        received = with_shares(received, _at_full_price(lines, state), before)
    return await _without_what_was_paid(received, before, state, state_of, unit)


async def _without_what_was_paid(
    sent_back: Return, before: Mapping[int, int], state: OrderState, state_of: StateOf, unit: Unit
) -> Return:
    """Leave out what was paid back for the units when the parcel that they were in was given up."""
    if not refunds_of_parcels(state):
        return sent_back
    bill = await bill_of(state, unit)
    paid = await paid_back_of(state, state_of(remainder_id(state.id)), bill, unit)
    return without_what_was_paid(sent_back, bill.sold_by(state), before, paid)


async def _within_what_is_left(counted: Return, state: OrderState | None, state_of: StateOf, unit: Unit) -> Return:
    """Promise no more than what is left of the order's price: an operator may have given back any of it."""
    if state is None:
        return counted
    left_minor = state.unpromised_minor - sum((await kept_for_exchanges(state, unit)).values())
    origin = state_of(state.facts.origin.order_id) if _is_exchange(state) and state.facts.origin is not None else None
    if origin is not None:
        exchanges = await kept_for_exchanges(origin, unit)
        own_minor = exchanges.get(state.id, 0)
        left_minor += max(0, min(own_minor, origin.unpromised_minor - sum(exchanges.values()) + own_minor))
    surplus = counted.credit_minor - max(0, left_minor)
    return less(counted, surplus) if surplus > 0 else counted


async def _give_back_what_did_not_come(received: Return, unit: Unit) -> None:
    not_come = {line.line: line.received_quantity - line.quantity for line in received.lines}
    await unit.orders.add_returned(received.order_id, {line: units for line, units in not_come.items() if units})


def _received_event(received: Return, receipt: Receipt) -> ReturnReceived:
    return ReturnReceived(
        return_id=received.id,
        order_id=received.order_id,
        warehouse=receipt.warehouse,
        received_at=receipt.received_at,
        lines=received.received_units(),
        restocked=received.restocked_units(),
    )


async def returns_of(order_id: UUID, *, unit: Unit) -> Sequence[Return]:
    """
    Return an order's returns, oldest first.

    :raises OrderNotFound: if there is no such order.
    """
    if await unit.views.find(order_id) is None:
        raise OrderNotFound(order_id)
    return await unit.returns.get(await unit.returns.of_order(order_id))


async def find_return(return_id: UUID, *, unit: Unit) -> Return:
    """
    Return a return.

    :raises ReturnNotFound: if there is none with this id.
    """
    found = await unit.returns.get([return_id])
    if not found:
        raise ReturnNotFound(return_id)
    return found[0]
