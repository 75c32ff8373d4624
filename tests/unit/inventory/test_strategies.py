"""What each strategy prefers, and that the choice is the best of all that could have been made."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.shapes import Allocation, Destination
from services.inventory.domain.allocation import Choice, allocate
from services.inventory.domain.strategies import AllocationPolicy, DailyDemand, ShippingCost, Strategy, Weights
from services.inventory.domain.warehouses import RankedWarehouse, Warehouse, rank
from tests.unit.inventory.builders import ARMCHAIR, LAMP, MIRROR, TO_LONDON, WAREHOUSES

RANKING = rank(WAREHOUSES, TO_LONDON)
KM = {one.code: one.distance_km or 0.0 for one in RANKING}
CODES = tuple(one.code for one in RANKING)
SKUS = (ARMCHAIR, MIRROR, LAMP)


def choose(
    wanted: Mapping[str, int],
    free: Mapping[str, Mapping[str, int]],
    strategy: Strategy,
    *,
    demand: DailyDemand | None = None,
    ranking: Sequence[RankedWarehouse] = RANKING,
    is_split_allowed: bool = True,
    **policy: object,
) -> Choice:
    return allocate(
        wanted,
        free,
        ranking,
        is_split_allowed=is_split_allowed,
        policy=AllocationPolicy(strategy=strategy, **policy),  # type: ignore[arg-type]
        demand=demand or {},
    )


class TestFewestSplits:
    def test_leaves_lines_whole_rather_than_going_a_shorter_way(self) -> None:
        free = {ARMCHAIR: {"LON": 2, "MAN": 1, "GLA": 3}, MIRROR: {"LON": 1}}

        nearest = choose({ARMCHAIR: 3, MIRROR: 1}, free, Strategy.SINGLE_SOURCE_FIRST)
        fewest = choose({ARMCHAIR: 3, MIRROR: 1}, free, Strategy.FEWEST_SPLITS)

        assert set(nearest.warehouses) == {"LON", "MAN"}
        assert set(fewest.warehouses) == {"LON", "GLA"}


class TestNearest:
    def test_takes_two_near_warehouses_rather_than_a_far_one(self) -> None:
        free = {ARMCHAIR: {"LON": 1, "MAN": 1, "GLA": 2}}

        assert choose({ARMCHAIR: 2}, free, Strategy.NEAREST).warehouses == ("LON", "MAN")
        assert choose({ARMCHAIR: 2}, free, Strategy.SINGLE_SOURCE_FIRST).warehouses == ("GLA",)


class TestCheapest:
    def test_weighs_a_second_parcel_against_the_way(self) -> None:
        free = {ARMCHAIR: {"LON": 1, "MAN": 1, "GLA": 2}}

        def warehouses(parcel_minor: float) -> tuple[str, ...]:
            cost = ShippingCost(parcel_minor=parcel_minor, per_km_minor=1)
            return choose({ARMCHAIR: 2}, free, Strategy.CHEAPEST, cost=cost).warehouses

        assert warehouses(10) == ("LON", "MAN")
        assert warehouses(1_000) == ("GLA",)

    def test_goes_by_the_costs_of_each_warehouse(self) -> None:
        free = {ARMCHAIR: {"LON": 5, "RTM": 5}}
        costs = {"LON": ShippingCost(parcel_minor=500, per_unit_minor=50), "RTM": ShippingCost(per_km_minor=1)}

        choice = choose({ARMCHAIR: 2}, free, Strategy.CHEAPEST, costs=costs)

        assert choice.warehouses == ("RTM",)
        assert [(one.warehouses, one.cost_minor) for one in choice.options] == [
            (("RTM",), KM["RTM"]),
            (("LON",), 600.0),
        ]


class TestBalanceCover:
    def test_takes_where_stock_lasts_longest_whatever_the_way(self) -> None:
        free = {ARMCHAIR: {"LON": 20, "GLA": 12}}
        demand = {ARMCHAIR: {"LON": 10.0, "GLA": 1.0}}

        choice = choose({ARMCHAIR: 2}, free, Strategy.BALANCE_COVER, demand=demand)

        assert choice.warehouses == ("GLA",)
        assert [one.cover_left for one in choice.options] == [10.0, 1.8]

    def test_goes_by_units_for_what_is_wanted_where_demand_is_not_known(self) -> None:
        free = {ARMCHAIR: {"LON": 20, "GLA": 12}, MIRROR: {"LON": 2, "GLA": 9}}

        choice = choose(
            {ARMCHAIR: 2, MIRROR: 1}, free, Strategy.BALANCE_COVER, demand={ARMCHAIR: {"LON": 10.0, "GLA": 1.0}}
        )

        assert choice.warehouses == ("GLA",)
        assert [one.cover_left for one in choice.options] == [5.0, 1.0]

    def test_does_not_send_two_parcels_to_balance(self) -> None:
        free = {ARMCHAIR: {"LON": 1, "GLA": 500}, MIRROR: {"LON": 1, "MAN": 500}}

        assert choose({ARMCHAIR: 1, MIRROR: 1}, free, Strategy.BALANCE_COVER).warehouses == ("LON",)


class TestWeighted:
    FREE: Mapping[str, Mapping[str, int]] = {ARMCHAIR: {"LON": 1, "MAN": 1, "GLA": 200}}

    @pytest.mark.parametrize(
        ("weights", "warehouses"),
        [
            (Weights(parcels=1, distance=1), ("GLA",)),
            (Weights(parcels=0.1, distance=1), ("LON", "MAN")),
            (Weights(parcels=0.1, distance=1, cover=1), ("GLA",)),
        ],
    )
    def test_is_as_the_weights_say(self, weights: Weights, warehouses: tuple[str, ...]) -> None:
        choice = choose({ARMCHAIR: 2}, self.FREE, Strategy.WEIGHTED, weights=weights)

        assert choice.warehouses == warehouses

    def test_heeds_the_priority_of_warehouses(self) -> None:
        ranking = [RankedWarehouse("A", 10.0, 100), RankedWarehouse("B", 30.0, 1)]

        choice = choose(
            {ARMCHAIR: 1},
            {ARMCHAIR: {"A": 1, "B": 1}},
            Strategy.WEIGHTED,
            ranking=ranking,
            weights=Weights(distance=1, priority=1),
        )

        assert choice.warehouses == ("B",)

    def test_says_its_weights_in_its_rule(self) -> None:
        weights = Weights(parcels=2, distance=0.5, cover=0)

        assert choose({ARMCHAIR: 2}, self.FREE, Strategy.WEIGHTED, weights=weights).rule == (
            "weighted/1;parcels=2,distance=0.5"
        )


class TestChannel:
    def test_has_its_own_strategy(self) -> None:
        policy = AllocationPolicy(strategy_by_channel={"marketplace": Strategy.NEAREST})
        free = {ARMCHAIR: {"LON": 1, "MAN": 1, "GLA": 2}}

        def rule(channel: str | None) -> str:
            return allocate({ARMCHAIR: 2}, free, RANKING, is_split_allowed=True, policy=policy, channel=channel).rule

        assert [rule("marketplace"), rule("web"), rule(None)] == [
            "nearest/1",
            "single-source-first/1",
            "single-source-first/1",
        ]


COSTS = {"LON": ShippingCost(400, 0, 3), "MAN": ShippingCost(100, 1, 50), "GLA": ShippingCost(0, 2, 7)}
DEFAULT_COST = ShippingCost(250, 0.5, 20)
WEIGHTS = Weights(parcels=0.3, distance=1, cost=0.7, cover=0.5, priority=0.1)

wanted_units = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 6), min_size=1)
free_units = st.fixed_dictionaries({sku: st.dictionaries(st.sampled_from(CODES), st.integers(0, 6)) for sku in SKUS})
rates = st.dictionaries(
    st.sampled_from(SKUS), st.dictionaries(st.sampled_from(CODES), st.sampled_from([0.0, 0.5, 2.0, 9.0]))
)
any_strategy = st.sampled_from(Strategy)


class TestAnyChoice:
    @given(wanted_units, free_units, rates, any_strategy, st.booleans())
    def test_is_the_best_of_all_combinations(
        self,
        wanted: dict[str, int],
        free: dict[str, dict[str, int]],
        demand: DailyDemand,
        strategy: Strategy,
        is_split_allowed: bool,  # noqa: FBT001 - drawn by Hypothesis
    ) -> None:
        choice = _choose(wanted, free, demand, strategy, is_split_allowed=is_split_allowed)

        scores = [
            _score(taken, wanted, free, demand, strategy)
            for taken in _ways(wanted, free, demand, strategy, parcels_max=3 if is_split_allowed else 1)
        ]
        if scores:
            assert choice.options[0].score == pytest.approx(min(scores), abs=2e-6)
            assert choice.allocations is not None
            assert _score(choice.allocations, wanted, free, demand, strategy) == pytest.approx(min(scores), abs=2e-6)

    @given(wanted_units, free_units, rates, any_strategy)
    def test_is_exactly_what_was_wanted_and_takes_only_what_is_free(
        self, wanted: dict[str, int], free: dict[str, dict[str, int]], demand: DailyDemand, strategy: Strategy
    ) -> None:
        choice = _choose(wanted, free, demand, strategy)

        is_enough = all(sum(free[sku].values()) >= units for sku, units in wanted.items())
        assert (choice.allocations is not None) == is_enough
        taken = choice.allocations or ()
        for sku, units in wanted.items() if taken else ():
            assert sum(one.quantity for one in taken if one.sku == sku) == units
        assert all(0 < one.quantity <= free[one.sku][one.warehouse] for one in taken)
        if taken:
            assert set(choice.options[0].warehouses) == set(choice.warehouses)

    @given(wanted_units, free_units, rates, any_strategy, st.permutations(WAREHOUSES))
    def test_does_not_depend_on_the_order_of_the_warehouses(
        self,
        wanted: dict[str, int],
        free: dict[str, dict[str, int]],
        demand: DailyDemand,
        strategy: Strategy,
        warehouses: list[Warehouse],
    ) -> None:
        for destination in (TO_LONDON, Destination(country="NL")):
            shuffled = {sku: dict(reversed(by_code.items())) for sku, by_code in free.items()}

            choice = _choose(wanted, free, demand, strategy, ranking=rank(WAREHOUSES, destination))

            assert choice == _choose(wanted, shuffled, demand, strategy, ranking=rank(warehouses, destination))


def _choose(
    wanted: dict[str, int],
    free: dict[str, dict[str, int]],
    demand: DailyDemand,
    strategy: Strategy,
    *,
    ranking: Sequence[RankedWarehouse] = RANKING,
    is_split_allowed: bool = True,
) -> Choice:
    return choose(
        wanted,
        free,
        strategy,
        demand=demand,
        ranking=ranking,
        is_split_allowed=is_split_allowed,
        weights=WEIGHTS,
        cost=DEFAULT_COST,
        costs=COSTS,
    )


def _ways(
    wanted: dict[str, int], free: dict[str, dict[str, int]], demand: DailyDemand, strategy: Strategy, parcels_max: int
) -> Iterator[list[Allocation]]:
    """Yield what every combination would serve: each line whole from the first that has it, else bit by bit."""
    for size in range(1, parcels_max + 1):
        for codes in combinations(CODES, size):
            order = list(codes)
            if strategy is Strategy.CHEAPEST:
                order.sort(key=lambda code: COSTS.get(code, DEFAULT_COST).per_unit_minor)
            elif strategy is Strategy.BALANCE_COVER:
                covers = {code: min(_cover(sku, code, wanted, free, demand) for sku in wanted) for code in codes}
                order.sort(key=lambda code: -covers[code])
            taken = []
            for sku, units in wanted.items():
                missing = units
                whole = [code for code in order if free[sku].get(code, 0) >= units][:1]
                for code in whole or order:
                    part = min(missing, free[sku].get(code, 0))
                    missing -= part
                    taken.append(Allocation(warehouse=code, sku=sku, quantity=part))
                if missing:
                    break
            else:
                yield [one for one in taken if one.quantity]


def _score(
    taken: Sequence[Allocation],
    wanted: dict[str, int],
    free: dict[str, dict[str, int]],
    demand: DailyDemand,
    strategy: Strategy,
) -> float:
    codes = {one.warehouse for one in taken}
    parcels = len(codes) - 1
    distance = sum(KM[code] for code in codes)
    costs = {code: COSTS.get(code, DEFAULT_COST) for code in codes}
    cost = sum(costs[code].parcel_minor + costs[code].per_km_minor * KM[code] for code in codes) + sum(
        costs[one.warehouse].per_unit_minor * one.quantity for one in taken
    )
    scarcity = 1 / (1 + min(_cover(one.sku, one.warehouse, wanted, free, demand, one.quantity) for one in taken) / 30)
    return {
        Strategy.SINGLE_SOURCE_FIRST: parcels * 100_000 + distance,
        Strategy.FEWEST_SPLITS: parcels + len(taken) - len(wanted),
        Strategy.NEAREST: distance,
        Strategy.CHEAPEST: cost,
        Strategy.BALANCE_COVER: parcels + scarcity,
        Strategy.WEIGHTED: 0.3 * parcels + distance / 1_000 + 0.7 * cost / 1_000 + 0.5 * scarcity + 0.1,
    }[strategy]


def _cover(  # noqa: PLR0917 - all there is to know of a level
    sku: str,
    code: str,
    wanted: dict[str, int],
    free: dict[str, dict[str, int]],
    demand: DailyDemand,
    taken: int = 0,
) -> float:
    left = free[sku].get(code, 0) - taken
    if not all(one in demand for one in wanted):
        return min(365.0, left / wanted[sku])
    rate = demand[sku].get(code, 0.0)
    return min(365.0, left / rate) if rate else 365.0
