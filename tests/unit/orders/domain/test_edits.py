"""What an edit makes of an order, and where it comes too late."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from libs.common.events.orders import OrderApproved, OrderEdited, OrderEditRequested
from libs.common.events.shapes import Destination, SkuQuantity
from services.orders.domain import messages as on
from services.orders.domain.edits import AddedLine, LineNotInOrder, LineQuantity, NothingToEdit, edited_lines
from services.orders.domain.order import OrderLine, OrderStatus, total_of
from services.orders.domain.state import Answer, StepKind
from tests.unit.orders.domain.worlds import (
    TOTAL_MINOR,
    an_order,
    dispatched,
    stock_backordered,
    stock_reserved,
    story_in,
)

EDIT_ID = UUID(int=700)
LINES = an_order().lines
LYON = Destination(country="GB", latitude=53.8, longitude=-1.5)


def other_lines(sequence: int, *lines: OrderLine) -> on.OrderEdited:
    return on.OrderEdited(EDIT_ID, sequence, "one more", lines=lines or (structs.replace(LINES[0], quantity=4),))


def elsewhere(sequence: int) -> on.OrderEdited:
    return on.OrderEdited(EDIT_ID, sequence, "moved", destination=LYON)


class TestLines:
    def test_are_changed_removed_and_added_under_their_own_numbers(self) -> None:
        found = edited_lines(
            LINES,
            [LineQuantity(line=1, quantity=7), LineQuantity(line=2, quantity=0)],
            [AddedLine(sku="LAMP", quantity=1, unit_price_minor=900)],
        )

        assert [(line.line, line.sku, line.quantity) for line in found] == [(1, "CRUNCHY-ARMCHAIR", 7), (3, "LAMP", 1)]
        assert found[0].unit_price_minor == LINES[0].unit_price_minor

    def test_that_the_order_does_not_have_are_named(self) -> None:
        with pytest.raises(LineNotInOrder) as refused:
            edited_lines(LINES, [LineQuantity(line=1, quantity=1), LineQuantity(line=3, quantity=1)], [])

        assert refused.value.field == "/lines/1/line"

    def test_are_never_none(self) -> None:
        with pytest.raises(NothingToEdit):
            edited_lines(LINES, [LineQuantity(line=line.line, quantity=0) for line in LINES], [])

    @given(
        quantities=st.dictionaries(st.sampled_from([1, 2]), st.integers(min_value=0, max_value=50)),
        added=st.lists(st.integers(min_value=1, max_value=9), max_size=3),
    )
    def test_add_up_to_the_total(self, quantities: dict[int, int], added: list[int]) -> None:
        changes = [LineQuantity(line=line, quantity=units) for line, units in quantities.items()]
        new = [AddedLine(sku="LAMP", quantity=units, unit_price_minor=7) for units in added]
        left = {line.line: quantities.get(line.line, line.quantity) for line in LINES}
        if not any(left.values()) and not added:
            return

        found = edited_lines(LINES, changes, new)

        expected = sum(left[line.line] * line.unit_price_minor for line in LINES) + 7 * sum(added)
        assert total_of(found) == expected
        assert len({line.line for line in found}) == len(found)


class TestHeld:
    def test_order_goes_on_with_other_lines(self) -> None:
        held = story_in(OrderStatus.HELD)
        deadline_at = held.state.deadline_at

        held.tell(other_lines(held.state.sequence))

        assert held.answer is Answer.ADVANCE
        assert (held.state.status, held.state.deadline_at) == (OrderStatus.HELD, deadline_at)
        assert held.state.facts.total_minor == 4 * LINES[0].unit_price_minor
        [edited] = [event for event in held.events if isinstance(event, OrderEdited)]
        assert (edited.total_minor, edited.is_address_changed) == (held.state.facts.total_minor, False)

        held.tell(on.ReviewPassed(), replace(stock_reserved(), allocations=stock_reserved().allocations[:1]))

        [approved] = [event for event in held.events if isinstance(event, OrderApproved)]
        assert approved.lines == [SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=4)]
        assert held.steps_asked_for == [(StepKind.AUTHORISE, 4 * LINES[0].unit_price_minor)]

    def test_order_is_edited_once_for_each_time_it_was_seen(self) -> None:
        held = story_in(OrderStatus.HELD)
        message = other_lines(held.state.sequence)

        held.tell(message, message)

        assert held.answer is Answer.IGNORE
        assert held.event_types.count("order.edited") == 1


class TestBackordered:
    def test_order_asks_inventory_before_anything_changes(self) -> None:
        story = story_in(OrderStatus.BACKORDERED)
        before = story.state

        story.tell(other_lines(before.sequence))

        [asked] = [event for event in story.events if isinstance(event, OrderEditRequested)]
        assert asked.lines == [SkuQuantity(sku="CRUNCHY-ARMCHAIR", quantity=4)]
        assert (story.state.facts, story.state.status, story.state.deadline_at) == (
            before.facts,
            OrderStatus.BACKORDERED,
            before.deadline_at,
        )

    def test_order_moves_in_its_lines_alone(self) -> None:
        story = story_in(OrderStatus.BACKORDERED)

        story.tell(replace(other_lines(story.state.sequence), destination=LYON))

        assert story.answer is Answer.REJECT

    def test_order_that_was_paid_before_keeps_its_lines(self) -> None:
        story = story_in(OrderStatus.RESERVED).tell(replace(stock_backordered(), version=9))
        assert story.state.status is OrderStatus.BACKORDERED

        story.tell(other_lines(story.state.sequence))

        assert story.answer is Answer.REJECT


class TestTooLate:
    @pytest.mark.parametrize(
        "status", sorted(set(OrderStatus) - {OrderStatus.HELD, OrderStatus.BACKORDERED, OrderStatus.CONFIRMED})
    )
    def test_lines_are_fixed_while_others_are_asked_and_once_it_left(self, status: OrderStatus) -> None:
        story = story_in(status)

        story.tell(other_lines(story.state.sequence))

        assert story.answer is Answer.REJECT
        assert story.state.facts.total_minor == TOTAL_MINOR

    @pytest.mark.parametrize("status", OrderStatus)
    def test_the_address_is_fixed_once_a_parcel_has_left(self, status: OrderStatus) -> None:
        story = story_in(status)
        before = story.state

        story.tell(elsewhere(story.state.sequence))

        may_move = OrderStatus.HELD, OrderStatus.APPROVED, OrderStatus.BACKORDERED, OrderStatus.RESERVED
        if status in (*may_move, OrderStatus.CONFIRMED):
            assert (story.answer, story.state.facts.destination) == (Answer.ADVANCE, LYON)
            assert (story.state.status, story.state.steps) == (before.status, before.steps)
        else:
            assert (story.answer, story.state) == (Answer.REJECT, before)

    @pytest.mark.parametrize("change", [elsewhere, other_lines])
    def test_one_parcel_is_enough(self, change: Callable[[int], on.OrderEdited]) -> None:
        story = story_in(OrderStatus.CONFIRMED).tell(dispatched("leeds"))

        story.tell(change(story.state.sequence))

        assert (story.state.status, story.answer) == (OrderStatus.CONFIRMED, Answer.REJECT)

    def test_an_edit_of_what_the_order_no_longer_is_changes_nothing(self) -> None:
        story = story_in(OrderStatus.CONFIRMED)

        story.tell(elsewhere(story.state.sequence - 1))

        assert story.answer is Answer.IGNORE
