"""Which moves between warehouses are worth it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain.rebalancing import (
    Move,
    Position,
    RebalancingPolicy,
    is_declined,
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
    *positions: Position,
    policy: RebalancingPolicy = POLICY,
    unit_minor: float | None = None,
    km: float = 100.0,
    declined: Mapping[tuple[str, str], int] | None = None,
) -> list[Move]:
    return plan_moves(
        positions, policy, unit_minor=unit_minor, distance_km=lambda _source, _destination: km, declined=declined or {}
    )


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


class TestDeclinedMoves:
    """London and Glasgow could fill Manchester up, with nineteen units; what is the same, goes by the alphabet."""

    PLACES = (Position("LON", 100, per_day=2), Position("GLA", 100, per_day=2), Position("MAN", 1, per_day=2))

    def test_are_left_to_the_next_source(self) -> None:
        assert [move.chosen.source for move in plan(*self.PLACES)] == ["GLA"]

        [move] = plan(*self.PLACES, declined={("GLA", "MAN"): 19})

        assert (move.chosen.source, move.chosen.units) == ("LON", 19)
        assert [(option.source, option.declined_units) for option in move.options] == [("LON", 0), ("GLA", 19)]

    def test_are_left_to_nobody_for_whom_it_is_not_worth_it(self) -> None:
        # One of the seven that will be missing is worth less than the move.
        places = (self.PLACES[1]._replace(warehouse="LON", available=21), self.PLACES[1], self.PLACES[2])
        assert plan(*places, declined={("GLA", "MAN"): 19}) == []

    def test_are_not_made_up_for_what_the_next_source_does_not_have(self) -> None:
        places = (self.PLACES[0]._replace(available=25), *self.PLACES[1:])

        [move] = plan(*places, declined={("GLA", "MAN"): 19})

        assert (move.chosen.source, move.chosen.units) == ("LON", 5)

    def test_rest_by_themselves_and_not_for_other_destinations(self) -> None:
        [move] = plan(*self.PLACES, declined={("GLA", "RTM"): 19, ("MAN", "GLA"): 19})
        assert move.chosen.source == "GLA"

    def test_are_nobodys_when_all_are_declined_unless_much_more_is_needed(self) -> None:
        assert plan(*self.PLACES, declined={("GLA", "MAN"): 19, ("LON", "MAN"): 17}) == []
        [move] = plan(*self.PLACES, declined={("GLA", "MAN"): 19, ("LON", "MAN"): 15})
        assert (move.chosen.source, move.chosen.units) == ("LON", 19)

    def test_wait_behind_what_nobody_declined_also_when_much_more_is_needed(self) -> None:
        [move] = plan(*self.PLACES, declined={("GLA", "MAN"): 2})
        assert move.chosen.source == "LON"


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
refusals = st.dictionaries(
    st.tuples(st.sampled_from(("A", "B", "C", "D", "E")), st.sampled_from(("A", "B", "C", "D", "E"))),
    st.integers(1, 60),
)


class TestAnyPositions:
    @given(positions=places, data=st.data())
    def test_are_planned_alike_in_any_order(self, positions: Sequence[Position], data: st.DataObject) -> None:
        assert plan(*positions) == plan(*data.draw(st.permutations(positions)))

    @given(positions=places, declined=refusals)
    def test_keep_every_source_its_cover_and_fill_none_beyond_its_own(
        self, positions: Sequence[Position], declined: Mapping[tuple[str, str], int]
    ) -> None:
        there = {place.warehouse: place for place in positions}
        given_units, taken, avoided = Counter[str](), Counter[str](), Counter[str]()
        for move in plan(*positions, declined=declined):
            assert move.chosen.units > 0
            assert move.chosen.score_minor > 0
            asked_first = [option for option in move.options if not option.declined_units] or move.options
            if not move.chosen.declined_units:
                assert move.chosen.score_minor == max(option.score_minor for option in asked_first)
            assert not is_declined(declined.get((move.chosen.source, move.destination), 0), move.chosen.units)
            given_units[move.chosen.source] += move.chosen.units
            taken[move.destination] += move.chosen.units
            avoided[move.destination] += move.chosen.avoided_units
        assert not given_units.keys() & taken.keys()
        assert all(units <= spare_units(there[code], POLICY) for code, units in given_units.items())
        assert all(units <= wanted_units(there[code], POLICY) for code, units in taken.items())
        assert all(units <= short_units(there[code], POLICY) for code, units in avoided.items())

    @given(positions=places, declined=refusals)
    def test_need_nothing_more_once_what_was_planned_is_on_its_way(
        self, positions: Sequence[Position], declined: Mapping[tuple[str, str], int]
    ) -> None:
        free = RebalancingPolicy(lead_days=3, review_days=1, cover_days=10, transfer_minor=0)
        moves = plan(*positions, policy=free, declined=declined)
        after = {place.warehouse: place for place in positions}
        for move in moves:
            source, destination = after[move.chosen.source], after[move.destination]
            after[source.warehouse] = source._replace(outgoing=source.outgoing + move.chosen.units)
            after[destination.warehouse] = destination._replace(incoming=destination.incoming + move.chosen.units)

        again = plan(*after.values(), policy=free, declined=declined)

        assert again == []
