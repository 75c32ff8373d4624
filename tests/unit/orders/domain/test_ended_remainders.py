"""Of a divided order that a person has ended the price of its remainder is kept, until that comes back too."""

from collections.abc import Sequence
from itertools import permutations
from uuid import UUID

import pytest
from msgspec.structs import replace

from services.orders.domain import messages as on
from services.orders.domain.order import CaptureMoment, PaymentTerms
from services.orders.domain.state import StepKind, StepStatus
from tests.unit.orders.domain.worlds import (
    MISSING_MINOR,
    TOTAL_MINOR,
    Story,
    an_order,
    dispatched,
    in_one_place,
    shipment_id,
    success,
)

REMAINDER_PARCEL = UUID(int=800)
OWN_PARCEL = shipment_id("leeds")


def ended(capture_at: CaptureMoment = CaptureMoment.EACH_DISPATCH) -> Story:
    """Return an order whose own parcel and whose remainder have left, ended before anything was captured."""
    order = replace(an_order(on_shortage="split"), payment_terms=PaymentTerms(capture_at=capture_at))
    story = Story.received(order).tell(on.ReviewPassed(), in_one_place(1, 1)).pay(StepKind.AUTHORISE)
    story.tell(on.ShipmentPlanned(OWN_PARCEL, "leeds"), dispatched("leeds"), on.RemainderShipped(REMAINDER_PARCEL))
    return story.tell(on.OperatorCompensated("fraud"))


def take_back(story: Story, parts: Sequence[int]) -> None:
    """Have goods come back in returns of so much, each worth no more than is left for it."""
    for number, minor in enumerate(parts):
        story.tell(on.RefundRequested(UUID(int=900 + number), min(minor, story.state.unpromised_minor)))


def capture(story: Story, parcel: UUID) -> None:
    """Let the captures for a parcel come through, if there are any."""
    steps = [step for step in story.state.steps if step.kind is StepKind.CAPTURE and step.shipment_id == parcel]
    story.tell(*(success(step) for step in steps if step.status is StepStatus.PENDING))


def kept_minor(story: Story) -> int:
    """Let the provider do all that is asked of it, and return what the customer has paid in the end."""
    while pending := [step for step in story.state.steps if step.status is StepStatus.PENDING]:
        story.tell(*map(success, pending))
    assert not [step for step in story.state.steps if step.status is StepStatus.WAITING]
    assert story.state.payment.held_minor == 0
    return story.state.payment.captured_minor - story.state.payment.refunded_minor


@pytest.mark.parametrize("capture_at", CaptureMoment)
@pytest.mark.parametrize("parts", [(TOTAL_MINOR,), (MISSING_MINOR,), (1_300,), (1_300, 1_300), ()])
@pytest.mark.parametrize("turns", list(permutations(["own", "remainder", "return"])))
def test_what_is_paid_is_the_same_whenever_captures_and_returns_come(
    turns: Sequence[str], parts: Sequence[int], capture_at: CaptureMoment
) -> None:
    story = ended(capture_at)

    for turn in turns:
        match turn:
            case "own":
                capture(story, OWN_PARCEL)
            case "remainder":
                capture(story, REMAINDER_PARCEL)
            case _:
                take_back(story, parts)

    assert kept_minor(story) == max(0, MISSING_MINOR - sum(parts))
    assert len(story.closed_returns) == len(parts)


@pytest.mark.parametrize("is_captured_late", [False, True])
def test_goods_that_were_exchanged_and_never_sent_are_money_however_late_the_rest_is_captured(
    is_captured_late: bool,  # noqa: FBT001
) -> None:
    story = ended()
    capture(story, REMAINDER_PARCEL)
    if not is_captured_late:
        capture(story, OWN_PARCEL)

    story.tell(on.ExchangeEnded(UUID(int=950), 1_300))

    assert kept_minor(story) == MISSING_MINOR - 1_300


@pytest.mark.parametrize("is_captured_late", [False, True])
def test_a_parcel_lost_after_a_return_is_worth_what_is_left(is_captured_late: bool) -> None:  # noqa: FBT001
    story = ended()
    capture(story, REMAINDER_PARCEL)
    if not is_captured_late:
        capture(story, OWN_PARCEL)
    take_back(story, (1_300,))

    assert story.state.unpromised_minor == MISSING_MINOR - 1_300
    story.tell(on.RemainderLost(REMAINDER_PARCEL, MISSING_MINOR - 1_300))

    assert story.state.unpromised_minor == 0
    assert story.state.payment.shipped_remainder_minor == MISSING_MINOR
    assert kept_minor(story) == 0


def test_what_came_back_of_it_is_not_kept_when_a_parcel_that_could_not_be_stopped_leaves_before_the_capture() -> None:
    payment_terms = PaymentTerms(capture_at=CaptureMoment.FIRST_DISPATCH)
    order = replace(an_order(on_shortage="split"), payment_terms=payment_terms)
    story = Story.received(order).tell(on.ReviewPassed(), in_one_place(1, 1)).pay(StepKind.AUTHORISE)
    story.tell(on.ShipmentPlanned(OWN_PARCEL, "leeds"), on.RemainderShipped(REMAINDER_PARCEL))
    story.tell(on.OperatorCompensated("fraud"))

    take_back(story, (1_300,))
    story.tell(dispatched("leeds"))

    assert kept_minor(story) == MISSING_MINOR - 1_300
