import pytest
from pydantic import ValidationError

from services.catalog.api.schemas import PatchProductRequest, PutProductRequest
from services.catalog.domain.product import ProductDetails

ARMCHAIR = ProductDetails(
    title="Crunchy armchair",
    price_minor=19900,
    currency="GBP",
    description="It crunches.",
    category="armchairs",
    attributes={"colour": "red", "legs": "4"},
)


class TestPatch:
    @pytest.mark.parametrize(
        ("patch", "field", "expected"),
        [
            ({"title": " Loud armchair "}, "title", "Loud armchair"),
            ({"description": None}, "description", ""),
            ({"category": None}, "category", None),
            ({"is_listed": False}, "is_listed", False),
            ({"attributes": {"legs": "3"}}, "attributes", {"colour": "red", "legs": "3"}),
            ({"attributes": {"legs": None, "absent": None}}, "attributes", {"colour": "red"}),
            ({"attributes": None}, "attributes", {}),
        ],
    )
    def test_changes_one_thing_and_nothing_else(self, patch: dict[str, object], field: str, expected: object) -> None:
        changed = PatchProductRequest.model_validate(patch).applied_to(ARMCHAIR)

        names = ("title", "price_minor", "currency", "description", "category", "attributes", "is_listed")
        assert {name: getattr(changed, name) for name in names} == {
            **{name: getattr(ARMCHAIR, name) for name in names},
            field: expected,
        }

    def test_of_nothing_changes_nothing(self) -> None:
        assert PatchProductRequest().applied_to(ARMCHAIR) == ARMCHAIR


class TestPut:
    def test_strips_blanks_before_it_looks(self) -> None:
        with pytest.raises(ValidationError, match="title"):
            PutProductRequest.model_validate({"title": " \t ", "price_minor": 1, "currency": "GBP"})
