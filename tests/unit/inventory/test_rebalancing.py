"""Which moves between warehouses are worth it."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain.rebalancing import (
    Move,
    Position,
    RebalancingPolicy,
    is_outdated,
    plan_moves,
    short_units,
    spare_units,
    wanted_units,
)

# Four days to look ahead and ten to cover; a unit short costs 3.00 and a move 5.00.
POLICY = RebalancingPolicy(
    lead_days=3, review_days=1, cover_days=10, transfer_minor=500, shortage_share=0.3, shortage_minor=300
)


def plan(
    *positions: Position, policy: RebalancingPolicy = POLICY, unit_minor: float | None = None, km: float = 100.0
) -> list[Move]:
    return plan_moves(positions, policy, unit_minor=unit_minor, distance_km=lambda _source, _destination: km)


class TestPlan:
    def test_fills_a_place_that_runs_short_up_to_its_cover(self) -> None:
        [move] = plan(Position("LON", 100, per_day=2), Position("MAN", 1, per_day=2))

        assert (move.destination, move.chosen.source) == ("MAN", "LON")
        # Eight go before goods could come, twenty are its cover, and one is there.
        assert (move.short_units, move.chosen.units, move.chosen.avoided_units) == (7, 19, 7)
        assert (move.chosen.benefit_minor, move.chosen.cost_minor) == (2_100, 500)

    def test_does_nothing_while_enough_is_there_or_on_its_way(self) -> None:
        assert plan(Position("LON", 100), Position("MAN", 8, per_day=2)) == []
        assert plan(Position("LON", 100), Position("MAN", 0, incoming=8, per_day=2)) == []

    def test_takes_nothing_that_the_source_needs_itself(self) -> None:
        assert plan(Position("LON", 20, per_day=2), Position("MAN", 0, per_day=2)) == []
        [move] = plan(Position("LON", 26, per_day=2, outgoing=2), Position("MAN", 0, per_day=2))
        assert move.chosen.units == 4

    def test_brings_nothing_back_that_somebody_only_proposes_to_take_away(self) -> None:
        assert plan(Position("LON", 8, outgoing=400), Position("MAN", 26)) == []

    def test_does_nothing_that_costs_more_than_it_avoids(self) -> None:
        assert plan(Position("LON", 100), Position("MAN", 7, per_day=2)) == []
        dear = RebalancingPolicy(lead_days=3, review_days=1, cover_days=10, transfer_minor=0, unit_km_minor=2)
        assert plan(Position("LON", 100), Position("MAN", 0, per_day=2), policy=dear) == []
        assert plan(Position("LON", 100), Position("MAN", 0, per_day=2), policy=dear, km=1) != []

    def test_values_shortages_by_what_a_unit_is_worth(self) -> None:
        assert plan(Position("LON", 100), Position("MAN", 0, per_day=2), unit_minor=100) == []
        [move] = plan(Position("LON", 100), Position("MAN", 0, per_day=2), unit_minor=1_000)
        assert move.chosen.benefit_minor == 8 * 300

    def test_counts_what_orders_wait_for(self) -> None:
        [move] = plan(Position("LON", 100), Position("MAN", 0, backlog=3))
        assert (move.short_units, move.chosen.units) == (3, 3)

    def test_takes_from_several_where_one_is_not_enough_and_names_them_all(self) -> None:
        moves = plan(Position("LON", 6), Position("GLA", 5), Position("MAN", 0, per_day=2))

        assert [(move.chosen.source, move.chosen.units) for move in moves] == [("LON", 6), ("GLA", 5)]
        assert [option.source for option in moves[0].options] == ["LON", "GLA"]

    def test_is_revised_when_it_is_off_by_more_than_a_fifth(self) -> None:
        assert [is_outdated(10, wanted) for wanted in (7, 8, 10, 12, 13)] == [True, False, False, False, True]


amounts = st.integers(0, 60)
places = st.lists(
    st.builds(
        Position,
        st.sampled_from(("A", "B", "C", "D", "E")),
        available=amounts,
        incoming=amounts,
        outgoing=amounts,
        per_day=st.floats(0, 8, allow_nan=False),
        backlog=st.integers(0, 9),
    ),
    unique_by=lambda place: place.warehouse,
    max_size=5,
)


class TestAnyPositions:
    @given(positions=places, data=st.data())
    def test_are_planned_alike_in_any_order(self, positions: Sequence[Position], data: st.DataObject) -> None:
        assert plan(*positions) == plan(*data.draw(st.permutations(positions)))

    @given(positions=places)
    def test_keep_every_source_its_cover_and_fill_none_beyond_its_own(self, positions: Sequence[Position]) -> None:
        there = {place.warehouse: place for place in positions}
        given_units, taken, avoided = Counter[str](), Counter[str](), Counter[str]()
        for move in plan(*positions):
            assert move.chosen.units > 0
            assert move.chosen.score_minor > 0
            assert move.chosen.score_minor == max(option.score_minor for option in move.options)
            given_units[move.chosen.source] += move.chosen.units
            taken[move.destination] += move.chosen.units
            avoided[move.destination] += move.chosen.avoided_units
        assert not given_units.keys() & taken.keys()
        assert all(units <= spare_units(there[code], POLICY) for code, units in given_units.items())
        assert all(units <= wanted_units(there[code], POLICY) for code, units in taken.items())
        assert all(units <= short_units(there[code], POLICY) for code, units in avoided.items())

    @given(positions=places)
    def test_need_nothing_more_once_what_was_planned_is_on_its_way(self, positions: Sequence[Position]) -> None:
        free = RebalancingPolicy(lead_days=3, review_days=1, cover_days=10, transfer_minor=0)
        moves = plan(*positions, policy=free)
        after = {place.warehouse: place for place in positions}
        for move in moves:
            source, destination = after[move.chosen.source], after[move.destination]
            after[source.warehouse] = source._replace(outgoing=source.outgoing + move.chosen.units)
            after[destination.warehouse] = destination._replace(incoming=destination.incoming + move.chosen.units)

        again = plan(*after.values(), policy=free)

        assert again == []
