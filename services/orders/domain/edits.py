"""What customers change about a placed order: its lines while it is under review, its address until it leaves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final
from uuid import UUID

from msgspec.structs import replace

from libs.common.errors import Conflict, Invalid
from libs.common.events.orders import OrderEdited, OrderEditRefused, OrderEditRequested
from libs.common.events.shapes import OrderLine as PublishedLine
from libs.common.events.shapes import Shortage, SkuQuantity
from services.orders.domain import messages as on
from services.orders.domain import remainders
from services.orders.domain.charges import Charge
from services.orders.domain.draft import Draft
from services.orders.domain.order import DERIVED_CHANNELS, OrderLine, OrderStatus, total_borne, units_by_sku
from services.orders.domain.state import Answer, OrderState, PaymentStep, RemainderStatus, StepKind, StepStatus, step_id

_EDITED: Final = "edited"
REQUESTED: Final = "edit-requested"
_REFUSED: Final = "edit-refused"


class EditStatus(StrEnum):
    """What became of an edit; one of lines that are waited for is requested first."""

    REQUESTED = "requested"
    APPLIED = "applied"
    REFUSED = "refused"


class OrderNotEditable(Conflict):
    """What is to be changed cannot be changed any more: lines once goods are held for them, the rest once it left."""

    code: ClassVar[str] = "order-not-editable"

    def __init__(self, order_id: UUID, status: OrderStatus, what: str, why: str | None = None) -> None:
        """Name the order, where it is, what cannot be changed there, and why, where that is not all."""
        super().__init__(
            f"Order {order_id} is {status}; its {what} cannot be changed any more{f': {why}' if why else ''}."
        )


class UnitsInRemainder(Conflict):
    """Units of a line are another order's by now: what was missing of this one, which goes its own way."""

    code: ClassVar[str] = "units-in-remainder"

    def __init__(self, line: int | None, units: SkuQuantity, other_id: UUID) -> None:
        """Name the line, how many of its units it is about, and where they are."""
        where = f"line {line}" if line is not None else units.sku
        super().__init__(
            f"{units.quantity} of the units of {where} are in the remainder {other_id} and stay on the line;"
            " call that off to be without them."
        )


class NothingBesidesRemainder(Conflict):
    """Nothing would be left of the order but what goes its own way."""

    code: ClassVar[str] = "nothing-besides-remainder"

    def __init__(self, other_id: UUID) -> None:
        """Name the remainder."""
        super().__init__(f"Nothing would be left besides the remainder {other_id}; cancel the order instead.")


class EditNeedsReview(Conflict):
    """As it would be then, the review rules would not let the order pass."""

    code: ClassVar[str] = "edit-needs-review"

    def __init__(self, reasons: Iterable[str]) -> None:
        """Name the rules."""
        super().__init__(f"The edited order would not pass review: {', '.join(reasons)}.")


class PaymentPending(Conflict):
    """The provider has not said yet whether it holds the order's price; ask again in a moment."""

    code: ClassVar[str] = "payment-pending"

    def __init__(self, order_id: UUID) -> None:
        """Name the order."""
        super().__init__(f"Order {order_id} is being paid for; its lines can be changed once it is confirmed.")


class PaymentTokenMissing(Invalid):
    """The order costs more, and its provider takes a payment token once: the order's own has been used."""

    code: ClassVar[str] = "payment-token-missing"

    def __init__(self, amount_minor: int) -> None:
        """Name the field, and what there is to pay."""
        super().__init__(
            f"The order costs {amount_minor} minor units more than is authorised; give a payment token for the"
            " difference.",
            field="/payment_token",
        )


class EditPending(Conflict):
    """Inventory has not answered an edit yet; ask again in a moment."""

    code: ClassVar[str] = "edit-pending"

    def __init__(self, edit_id: UUID) -> None:
        """Name the edit."""
        super().__init__(f"Edit {edit_id} of this order is not answered yet.")


class RemainderPending(Conflict):
    """Inventory has not heard yet which units are those of the remainder; ask again in a moment."""

    code: ClassVar[str] = "remainder-pending"

    def __init__(self, other_id: UUID) -> None:
        """Name the remainder."""
        super().__init__(f"The remainder {other_id} is not put in line yet; lines can be changed once it is.")


class LineNotInOrder(Invalid):
    """The order has no line of this number."""

    code: ClassVar[str] = "line-not-in-order"


class NothingToEdit(Invalid):
    """The edit changes nothing, or leaves nothing to sell."""

    code: ClassVar[str] = "nothing-to-edit"


class CountryNotEditable(Invalid):
    """Prices, currency and stock were chosen for the country; an order for another one is another order."""

    code: ClassVar[str] = "country-not-editable"

    def __init__(self) -> None:
        """Name the field."""
        super().__init__("The country of an order cannot be changed; cancel it and place another.", field="/ship_to")


class ChargesNotEditable(Conflict):
    """What the lines would bear then is not for us to say: who stated a tax must state it anew."""

    code: ClassVar[str] = "charges-not-editable"

    def __init__(self, category: str, reason: str) -> None:
        """Name the tax and why, and say what to do instead."""
        super().__init__(
            f"The tax {category} {reason}; state all taxes of the edited order in `taxes`, lines that are added as"
            " those after the last."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LineQuantity:
    """How many units a line is to have; with none, it is removed."""

    line: int
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedLine:
    """A line that is to be added, at the price that the customer accepted."""

    sku: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change that was made, kept for good; `is_address_changed` is all that is kept of an address."""

    id: UUID
    order_id: UUID
    edited_at: datetime
    principal: str
    reason: str
    lines_before: tuple[OrderLine, ...]
    lines_after: tuple[OrderLine, ...]
    total_before_minor: int
    total_after_minor: int
    is_address_changed: bool
    status: EditStatus = EditStatus.APPLIED
    refusal: str | None = None
    # What was missing of what it wanted more.
    shortages: tuple[Shortage, ...] = ()
    # What the order costs besides its goods from then on; None if that stays as it is.
    charges_after: tuple[Charge, ...] | None = None


def edited_lines(
    lines: Sequence[OrderLine], quantities: Sequence[LineQuantity], added: Sequence[AddedLine]
) -> tuple[OrderLine, ...]:
    """
    Return the lines of an order after an edit; lines keep their numbers, and those that are added get new ones.

    :raises LineNotInOrder: if a line is named that the order does not have.
    :raises NothingToEdit: if no line would be left, or all as they are.
    """
    known = {line.line: line for line in lines}
    for index, one in enumerate(quantities):
        if one.line not in known:
            raise LineNotInOrder(f"The order has no line {one.line}.", field=f"/lines/{index}/line")
        known[one.line] = replace(known[one.line], quantity=one.quantity)
    number = max((line.line for line in lines), default=0)
    kept = [line for _, line in sorted(known.items()) if line.quantity]
    kept.extend(
        OrderLine(line=number + place, sku=one.sku, quantity=one.quantity, unit_price_minor=one.unit_price_minor)
        for place, one in enumerate(added, start=1)
    )
    if not kept:
        raise NothingToEdit("An order needs a line; cancel it instead.", field="/lines")
    return tuple(kept)


def check_lines(state: OrderState, before: Sequence[OrderLine], after: Sequence[OrderLine]) -> None:
    """
    Refuse other lines of an order that was divided, where its remainder stands against them.

    :raises UnitsInRemainder: if units would be taken away that are the remainder's, naming the line.
    :raises NothingBesidesRemainder: if the order would have nothing of its own.
    """
    if state.payment.remainder is None or state.status is not OrderStatus.CONFIRMED:
        return
    other_id = remainders.remainder_id(state.id)
    if (units := remainders.tied(after, state.missing)) is not None:
        kept = {line.line: line.quantity for line in after}
        lowered = (one.line for one in before if one.sku == units.sku and kept.get(one.line, 0) < one.quantity)
        raise UnitsInRemainder(next(lowered, None), units, other_id)
    if not remainders.own_units(after, state.missing) or total_borne(after) < state.payment.remainder.value_minor:
        raise NothingBesidesRemainder(other_id)


def why_lines_are_fixed(state: OrderState, *, has_other_address: bool) -> str | None:
    """Return why lines cannot be changed, where the stage does not say it; None if it does."""
    origin = state.facts.origin
    if origin is not None and state.facts.channel in DERIVED_CHANNELS:
        return f"it comes of order {origin.order_id}; call it off and place another for what is wanted"
    if any(parcel.has_left for parcel in state.shipments) or state.payment.shipped_remainder_minor:
        return "a parcel has left"
    if state.stuck_since is not None:
        return "it waits for a person"
    if state.status is OrderStatus.BACKORDERED:
        return "it was paid for, or is being"
    return "the address is another edit" if has_other_address else None


def apply_edit(draft: Draft, message: on.OrderEdited) -> None:
    """Go on with other lines, or to another door; what is waited for is inventory's to change. The stage stays."""
    if message.lines is not None and draft.state.status is OrderStatus.BACKORDERED:
        units = list(units_by_sku(message.lines))
        draft.publish(OrderEditRequested(order_id=draft.state.id, edit_id=message.edit_id, lines=units))
        draft.note(detail=f"{REQUESTED}: {message.reason}")
        return
    if message.destination is not None:
        draft.change(facts=replace(draft.state.facts, destination=message.destination))
    if message.lines is not None:
        draft.change(lines=units_by_sku(message.lines), priced_lines=())
        set_total(draft, message.lines)
    tell(draft, message.edit_id, message.reason, message.lines, is_address_changed=message.destination is not None)


def follow_change(draft: Draft, message: on.StockChanged) -> None:
    """Have the lines that inventory waits for now."""
    draft.change(stock_version=max(message.version, draft.state.stock_version))
    set_total(draft, message.lines)
    tell(draft, message.edit_id, message.reason, message.lines)


def follow_refusal(draft: Draft, message: on.StockChangeRefused) -> None:
    """Tell that the order stays as it was."""
    draft.change(stock_version=max(message.version, draft.state.stock_version))
    _tell_refused(draft, message.edit_id, message.reason, message.shortages)


def _tell_refused(draft: Draft, edit_id: UUID, reason: str, shortages: tuple[Shortage, ...]) -> None:
    draft.publish(OrderEditRefused(order_id=draft.state.id, edit_id=edit_id, reason=reason, shortages=list(shortages)))
    draft.note(detail=f"{_REFUSED}: {reason}")


def refuse(draft: Draft, *, reason: str, shortages: tuple[Shortage, ...] = ()) -> None:
    """Go on as it was with an order that is being edited, if it is; what was held for the edit alone is let go of."""
    edit = draft.state.edit
    if edit is None:
        return
    further = draft.state.step(further_step_id(draft.state.id, edit.id))
    draft.conclude_edit(edit, reason, shortages)
    _tell_refused(draft, edit.id, reason, shortages)
    if further is not None and further.status is StepStatus.SUCCEEDED and not is_charged(draft.state, further):
        draft.pay(StepKind.VOID, further.amount_minor, authorisation_id=further.id)


def further_step_id(order_id: UUID, edit_id: UUID) -> UUID:
    """Return the id of the step that authorises what an edit costs more."""
    return step_id(order_id, f"{StepKind.AUTHORISE}:edit:{edit_id}")


def is_charged(state: OrderState, authorisation: PaymentStep) -> bool:
    """Tell whether anything was captured, or is to be, of one of several authorisations."""
    return any(step.kind is StepKind.CAPTURE and step.authorisation_id == authorisation.id for step in state.steps)


def is_unpaid(state: OrderState) -> bool:
    """Tell whether the provider was asked for what an edit costs more, and has not answered."""
    further = None if state.edit is None else state.step(further_step_id(state.id, state.edit.id))
    return further is not None and further.status is StepStatus.PENDING


def answer_to(state: OrderState, message: on.OrderEdited | on.StockChanged | on.StockChangeRefused) -> Answer | None:
    """Return what stands against an edit, or inventory's answer to one, that the table allows."""
    if not isinstance(message, on.OrderEdited):
        is_other = state.edit is not None and state.edit.id != message.edit_id
        return Answer.IGNORE if is_other or 0 < message.version <= state.stock_version else None
    if message.sequence != state.sequence:
        return Answer.IGNORE
    has_left = any(parcel.has_left for parcel in state.shipments)
    is_too_late = has_left or (message.lines is not None and not _are_lines_free(state, message))
    return Answer.REJECT if is_too_late else None


def _are_lines_free(state: OrderState, message: on.OrderEdited) -> bool:
    """Tell whether the lines are the order's own, and neither half asked for nor half paid."""
    if state.status is OrderStatus.HELD:
        return True
    if state.status is OrderStatus.CONFIRMED:
        is_its_own = state.facts.channel not in DERIVED_CHANNELS and _keep_remainder(state, message.lines or ())
        # What a person has to look at is not made more of.
        return is_its_own and state.stuck_since is None and message.destination is None
    is_untouched = not state.warehouses and not state.steps and state.facts.channel not in DERIVED_CHANNELS
    # Inventory answers about the lines alone.
    return state.status is OrderStatus.BACKORDERED and is_untouched and message.destination is None


def _keep_remainder(state: OrderState, lines: Sequence[OrderLine]) -> bool:
    """Tell whether what was missing of an order stays on its lines, and something besides; it must not have left."""
    remainder = state.payment.remainder
    if remainder is None:
        return True
    is_kept = remainders.tied(lines, state.missing) is None and bool(remainders.own_units(lines, state.missing))
    is_here = remainder.status is not RemainderStatus.SHIPPED
    return is_here and is_kept and total_borne(lines) >= remainder.value_minor


def set_total(draft: Draft, lines: Sequence[OrderLine]) -> None:
    """Have the order cost what its lines do."""
    draft.change(facts=replace(draft.state.facts, total_minor=total_borne(lines)))


def tell(
    draft: Draft,
    edit_id: UUID,
    reason: str,
    lines: Sequence[OrderLine] | None,
    *,
    is_address_changed: bool = False,
) -> None:
    """Tell what the order is now."""
    facts = draft.state.facts
    draft.publish(
        OrderEdited(
            order_id=draft.state.id,
            edit_id=edit_id,
            reason=reason,
            currency=facts.currency,
            total_minor=facts.total_minor,
            lines=None if lines is None else [_published(line) for line in lines],
            is_address_changed=is_address_changed,
        )
    )
    draft.note(detail=f"{_EDITED}: {reason}")


def _published(line: OrderLine) -> PublishedLine:
    return PublishedLine(
        line=line.line,
        sku=line.sku,
        quantity=line.quantity,
        unit_price_minor=line.unit_price_minor,
        charged_minor=line.charged_minor,
    )
