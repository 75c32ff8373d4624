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
OWN_MINOR = TOTAL_MINOR - MISSING_MINOR
EXCHANGE_ID = UUID(int=950)


def ended(capture_at: CaptureMoment = CaptureMoment.EACH_DISPATCH) -> Story:
    """Return an order whose own parcel and whose remainder have left, ended before anything was captured."""
    order = replace(an_order(on_shortage="split"), payment_terms=PaymentTerms(capture_at=capture_at))
    story = Story.received(order).tell(on.ReviewPassed(), in_one_place(1, 1)).pay(StepKind.AUTHORISE)
    story.tell(on.ShipmentPlanned(OWN_PARCEL, "leeds"), dispatched("leeds"), on.RemainderShipped(REMAINDER_PARCEL))
    return story.tell(on.OperatorCompensated("fraud"))


def ended_after_exchange(exchanged_minor: int, refunded_minor: int = 0) -> Story:
    """Return a divided order that has left and was paid, ended after goods had come back for others and for money."""
    story = Story.received(an_order(on_shortage="split")).tell(on.ReviewPassed(), in_one_place(1, 1))
    story.pay(StepKind.AUTHORISE).tell(on.ShipmentPlanned(OWN_PARCEL, "leeds"), dispatched("leeds"))
    story.tell(on.RemainderShipped(REMAINDER_PARCEL)).pay(StepKind.CAPTURE)
    if refunded_minor:
        story.tell(on.RefundRequested(UUID(int=940), refunded_minor)).pay(StepKind.REFUND)
    return story.tell(on.OperatorCompensated("fraud", ((EXCHANGE_ID, exchanged_minor),)))


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


@pytest.mark.parametrize(
    ("refunded_minor", "exchanged_minor", "paid_minor"),
    [
        pytest.param(0, 1_300, MISSING_MINOR, id="own goods exchanged"),
        pytest.param(0, OWN_MINOR, MISSING_MINOR, id="all own goods exchanged"),
        pytest.param(1_300, OWN_MINOR, 1_300, id="own goods and some of the rest exchanged"),
        pytest.param(OWN_MINOR, MISSING_MINOR, 0, id="the rest exchanged"),
        pytest.param(5_200, 1_300, 0, id="the last of the rest exchanged"),
    ],
)
def test_goods_that_were_exchanged_before_the_end_are_paid_back_once(
    refunded_minor: int, exchanged_minor: int, paid_minor: int
) -> None:
    story = ended_after_exchange(exchanged_minor, refunded_minor)
    assert kept_minor(story) == min(MISSING_MINOR, TOTAL_MINOR - refunded_minor)

    story.tell(on.ExchangeEnded(EXCHANGE_ID, exchanged_minor))
    story.tell(on.ExchangeEnded(EXCHANGE_ID, exchanged_minor))

    assert kept_minor(story) == paid_minor


def test_the_rest_comes_back_whole_whatever_was_exchanged_before_the_end() -> None:
    story = ended_after_exchange(1_300)

    take_back(story, (MISSING_MINOR,))
    story.tell(on.ExchangeEnded(EXCHANGE_ID, 1_300))

    assert kept_minor(story) == 0


@pytest.mark.parametrize("is_exchange_first", [False, True])
def test_an_exchange_that_ends_is_paid_back_once_with_an_order_that_was_not_divided(
    is_exchange_first: bool,  # noqa: FBT001
) -> None:
    story = Story.received(replace(an_order(), payment_terms=PaymentTerms(capture_at=CaptureMoment.EACH_DISPATCH)))
    story.tell(on.ReviewPassed(), in_one_place(3, 1)).pay(StepKind.AUTHORISE).tell(dispatched("leeds"))
    story.pay(StepKind.CAPTURE)

    turns: list[on.Message] = [
        on.OperatorCompensated("fraud", ((EXCHANGE_ID, 1_300),)),
        on.ExchangeEnded(EXCHANGE_ID, 1_300),
    ]
    for message in reversed(turns) if is_exchange_first else turns:
        story.tell(message)

    assert kept_minor(story) == 0


def test_an_exchange_that_ends_before_its_divided_order_is_paid_back_once() -> None:
    story = Story.received(an_order(on_shortage="split")).tell(on.ReviewPassed(), in_one_place(1, 1))
    story.pay(StepKind.AUTHORISE).tell(on.ShipmentPlanned(OWN_PARCEL, "leeds"), dispatched("leeds"))
    story.tell(on.RemainderShipped(REMAINDER_PARCEL)).pay(StepKind.CAPTURE)

    story.tell(on.ExchangeEnded(EXCHANGE_ID, 1_300), on.OperatorCompensated("fraud"))

    assert kept_minor(story) == MISSING_MINOR
