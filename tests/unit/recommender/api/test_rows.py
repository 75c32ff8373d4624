from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from libs.common.events.storefront import CartAdded, ProductViewed, RecommendationShown
from libs.common.http.ndjson import RowError
from services.recommender.api.rows import read_row
from services.recommender.handlers.intake import Report

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVENT_ID = "0196f5f0-0000-7000-8000-000000000001"
VIEW = {
    "id": EVENT_ID,
    "type": "product.viewed",
    "visitor_id": "visitor-1",
    "session_id": "session-1",
    "occurred_at": "2011-06-01T13:00:00+01:00",
    "sku": "CRUNCHY-ARMCHAIR",
    "is_derived": True,
}


def read(*, without: str | None = None, **changes: Any) -> Report | RowError:
    row = {name: value for name, value in {**VIEW, **changes}.items() if name != without}
    return read_row(1, msgspec.json.encode(row), now=NOW)


class TestReadRow:
    def test_turns_a_view_into_its_event(self) -> None:
        assert read() == Report(
            UUID(EVENT_ID),
            ProductViewed(
                visitor_id="visitor-1",
                session_id="session-1",
                occurred_at=datetime(2011, 6, 1, 12, tzinfo=UTC),
                sku="CRUNCHY-ARMCHAIR",
                is_derived=True,
            ),
        )

    def test_takes_one_unit_where_a_basket_does_not_say_how_many(self) -> None:
        report = read(type="cart.added", id=None)

        assert isinstance(report, Report)
        assert report.id is None
        assert isinstance(report.event, CartAdded)
        assert report.event.quantity == 1

    def test_reads_what_was_shown(self) -> None:
        report = read(without="sku", type="recommendation.shown", recommendation_id="r-1", skus=["OMINOUS-MIRROR"])

        assert isinstance(report, Report)
        assert isinstance(report.event, RecommendationShown)
        assert report.event.skus == ["OMINOUS-MIRROR"]

    @pytest.mark.parametrize(
        ("changes", "code", "field"),
        [
            pytest.param({"type": "product.bought"}, "unknown-type", "type", id="a type nobody knows"),
            pytest.param({"type": None}, "unknown-type", "type", id="no type"),
            pytest.param({"sku": None}, "invalid-value", "sku", id="no product"),
            pytest.param({"sku": "X" * 65}, "invalid-value", "sku", id="a product code too long"),
            pytest.param({"visitor_id": "ada@example.org"}, "invalid-value", "visitor_id", id="an e-mail address"),
            pytest.param({"occurred_at": "2011-06-01T13:00:00"}, "invalid-value", "occurred_at", id="no zone"),
            pytest.param({"occurred_at": "2031-01-01T00:00:00Z"}, "implausible-time", "occurred_at", id="far ahead"),
            pytest.param({"id": "42"}, "invalid-value", "id", id="an id that is not a UUID"),
            pytest.param({"occurred_at": 1322650800}, "invalid-value", "occurred_at", id="a number for a time"),
            pytest.param({"is_derived": 1}, "invalid-value", "is_derived", id="a number for a truth"),
            pytest.param({"colour": "red"}, "invalid-value", "colour", id="a field that there is not"),
            pytest.param({"type": "cart.added", "quantity": 0}, "invalid-value", "quantity", id="no units"),
            pytest.param({"type": "cart.added", "quantity": True}, "invalid-value", "quantity", id="a truth for units"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, changes: dict[str, Any], code: str, field: str) -> None:
        outcome = read(**changes)

        assert isinstance(outcome, RowError)
        assert (outcome.code, outcome.field) == (code, field)

    def test_names_a_field_that_is_missing(self) -> None:
        outcome = read_row(3, b'{"type": "product.viewed", "visitor_id": "v"}', now=NOW)

        assert isinstance(outcome, RowError)
        assert (outcome.row, outcome.code, outcome.field) == (3, "missing-field", "occurred_at")

    @pytest.mark.parametrize("line", [b"{", b"[]", b'"product.viewed"', b"\xff"])
    def test_refuses_what_is_no_object(self, line: bytes) -> None:
        assert isinstance(read_row(1, line, now=NOW), RowError)
