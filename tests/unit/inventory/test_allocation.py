from dataclasses import replace
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events.shapes import Allocation, Destination, Shortage
from services.inventory.domain.allocation import allocate, shortages
from services.inventory.domain.warehouses import RankedWarehouse, rank
from tests.unit.inventory.builders import (
    ARMCHAIR,
    LAMP,
    LONDON,
    MANCHESTER,
    MIRROR,
    ROTTERDAM,
    TO_LONDON,
    WAREHOUSES,
)

RANKING = rank(WAREHOUSES, TO_LONDON)


class TestAllocate:
    def test_takes_the_nearest_warehouse_that_has_everything(self) -> None:
        free = {ARMCHAIR: {"LON": 5, "MAN": 5, "GLA": 5}, MIRROR: {"GLA": 1, "MAN": 1}}

        choice = allocate({ARMCHAIR: 2, MIRROR: 1}, free, RANKING, is_split_allowed=True)

        assert choice.warehouses == ("MAN",)

    def test_takes_as_few_warehouses_as_it_can(self) -> None:
        free = {ARMCHAIR: {"LON": 1, "GLA": 2}, MIRROR: {"MAN": 1, "GLA": 1}, LAMP: {"RTM": 1, "LON": 1}}

        choice = allocate({ARMCHAIR: 2, MIRROR: 1, LAMP: 1}, free, RANKING, is_split_allowed=True)

        assert set(choice.warehouses) == {"GLA", "LON"}

    def test_takes_a_line_from_several_warehouses_if_none_has_it_whole(self) -> None:
        choice = allocate({ARMCHAIR: 3}, {ARMCHAIR: {"LON": 2, "MAN": 1}}, RANKING, is_split_allowed=True)

        assert choice.allocations == (
            Allocation(warehouse="LON", sku=ARMCHAIR, quantity=2),
            Allocation(warehouse="MAN", sku=ARMCHAIR, quantity=1),
        )

    def test_takes_nothing_if_it_cannot_take_all(self) -> None:
        choice = allocate(
            {ARMCHAIR: 3, MIRROR: 1}, {ARMCHAIR: {"LON": 2}, MIRROR: {"LON": 1}}, RANKING, is_split_allowed=True
        )

        assert choice.allocations is None

    def test_takes_one_warehouse_or_none_if_the_order_may_not_be_split(self) -> None:
        choice = allocate({ARMCHAIR: 3}, {ARMCHAIR: {"LON": 2, "MAN": 1}}, RANKING, is_split_allowed=False)

        assert choice.allocations is None

    def test_lists_the_warehouses_that_it_could_have_taken(self) -> None:
        choice = allocate({ARMCHAIR: 2}, {ARMCHAIR: {"LON": 5, "GLA": 1}}, RANKING, is_split_allowed=True)

        assert [(option.warehouses, option.units) for option in choice.options] == [(("LON",), 2), (("GLA",), 1)]

    def test_takes_the_fullest_first_when_very_many_are_needed(self) -> None:
        ranking = [RankedWarehouse(f"W{number:02}", float(number)) for number in range(20)]
        free = {ARMCHAIR: {warehouse.code: 1 for warehouse in ranking} | {"W19": 9}}

        choice = allocate({ARMCHAIR: 15}, free, ranking, is_split_allowed=True)

        assert choice.allocations is not None
        assert choice.warehouses == ("W00", "W01", "W02", "W03", "W04", "W05", "W19")

    def test_leaves_inactive_warehouses_out(self) -> None:
        ranking = rank([LONDON, replace(MANCHESTER, is_active=False)], TO_LONDON)

        choice = allocate({ARMCHAIR: 1}, {ARMCHAIR: {"MAN": 5}}, ranking, is_split_allowed=True)

        assert choice.allocations is None


class TestShortages:
    def test_are_what_all_warehouses_together_lack(self) -> None:
        missing = shortages({ARMCHAIR: 9, MIRROR: 1}, {ARMCHAIR: {"LON": 2, "MAN": 1}, MIRROR: {"LON": 1}}, RANKING)

        assert missing == (Shortage(sku=ARMCHAIR, requested=9, available=3),)

    def test_are_those_of_the_fullest_warehouse_if_the_units_are_in_too_many_places(self) -> None:
        missing = shortages({ARMCHAIR: 3}, {ARMCHAIR: {"LON": 1, "MAN": 2}}, RANKING)

        assert missing == (Shortage(sku=ARMCHAIR, requested=3, available=2),)


class TestRank:
    def test_begins_with_the_nearest(self) -> None:
        assert [one.code for one in RANKING] == ["LON", "MAN", "RTM", "GLA"]

    def test_begins_at_home_when_it_does_not_know_where_the_order_goes(self) -> None:
        ranking = rank([ROTTERDAM, LONDON], Destination(country="NL"))

        assert [one.code for one in ranking] == ["RTM", "LON"]
        assert ranking[0].distance_km is None

    def test_goes_by_priority_among_equally_near(self) -> None:
        favourite = replace(MANCHESTER, code="ZZZ", priority=1)

        ranking = rank([MANCHESTER, favourite], Destination(country="GB"))

        assert [one.code for one in ranking] == ["ZZZ", "MAN"]


SKUS = (ARMCHAIR, MIRROR, LAMP)
CODES = tuple(warehouse.code for warehouse in RANKING)
wanted_units = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 6), min_size=1)
free_units = st.fixed_dictionaries({sku: st.dictionaries(st.sampled_from(CODES), st.integers(0, 6)) for sku in SKUS})


class TestAnyAllocation:
    @given(wanted_units, free_units)
    def test_is_exactly_what_was_wanted_and_takes_only_what_is_free(
        self, wanted: dict[str, int], free: dict[str, dict[str, int]]
    ) -> None:
        choice = allocate(wanted, free, RANKING, is_split_allowed=True)

        is_enough = all(sum(free[sku].values()) >= units for sku, units in wanted.items())
        assert (choice.allocations is not None) == is_enough
        taken = choice.allocations or ()
        for sku, units in wanted.items() if taken else ():
            assert sum(one.quantity for one in taken if one.sku == sku) == units
        assert all(0 < one.quantity <= free[one.sku][one.warehouse] for one in taken)

    @given(wanted_units, free_units)
    def test_uses_the_fewest_warehouses_there_are(
        self, wanted: dict[str, int], free: dict[str, dict[str, int]]
    ) -> None:
        choice = allocate(wanted, free, RANKING, is_split_allowed=True)

        if choice.allocations is not None:
            fewest = next(
                size
                for size in range(1, len(CODES) + 1)
                if any(_has_all(wanted, free, codes) for codes in combinations(CODES, size))
            )
            assert len(choice.warehouses) == fewest

    @given(wanted_units, free_units, st.booleans())
    def test_that_fails_says_what_is_short(
        self,
        wanted: dict[str, int],
        free: dict[str, dict[str, int]],
        is_split_allowed: bool,  # noqa: FBT001 - drawn by Hypothesis
    ) -> None:
        choice = allocate(wanted, free, RANKING, is_split_allowed=is_split_allowed)

        if choice.allocations is None:
            missing = shortages(wanted, free, RANKING)
            assert missing
            assert all(one.requested == wanted[one.sku] > one.available for one in missing)


def _has_all(wanted: dict[str, int], free: dict[str, dict[str, int]], codes: tuple[str, ...]) -> bool:
    return all(sum(free[sku].get(code, 0) for code in codes) >= units for sku, units in wanted.items())
