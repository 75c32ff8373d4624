"""The saga's table is total, and each of its stages is left as the business wants it."""

from datetime import timedelta
from uuid import UUID

import pytest

from libs.common.events.orders import (
    OrderBackordered,
    OrderCancelled,
    OrderConfirmed,
    OrderRefused,
    OrderSettled,
    OrderShipped,
)
from libs.common.events.shapes import Destination
from services.orders.domain import messages as on
from services.orders.domain.fulfilment import TABLE, transition
from services.orders.domain.moves import refund_step_id
from services.orders.domain.order import TERMINAL, OrderStatus
from services.orders.domain.state import Answer, ClearTimer, CloseReturn, SetTimer, StepKind, StepStatus, TimerKind
from tests.unit.orders.domain.worlds import (
    NOW,
    ORDER_ID,
    PARCELS_MINOR,
    TOTAL_MINOR,
    Story,
    an_order,
    delivered,
    dispatched,
    shipment_id,
    stock_backordered,
    stock_partly_reserved,
    stock_reserved,
    story_in,
)

RETURN_ID = UUID(int=900)
STRANGE_STEP = UUID(int=999)

ONE_OF_EACH: dict[type[on.Message], on.Message] = {
    on.ReviewPassed: on.ReviewPassed(),
    on.ReviewHeld: on.ReviewHeld(("amount-above-limit",)),
    on.ReviewRefused: on.ReviewRefused("a known fraud"),
    on.StockReserved: stock_reserved(),
    on.StockBackordered: stock_backordered(),
    on.StockPartlyReserved: stock_partly_reserved(),
    on.StockRejected: on.StockRejected("insufficient-stock"),
    on.WaitProlonged: on.WaitProlonged("customer-waits", NOW + timedelta(days=500)),
    on.RemainderShipped: on.RemainderShipped(UUID(int=800)),
    on.RemainderEnded: on.RemainderEnded("backorder-expired"),
    on.RemainderLost: on.RemainderLost(UUID(int=800), 1_300),
    on.ExchangeEnded: on.ExchangeEnded(UUID(int=801), 1_300),
    on.AuthorisationSucceeded: on.AuthorisationSucceeded(STRANGE_STEP, "provider-1"),
    on.AuthorisationDeclined: on.AuthorisationDeclined(STRANGE_STEP, "card-declined"),
    on.AuthorisationWithdrawn: on.AuthorisationWithdrawn(STRANGE_STEP),
    on.CaptureSucceeded: on.CaptureSucceeded(STRANGE_STEP, "provider-1"),
    on.CaptureDeclined: on.CaptureDeclined(STRANGE_STEP, "expired"),
    on.VoidSucceeded: on.VoidSucceeded(STRANGE_STEP, "provider-1"),
    on.VoidDeclined: on.VoidDeclined(STRANGE_STEP, "expired"),
    on.RefundSucceeded: on.RefundSucceeded(STRANGE_STEP, "provider-1"),
    on.RefundDeclined: on.RefundDeclined(STRANGE_STEP, "expired"),
    on.ShipmentPlanned: on.ShipmentPlanned(shipment_id("leeds"), "leeds"),
    on.ShipmentDispatched: dispatched("leeds"),
    on.ShipmentDelivered: delivered("leeds"),
    on.ShipmentFailed: on.ShipmentFailed(shipment_id("leeds"), "nobody home"),
    on.ShipmentCancelled: on.ShipmentCancelled(shipment_id("leeds")),
    on.ParcelGivenUp: on.ParcelGivenUp(shipment_id("leeds"), 0, "the carrier lost it"),
    on.OperatorRetried: on.OperatorRetried("try again"),
    on.OperatorSkipped: on.OperatorSkipped("it arrived"),
    on.OperatorCompensated: on.OperatorCompensated("give it up"),
    on.CancellationRequested: on.CancellationRequested("changed-mind"),
    on.OrderEdited: on.OrderEdited(RETURN_ID, 2, "moved", destination=Destination(country="GB")),
    on.StockChanged: on.StockChanged(RETURN_ID, "one less", an_order().lines[:1], 7),
    on.StockChangeRefused: on.StockChangeRefused(RETURN_ID, "held", 7),
    on.RefundRequested: on.RefundRequested(RETURN_ID, 1_300),
    on.DeadlinePassed: on.DeadlinePassed(TimerKind.PAYMENT),
}


class TestTable:
    def test_answers_every_message_in_every_stage(self) -> None:
        assert set(TABLE) == {(status, message) for status in OrderStatus for message in on.MESSAGES}
        assert len(TABLE) == 13 * 36

    @pytest.mark.parametrize("status", OrderStatus)
    @pytest.mark.parametrize("kind", on.MESSAGES)
    def test_is_followed_without_an_exception(self, status: OrderStatus, kind: type[on.Message]) -> None:
        state = story_in(status).state
        assert state.status is status

        outcome = transition(state, ONE_OF_EACH[kind], NOW + timedelta(days=400))

        if outcome.answer in {Answer.IGNORE, Answer.REJECT}:
            assert outcome.state is state
            assert outcome.commands == ()
            assert outcome.timers == ()
        else:
            assert outcome.answer is TABLE[status, kind]
            assert outcome.state != state

    @pytest.mark.parametrize("status", OrderStatus)
    def test_gives_every_stage_that_is_not_final_a_deadline(self, status: OrderStatus) -> None:
        assert (story_in(status).state.deadline_at is None) == (status in TERMINAL)

    @pytest.mark.parametrize("status", OrderStatus)
    @pytest.mark.parametrize("kind", on.MESSAGES)
    def test_has_no_second_effect_for_a_second_delivery(self, status: OrderStatus, kind: type[on.Message]) -> None:
        once = story_in(status).tell(ONE_OF_EACH[kind])
        state, commands = once.state, len(once.commands)

        twice = once.tell(ONE_OF_EACH[kind])

        assert twice.answer in {Answer.IGNORE, Answer.REJECT}
        assert twice.state is state
        assert len(twice.commands) == commands


class TestOrder:
    def test_goes_from_placed_to_settled(self) -> None:
        story = story_in(OrderStatus.SETTLED)

        assert story.event_types == [
            "order.placed",
            "order.approved",
            "order.reserved",
            "payment.authorised",
            "order.confirmed",
            "order.shipped",
            "order.delivered",
            "payment.captured",
            "payment.captured",
            "order.settled",
        ]
        assert story.steps_asked_for == [
            (StepKind.AUTHORISE, TOTAL_MINOR),
            (StepKind.CAPTURE, PARCELS_MINOR["leeds"]),
            (StepKind.CAPTURE, PARCELS_MINOR["lyon"]),
        ]
        assert story.events[-1] == OrderSettled(
            order_id=ORDER_ID, currency="GBP", captured_minor=TOTAL_MINOR, refunded_minor=0
        )

    def test_settles_in_the_other_order_too(self) -> None:
        story = story_in(OrderStatus.SHIPPED).pay(StepKind.CAPTURE).tell(delivered("lyon"), delivered("leeds"))

        assert story.is_in(OrderStatus.SETTLED)

    def test_is_confirmed_with_what_was_reserved_for_it(self) -> None:
        [confirmed] = [event for event in story_in(OrderStatus.CONFIRMED).events if isinstance(event, OrderConfirmed)]

        assert tuple(confirmed.allocations) == stock_reserved().allocations
        assert confirmed.total_minor == TOTAL_MINOR

    def test_lives_in_the_time_it_was_placed_in(self) -> None:
        placed_at = NOW - timedelta(days=5_000)
        story = Story.received(an_order(placed_at=placed_at)).tell(on.ReviewPassed(), stock_reserved())
        story.now = NOW + timedelta(seconds=3)

        story.pay(StepKind.AUTHORISE)

        [confirmed] = [event for event in story.events if isinstance(event, OrderConfirmed)]
        assert confirmed.confirmed_at == placed_at + timedelta(seconds=3)

    def test_costs_nothing_and_is_confirmed_without_a_payment(self) -> None:
        story = Story.received(an_order(unit_price_minor=0)).tell(on.ReviewPassed(), stock_reserved())
        assert story.is_in(OrderStatus.CONFIRMED)

        story.tell(dispatched("leeds"), dispatched("lyon"), delivered("leeds"), delivered("lyon"))

        assert story.is_in(OrderStatus.SETTLED)
        assert story.steps_asked_for == []

    def test_waits_for_goods_and_says_how_long(self) -> None:
        story = story_in(OrderStatus.BACKORDERED)

        [backordered] = [event for event in story.events if isinstance(event, OrderBackordered)]
        assert backordered.deadline_at == NOW + timedelta(days=30) == story.state.deadline_at

    def test_ships_only_once_every_warehouse_has_sent_its_parcel(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(dispatched("leeds"))
        assert story.is_in(OrderStatus.CONFIRMED)

        story.tell(dispatched("lyon"))

        assert story.is_in(OrderStatus.SHIPPED)
        [shipped] = [event for event in story.events if isinstance(event, OrderShipped)]
        assert shipped.shipped_at == NOW + timedelta(days=1)

    def test_understands_parcels_whatever_it_hears_first(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(
            delivered("leeds"),
            on.ShipmentPlanned(shipment_id("lyon"), "lyon"),
            delivered("lyon"),
            dispatched("lyon"),
            dispatched("leeds"),
        )

        assert story.is_in(OrderStatus.DELIVERED)

    def test_waits_for_its_capture_before_it_settles(self) -> None:
        assert story_in(OrderStatus.DELIVERED).is_in(OrderStatus.DELIVERED)

    def test_tells_its_way_in_numbered_stages(self) -> None:
        story = Story.received()
        assert story.last is not None
        entered = list(story.last.entered)
        for message in (on.ReviewPassed(), stock_backordered(), stock_reserved()):
            story.tell(message)
            entered.extend(story.last.entered)

        assert [(one.sequence, one.stage.value, one.cause) for one in entered] == [
            (1, "received", "order.placed"),
            (2, "approved", "review.passed"),
            (3, "backordered", "stock.backordered"),
            (4, "reserved", "stock.reserved"),
        ]

    def test_exchanges_its_timer_with_its_stage(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved())

        assert story.last is not None
        assert story.last.timers == (
            ClearTimer(TimerKind.STOCK_REPLY),
            SetTimer(TimerKind.PAYMENT, NOW + timedelta(minutes=15)),
        )


class TestRefusal:
    def test_follows_a_declined_payment(self) -> None:
        story = story_in(OrderStatus.RESERVED)
        [step] = story.state.steps

        story.tell(on.AuthorisationDeclined(step.id, "card-declined"))

        assert story.event_types[-2:] == ["payment.failed", "order.refused"]
        assert story.events[-1] == OrderRefused(order_id=ORDER_ID, reason="payment-declined", detail="card-declined")

    def test_follows_a_payment_that_nobody_answers_and_lets_go_of_late_money(self) -> None:
        story = story_in(OrderStatus.RESERVED).wait(TimerKind.PAYMENT)
        assert story.state.status_reason == "payment-timed-out"

        story.pay(StepKind.AUTHORISE)

        assert story.answer is Answer.COMPENSATE
        assert story.steps_asked_for[-1] == (StepKind.VOID, TOTAL_MINOR)
        story.pay(StepKind.VOID)
        assert story.state.payment.held_minor == 0
        assert story.is_in(OrderStatus.REFUSED)

    def test_follows_missing_stock_with_inventorys_reason(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(on.StockRejected("unknown-sku"))

        assert story.is_in(OrderStatus.REFUSED)
        assert story.state.status_reason == "unknown-sku"

    def test_follows_a_review_that_nobody_makes(self) -> None:
        story = story_in(OrderStatus.HELD).wait(TimerKind.REVIEW)

        assert (story.state.status, story.state.status_reason) == (OrderStatus.REFUSED, "review-expired")


class TestCancellation:
    @pytest.mark.parametrize(
        "status", [OrderStatus.HELD, OrderStatus.APPROVED, OrderStatus.BACKORDERED, OrderStatus.RESERVED]
    )
    def test_is_immediate_before_the_order_is_confirmed(self, status: OrderStatus) -> None:
        story = story_in(status).tell(on.CancellationRequested("changed-mind"))

        assert story.is_in(OrderStatus.CANCELLED)
        assert story.events[-1] == OrderCancelled(order_id=ORDER_ID, reason="changed-mind", stage=status.value)

    def test_voids_an_authorisation_that_succeeds_afterwards(self) -> None:
        story = story_in(OrderStatus.RESERVED).tell(on.CancellationRequested("changed-mind"))
        assert story.steps_asked_for == [(StepKind.AUTHORISE, TOTAL_MINOR)]

        story.pay(StepKind.AUTHORISE).pay(StepKind.VOID)

        assert story.state.payment.held_minor == 0
        assert story.event_types[-2:] == ["payment.authorised", "payment.voided"]

    def test_of_a_confirmed_order_waits_for_every_parcel_to_be_stopped(self) -> None:
        story = story_in(OrderStatus.CANCELLING).tell(on.ShipmentPlanned(shipment_id("leeds"), "leeds"))
        story.tell(on.ShipmentPlanned(shipment_id("lyon"), "lyon"), on.ShipmentCancelled(shipment_id("leeds")))
        assert story.is_in(OrderStatus.CANCELLING)

        story.tell(on.ShipmentCancelled(shipment_id("lyon")))

        assert (story.state.status, story.state.status_reason) == (OrderStatus.CANCELLED, "changed-mind")
        assert story.steps_asked_for[-1] == (StepKind.VOID, TOTAL_MINOR)

    def test_fails_when_a_parcel_has_left_meanwhile(self) -> None:
        story = story_in(OrderStatus.CANCELLING).tell(dispatched("leeds"))

        assert story.answer is Answer.COMPENSATE
        assert story.is_in(OrderStatus.CONFIRMED)
        assert story.state.status_reason is None
        story.tell(dispatched("lyon"))
        assert story.is_in(OrderStatus.SHIPPED)

    def test_is_refused_once_a_parcel_has_left(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(dispatched("leeds"), on.CancellationRequested("changed-mind"))

        assert story.answer is Answer.REJECT
        assert story.is_in(OrderStatus.CONFIRMED)

    def test_happens_by_itself_when_goods_never_come(self) -> None:
        story = story_in(OrderStatus.BACKORDERED).wait(TimerKind.BACKORDER)

        assert (story.state.status, story.state.status_reason) == (OrderStatus.CANCELLED, "backorder-expired")

    def test_happens_by_itself_when_no_warehouse_sends_anything(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(
            on.ShipmentPlanned(shipment_id("leeds"), "leeds"),
            on.ShipmentPlanned(shipment_id("lyon"), "lyon"),
            on.ShipmentCancelled(shipment_id("leeds")),
            on.ShipmentCancelled(shipment_id("lyon")),
        )

        assert (story.state.status, story.state.status_reason) == (OrderStatus.CANCELLED, "shipments-cancelled")


class TestDeadline:
    @pytest.mark.parametrize(
        ("status", "timer"),
        [
            (OrderStatus.APPROVED, TimerKind.STOCK_REPLY),
            (OrderStatus.CONFIRMED, TimerKind.DISPATCH),
            (OrderStatus.CANCELLING, TimerKind.CANCELLATION),
            (OrderStatus.SHIPPED, TimerKind.DELIVERY),
            (OrderStatus.DELIVERED, TimerKind.SETTLEMENT),
        ],
    )
    def test_only_marks_an_order_that_must_go_on(self, status: OrderStatus, timer: TimerKind) -> None:
        story = story_in(status)
        events = len(story.events)

        story.wait(timer)

        assert story.state.status is status
        assert story.state.stuck_since == story.now
        assert len(story.events) == events

    def test_is_forgotten_when_the_order_moves_again(self) -> None:
        story = story_in(OrderStatus.APPROVED).wait(TimerKind.STOCK_REPLY).tell(stock_reserved())

        assert story.state.stuck_since is None

    def test_means_nothing_before_its_time(self) -> None:
        story = story_in(OrderStatus.RESERVED).tell(on.DeadlinePassed(TimerKind.PAYMENT))

        assert story.answer is Answer.IGNORE

    def test_of_an_earlier_stage_means_nothing(self) -> None:
        story = story_in(OrderStatus.RESERVED)
        story.now = NOW + timedelta(days=100)

        story.tell(on.DeadlinePassed(TimerKind.BACKORDER))

        assert story.answer is Answer.IGNORE


class TestRefund:
    def test_waits_until_the_money_was_captured(self) -> None:
        story = story_in(OrderStatus.SHIPPED).tell(on.RefundRequested(RETURN_ID, 1_300))
        assert story.state.steps[-1].status is StepStatus.WAITING

        story.pay(StepKind.CAPTURE)

        assert story.steps_asked_for[-1] == (StepKind.REFUND, 1_300)

    def test_closes_its_return(self) -> None:
        story = story_in(OrderStatus.SETTLED).tell(on.RefundRequested(RETURN_ID, 1_300)).pay(StepKind.REFUND)

        assert story.closed_returns == [CloseReturn(RETURN_ID, 1_300)]
        assert story.state.payment.refunded_minor == 1_300
        assert story.event_types[-1] == "refund.issued"

    def test_of_nothing_closes_the_return_at_once(self) -> None:
        story = story_in(OrderStatus.SETTLED).tell(on.RefundRequested(RETURN_ID, 0))

        assert story.closed_returns == [CloseReturn(RETURN_ID, 0)]
        assert story.state.step(refund_step_id(ORDER_ID, RETURN_ID)) is None

    def test_is_made_before_the_order_settles(self) -> None:
        story = story_in(OrderStatus.DELIVERED).tell(on.RefundRequested(RETURN_ID, 1_300)).pay(StepKind.CAPTURE)
        assert story.is_in(OrderStatus.DELIVERED)

        story.pay(StepKind.REFUND)

        assert story.events[-1] == OrderSettled(
            order_id=ORDER_ID, currency="GBP", captured_minor=TOTAL_MINOR, refunded_minor=1_300
        )

    def test_never_exceeds_what_was_paid(self) -> None:
        story = story_in(OrderStatus.SETTLED).tell(on.RefundRequested(RETURN_ID, 6_000))

        story.tell(on.RefundRequested(UUID(int=901), 501))

        assert story.answer is Answer.REJECT

    def test_that_is_declined_asks_for_a_person(self) -> None:
        story = story_in(OrderStatus.SETTLED).tell(on.RefundRequested(RETURN_ID, 1_300))

        story.tell(on.RefundDeclined(refund_step_id(ORDER_ID, RETURN_ID), "account-closed"))

        assert story.state.stuck_since == NOW
        assert story.event_types[-1] == "payment.failed"


class TestFailedCapture:
    def test_leaves_the_order_where_it_is_and_asks_for_a_person(self) -> None:
        story = story_in(OrderStatus.SHIPPED)

        story.tell(on.CaptureDeclined(story.state.steps[-1].id, "authorisation-expired"))

        assert story.is_in(OrderStatus.SHIPPED)
        assert story.state.stuck_since == NOW
