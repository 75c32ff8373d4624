from hypothesis import given
from hypothesis import strategies as st

from services.inventory.domain.classes import AbcClass, XyzClass, abc_classes, variation_of, xyz_class

consumptions = st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0, 1e9), max_size=30)


class TestAbc:
    def test_follows_the_cumulative_share_of_value(self) -> None:
        assert abc_classes({"SOFA": 800, "LAMP": 150, "CUP": 40, "SPOON": 10}) == {
            "SOFA": AbcClass.A,
            "LAMP": AbcClass.B,
            "CUP": AbcClass.C,
            "SPOON": AbcClass.C,
        }

    def test_puts_the_sku_that_crosses_a_share_into_the_better_class(self) -> None:
        assert abc_classes({"SOFA": 79, "LAMP": 21}) == {"SOFA": AbcClass.A, "LAMP": AbcClass.A}

    def test_leaves_what_nobody_takes_in_the_last(self) -> None:
        assert abc_classes({"SOFA": 0, "LAMP": -3}) == {"SOFA": AbcClass.C, "LAMP": AbcClass.C}

    @given(consumptions)
    def test_never_ranks_the_smaller_above_the_larger(self, consumption: dict[str, float]) -> None:
        classes = abc_classes(consumption)

        assert classes.keys() == consumption.keys()
        ranked = sorted(consumption, key=lambda sku: (-consumption[sku], sku))
        assert [classes[sku] for sku in ranked] == sorted(classes.values())


class TestXyz:
    def test_steady_demand_is_x(self) -> None:
        assert xyz_class([10, 11, 9, 10]) is XyzClass.X

    def test_demand_that_swings_is_y(self) -> None:
        assert xyz_class([4, 16, 2, 10]) is XyzClass.Y

    def test_sporadic_demand_is_z(self) -> None:
        assert xyz_class([0, 0, 0, 12, 0, 0]) is XyzClass.Z

    def test_no_demand_is_z_and_has_no_variation(self) -> None:
        assert (xyz_class([0, 0]), xyz_class([]), variation_of([])) == (XyzClass.Z, XyzClass.Z, None)
