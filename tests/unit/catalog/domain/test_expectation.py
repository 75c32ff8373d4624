import pytest

from libs.common.errors import PreconditionFailed
from services.catalog.domain.expectation import ANYTHING, Expectation


class TestExpectation:
    @pytest.mark.parametrize("version", [None, 1, 7])
    def test_of_nothing_in_particular_is_always_met(self, version: int | None) -> None:
        ANYTHING.check(version)

    @pytest.mark.parametrize(
        ("expected", "version"),
        [
            (Expectation(versions=frozenset({1, 2})), 2),
            (Expectation(exists=True), 5),
            (Expectation(exists=False), None),
        ],
    )
    def test_is_met_by_what_it_names(self, expected: Expectation, version: int | None) -> None:
        expected.check(version)

    @pytest.mark.parametrize(
        ("expected", "version", "field"),
        [
            (Expectation(versions=frozenset({1})), 2, "If-Match"),
            (Expectation(versions=frozenset({1})), None, "If-Match"),
            # Tags of other making name no version at all.
            (Expectation(versions=frozenset()), 1, "If-Match"),
            (Expectation(exists=True), None, "If-Match"),
            (Expectation(exists=False), 1, "If-None-Match"),
        ],
    )
    def test_is_disappointed_by_name(self, expected: Expectation, version: int | None, field: str) -> None:
        with pytest.raises(PreconditionFailed) as refusal:
            expected.check(version)

        assert refusal.value.field == field
