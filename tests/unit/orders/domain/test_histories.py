"""
Histories that were recorded once are told again: what an order did then, it does today.

Where a change of behaviour is meant, record anew with `python -m tests.unit.orders.domain.test_histories` and read the
difference: it is what open orders will live through on the day of the deployment.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from msgspec.structs import replace

from services.orders.domain import messages as on
from services.orders.domain.order import OrderStatus
from services.orders.domain.state import StepKind, StepStatus, TimerKind
from tests.unit.orders.domain.worlds import (
    PARCELS_MINOR,
    Story,
    an_order,
    delivered,
    dispatched,
    in_one_place,
    shipment_id,
    stock_backordered,
    stock_reserved,
)

FILE = Path(__file__).parent / "histories" / "histories.json"
KINDS = {kind.name: kind for kind in on.MESSAGES}
EDIT_ID = UUID(int=700)
RETURN = on.RefundRequested(shipment_id("lyon"), 1_300)


class Teller(Story):
    """A story that keeps what it was told, and when."""

    def tell(self, *messages: on.Message) -> "Teller":
        for message in messages:
            super().tell(message)
            assert self.last is not None
            LINES.append({"at": self.now, "message": written(message), "outcome": outcome(self)})
        return self


LINES: list[dict[str, Any]] = []


def written(message: on.Message) -> dict[str, Any]:
    return {"name": message.name, "fields": msgspec.to_builtins(message)}


def read(line: Mapping[str, Any]) -> on.Message:
    return msgspec.convert(line["message"]["fields"], KINDS[line["message"]["name"]])


def outcome(story: Story) -> dict[str, Any]:
    """Return what a message made of the order and what was to be done about it."""
    assert story.last is not None
    state = story.state
    found = {
        "answer": story.last.answer,
        "status": state.status,
        "reason": state.status_reason,
        "sequence": state.sequence,
        "version": state.version,
        "is_stuck": state.stuck_since is not None,
        "deadline_at": state.deadline_at,
        "payment": state.payment,
        "steps": state.steps,
        "shipments": state.shipments,
        "commands": story.last.commands,
        "timers": story.last.timers,
        "entered": story.last.entered,
    }
    builtins: dict[str, Any] = msgspec.to_builtins(found)
    for command, shown in zip(story.last.commands, builtins["commands"], strict=True):
        shown["command"] = type(command).__name__
    return builtins


def shipped(story: Story) -> Story:
    story.tell(on.ReviewPassed(), stock_reserved(1)).pay(StepKind.AUTHORISE)
    for place in ("leeds", "lyon"):
        story.tell(on.ShipmentPlanned(shipment_id(place), place))
    return story.tell(dispatched("leeds"), dispatched("lyon"))


def settled(story: Story) -> None:
    shipped(story).pay(StepKind.CAPTURE).tell(delivered("leeds"), delivered("lyon"), RETURN).pay(StepKind.REFUND)


def declined(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_reserved(1))
    story.tell(on.AuthorisationDeclined(story.state.steps[-1].id, "card-declined"))


def held_and_refused(story: Story) -> None:
    story.tell(on.ReviewHeld(("amount-above-limit",)), on.ReviewRefused("a known fraud"))


def called_off_before_the_money_came(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_reserved(1), on.CancellationRequested("changed-mind"))
    story.pay(StepKind.AUTHORISE).pay(StepKind.VOID)


def called_off_after_the_confirmation(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_reserved(1)).pay(StepKind.AUTHORISE)
    story.tell(on.CancellationRequested("changed-mind"))
    for place in ("leeds", "lyon"):
        story.tell(on.ShipmentPlanned(shipment_id(place), place), on.ShipmentCancelled(shipment_id(place)))
    story.pay(StepKind.VOID)


def paid_too_late(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_reserved(1)).wait(TimerKind.PAYMENT).pay(StepKind.AUTHORISE)
    story.pay(StepKind.VOID)


def waited_for_goods_in_vain(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_backordered(1)).wait(TimerKind.BACKORDER)


def waited_for_goods_twice(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_backordered(1), stock_reserved(2), stock_backordered(3))
    story.pay(StepKind.AUTHORISE).tell(stock_reserved(4), dispatched("leeds"), dispatched("lyon"))


def lost_a_parcel(story: Story) -> None:
    shipped(story).pay(StepKind.CAPTURE).tell(on.ShipmentFailed(shipment_id("leeds"), "nobody home"))
    story.tell(on.ParcelGivenUp(shipment_id("leeds"), PARCELS_MINOR["leeds"], "lost"), delivered("lyon"))
    story.pay(StepKind.REFUND)


def could_not_be_captured_at_first(story: Story) -> None:
    shipped(story)
    story.tell(*(on.CaptureDeclined(step.id, "issuer-not-available") for step in story.state.steps[1:]))
    story.tell(on.OperatorRetried("the bank is back")).pay(StepKind.CAPTURE)


def was_ended_by_a_person(story: Story) -> None:
    shipped(story).tell(on.OperatorCompensated("fraud")).pay(StepKind.CAPTURE).pay(StepKind.REFUND)


def recalled(story: Story, quantity: int) -> Story:
    """Let a confirmed order want so many chairs, and its parcels be stopped."""
    story.tell(on.ReviewPassed(), stock_reserved(1)).pay(StepKind.AUTHORISE)
    lines = (replace(an_order().lines[0], quantity=quantity), an_order().lines[1])
    story.tell(on.OrderEdited(EDIT_ID, story.state.sequence, "changed-mind", lines=lines))
    if story.state.steps[-1].status is StepStatus.PENDING:
        story.pay(StepKind.AUTHORISE)
    for place in ("leeds", "lyon"):
        story.tell(on.ShipmentPlanned(shipment_id(place), place), on.ShipmentCancelled(shipment_id(place)))
    allocations = [
        replace(one, quantity=quantity) if one.warehouse == "leeds" else one for one in stock_reserved().allocations
    ]
    return story.tell(on.StockChanged(EDIT_ID, "changed-mind", lines, 2, tuple(allocations)))


def wanted_less(story: Story) -> None:
    recalled(story, 1).tell(dispatched("leeds", 1), dispatched("lyon", 1)).pay(StepKind.CAPTURE).pay(StepKind.VOID)
    story.tell(delivered("leeds", 1), delivered("lyon", 1))


def wanted_more(story: Story) -> None:
    recalled(story, 4).tell(dispatched("leeds", 1), dispatched("lyon", 1)).pay(StepKind.CAPTURE)
    story.tell(delivered("leeds", 1), delivered("lyon", 1), on.RefundRequested(RETURN.return_id, 8_000)).pay(
        StepKind.REFUND
    )


def reviewed_late(story: Story) -> None:
    story.tell(on.ReviewHeld(("first-order",), 60, "rules/7"), on.DeadlinePassed(TimerKind.REVIEW_ESCALATION))
    settled(story)


def reviewed_by_nobody(story: Story) -> None:
    story.tell(on.ReviewHeld(("first-order",), 60, "rules/7")).wait(TimerKind.REVIEW)


def divided(story: Story) -> Story:
    """Let an order go ahead without two of its mirrors."""
    story.tell(on.ReviewPassed(), in_one_place(1, 1)).pay(StepKind.AUTHORISE)
    return story.tell(on.ShipmentPlanned(shipment_id("leeds"), "leeds"), dispatched("leeds")).pay(StepKind.CAPTURE)


def got_the_rest_later(story: Story) -> None:
    divided(story).tell(delivered("leeds"), on.RemainderShipped(shipment_id("lyon"))).pay(StepKind.CAPTURE)


def lost_the_rest(story: Story) -> None:
    got_the_rest_later(story)
    minor = story.state.payment.shipped_remainder_minor
    story.tell(on.RemainderLost(shipment_id("lyon"), minor)).pay(StepKind.REFUND)


def never_got_the_rest(story: Story) -> None:
    divided(story).tell(on.RemainderEnded("backorder-expired"), delivered("leeds")).pay(StepKind.VOID)


def was_called_off_with_its_rest(story: Story) -> None:
    story.tell(on.ReviewPassed(), in_one_place(1, 1)).pay(StepKind.AUTHORISE)
    story.tell(on.ShipmentPlanned(shipment_id("leeds"), "leeds"), on.CancellationRequested("changed-mind"))
    story.tell(on.RemainderEnded("changed-mind"), on.ShipmentCancelled(shipment_id("leeds"))).pay(StepKind.VOID)


def waited_on(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_backordered(1))
    story.tell(on.WaitProlonged("patient", story.now + timedelta(days=60)), stock_reserved(2)).pay(StepKind.AUTHORISE)


def was_exchanged_in_vain(story: Story) -> None:
    settled(story)
    story.tell(on.ExchangeEnded(shipment_id("leeds"), 1_300)).pay(StepKind.REFUND)


def could_not_be_paid_back(story: Story) -> None:
    shipped(story).pay(StepKind.CAPTURE).tell(delivered("leeds"), RETURN)
    story.tell(on.RefundDeclined(story.state.steps[-1].id, "card-expired"), on.OperatorSkipped("paid by transfer"))
    story.tell(delivered("lyon"))


def could_not_be_let_go_of(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_reserved()).wait(TimerKind.PAYMENT).pay(StepKind.AUTHORISE)
    story.tell(on.VoidDeclined(story.state.steps[-1].id, "expired"), on.OperatorSkipped("the hold has expired"))


def was_never_to_be_had(story: Story) -> None:
    story.tell(on.ReviewPassed(), on.StockRejected("insufficient-stock"))


def was_called_off_before_anybody_was_asked(story: Story) -> None:
    story.tell(on.ReviewPassed(), stock_reserved(), on.CancellationRequested("changed-mind"))
    story.tell(on.AuthorisationWithdrawn(story.state.steps[-1].id))


def found_again_by_a_person(story: Story) -> None:
    shipped(story).pay(StepKind.CAPTURE).wait(TimerKind.DELIVERY).tell(on.OperatorSkipped("the customer has it"))


def wanted(story: Story, quantity: int) -> Story:
    """Let a confirmed order want so many chairs."""
    story.tell(on.ReviewPassed(), stock_reserved(1)).pay(StepKind.AUTHORISE)
    lines = (replace(an_order().lines[0], quantity=quantity), an_order().lines[1])
    return story.tell(on.OrderEdited(EDIT_ID, story.state.sequence, "changed-mind", lines=lines))


def wanted_what_could_not_be_paid(story: Story) -> None:
    wanted(story, 4)
    story.tell(on.AuthorisationDeclined(story.state.steps[-1].id, "card-declined"))


def wanted_and_was_paid_too_late(story: Story) -> None:
    wanted(story, 4).wait(TimerKind.CANCELLATION).pay(StepKind.AUTHORISE).pay(StepKind.VOID)


def wanted_what_was_not_there(story: Story) -> None:
    wanted(story, 4).pay(StepKind.AUTHORISE)
    for place in ("leeds", "lyon"):
        story.tell(on.ShipmentPlanned(shipment_id(place), place), on.ShipmentCancelled(shipment_id(place)))
    story.tell(on.StockChangeRefused(EDIT_ID, "insufficient-stock", 2)).pay(StepKind.VOID)


def wanted_what_had_left(story: Story) -> None:
    wanted(story, 1).tell(dispatched("leeds"), dispatched("lyon")).pay(StepKind.CAPTURE)


HISTORIES: Mapping[str, Callable[[Story], object]] = {
    history.__name__: history
    for history in (
        settled,
        declined,
        held_and_refused,
        called_off_before_the_money_came,
        called_off_after_the_confirmation,
        paid_too_late,
        waited_for_goods_in_vain,
        waited_for_goods_twice,
        lost_a_parcel,
        could_not_be_captured_at_first,
        was_ended_by_a_person,
        wanted_less,
        wanted_more,
        reviewed_late,
        reviewed_by_nobody,
        got_the_rest_later,
        lost_the_rest,
        never_got_the_rest,
        was_called_off_with_its_rest,
        waited_on,
        was_exchanged_in_vain,
        could_not_be_paid_back,
        could_not_be_let_go_of,
        was_never_to_be_had,
        was_called_off_before_anybody_was_asked,
        found_again_by_a_person,
        wanted_what_could_not_be_paid,
        wanted_and_was_paid_too_late,
        wanted_what_was_not_there,
        wanted_what_had_left,
    )
}


def begin() -> Story:
    first = Story.received(an_order())
    return Teller(first.state, commands=first.commands, last=first.last)


def record() -> None:
    """Tell every history to the present code and keep what comes out."""
    recorded = {}
    for name, history in HISTORIES.items():
        LINES.clear()
        history(begin())
        recorded[name] = msgspec.to_builtins(LINES)
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(recorded), indent=1) + b"\n")


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_is_lived_again(name: str) -> None:
    recorded = msgspec.json.decode(FILE.read_bytes())[name]
    story = Story.received(an_order())

    for number, line in enumerate(recorded):
        story.now = msgspec.convert(line["at"], type=type(story.now))
        story.tell(read(line))

        assert msgspec.json.decode(msgspec.json.encode(outcome(story))) == line["outcome"], f"message {number}"


def test_the_histories_pass_through_every_stage_and_hear_every_message() -> None:
    recorded = msgspec.json.decode(FILE.read_bytes())

    stages = {line["outcome"]["status"] for lines in recorded.values() for line in lines}
    assert recorded.keys() == HISTORIES.keys()
    assert stages >= {one.value for one in OrderStatus if one is not OrderStatus.RECEIVED}
    assert {line["message"]["name"] for lines in recorded.values() for line in lines} == KINDS.keys()


if __name__ == "__main__":
    record()
