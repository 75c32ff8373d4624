from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from services.catalog.domain.category import (
    DEPTH_MAX,
    Category,
    CategoryCycle,
    CategoryDetails,
    CategoryTooDeep,
    UnknownCategory,
    plan_tree,
)

NOON = datetime(2011, 6, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def under(parent: str | None, name: str = "Any") -> CategoryDetails:
    return CategoryDetails(name=name, parent=parent)


def a_tree(**parents: str | None) -> dict[str, Category]:
    wanted = {code: under(parent, code.title()) for code, parent in parents.items()}
    plan = plan_tree({}, wanted, NOON)
    assert not plan.refused
    return plan.written


def a_chain(length: int, *, prefix: str = "level") -> dict[str, str | None]:
    return {f"{prefix}{n}": f"{prefix}{n - 1}" if n else None for n in range(length)}


class TestPlanTree:
    def test_places_children_before_and_after_their_parents(self) -> None:
        tree = a_tree(lanterns="lamps", lamps="home", home=None)

        assert tree["lanterns"].ancestors == ("home", "lamps")
        assert tree["lanterns"].path_name == "Home Lamps Lanterns"

    def test_writes_nothing_if_nothing_differs(self) -> None:
        tree = a_tree(home=None, lamps="home")

        plan = plan_tree(tree, {"lamps": under("home", "Lamps")}, LATER)

        assert (plan.written, plan.refused) == ({}, {})

    def test_renames_the_paths_below_without_new_versions(self) -> None:
        tree = a_tree(home=None, lamps="home", garden=None)

        plan = plan_tree(tree, {"home": under(None, "House")}, LATER)

        assert {code: (one.version, one.path_name) for code, one in plan.written.items()} == {
            "home": (2, "House"),
            "lamps": (1, "House Lamps"),
        }

    def test_refuses_an_unknown_parent_and_what_hangs_below(self) -> None:
        plan = plan_tree({}, {"orphan": under("nowhere"), "below": under("orphan"), "home": under(None)}, NOON)

        assert set(plan.written) == {"home"}
        assert {code: type(refusal) for code, refusal in plan.refused.items()} == {
            "orphan": UnknownCategory,
            "below": UnknownCategory,
        }

    def test_refuses_to_close_a_circle_of_two(self) -> None:
        plan = plan_tree(a_tree(home=None, lamps="home"), {"home": under("lamps")}, LATER)

        assert isinstance(plan.refused["home"], CategoryCycle)
        assert plan.written == {}

    def test_refuses_to_be_its_own_parent(self) -> None:
        plan = plan_tree({}, {"home": under("home")}, NOON)

        assert isinstance(plan.refused["home"], CategoryCycle)

    def test_blames_only_what_was_changed_for_a_circle(self) -> None:
        tree = a_tree(home=None, lamps="home")

        plan = plan_tree(tree, {"lamps": under("home", "Lamps"), "home": under("lamps", "Home")}, LATER)

        assert list(plan.refused) == ["home"]

    def test_allows_two_to_change_places(self) -> None:
        tree = a_tree(home=None, lamps="home")

        plan = plan_tree(tree, {"lamps": under(None, "Lamps"), "home": under("lamps", "Home")}, LATER)

        assert plan.refused == {}
        assert plan.written["home"].ancestors == ("lamps",)

    def test_refuses_the_first_level_too_deep(self) -> None:
        wanted = {code: under(parent) for code, parent in a_chain(DEPTH_MAX + 2).items()}

        plan = plan_tree({}, wanted, NOON)

        assert len(plan.written) == DEPTH_MAX
        assert isinstance(plan.refused[f"level{DEPTH_MAX}"], CategoryTooDeep)

    def test_refuses_a_move_that_takes_others_too_deep(self) -> None:
        tree = a_tree(**a_chain(DEPTH_MAX - 1), **a_chain(3, prefix="moved"))

        plan = plan_tree(tree, {"moved0": under(f"level{DEPTH_MAX - 2}", "Moved0")}, LATER)

        assert isinstance(plan.refused["moved0"], CategoryTooDeep)
        assert plan.written == {}


CODES = st.sampled_from([f"c{number}" for number in range(8)])
WANTED = st.dictionaries(CODES, st.builds(CategoryDetails, name=CODES, parent=st.none() | CODES | st.just("nowhere")))


class TestAnyPlan:
    @given(st.lists(WANTED, max_size=4))
    def test_leads_to_a_tree(self, steps: Sequence[Mapping[str, CategoryDetails]]) -> None:
        tree: dict[str, Category] = {}
        for wanted in steps:
            plan = plan_tree(tree, wanted, NOON)
            tree |= plan.written
            assert set(wanted) <= set(tree) | set(plan.refused)

        for code, category in tree.items():
            parent = category.details.parent
            assert category.ancestors == (() if parent is None else (*tree[parent].ancestors, parent))
            assert code not in category.ancestors
            assert category.path_name == " ".join(tree[one].details.name for one in (*category.ancestors, code))

    @given(WANTED, WANTED, st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_the_wanted(
        self, before: Mapping[str, CategoryDetails], wanted: Mapping[str, CategoryDetails], chance: Random
    ) -> None:
        tree = plan_tree({}, before, NOON).written
        codes = list(wanted)
        chance.shuffle(codes)

        straight = plan_tree(tree, wanted, LATER)
        shuffled = plan_tree(tree, {code: wanted[code] for code in codes}, LATER)

        assert straight.written == shuffled.written
        assert set(straight.refused) == set(shuffled.refused)

    @given(WANTED)
    def test_applied_again_changes_nothing(self, wanted: Mapping[str, CategoryDetails]) -> None:
        once = plan_tree({}, wanted, NOON)

        again = plan_tree(once.written, wanted, LATER)

        assert again.written == {}
        assert set(again.refused) == set(once.refused)
