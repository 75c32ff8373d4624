"""Transfers: what their states answer, and how their units add up."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain.transfers import (
    REASONS,
    TRANSITIONS,
    Answer,
    Command,
    LineKey,
    Missing,
    Plan,
    Transfer,
    TransferRefused,
    TransferStatus,
)
from tests.unit.inventory.builders import ARMCHAIR, MIRROR, NOON, minutes

ID = UUID(int=1)


def planned(plan: Plan = Plan.APPROVED, units: Mapping[str, int] | None = None) -> Transfer:
    transfer = Transfer(transfer_id=ID, plan=plan, source="LON", destination="MAN")
    for sku, quantity in (units or {ARMCHAIR: 10}).items():
        transfer.request(sku, quantity)
    return transfer


def leave(transfer: Transfer, units: int, sku: str = ARMCHAIR, *, to: str = "MAN") -> int:
    return transfer.dispatch(sku, units, source="LON", destination=to, at=NOON)


def arrive(transfer: Transfer, units: int, sku: str = ARMCHAIR, *, at: str = "MAN") -> None:
    transfer.receive(sku, units, destination=at, at=minutes(60))


class TestTransitions:
    def test_answer_every_command_in_every_state(self) -> None:
        assert set(TRANSITIONS) == {(status, command) for status in TransferStatus for command in Command}

    def test_say_why_not(self) -> None:
        assert {answer for answer in TRANSITIONS.values() if answer not in {Answer.DO, Answer.DONE}} == set(REASONS)

    def test_never_cancel_what_has_left_nor_move_what_nobody_approved(self) -> None:
        moving = set(TransferStatus) - {TransferStatus.PROPOSED, TransferStatus.APPROVED, TransferStatus.CANCELLED}
        assert not any(TRANSITIONS[status, Command.CANCEL] is Answer.DO for status in moving)
        assert TRANSITIONS[TransferStatus.PROPOSED, Command.DISPATCH] is Answer.NOT_APPROVED

    def test_refuse_by_name(self) -> None:
        with pytest.raises(TransferRefused, match="has not been approved"):
            planned(Plan.PROPOSED).ask(Command.DISPATCH)
        assert planned(Plan.APPROVED).ask(Command.APPROVE) is False


class TestStatus:
    def test_is_the_plan_until_something_moves(self) -> None:
        assert [planned(plan).status for plan in Plan] == ["proposed", "approved", "cancelled"]

    def test_follows_what_left_and_arrived(self) -> None:
        transfer = planned()
        seen = []
        for step in (lambda: leave(transfer, 10), lambda: arrive(transfer, 8), lambda: arrive(transfer, 2)):
            step()
            seen.append(transfer.status)
        assert seen == ["dispatched", "partially-received", "received"]

    def test_is_not_received_while_part_of_the_plan_has_not_left(self) -> None:
        transfer = planned(units={ARMCHAIR: 5, MIRROR: 5})
        leave(transfer, 5)
        arrive(transfer, 5)
        assert transfer.status == "partially-received"

    def test_is_a_discrepancy_when_more_arrives_than_left(self) -> None:
        transfer = planned()
        leave(transfer, 10)
        arrive(transfer, 11)
        assert transfer.status == "discrepancy"

    def test_of_a_cancelled_plan_follows_facts_all_the_same(self) -> None:
        transfer = planned(Plan.CANCELLED)
        leave(transfer, 4)
        assert transfer.status == "dispatched"
        arrive(transfer, 4)
        assert transfer.status == "received"


class TestSettling:
    @pytest.mark.parametrize(("missing", "field"), [("write-off", "written_off"), ("return-to-source", "returned")])
    def test_takes_what_is_missing_for_what_it_is(self, missing: Missing, field: str) -> None:
        transfer = planned()
        leave(transfer, 10)
        arrive(transfer, 8)

        [settled] = transfer.settle(missing)

        assert (settled.missed, settled.found) == (2, 0)
        assert getattr(transfer.lines[LineKey(ARMCHAIR, "MAN")], field) == 2
        assert transfer.status == "closed"

    def test_finds_what_nobody_sent(self) -> None:
        transfer = planned()
        leave(transfer, 10)
        arrive(transfer, 12)

        [settled] = transfer.settle("write-off")

        assert (settled.missed, settled.found) == (0, 2)
        assert transfer.status == "closed"

    def test_is_open_again_when_something_comes_after_all(self) -> None:
        transfer = planned()
        leave(transfer, 10)
        transfer.settle("write-off")

        arrive(transfer, 10)

        assert transfer.status == "discrepancy"
        assert transfer.ask(Command.CLOSE)


class TestHolds:
    def test_shrink_with_what_leaves(self) -> None:
        transfer = planned()
        line = transfer.lines[LineKey(ARMCHAIR, "MAN")]
        line.held = 10

        assert (leave(transfer, 4), line.held) == (4, 6)
        assert (leave(transfer, 9), line.held) == (6, 0)

    def test_are_untouched_by_what_leaves_for_elsewhere(self) -> None:
        transfer = planned()
        transfer.lines[LineKey(ARMCHAIR, "MAN")].held = 10

        assert leave(transfer, 4, to="GLA") == 0


MOVES = st.tuples(
    st.sampled_from(("leave", "arrive")), st.integers(1, 9), st.sampled_from((ARMCHAIR, MIRROR)), st.sampled_from("AB")
)


class TestAnyOrder:
    @given(data=st.data(), moves=st.lists(MOVES, min_size=1, max_size=12))
    def test_of_the_same_reports_gives_the_same_transfer(self, data: st.DataObject, moves: list[Any]) -> None:
        whole, shuffled = (Transfer(transfer_id=ID) for _ in range(2))
        for transfer, order in ((whole, moves), (shuffled, data.draw(st.permutations(moves)))):
            for kind, units, sku, place in order:
                if kind == "leave":
                    transfer.dispatch(sku, units, source=f"S{place}", destination=place, at=minutes(units))
                else:
                    transfer.receive(sku, units, destination=place, at=minutes(units))

        for name in ("status", "lines", "from_warehouse", "to_warehouse", "dispatched_at", "received_at"):
            assert getattr(whole, name) == getattr(shuffled, name)

    @given(moves=st.lists(MOVES, min_size=1, max_size=12), missing=st.sampled_from(("write-off", "return-to-source")))
    def test_units_are_conserved_and_closing_leaves_nothing_open(self, moves: list[Any], missing: Missing) -> None:
        transfer = Transfer(transfer_id=ID)
        for kind, units, sku, place in moves:
            if kind == "leave":
                transfer.dispatch(sku, units, source="S", destination=place, at=NOON)
            else:
                transfer.receive(sku, units, destination=place, at=NOON)

        transfer.settle(missing)

        assert transfer.status == "closed"
        for line in transfer.lines.values():
            assert line.dispatched + line.found == line.in_transit + line.received + line.returned + line.written_off
            assert line.in_transit == 0
