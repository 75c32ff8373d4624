"""Orders with discounts, shipping and taxes that go ahead without what is missing: their money is the total, always."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.events.shapes import Allocation, SkuQuantity
from services.orders.domain import messages as on
from services.orders.domain.charges import Charge, ChargeKind, Tax, TaxBase
from services.orders.domain.ledger import balances
from services.orders.domain.order import CaptureMoment, OrderLine, OrderStatus, PaymentTerms
from services.orders.domain.shares import price
from services.orders.domain.state import StepKind
from tests.unit.orders.domain.worlds import Story, an_order, delivered, dispatched, shipment_id

SKUS = ("CHAIR", "LAMP", "MIRROR")
REMAINDER_PARCEL = UUID(int=800)


@st.composite
def charged_lines(draw: st.DrawFn) -> tuple[OrderLine, ...]:
    """Return lines that bear a discount on one of them, shipping, and a tax on all of it."""
    count = draw(st.integers(1, 3))
    lines = tuple(
        OrderLine(
            line=number,
            sku=SKUS[draw(st.integers(0, 2))],
            quantity=draw(st.integers(1, 7)),
            unit_price_minor=draw(st.integers(0, 999)),
        )
        for number in range(1, count + 1)
    )
    first = lines[0].quantity * lines[0].unit_price_minor
    tax = Tax(jurisdiction="GB", rate_ppm=200_000, is_inclusive=False, base=TaxBase.ALL)
    charges = (
        Charge(kind=ChargeKind.DISCOUNT, code="TEN", amount_minor=draw(st.integers(0, first)), lines=(1,)),
        Charge(kind=ChargeKind.SHIPPING, code="standard", amount_minor=draw(st.integers(0, 700))),
        Charge(kind=ChargeKind.TAX, code="standard", amount_minor=draw(st.integers(0, 900)), tax=tax),
    )
    return price(lines, charges, currency="GBP").lines


@settings(max_examples=150, deadline=None)
@given(
    lines=charged_lines(),
    data=st.data(),
    capture_at=st.sampled_from(CaptureMoment),
    has_remainder_left=st.booleans(),
    is_cancelled=st.booleans(),
)
def test_captures_refunds_and_what_is_let_go_of_sum_to_the_total(
    lines: tuple[OrderLine, ...],
    data: st.DataObject,
    capture_at: CaptureMoment,
    has_remainder_left: bool,  # noqa: FBT001
    is_cancelled: bool,  # noqa: FBT001
) -> None:
    total_minor = sum(line.charged_minor or 0 for line in lines)
    order = an_order(on_shortage="split")
    order = replace(
        order,
        lines=lines,
        facts=replace(order.facts, total_minor=total_minor),
        payment_terms=PaymentTerms(capture_at=capture_at),
    )
    held, missing = _divided(lines, data)
    story = Story.received(order).tell(on.ReviewPassed())
    story.tell(on.StockPartlyReserved(tuple(held), tuple(missing), 1) if missing else on.StockReserved(tuple(held), 1))
    _pay(story, StepKind.AUTHORISE)
    if is_cancelled:
        story.tell(on.CancellationRequested("changed-mind"))
        for place in story.state.warehouses:
            story.tell(on.ShipmentPlanned(shipment_id(place), place))
        story.tell(*(on.ShipmentCancelled(shipment_id(place)) for place in story.state.warehouses))
    else:
        for place in story.state.warehouses:
            story.tell(dispatched(place))
            _pay(story, StepKind.CAPTURE)
            story.tell(delivered(place))
    if missing:
        story.tell(on.RemainderShipped(REMAINDER_PARCEL) if has_remainder_left else on.RemainderEnded("too-late"))
    for kind in (StepKind.CAPTURE, StepKind.VOID, StepKind.REFUND):
        _pay(story, kind)

    payment = story.state.payment
    remainder_minor = 0 if payment.remainder is None else payment.remainder.value_minor
    assert 0 <= remainder_minor <= total_minor
    assert all(step.amount_minor > 0 for step in story.state.steps)
    assert payment.held_minor == 0
    assert payment.captured_minor + payment.voided_minor == payment.authorised_minor == total_minor
    kept_minor = payment.captured_minor - payment.refunded_minor
    left_minor = remainder_minor if has_remainder_left else 0
    assert kept_minor == left_minor + (0 if is_cancelled else total_minor - remainder_minor)
    assert sum(balances(story.transfers).values()) == 0
    assert story.state.status is (OrderStatus.CANCELLED if is_cancelled else OrderStatus.SETTLED)


def test_a_cancelled_order_whose_remainder_left_for_nothing_holds_no_money() -> None:
    order = an_order(on_shortage="split")
    shipping = Charge(kind=ChargeKind.SHIPPING, code="standard", amount_minor=0)
    gift = OrderLine(line=1, sku="CHAIR", quantity=1, unit_price_minor=0)
    lamp = OrderLine(line=2, sku="LAMP", quantity=1, unit_price_minor=700)
    lines = price((gift, lamp), (shipping,), currency="GBP").lines
    order = replace(order, lines=lines, facts=replace(order.facts, total_minor=700))
    held = Allocation(warehouse="leeds", sku="LAMP", quantity=1)
    missing = SkuQuantity(sku="CHAIR", quantity=1)
    story = Story.received(order).tell(on.ReviewPassed()).tell(on.StockPartlyReserved((held,), (missing,), 1))
    _pay(story, StepKind.AUTHORISE)

    story.tell(on.CancellationRequested("changed-mind"), on.ShipmentPlanned(shipment_id("leeds"), "leeds"))
    story.tell(on.ShipmentCancelled(shipment_id("leeds")), on.RemainderShipped(REMAINDER_PARCEL))
    _pay(story, StepKind.VOID)

    assert (story.state.payment.held_minor, story.state.payment.voided_minor) == (0, 700)


@settings(max_examples=150, deadline=None)
@given(lines=charged_lines(), data=st.data())
def test_units_that_come_back_in_any_parts_are_worth_what_was_charged(
    lines: tuple[OrderLine, ...], data: st.DataObject
) -> None:
    for line in lines:
        back, worth_minor = 0, 0
        while back < line.quantity:
            units = data.draw(st.integers(1, line.quantity - back))
            share_minor = line.share_minor(back, units)
            assert share_minor >= 0
            worth_minor += share_minor
            back += units
        assert worth_minor == line.charged_minor


def _divided(lines: tuple[OrderLine, ...], data: st.DataObject) -> tuple[list[Allocation], list[SkuQuantity]]:
    """Hold some units of each SKU in each of two places, at least one of all, and miss the rest."""
    units: dict[str, int] = {}
    for line in lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    held: list[Allocation] = []
    missing: list[SkuQuantity] = []
    for sku, wanted in units.items():
        there = data.draw(st.integers(0 if held else 1, wanted))
        in_leeds = data.draw(st.integers(0, there))
        found = [Allocation(warehouse="leeds", sku=sku, quantity=in_leeds)] if in_leeds else []
        found += [Allocation(warehouse="lyon", sku=sku, quantity=there - in_leeds)] if there > in_leeds else []
        held += found
        if wanted > there:
            missing.append(SkuQuantity(sku=sku, quantity=wanted - there))
    return held, missing


def _pay(story: Story, kind: StepKind) -> None:
    while any(step.kind is kind and step.status == "pending" for step in story.state.steps):
        story.pay(kind)
