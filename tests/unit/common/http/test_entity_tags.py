import pytest

from libs.common.errors import Invalid
from services.catalog.api.dependencies import entity_tag, is_current, versions_of


class TestVersionsOf:
    @pytest.mark.parametrize(
        ("tags", "expected"),
        [
            ('"3"', {3}),
            ('"3", "4"', {3, 4}),
            # A weak tag promises too little to base a change on.
            ('W/"3", "4"', {4}),
            ('"someone-elses"', set()),
            ('"9999999999999999999"', set()),
        ],
    )
    def test_reads_the_strong_tags_of_this_service(self, tags: str, expected: set[int]) -> None:
        assert versions_of(tags, field="If-Match") == expected

    @pytest.mark.parametrize("tags", ["3", '"3', "", '"3" "4"', "W/3"])
    def test_refuses_what_is_no_list_of_tags(self, tags: str) -> None:
        with pytest.raises(Invalid) as refusal:
            versions_of(tags, field="If-Match")

        assert refusal.value.field == "If-Match"

    def test_reads_what_this_service_writes(self) -> None:
        assert versions_of(entity_tag(7), field="If-Match") == {7}


class TestIsCurrent:
    @pytest.mark.parametrize(
        ("tags", "expected"), [(None, False), ('"2"', True), ('W/"2"', True), ('"1"', False), ("*", True)]
    )
    def test_compares_weakly(self, tags: str | None, expected: bool) -> None:  # noqa: FBT001 - a table's column
        assert is_current(tags, 2) is expected
