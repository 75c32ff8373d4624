"""What customers change about a placed order: its lines while it is under review, its address until it leaves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from libs.common.errors import Conflict, Invalid
from libs.common.events.orders import OrderEdited
from libs.common.events.shapes import OrderLine as PublishedLine
from services.orders.domain import messages as on
from services.orders.domain.draft import Draft
from services.orders.domain.order import OrderLine, OrderStatus, total_of, units_by_sku
from services.orders.domain.state import Answer, OrderState

_EDITED = "edited"


class OrderNotEditable(Conflict):
    """What is to be changed cannot be changed any more; lines can while the order is held, the rest until it leaves."""

    code: ClassVar[str] = "order-not-editable"

    def __init__(self, order_id: UUID, status: OrderStatus, what: str) -> None:
        """Name the order, where it is, and what cannot be changed there."""
        super().__init__(f"Order {order_id} is {status}; its {what} cannot be changed any more.")


class EditNeedsReview(Conflict):
    """As it would be then, the review rules would not let the order pass."""

    code: ClassVar[str] = "edit-needs-review"

    def __init__(self, reasons: Iterable[str]) -> None:
        """Name the rules."""
        super().__init__(f"The edited order would not pass review: {', '.join(reasons)}.")


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
    """Lines that bear discounts, shipping or taxes are not edited: who stated these must state them anew."""

    code: ClassVar[str] = "charges-not-editable"

    def __init__(self) -> None:
        """Say what to do instead."""
        super().__init__("The lines bear discounts, shipping or taxes; cancel the order and place it anew.")


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


def edited_lines(
    lines: Sequence[OrderLine], quantities: Sequence[LineQuantity], added: Sequence[AddedLine]
) -> tuple[OrderLine, ...]:
    """
    Return the lines of an order after an edit; lines keep their numbers, and those that are added get new ones.

    :raises ChargesNotEditable: if the lines bear discounts, shipping or taxes.
    :raises LineNotInOrder: if a line is named that the order does not have.
    :raises NothingToEdit: if no line would be left, or all as they are.
    """
    if any(line.charged_minor is not None for line in lines):
        raise ChargesNotEditable
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


def apply_edit(draft: Draft, message: on.OrderEdited) -> None:
    """Go on with other lines, or to another door; the stage and its deadline stay."""
    state, facts = draft.state, draft.state.facts
    if message.destination is not None:
        facts = replace(facts, destination=message.destination)
    if message.lines is not None:
        facts = replace(facts, total_minor=total_of(message.lines))
        draft.change(lines=units_by_sku(message.lines), priced_lines=())
    draft.change(facts=facts)
    draft.publish(
        OrderEdited(
            order_id=state.id,
            edit_id=message.edit_id,
            reason=message.reason,
            currency=facts.currency,
            total_minor=facts.total_minor,
            lines=None if message.lines is None else [_published(line) for line in message.lines],
            is_address_changed=message.destination is not None,
        )
    )
    draft.note(detail=f"{_EDITED}: {message.reason}")


def answer_to(state: OrderState, message: on.OrderEdited) -> Answer | None:
    """Return what stands against an edit that the table allows: lines are free until they are asked for."""
    if message.sequence != state.sequence:
        return Answer.IGNORE
    has_left = any(parcel.has_left for parcel in state.shipments)
    is_too_late = has_left or (message.lines is not None and state.status is not OrderStatus.HELD)
    return Answer.REJECT if is_too_late else None


def _published(line: OrderLine) -> PublishedLine:
    return PublishedLine(line=line.line, sku=line.sku, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
