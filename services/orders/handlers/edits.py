"""Editing orders: all of an edit is done or nothing, and what the order was when the customer saw it decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from msgspec import structs

from libs.common.errors import PreconditionFailed
from libs.common.events.shapes import Destination
from libs.common.ids import new_id
from services.orders.domain.charges import Charge, ChargeKind
from services.orders.domain.edits import (
    AddedLine,
    CountryNotEditable,
    Edit,
    EditNeedsReview,
    EditPending,
    EditStatus,
    LineQuantity,
    NothingToEdit,
    OrderNotEditable,
    PaymentPending,
    PaymentTokenMissing,
    RemainderPending,
    check_lines,
    edited_lines,
    further_step_id,
    why_lines_are_fixed,
)
from services.orders.domain.messages import OrderEdited, StockChanged, StockChangeRefused
from services.orders.domain.order import (
    SANDBOX_PROVIDER,
    Address,
    NewOrder,
    OrderLine,
    OrderNotFound,
    OrderStatus,
    total_borne,
)
from services.orders.domain.recharging import placed_charges, recharged
from services.orders.domain.remainders import remainder_id
from services.orders.domain.review import NO_HISTORY, Subject, Verdict, review
from services.orders.domain.state import Answer, OrderState, PaymentStep
from services.orders.handlers.fulfilment import Addressed, Policy, Saga, advance_orders
from services.orders.handlers.ports import Unit
from services.orders.handlers.prices import PriceCheck
from services.orders.handlers.review import Reviewing

# An edit asks no provider for anything.
_NO_TOKEN = "none"  # noqa: S105 - the absence of one

# Where the lines are not this service's alone to change.
_ASKED_FIRST = frozenset({OrderStatus.BACKORDERED, OrderStatus.CONFIRMED})


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest:
    """What a customer wants to be different; `revision` is that of the order as it was shown."""

    revision: int
    principal: str
    reason: str
    quantities: Sequence[LineQuantity] = ()
    added: Sequence[AddedLine] = ()
    address: Address | None = None
    destination: Destination | None = None
    # What the provider is asked with for what the order costs more; that of the order otherwise.
    payment_token: str | None = None
    # Of the edited order, instead of those that it has.
    taxes: Sequence[Charge] | None = None


async def edit_order(
    order_id: UUID,
    request: EditRequest,
    *,
    unit: Unit,
    reviewing: Reviewing,
    price_check: PriceCheck,
    policy: Policy,
    now: datetime,
) -> Edit:
    """
    Change an order, and return what was changed.

    :raises OrderNotFound: if there is no such order.
    :raises PreconditionFailed: if it is not any more what was shown.
    :raises OrderNotEditable: if it is too late for that.
    :raises PaymentPending: if its price is not authorised yet.
    :raises PaymentTokenMissing: if it costs more, and its provider needs a token of its own for that.
    :raises EditPending: if inventory has not answered another edit yet.
    :raises RemainderPending: if inventory does not know yet which units are its remainder's.
    :raises UnitsInRemainder: if units would go that are those of its remainder.
    :raises NothingBesidesRemainder: if nothing would be left but these.
    :raises ChargesNotEditable: if what its lines would bear is not for us to say.
    :raises OrderPriceRefused: if a promotion may not take as much off as it would then.
    :raises EditNeedsReview: if the rules would hold or refuse what it would be.
    :raises DomainError: if the edit itself is wrong, naming the field.
    """
    saga = Saga(unit, policy=policy, now=now)
    await saga.load([order_id])
    state = saga.state(order_id)
    if state is None:
        raise OrderNotFound(order_id)
    await _check_is_current(order_id, request.revision, unit)
    before = tuple(await unit.orders.lines_of(order_id))
    wants_lines = bool(request.quantities or request.added)
    _check_remainder(saga, state, wants_lines=wants_lines)
    after = edited_lines(before, request.quantities, request.added) if wants_lines else before
    after, charges = await _with_charges(state, before, after, request.taxes, unit)
    address_before = await unit.orders.address_of(order_id)
    is_address_changed = request.address is not None and (
        request.address != address_before or request.destination != state.facts.destination
    )
    if after == before and not is_address_changed:
        raise NothingToEdit("The order is like that already.", field="/lines")
    if request.destination is not None and request.destination.country != state.facts.destination.country:
        raise CountryNotEditable
    check_lines(state, before, after)
    edit_id = new_id()
    message = OrderEdited(
        edit_id=edit_id,
        sequence=state.sequence,
        reason=request.reason,
        lines=None if after == before else after,
        destination=request.destination if is_address_changed else None,
    )
    _apply(saga, state, message)
    address = request.address if is_address_changed and request.address is not None else address_before
    edited = _as_placed(state, after, address, message)
    known = {line.line for line in before}
    if added := tuple(line for line in after if line.line not in known):
        edited = await _with_findings(edited, added, unit=unit, price_check=price_check, now=now)
    if charges is not None:
        edited = await _with_discounts(edited, charges, unit=unit, price_check=price_check)
        edited = _with_tax_findings(edited, charges, request.taxes, price_check)
    await _review(edited, state, unit=unit, reviewing=reviewing, now=now)
    further = _further_step(saga, order_id, edit_id)
    await _check_has_token(further, order_id, request.payment_token, unit)
    await saga.write()
    is_requested = message.lines is not None and state.status in _ASKED_FIRST
    if further is not None:
        await unit.edits.ask_for_more(order_id, further.id, further.amount_minor, request.payment_token)
    if message.lines is not None:
        await unit.edits.add_findings(order_id, edited.findings)
        if not is_requested:
            await _set_lines(order_id, after, charges, unit=unit, now=now)
    if message.destination is not None:
        await unit.edits.set_address(edited)
    edit = Edit(
        id=edit_id,
        order_id=order_id,
        edited_at=now,
        principal=request.principal,
        reason=request.reason,
        lines_before=before,
        lines_after=after,
        total_before_minor=state.facts.total_minor,
        total_after_minor=state.facts.total_minor if message.lines is None else total_borne(after),
        is_address_changed=is_address_changed,
        status=EditStatus.REQUESTED if is_requested else EditStatus.APPLIED,
        charges_after=charges,
    )
    await unit.edits.add(edit)
    return edit


async def _set_lines(
    order_id: UUID, lines: tuple[OrderLine, ...], charges: tuple[Charge, ...] | None, *, unit: Unit, now: datetime
) -> None:
    await unit.edits.set_lines(order_id, lines, total_borne(lines))
    if charges is not None:
        await unit.edits.set_charges(order_id, charges)
        await unit.promotions.recount([order_id], now=now)


async def _with_charges(
    state: OrderState,
    before: tuple[OrderLine, ...],
    after: tuple[OrderLine, ...],
    taxes: Sequence[Charge] | None,
    unit: Unit,
) -> tuple[tuple[OrderLine, ...], tuple[Charge, ...] | None]:
    """Return edited lines with what they bear, and what the order costs besides them; None if that is as it was."""
    if after == before or (not taxes and all(line.charged_minor is None for line in before)):
        return after, None
    found = await unit.views.find(state.id)
    charges = () if found is None else found.charges
    codes = {one.code for one in charges if one.kind is ChargeKind.DISCOUNT}
    promotions = await unit.promotions.as_of(codes, state.facts.received_at) if codes else {}
    return recharged(before, after, charges, currency=state.facts.currency, promotions=promotions, taxes=taxes)


def _check_remainder(saga: Saga, state: OrderState, *, wants_lines: bool) -> None:
    """
    Refuse other lines while inventory may yet divide what is held by what the order was made of before.

    :raises RemainderPending: if so.
    """
    remainder = None if state.payment.remainder is None else saga.state(remainder_id(state.id))
    if wants_lines and remainder is not None and remainder.status is OrderStatus.APPROVED:
        raise RemainderPending(remainder.id)


def _apply(saga: Saga, state: OrderState, message: OrderEdited) -> None:
    if message.lines is not None and state.status is OrderStatus.RESERVED:
        raise PaymentPending(state.id)
    if saga.apply(state.id, message) is not Answer.ADVANCE:
        if message.lines is None:
            raise OrderNotEditable(state.id, state.status, "address")
        why = why_lines_are_fixed(state, has_other_address=message.destination is not None)
        raise OrderNotEditable(state.id, state.status, "lines", why)


def _further_step(saga: Saga, order_id: UUID, edit_id: UUID) -> PaymentStep | None:
    """Return what is asked of the provider for what the order costs more, None if nothing is."""
    state = saga.state(order_id)
    return None if state is None else state.step(further_step_id(order_id, edit_id))


async def _check_has_token(further: PaymentStep | None, order_id: UUID, token: str | None, unit: Unit) -> None:
    if further is None or token is not None:
        return
    # Neither a code of Alipay's nor a PaymentMethod that Stripe knows no customer of can be used again.
    if (await unit.orders.payment_terms_of(order_id)).provider != SANDBOX_PROVIDER:
        raise PaymentTokenMissing(further.amount_minor)


async def _check_is_current(order_id: UUID, revision: int, unit: Unit) -> None:
    if await unit.edits.revision_of(order_id) != revision:
        raise PreconditionFailed("The order has changed since it was shown; read it again.", field="If-Match")
    if (pending := await unit.edits.pending_of(order_id)) is not None:
        raise EditPending(pending)


async def advance_edited(
    messages: Sequence[Addressed], *, unit: Unit, policy: Policy, now: datetime
) -> list[Answer | None]:
    """Apply messages, among which are inventory's answers to edits, and keep what became of those."""
    asked = {one.message.edit_id for one in messages if isinstance(one.message, StockChanged | StockChangeRefused)}
    # An edit that is answered already has nothing more to say.
    pending = {edit.id: edit for edit in await unit.edits.get(asked) if edit.status is EditStatus.REQUESTED}
    heard = [complete for one in messages if (complete := _with_lines(one, pending)) is not None]
    answers = await advance_orders(heard, unit=unit, policy=policy, now=now)
    for one, answer in zip(heard, answers, strict=True):
        match one.message:
            case StockChanged(edit_id=edit_id, lines=lines) if answer is Answer.ADVANCE:
                edit = pending[edit_id]
                await unit.edits.set_lines(one.order_id, lines, edit.total_after_minor)
                if edit.charges_after is not None:
                    await unit.edits.set_charges(one.order_id, edit.charges_after)
                await unit.edits.finish(edit_id, EditStatus.APPLIED)
            case StockChanged(edit_id=edit_id):
                await unit.edits.finish(edit_id, EditStatus.REFUSED, refusal="order-ended")
            case StockChangeRefused(edit_id=edit_id, reason=reason, shortages=shortages):
                await unit.edits.finish(edit_id, EditStatus.REFUSED, refusal=reason, shortages=shortages)
            case _:
                pass
    if recharged_ids := {edit.order_id for edit in pending.values() if edit.charges_after is not None}:
        await unit.promotions.recount(recharged_ids, now=now)
    return answers


def _with_lines(one: Addressed, pending: Mapping[UUID, Edit]) -> Addressed | None:
    """Return inventory's answer with what was asked for, whose prices it does not know; None if nothing was."""
    match one.message:
        case StockChanged(edit_id=edit_id) as message:
            edit = pending.get(edit_id)
            if edit is None:
                return None
            return replace(one, message=replace(message, lines=edit.lines_after, reason=edit.reason))
        case StockChangeRefused(edit_id=edit_id):
            return one if edit_id in pending else None
        case _:
            return one


def _as_placed(state: OrderState, lines: tuple[OrderLine, ...], address: Address, message: OrderEdited) -> NewOrder:
    """Return the order as it would have been placed like that."""
    destination = message.destination or state.facts.destination
    total_minor = state.facts.total_minor if message.lines is None else total_borne(lines)
    facts = structs.replace(state.facts, total_minor=total_minor, destination=destination)
    return NewOrder(id=state.id, facts=facts, lines=lines, address=address, payment_token=_NO_TOKEN)


async def _with_findings(
    order: NewOrder, added: tuple[OrderLine, ...], *, unit: Unit, price_check: PriceCheck, now: datetime
) -> NewOrder:
    """Hold what is added against the catalog's prices of now, unlike what was ordered before."""
    facts = structs.replace(order.facts, placed_at=order.facts.business_time(now))
    [checked] = await price_check.check(
        [structs.replace(order, facts=facts, lines=added)], prices=unit.prices, promotions=unit.promotions, now=now
    )
    if not isinstance(checked, NewOrder):
        raise checked
    return structs.replace(order, findings=checked.findings)


def _with_tax_findings(
    order: NewOrder, charges: tuple[Charge, ...], stated: Sequence[Charge] | None, price_check: PriceCheck
) -> NewOrder:
    """Hold taxes that are stated with an edit, if any are, against what they say of themselves."""
    if stated is None:
        return order
    placed = tuple(placed_charges(order.lines, charges))
    checked = price_check.check_taxes(structs.replace(order, charges=placed))
    if not isinstance(checked, NewOrder):
        raise checked
    return structs.replace(order, findings=checked.findings)


async def _with_discounts(
    order: NewOrder, charges: tuple[Charge, ...], *, unit: Unit, price_check: PriceCheck
) -> NewOrder:
    """Hold what is taken off more against what its promotions may still cost."""
    checked = await price_check.take_more_off(structs.replace(order, charges=charges), promotions=unit.promotions)
    if not isinstance(checked, NewOrder):
        raise checked
    return checked


async def _review(order: NewOrder, state: OrderState, *, unit: Unit, reviewing: Reviewing, now: datetime) -> None:
    """Let nobody past the rules by way of an edit; what a person has approved, or will see, is not asked again."""
    rules = reviewing.rules
    needs = rules.needs
    history = NO_HISTORY
    if not needs.are_none:
        if needs.counts:
            await unit.reviews.lock_subjects([order], by_address=needs.counts_by(Subject.ADDRESS))
        history = (await unit.reviews.histories([order], needs, now=now)).get(order.id, NO_HISTORY)
    found = review(order, rules, history)
    if found.verdict is Verdict.APPROVE or (found.verdict is Verdict.HOLD and state.status is OrderStatus.HELD):
        return
    accepted = await unit.reviews.reasons_of(order.id)
    if found.verdict is Verdict.REFUSE or not set(found.reasons) <= set(accepted):
        raise EditNeedsReview(found.reasons)
