"""
Amounts that the provider holds for an order that was authorised more than once.

An edit that makes a confirmed order dearer has the difference authorised by itself, because no provider lets an
authorisation grow later for every kind of payment. Each is captured, let go of and refunded under its own reference:
captures and refunds take of the first as long as it lasts, and what is let go of is taken of the last. A step of an
order with one authorisation names none.
"""

from uuid import UUID

from services.orders.domain.draft import Draft
from services.orders.domain.state import OrderState, PaymentStep, StepKind, StepStatus

_MOVING = {StepKind.CAPTURE, StepKind.VOID}
# Whose amount is, or may yet be, gone; what waits names no authorisation yet.
_GONE = {
    StepKind.CAPTURE: {StepStatus.PENDING, StepStatus.SUCCEEDED, StepStatus.DECLINED, StepStatus.WAIVED},
    StepKind.VOID: {StepStatus.PENDING, StepStatus.SUCCEEDED, StepStatus.WAIVED},
    StepKind.REFUND: {StepStatus.PENDING, StepStatus.SUCCEEDED},
}


def ask_for(
    draft: Draft,
    kind: StepKind,
    amount_minor: int,
    *,
    return_id: UUID | None = None,
    shipment_id: UUID | None = None,
    own_id: UUID | None = None,
) -> list[PaymentStep]:
    """Ask the provider to capture, let go of or refund an amount, in a step for each authorisation that bears some."""
    return [
        draft.pay(
            kind,
            part_minor,
            return_id=return_id,
            shipment_id=shipment_id,
            authorisation_id=authorisation_id,
            own_id=own_id if number == 0 else None,
        )
        for number, (authorisation_id, part_minor) in enumerate(parts_of(draft.state, kind, amount_minor))
    ]


def parts_of(state: OrderState, kind: StepKind, amount_minor: int) -> list[tuple[UUID | None, int]]:
    """Return what of an amount each authorisation bears, in minor units; None stands for the only one there is."""
    held = [step for step in state.steps if step.kind is StepKind.AUTHORISE and step.status is StepStatus.SUCCEEDED]
    if len(held) < 2:  # noqa: PLR2004 - several
        return [(None, amount_minor)]
    parts: list[tuple[UUID | None, int]] = []
    left = amount_minor
    for step in reversed(held) if kind is StepKind.VOID else held:
        part = min(left, max(0, _room_of(state, step, kind)))
        if part:
            parts.append((step.id, part))
            left -= part
    if left:
        # More than there is: the provider is to say so, and a person to see it.
        parts.append((held[0].id, left))
    return parts


def _room_of(state: OrderState, authorisation: PaymentStep, kind: StepKind) -> int:
    if kind in _MOVING:
        return authorisation.amount_minor - sum(_moved(state, authorisation, one, _GONE[one]) for one in _MOVING)
    captured = _moved(state, authorisation, StepKind.CAPTURE, {StepStatus.SUCCEEDED})
    return captured - _moved(state, authorisation, StepKind.REFUND, _GONE[StepKind.REFUND])


def _moved(state: OrderState, authorisation: PaymentStep, kind: StepKind, statuses: set[StepStatus]) -> int:
    # The payment's own has no reference of its own, and was the only one while steps named none.
    owners = {authorisation.id} if authorisation.reference is not None else {authorisation.id, None}
    return sum(
        step.amount_minor
        for step in state.steps
        if step.kind is kind and step.status in statuses and step.authorisation_id in owners
    )
