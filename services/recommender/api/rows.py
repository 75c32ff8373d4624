"""Reading reports of behaviour, one by one, each with what is wrong with it."""

from datetime import datetime

import msgspec
from pydantic import ValidationError

from libs.common.errors import Invalid
from libs.common.http.ndjson import RowError
from services.recommender import metrics
from services.recommender.api.schemas import REPORT_TYPES, behaviour_report
from services.recommender.handlers.intake import Report, check_report

_CODES = {
    "json_invalid": "malformed-json",
    "missing": "missing-field",
    "union_tag_invalid": "unknown-type",
    "union_tag_not_found": "unknown-type",
}
_REASON_LENGTH_MAX = 200
_UNKNOWN_TYPE = "unknown"


class _Typed(msgspec.Struct):
    type: str = _UNKNOWN_TYPE


_typed = msgspec.json.Decoder(_Typed)


def read_report(line: bytes, *, now: datetime) -> Report:
    """
    Read one report.

    :raises ValidationError: if it is not one.
    :raises Invalid: if it cannot have happened.
    """
    report = behaviour_report.validate_json(line).report()
    check_report(report, now=now)
    return report


def read_row(row: int, line: bytes, *, now: datetime) -> Report | RowError:
    """Read one report of many, or say what is wrong with it."""
    try:
        return read_report(line, now=now)
    except ValidationError as error:
        return _row_error(row, error)
    except Invalid as error:
        return RowError(row, error.code, error.detail, error.field)


def count_rejection(line: bytes | None, *, code: str) -> None:
    """Count a report that was not accepted."""
    metrics.behaviour_events_rejected_total.labels(_type_of(line), code).inc()


def field_of(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return where the fault is without the name of the schema that was tried."""
    return location[1:] if location and location[0] in REPORT_TYPES else location


def code_of(error: ValidationError) -> str:
    """Return the stable code of a report's first fault."""
    return _CODES.get(error.errors(include_url=False, include_input=False)[0]["type"], "invalid-value")


def _row_error(row: int, error: ValidationError) -> RowError:
    fault = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in field_of(fault["loc"]))
    code = code_of(error)
    if code == "unknown-type":
        field = "type"
    return RowError(row, code, fault["msg"][:_REASON_LENGTH_MAX], field or None)


def _type_of(line: bytes | None) -> str:
    try:
        named = _typed.decode(line or b"").type
    except msgspec.DecodeError:
        return _UNKNOWN_TYPE
    return named if named in REPORT_TYPES else _UNKNOWN_TYPE
