"""An order is charged for what leaves, once, and a person can always end what the machine cannot."""

from collections.abc import Callable
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from libs.common.events.shapes import Allocation
from services.orders.domain import messages as on
from services.orders.domain.ledger import Account, Fact, Transfer, balances
from services.orders.domain.order import EXCHANGE_CHANNEL, OrderLine, OrderStatus, Origin
from services.orders.domain.parcels import value_by_warehouse
from services.orders.domain.state import (
    OPEN_STEP,
    Answer,
    CloseReturn,
    NoteUnstopped,
    ShipmentStatus,
    StepKind,
    StepStatus,
    Tell,
    TimerKind,
)
from tests.unit.orders.domain.worlds import (
    PARCELS_MINOR,
    TOTAL_MINOR,
    Story,
    an_order,
    delivered,
    dispatched,
    shipment_id,
    stock_backordered,
    stock_reserved,
    story_in,
    success,
)

RETURN_ID = UUID(int=900)


def failed(story: Story, kind: StepKind) -> Story:
    """Have the provider refuse what is asked of a kind."""
    declined: Callable[[UUID, str], on.StepResult] = on.RefundDeclined
    if kind is StepKind.CAPTURE:
        declined = on.CaptureDeclined
    elif kind is StepKind.VOID:
        declined = on.VoidDeclined
    pending = [step for step in story.state.steps if step.kind is kind and step.status == "pending"]
    return story.tell(*(declined(step.id, "expired") for step in pending))


def ledger(story: Story) -> dict[Account, int]:
    return {account: balance for account, balance in balances(story.transfers).items() if balance}


def unstopped(story: Story) -> list[UUID]:
    return [command.shipment_id for command in story.commands if isinstance(command, NoteUnstopped)]


class TestParcelValues:
    @given(
        prices=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10**9)), min_size=1, max_size=6),
        cuts=st.lists(st.integers(0, 300), max_size=4),
    )
    def test_add_up_to_the_price_of_the_order(self, prices: list[tuple[int, int]], cuts: list[int]) -> None:
        lines = [
            OrderLine(line=number, sku="MIRROR", quantity=quantity, unit_price_minor=price)
            for number, (quantity, price) in enumerate(prices, start=1)
        ]
        units = sum(quantity for quantity, _ in prices)
        bounds = [0, *sorted(min(cut, units) for cut in cuts), units]
        allocations = [
            Allocation(warehouse=f"w{number}", sku="MIRROR", quantity=upper - lower)
            for number, (lower, upper) in enumerate(pairwise(bounds))
        ]

        values = value_by_warehouse(lines, allocations)

        assert sum(values.values()) == sum(quantity * price for quantity, price in prices)
        assert values == value_by_warehouse(reversed(lines), allocations[::-1])


class TestCapture:
    def test_follows_each_parcel(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(dispatched("lyon"))
        assert story.steps_asked_for[1:] == [(StepKind.CAPTURE, PARCELS_MINOR["lyon"])]

        story.tell(dispatched("leeds"))

        assert story.steps_asked_for[2:] == [(StepKind.CAPTURE, PARCELS_MINOR["leeds"])]

    def test_is_booked_as_earned_when_goods_leave_and_as_ours_when_paid(self) -> None:
        story = story_in(OrderStatus.SHIPPED)
        assert ledger(story) == {
            Account.HELD: TOTAL_MINOR,
            Account.COMMITTED: -TOTAL_MINOR,
            Account.RECEIVABLE: TOTAL_MINOR,
            Account.REVENUE: -TOTAL_MINOR,
        }

        story.pay(StepKind.CAPTURE)

        assert ledger(story) == {Account.CLEARING: TOTAL_MINOR, Account.REVENUE: -TOTAL_MINOR}


class TestStockThatIsTakenBack:
    def test_lets_an_order_wait_again_and_authorises_once(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1), stock_backordered(2))
        assert story.is_in(OrderStatus.BACKORDERED)
        story.pay(StepKind.AUTHORISE)
        assert story.is_in(OrderStatus.BACKORDERED)

        story.tell(stock_reserved(3))

        assert story.is_in(OrderStatus.CONFIRMED)
        assert story.steps_asked_for == [(StepKind.AUTHORISE, TOTAL_MINOR)]

    def test_waits_for_the_authorisation_that_is_under_way(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1), stock_backordered(2), stock_reserved(3))
        assert story.is_in(OrderStatus.RESERVED)

        story.pay(StepKind.AUTHORISE)

        assert story.is_in(OrderStatus.CONFIRMED)
        assert story.steps_asked_for == [(StepKind.AUTHORISE, TOTAL_MINOR)]

    def test_after_the_confirmation_waits_with_its_parcels(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1)).pay(StepKind.AUTHORISE)
        story.tell(stock_backordered(2))
        assert story.is_in(OrderStatus.BACKORDERED)
        story.tell(on.ShipmentPlanned(shipment_id("leeds"), "leeds"), stock_reserved(3))

        story.tell(dispatched("leeds"), dispatched("lyon")).pay(StepKind.CAPTURE)

        assert story.is_in(OrderStatus.SHIPPED)
        assert story.state.payment.captured_minor == TOTAL_MINOR

    def test_is_old_news_once_a_parcel_has_left(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1)).pay(StepKind.AUTHORISE)

        story.tell(dispatched("leeds"), stock_backordered(2))

        assert story.answer is Answer.IGNORE

    def test_is_overtaken_by_a_parcel_that_leaves_all_the_same(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1)).pay(StepKind.AUTHORISE)

        story.tell(stock_backordered(2), dispatched("leeds"), dispatched("lyon"))

        assert story.is_in(OrderStatus.SHIPPED)

    @pytest.mark.parametrize("version", [0, 1])
    def test_is_not_believed_if_it_may_be_older(self, version: int) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1), stock_backordered(version))

        assert story.answer is Answer.IGNORE
        assert story.is_in(OrderStatus.RESERVED)

    def test_that_never_comes_ends_the_order_when_its_parcels_are_stopped(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1)).pay(StepKind.AUTHORISE)
        story.tell(stock_backordered(2)).wait(TimerKind.BACKORDER)
        assert story.is_in(OrderStatus.CANCELLING)

        for place in ("leeds", "lyon"):
            story.tell(on.ShipmentPlanned(shipment_id(place), place), on.ShipmentCancelled(shipment_id(place)))

        assert (story.state.status, story.state.status_reason) == (OrderStatus.CANCELLED, "backorder-expired")
        assert story.steps_asked_for[-1] == (StepKind.VOID, TOTAL_MINOR)

    def test_and_comes_from_elsewhere_asks_for_a_person(self) -> None:
        story = story_in(OrderStatus.APPROVED).tell(stock_reserved(1)).pay(StepKind.AUTHORISE)
        moved = on.StockReserved((Allocation(warehouse="york", sku="OMINOUS-MIRROR", quantity=3),), 3)

        story.tell(stock_backordered(2), moved)

        assert (story.state.status, story.state.status_reason) == (OrderStatus.CONFIRMED, "stock-moved")
        assert story.state.stuck_since is not None


class TestLostParcel:
    def test_is_refunded_and_the_order_settles(self) -> None:
        story = story_in(OrderStatus.SHIPPED).tell(
            delivered("lyon"), on.ShipmentFailed(shipment_id("leeds"), "nobody home")
        )
        assert story.state.stuck_since is not None

        story.tell(on.ParcelGivenUp(shipment_id("leeds"), PARCELS_MINOR["leeds"], "lost"))
        assert story.is_in(OrderStatus.DELIVERED)
        story.pay(StepKind.CAPTURE).pay(StepKind.REFUND)

        assert story.is_in(OrderStatus.SETTLED)
        assert story.state.payment.refunded_minor == PARCELS_MINOR["leeds"]

    def test_is_given_up_once(self) -> None:
        story = story_in(OrderStatus.SHIPPED).tell(on.ParcelGivenUp(shipment_id("leeds"), 100, "lost"))

        story.tell(on.ParcelGivenUp(shipment_id("leeds"), 100, "lost"))

        assert story.answer is Answer.REJECT

    def test_costs_no_more_than_the_order(self) -> None:
        story = story_in(OrderStatus.SHIPPED).tell(on.ParcelGivenUp(shipment_id("leeds"), TOTAL_MINOR + 1, "lost"))

        assert story.answer is Answer.REJECT

    def test_that_arrives_all_the_same_has_arrived(self) -> None:
        story = story_in(OrderStatus.SHIPPED).tell(on.ParcelGivenUp(shipment_id("leeds"), 0, "lost"))

        story.tell(delivered("leeds"), delivered("lyon"))

        assert story.is_in(OrderStatus.DELIVERED)


class TestRetry:
    @pytest.mark.parametrize("kind", [StepKind.CAPTURE, StepKind.REFUND, StepKind.VOID])
    def test_asks_again_under_another_key(self, kind: StepKind) -> None:
        story = refused(kind)
        before = {step.id for step in story.state.steps}

        story.tell(on.OperatorRetried("the card was unblocked")).pay(kind)

        assert story.state.stuck_since is None
        assert {step.id for step in story.state.steps} > before
        assert ledger(story).get(Account.RECEIVABLE, 0) == 0

    def test_gives_a_stage_its_time_again(self) -> None:
        story = story_in(OrderStatus.SHIPPED).wait(TimerKind.DELIVERY).tell(on.OperatorRetried("the carrier is late"))

        assert story.state.stuck_since is None
        assert story.state.deadline_at is not None
        assert story.state.deadline_at > story.now
        assert story.last is not None
        assert [(one.stage, one.cause) for one in story.last.entered] == [(OrderStatus.SHIPPED, "operator.retry")]

    def test_asks_inventory_again(self) -> None:
        story = story_in(OrderStatus.APPROVED)
        lines = story.state.lines
        story.wait(TimerKind.STOCK_REPLY).tell(on.OperatorRetried("inventory was down", lines))

        assert story.event_types.count("order.approved") == 2

    @pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.SETTLED])
    def test_of_what_is_not_stuck_is_refused(self, status: OrderStatus) -> None:
        assert story_in(status).tell(on.OperatorRetried("just so")).answer is Answer.REJECT

    def test_does_not_book_a_success_of_the_step_that_was_replaced(self) -> None:
        story = refused(StepKind.CAPTURE)
        replaced = [step for step in story.state.steps if step.status is StepStatus.DECLINED]
        story.tell(on.OperatorRetried("again")).pay(StepKind.CAPTURE)

        story.tell(*(success(step) for step in replaced))

        assert story.answer is Answer.REJECT
        assert story.state.payment.captured_minor == TOTAL_MINOR


class TestSkip:
    def test_writes_off_what_cannot_be_captured(self) -> None:
        story = refused(StepKind.CAPTURE).tell(delivered("leeds"), delivered("lyon"))

        story.tell(on.OperatorSkipped("not worth it"))

        assert story.is_in(OrderStatus.SETTLED)
        assert ledger(story) == {Account.WRITE_OFFS: TOTAL_MINOR, Account.REVENUE: -TOTAL_MINOR}

    def test_closes_a_return_that_was_repaid_elsewhere(self) -> None:
        story = refused(StepKind.REFUND).tell(on.OperatorSkipped("sent a cheque"))

        assert [one.return_id for one in story.closed_returns] == [RETURN_ID]
        assert ledger(story)[Account.ELSEWHERE] == -1_300

    def test_ships_what_left_and_lets_go_of_the_rest(self) -> None:
        story = story_in(OrderStatus.CONFIRMED)
        story.tell(
            on.ShipmentPlanned(shipment_id("leeds"), "leeds"),
            dispatched("lyon"),
            on.ShipmentCancelled(shipment_id("leeds")),
        )
        assert story.state.stuck_since is not None

        story.tell(on.OperatorSkipped("the customer agrees"))
        assert story.is_in(OrderStatus.SHIPPED)
        story.pay(StepKind.CAPTURE).pay(StepKind.VOID).tell(delivered("lyon"))

        assert story.is_in(OrderStatus.SETTLED)
        assert story.state.payment.captured_minor == PARCELS_MINOR["lyon"]
        assert story.state.payment.voided_minor == PARCELS_MINOR["leeds"]

    def test_takes_a_persons_word_for_an_arrival(self) -> None:
        story = story_in(OrderStatus.SHIPPED).wait(TimerKind.DELIVERY).tell(on.OperatorSkipped("the customer has it"))

        assert story.is_in(OrderStatus.DELIVERED)
        assert story.event_types[-1] == "order.delivered"

    @pytest.mark.parametrize("status", [OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.SETTLED])
    def test_of_what_is_not_stuck_is_refused(self, status: OrderStatus) -> None:
        assert story_in(status).tell(on.OperatorSkipped("just so")).answer is Answer.REJECT


class TestForcedCompensation:
    @pytest.mark.parametrize(
        "status",
        [one for one in OrderStatus if one not in {OrderStatus.SETTLED, OrderStatus.REFUSED, OrderStatus.CANCELLED}],
    )
    def test_ends_an_order_wherever_it_is_without_keeping_a_penny(self, status: OrderStatus) -> None:
        story = story_in(status).tell(on.OperatorCompensated("fraud"))
        assert story.is_in(OrderStatus.CANCELLED)

        for _ in range(3):
            for step in [step for step in story.state.steps if step.status is StepStatus.PENDING]:
                story.tell(success(step))

        payment = story.state.payment
        assert payment.held_minor == 0
        assert payment.captured_minor == payment.refunded_minor
        assert ledger(story).get(Account.CLEARING, 0) == ledger(story).get(Account.RECEIVABLE, 0) == 0

    @pytest.mark.parametrize(
        ("charged", "refunded_minor"), [(2, TOTAL_MINOR), (1, PARCELS_MINOR["leeds"]), (0, 0)], ids=str
    )
    def test_closes_a_return_that_waits_for_its_money_with_what_comes(self, charged: int, refunded_minor: int) -> None:
        story = story_in(OrderStatus.DELIVERED).tell(on.RefundRequested(RETURN_ID, TOTAL_MINOR))
        captures = [step for step in story.state.steps if step.kind is StepKind.CAPTURE]
        assert [step.amount_minor for step in captures] == [PARCELS_MINOR["leeds"], PARCELS_MINOR["lyon"]]

        story.tell(on.OperatorCompensated("fraud"))
        for number, step in enumerate(captures):
            story.tell(success(step) if number < charged else on.CaptureDeclined(step.id, "expired"))
        for step in [step for step in story.state.steps if step.status is StepStatus.PENDING]:
            story.tell(success(step))

        payment = story.state.payment
        assert (payment.captured_minor, payment.refunded_minor, payment.held_minor) == (
            refunded_minor,
            refunded_minor,
            0,
        )
        assert story.closed_returns == [CloseReturn(RETURN_ID, refunded_minor)]
        assert not any(step.status in OPEN_STEP for step in story.state.steps)

    def test_notes_a_parcel_that_leaves_all_the_same(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(on.OperatorCompensated("fraud"))
        before = story.state.payment

        story.tell(dispatched("leeds")).tell(delivered("leeds"))

        assert story.is_in(OrderStatus.CANCELLED)
        assert [(one.status, one.warehouse) for one in story.state.shipments] == [(ShipmentStatus.DELIVERED, "leeds")]
        assert story.state.payment == before

    def test_has_each_parcel_that_leaves_all_the_same_told_of_once(self) -> None:
        planned = on.ShipmentPlanned(shipment_id("leeds"), "leeds")
        story = story_in(OrderStatus.CONFIRMED).tell(planned, on.OperatorCompensated("fraud"))

        story.tell(dispatched("leeds"), dispatched("leeds"), delivered("leeds"))
        assert unstopped(story) == [shipment_id("leeds")]

        # Of this one nothing was heard before.
        story.tell(delivered("lyon"))
        assert unstopped(story) == [shipment_id("leeds"), shipment_id("lyon")]

    def test_has_no_parcel_told_of_that_was_known_to_have_left(self) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(dispatched("leeds"), on.OperatorCompensated("fraud"))

        story.tell(delivered("leeds"))
        assert story.is_in(OrderStatus.CANCELLED)
        assert unstopped(story) == []

        story.tell(dispatched("lyon"))
        assert unstopped(story) == [shipment_id("lyon")]

    @pytest.mark.parametrize(("returned_minor", "owed_minor"), [(0, [1_500]), (600, [900]), (1_500, [])])
    def test_of_an_exchange_asks_back_only_what_did_not_go_back_for_its_goods(
        self, returned_minor: int, owed_minor: list[int]
    ) -> None:
        origin = Origin(order_id=UUID(int=2), prepaid_minor=1_500)
        order = an_order()
        story = Story.received(
            replace(order, facts=replace(order.facts, channel=EXCHANGE_CHANNEL, total_minor=0, origin=origin))
        )
        story.tell(on.ReviewPassed(), stock_reserved(), dispatched("leeds"), dispatched("lyon"))
        assert story.is_in(OrderStatus.SHIPPED)

        story.tell(on.OperatorCompensated("never arrived", returned_minor=returned_minor))

        told = [(one.order_id, one.message) for one in story.commands if isinstance(one, Tell)]
        assert told == [(origin.order_id, on.ExchangeEnded(story.state.id, minor)) for minor in owed_minor]

    def test_lets_go_of_what_could_not_be_captured(self) -> None:
        story = story_in(OrderStatus.SHIPPED).tell(on.OperatorCompensated("fraud"))

        failed(story, StepKind.CAPTURE).pay(StepKind.VOID)

        assert story.state.payment.voided_minor == TOTAL_MINOR
        assert ledger(story) == {}


@given(
    st.lists(
        st.builds(Transfer, step_id=st.uuids(), fact=st.sampled_from(Fact), amount_minor=st.integers(1, 2**53)),
        max_size=20,
    )
)
def test_a_ledger_sums_to_zero(transfers: list[Transfer]) -> None:
    assert sum(balances(transfers).values()) == 0


def refused(kind: StepKind) -> Story:
    """Return an order of which the provider has refused something."""
    match kind:
        case StepKind.REFUND:
            story = story_in(OrderStatus.SETTLED).tell(on.RefundRequested(RETURN_ID, 1_300))
        case StepKind.VOID:
            story = story_in(OrderStatus.RESERVED).pay(StepKind.AUTHORISE).tell(on.OperatorCompensated("fraud"))
        case _:
            story = story_in(OrderStatus.SHIPPED)
    return failed(story, kind)
