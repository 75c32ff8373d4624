"""
Histories that were recorded once are told again: what an order did then, it does today.

Where a change of behaviour is meant, record anew with `python -m tests.unit.orders.domain.test_histories` and read the
difference: it is what open orders will live through on the day of the deployment.
"""

from collections.abc import Callable, Mapping
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


def test_the_histories_pass_through_every_stage() -> None:
    recorded = msgspec.json.decode(FILE.read_bytes())

    stages = {line["outcome"]["status"] for lines in recorded.values() for line in lines}
    assert recorded.keys() == HISTORIES.keys()
    assert stages >= {one.value for one in OrderStatus if one is not OrderStatus.RECEIVED}


if __name__ == "__main__":
    record()
