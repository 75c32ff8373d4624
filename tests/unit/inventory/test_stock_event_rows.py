"""Two readers of one format: the quick one may refuse more than the one that explains, never accept more."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import ValidationError

from libs.common.clock import FixedClock
from libs.common.http.ndjson import RowError
from services.inventory.api import stock_event_rows
from services.inventory.api.stock_event_rows import STOCK_EVENT, EventRows
from services.inventory.domain.stock_events import REPORTS, report_of
from tests.unit.inventory.builders import NOON

EVENT_ID = "01890000-0000-7000-8000-000000000001"
GOOD: dict[str, Any] = {
    "id": EVENT_ID,
    "sku": "CHAIR",
    "warehouse": "LON",
    "occurred_at": "2024-06-01T12:00:00Z",
    "quantity": 1,
    "delta": -1,
    "counted": 4,
    "reason": "damaged",
    "reference": "PO-1",
    "expected_at": "2024-06-10T08:00:00+02:00",
    "transfer_id": "01890000-0000-7000-8000-000000000002",
    "destination": "GLA",
}
ODD: list[Any] = [
    *(None, True, "", "x" * 65, "x" * 129, "CHAIR\n", "é", 0, -5, 5.0, 1.5, 2**53, 2**63, 2**64, 10**30, "5", [], {}),
    *("2024-06-01", "2024-06-01T12:00:00", "2024-06-01 12:00:00Z", "2024-06-01T12:00:00.123456+05:30", 1717243200),
    *("2024-02-30T12:00:00Z", "2024-06-01T24:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "now"),
    *(EVENT_ID.upper(), EVENT_ID.replace("-", ""), f"urn:uuid:{EVENT_ID}", f"{{{EVENT_ID}}}", "goods.received"),
]
FIELDS = sorted({name for report in REPORTS for name in report.__struct_fields__} | {"id", "type", "colour"})


def fields_of(report: type[msgspec.Struct]) -> set[str]:
    return {"id", *report.__struct_fields__}


def variants(report: type[msgspec.Struct]) -> Iterator[dict[str, Any]]:
    """Yield an event as it should be, and then with one field after the other that is odd, strange or not there."""
    event = {"type": report.type} | {name: value for name, value in GOOD.items() if name in fields_of(report)}  # type: ignore[attr-defined]
    yield event
    for name in FIELDS:
        yield {field: value for field, value in event.items() if field != name}
        for value in ODD:
            yield event | {name: value}


def read_slowly(body: bytes) -> tuple[UUID, dict[str, Any]] | None:
    try:
        request = STOCK_EVENT.validate_json(body)
    except ValidationError:
        return None
    return request.id, {name: value for name, value in dict(request).items() if name not in {"id", "type"}}


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.type)
def test_are_read_alike(report: type[msgspec.Struct]) -> None:
    events = EventRows(FixedClock(NOON))

    for event in variants(report):
        body = json.dumps(event).encode()
        row = events.row(7, body)
        slowly = read_slowly(body)

        if isinstance(row, RowError):
            assert slowly is None, event
        else:
            found = report_of(row)
            read = {name: getattr(found, name) for name in found.__struct_fields__ if name != "id"}
            assert (row.id, read) == slowly, event
            assert found.type == event["type"]


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.type)
def test_are_read_at_once_if_there_is_nothing_to_explain(report: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_event_rows, "STOCK_EVENT", None)
    event = {"type": report.type} | {name: value for name, value in GOOD.items() if name in fields_of(report)}

    row = EventRows(FixedClock(NOON)).row(1, json.dumps(event).encode())

    assert not isinstance(row, RowError)
    assert isinstance(row.event, report)


@pytest.mark.parametrize("body", [b'{"type":"goods.picked"', b"[" * 100_000, b"\xff", b"", b"null", b"{} {}"])
def test_of_what_is_no_event_is_told(body: bytes) -> None:
    assert isinstance(EventRows(FixedClock(NOON)).row(3, body), RowError)
